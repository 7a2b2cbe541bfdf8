"""What a probe is: fitted on a labelled support, scores classes of any window; the registry that names probes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch

from eval import registry
from imu_video.registry import Registry

Scaling = Literal["none", "center", "standard"]
Confidence = Literal["softmax", "share"]
"""How scores are probabilities: log-odds up to a constant (``softmax``), or probabilities already (``share``)."""


@runtime_checkable
class Fitted(Protocol):
    """A fitted probe: ``scores`` maps features (N, E) to class scores (N, M); the largest is the prediction."""

    def scores(self, features: np.ndarray) -> np.ndarray: ...


@runtime_checkable
class Probe(Protocol):
    """A classifier on frozen features with keyword-only constructor arguments.

    ``fit`` sees the support only: whatever it centres, scales or selects comes from these rows. It is deterministic and
    leaves its inputs as they are. Register it with ``@probes.register("name")`` in a plugin file. A class attribute
    ``confidence`` (see `Confidence`) says that its scores are probabilities: then its calibration is measured as well.
    """

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> Fitted: ...


@dataclass(frozen=True, eq=False)
class LinearScores:
    """Scores ``x W + b``: what linear probes fit; many of them are evaluated in one product.

    Args:
        weight: (E, M).
        bias: (M,).
    """

    weight: np.ndarray
    bias: np.ndarray

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Class scores. Shapes: (N, E) -> (N, M)."""
        out: np.ndarray = np.asarray(features) @ self.weight.astype(features.dtype) + self.bias.astype(features.dtype)
        return out


def predict_many(fitted: Sequence[Fitted], features: np.ndarray, *, chunk_bytes: int = 1 << 22) -> list[np.ndarray]:
    """Predicted class of every window by every fitted probe; linear ones share one matrix product.

    Shapes:
        features (N, E) -> list of (N,) int64.
    """
    out: list[np.ndarray] = [np.empty(0, dtype=np.int64)] * len(fitted)
    for numbers, scores in score_blocks(fitted, features, chunk_bytes=chunk_bytes):
        for i, predicted in zip(numbers, first_largest(scores), strict=True):
            out[i] = predicted
    return out


def score_blocks(
    fitted: Sequence[Fitted], features: np.ndarray, *, chunk_bytes: int = 1 << 22
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Numbers of some fitted probes and their scores of every window, until all had their turn, in any order.

    Linear probes share one matrix product, so many at a time as ``chunk_bytes`` hold the scores of; others come alone.

    Shapes:
        features (N, E) -> scores (B, M, N) of B probes: windows last, which is how the class maximum is quick.
    """
    alike: dict[int, list[int]] = {}
    for i, one in enumerate(fitted):
        if isinstance(one, LinearScores):
            alike.setdefault(one.weight.shape[1], []).append(i)
        else:
            yield [i], one.scores(features).T[None]
    x = features.astype(working_dtype(features), copy=False).T if alike else features
    for classes, numbers in alike.items():
        step = max(1, chunk_bytes // max(1, x.shape[1] * classes * x.itemsize))
        for begin in range(0, len(numbers), step):
            part = numbers[begin : begin + step]
            some = [one for i in part if isinstance(one := fitted[i], LinearScores)]
            weight = np.concatenate([one.weight.T for one in some]).astype(x.dtype, copy=False)
            bias = np.concatenate([one.bias for one in some]).astype(x.dtype, copy=False)
            # torch's product is several times as quick as numpy's on some processors, and as quick on the others.
            scores = (torch.from_numpy(weight) @ torch.from_numpy(x)).numpy()
            scores += bias[:, None]
            yield part, scores.reshape(len(part), classes, -1)


def first_largest(scores: np.ndarray) -> np.ndarray:
    """The first largest class, as argmax says, in a fifth of its time. Shapes: (B, M, N) -> (B, N) int64."""
    best, place = scores[:, 0].copy(), np.zeros((len(scores), scores.shape[2]), dtype=np.uint16)
    for c in range(1, scores.shape[1]):
        # A class that beats all before it has a larger number than they: no branch, no mask.
        np.maximum(place, (scores[:, c] > best) * np.uint16(c), out=place)
        np.maximum(best, scores[:, c], out=best)
    return place.astype(np.int64)


def working_dtype(features: np.ndarray) -> type[np.floating]:
    """Precision in which many supports are fitted and scored: that of the features, but float64 where float32 is short.

    It is where a column's offset is more than 1000 times its spread, since its seven digits would go into the offset,
    and beyond 1e15, where squares overflow.
    """
    if features.dtype != np.float32 or not features.size:
        return np.float64
    with np.errstate(all="ignore"):
        low, high = features.min(axis=0), features.max(axis=0)
        # Half the range is at least the spread; a constant column is dropped by the scaling, whatever its offset.
        level, spread = np.maximum(np.abs(low), np.abs(high)), (high - low) / 2
        plain = (spread == 0) | (level <= 1e3 * spread)
    return np.float32 if bool(plain.all()) and float(level.max()) < 1e15 else np.float64


def confidence_of(scores: np.ndarray, how: Confidence) -> np.ndarray:
    """Probability of the predicted class. Shapes: (N, M) -> (N,), or (B, M, N) -> (B, N).

    Example:
        >>> confidence_of(np.array([[0.0, 0.0], [np.log(3.0), 0.0]]), "softmax").round(3).tolist()
        [0.5, 0.75]
    """
    s = np.asarray(scores, dtype=np.float64)
    top = s.max(axis=1, keepdims=True)
    return np.asarray(1.0 / np.exp(s - top).sum(axis=1) if how == "softmax" else np.clip(top.squeeze(axis=1), 0.0, 1.0))


def scaling_of(features: np.ndarray, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
    """Centre and factor fitted on a support: ``z = (x - centre) * factor``, each (E,) float64.

    ``standard`` divides by the standard deviation over the support; a dimension that is constant there gets factor 0,
    since the support says nothing about its scale. ``center`` subtracts the mean only; ``none`` does nothing.
    """
    x = np.asarray(features, dtype=np.float64)
    if scaling == "none":
        return np.zeros(x.shape[1]), np.ones(x.shape[1])
    centre = x.mean(axis=0)
    if scaling == "center":
        return centre, np.ones(x.shape[1])
    spread = x.std(axis=0)
    alive = spread > 1e-6 * np.maximum(1.0, np.abs(centre))
    return centre, np.divide(1.0, spread, out=np.zeros_like(spread), where=alive)


def unit_rows(x: np.ndarray) -> np.ndarray:
    """Rows of length one; a zero row stays zero. Shapes: (..., E) -> (..., E)."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def check_support(features: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The support as float64 features and int64 labels.

    Raises:
        ValueError: wrong shapes, features that are not finite, or a class without a sample.
    """
    x, y = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if x.ndim != 2 or y.shape != (len(x),) or not len(x):
        raise ValueError(f"support must be features (n, E) and labels (n,), got {x.shape} and {y.shape}")
    if not np.isfinite(x).all():
        raise ValueError("support features are not all finite")
    if y.min() < 0 or y.max() >= classes or len(np.unique(y)) != classes:
        raise ValueError(f"the support must hold every class 0..{classes - 1}, got {np.unique(y).tolist()}")
    return x, y


probes: Registry[Probe] = registry.probes
"""Probes by name; ``eval.probes`` registers the built-in ones."""
