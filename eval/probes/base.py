"""What a probe is: fitted on a labelled support, scores classes of any window; the registry that names probes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

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


def predict_many(fitted: Sequence[Fitted], features: np.ndarray, *, chunk_bytes: int = 1 << 26) -> list[np.ndarray]:
    """Predicted class of every window by every fitted probe; linear ones share one matrix product.

    Shapes:
        features (N, E) -> list of (N,) int64.
    """
    out: dict[int, np.ndarray] = {}
    for i, scores in score_many(fitted, features, chunk_bytes=chunk_bytes):
        out[i] = scores.argmax(axis=1).astype(np.int64)
    return [out[i] for i in range(len(fitted))]


def score_many(
    fitted: Sequence[Fitted], features: np.ndarray, *, chunk_bytes: int = 1 << 26
) -> Iterator[tuple[int, np.ndarray]]:
    """Number of each fitted probe and its scores of every window, in any order; linear ones share one product.

    Shapes:
        features (N, E) -> scores (N, M) each.
    """
    linear = [i for i, f in enumerate(fitted) if isinstance(f, LinearScores)]
    for i in set(range(len(fitted))) - set(linear):
        yield i, fitted[i].scores(features)
    if linear:
        classes = max(fitted[i].weight.shape[1] for i in linear)  # type: ignore[attr-defined]
        step = max(1, chunk_bytes // max(1, len(features) * classes * 4))
        for begin in range(0, len(linear), step):
            part: list[LinearScores] = [fitted[i] for i in linear[begin : begin + step]]  # type: ignore[misc]
            weight = np.concatenate([f.weight for f in part], axis=1).astype(np.float32)
            bias = np.concatenate([f.bias for f in part]).astype(np.float32)
            scores = features.astype(np.float32, copy=False) @ weight + bias
            ends = np.cumsum([f.weight.shape[1] for f in part])[:-1]
            for i, block in zip(linear[begin : begin + step], np.split(scores, ends, axis=1), strict=True):
                yield i, block


def confidence_of(scores: np.ndarray, how: Confidence) -> np.ndarray:
    """Probability of the predicted class. Shapes: (N, M) -> (N,).

    Example:
        >>> confidence_of(np.array([[0.0, 0.0], [np.log(3.0), 0.0]]), "softmax").round(3).tolist()
        [0.5, 0.75]
    """
    s = np.asarray(scores, dtype=np.float64)
    top = s.max(axis=1, keepdims=True)
    return np.asarray(1.0 / np.exp(s - top).sum(axis=1) if how == "softmax" else np.clip(top[:, 0], 0.0, 1.0))


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


probes: Registry[Probe] = Registry("probe", "eval.probes")
"""Probes by name; ``eval.probes`` registers the built-in ones."""
