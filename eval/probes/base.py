"""The probe interface, shared scaling and scoring, and the registry of probes; contains no classifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from pydantic import Field

from eval import registry
from imu_video.arguments import Positive
from imu_video.registry import Registry

Strengths = Annotated[tuple[Positive, ...], Field(min_length=1)]
"""Candidates for the strength of a penalty."""
Scaling = Literal["none", "center", "standard"]
Confidence = Literal["softmax", "share"]
"""How scores become probabilities: by a softmax (``softmax``), or they are probabilities already (``share``)."""


@runtime_checkable
class Fitted(Protocol):
    """A fitted probe: ``scores`` maps features (N, E) to class scores (N, M); the largest is the prediction."""

    def scores(self, features: np.ndarray) -> np.ndarray: ...


@runtime_checkable
class Probe(Protocol):
    """A classifier on frozen features with keyword-only constructor arguments.

    ``fit`` receives the support only: all centring, scaling and selection is computed from these rows. It is
    deterministic and does not modify its inputs. Register it with ``@probes.register("name")`` in a plugin file. If the
    scores can be read as probabilities, set the class attribute ``confidence`` (see `Confidence`); calibration is then
    measured as well.
    """

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> Fitted: ...


@dataclass(frozen=True, eq=False)
class LinearScores:
    """Scores ``x W + b`` of a linear probe; many of them are evaluated in one matrix product.

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
    for indices, scores in score_blocks(fitted, features, chunk_bytes=chunk_bytes):
        for i, predicted in zip(indices, first_largest(scores), strict=True):
            out[i] = predicted
    return out


def score_blocks(
    fitted: Sequence[Fitted], features: np.ndarray, *, chunk_bytes: int = 1 << 22
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Yields the scores of every window by blocks of fitted probes, with the probes' indices; in no fixed order.

    Linear probes share one matrix product; a block has as many of them as scores fit into ``chunk_bytes``. Any other
    probe is a block of its own.

    Shapes:
        features (N, E) -> scores (B, M, N) of B probes. Windows are last, so that a class is a contiguous row.
    """
    linear: dict[int, list[int]] = {}
    for i, one in enumerate(fitted):
        if isinstance(one, LinearScores):
            linear.setdefault(one.weight.shape[1], []).append(i)
        else:
            yield [i], one.scores(features).T[None]
    x = features.astype(working_dtype(features), copy=False).T if linear else features
    for classes, indices in linear.items():
        # The caller reads the scores of a block again at once, so a block is kept small enough for the cache.
        step = max(1, chunk_bytes // max(1, x.shape[1] * classes * x.itemsize))
        for begin in range(0, len(indices), step):
            part = indices[begin : begin + step]
            some = [one for i in part if isinstance(one := fitted[i], LinearScores)]
            weight = np.concatenate([one.weight.T for one in some]).astype(x.dtype, copy=False)
            bias = np.concatenate([one.bias for one in some]).astype(x.dtype, copy=False)
            # torch's matrix product is several times faster than numpy's on some processors, and never slower.
            scores = (torch.from_numpy(weight) @ torch.from_numpy(x)).numpy()
            scores += bias[:, None]
            yield part, scores.reshape(len(part), classes, -1)


def first_largest(scores: np.ndarray) -> np.ndarray:
    """Index of the largest class, as by ``argmax(axis=1)`` but five times faster. Shapes: (B, M, N) -> (B, N) int64."""
    best, index = scores[:, 0].copy(), np.zeros((len(scores), scores.shape[2]), dtype=np.uint16)
    for c in range(1, scores.shape[1]):
        # Class c has a larger index than all classes before it, so a maximum of indices replaces a masked assignment.
        # The comparison is strict, so that ties keep the first class, as in argmax.
        np.maximum(index, (scores[:, c] > best) * np.uint16(c), out=index)
        np.maximum(best, scores[:, c], out=best)
    return index.astype(np.int64)


def working_dtype(features: np.ndarray) -> type[np.floating]:
    """Precision for fitting and scoring many supports: that of the features, or float64 where float32 is not enough.

    float32 is not enough where a column's offset is more than 1000 times its spread, because the offset uses up its
    seven digits, and beyond 1e15, where squares and their sums can overflow.
    """
    if features.dtype != np.float32 or not features.size:
        return np.float64
    with np.errstate(all="ignore"):
        low, high = features.min(axis=0), features.max(axis=0)
        # Half the range is an upper bound of the standard deviation and needs no second pass. A constant column is
        # dropped by the scaling, so its offset does not matter.
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
    since its scale cannot be estimated. ``center`` subtracts the mean only; ``none`` changes nothing.
    """
    x = np.asarray(features, dtype=np.float64)
    if scaling == "none":
        return np.zeros(x.shape[1]), np.ones(x.shape[1])
    centre = x.mean(axis=0)
    if scaling == "center":
        return centre, np.ones(x.shape[1])
    return centre, inverse_spread(centre, x.std(axis=0))


def inverse_spread(centre: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """One over the standard deviation; 0 for a column that is constant. Shapes: all (E,)."""
    # The threshold is relative to the mean: rounding gives a constant column a small spread in proportion to its level.
    alive = spread > 1e-6 * np.maximum(1.0, np.abs(centre))
    return np.divide(1.0, spread, out=np.zeros_like(spread), where=alive)


def unit_rows(x: np.ndarray) -> np.ndarray:
    """Rows of length one; a zero row stays zero. Shapes: (..., E) -> (..., E)."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def check_support(features: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The support as float64 features and int64 labels.

    Raises:
        ValueError: wrong shapes, features that are not finite, or a class without a window.
    """
    x, y = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if x.ndim != 2 or y.shape != (len(x),) or not len(x):
        raise ValueError(f"the support must be features (n, E) and labels (n,), got {x.shape} and {y.shape}")
    if not np.isfinite(x).all():
        raise ValueError("the support has features that are not finite")
    if y.min() < 0 or y.max() >= classes or len(np.unique(y)) != classes:
        raise ValueError(f"the support must contain every class 0..{classes - 1}, got {np.unique(y).tolist()}")
    return x, y


probes: Registry[Probe] = registry.probes
"""Probes by name; ``eval.probes`` registers the built-in ones."""
