"""Accuracy, balanced accuracy and macro-F1 from stacks of confusion matrices; no models.

Convention: balanced accuracy and macro-F1 are means over the classes that occur in the truth. A prediction of a class
that does not occur is an error of the true class and adds no term of its own, so a subject who never performed an
activity is not scored on it. If every class occurs, the values equal those of scikit-learn.
"""

from __future__ import annotations

import numpy as np


def confusion_counts(truth: np.ndarray, predicted: np.ndarray, *, classes: int) -> np.ndarray:
    """Count pairs of true and predicted class.

    Args:
        truth: class numbers in [0, classes).
        predicted: class numbers in [0, classes).
        classes: M, at least 1.

    Shapes:
        truth (N,), predicted (N,) -> (M, M) int64, rows are the truth.

    Raises:
        ValueError: different lengths or a class outside the range.

    Example:
        >>> confusion_counts(np.array([0, 0, 1]), np.array([0, 1, 1]), classes=2).tolist()
        [[1, 1], [0, 1]]
    """
    t, p = np.asarray(truth), np.asarray(predicted)
    if t.shape != p.shape or t.ndim != 1:
        raise ValueError(f"truth and predicted must both be (N,), got {t.shape} and {p.shape}")
    for name, values in (("truth", t), ("predicted", p)):
        if len(values) and (values.min() < 0 or values.max() >= classes):
            raise ValueError(f"{name} contains classes {values.min()}..{values.max()}, expected 0..{classes - 1}")
    return np.bincount(t * classes + p, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Fraction of correct predictions; NaN where nothing was predicted.

    Shapes:
        counts (..., M, M) -> (...).

    Example:
        >>> float(accuracy(np.array([[1, 1], [0, 2]])))
        0.75
    """
    c = _stack(counts)
    return _ratio(np.trace(c, axis1=-2, axis2=-1), c.sum(axis=(-2, -1)))


def balanced_accuracy(counts: np.ndarray) -> np.ndarray:
    """Mean recall over the classes that occur in the truth; NaN where nothing was predicted.

    Shapes:
        counts (..., M, M) -> (...).

    Example:
        >>> float(balanced_accuracy(np.array([[1, 1], [0, 2]])))
        0.75
    """
    c = _stack(counts)
    support = c.sum(axis=-1)
    return _mean_over_present(_ratio(_diagonal(c), support), support)


def macro_f1(counts: np.ndarray) -> np.ndarray:
    """Mean over the classes that occur in the truth of ``2 TP / (2 TP + FP + FN)``; NaN where nothing was predicted.

    Shapes:
        counts (..., M, M) -> (...).

    Example:
        >>> round(float(macro_f1(np.array([[1, 1], [0, 2]]))), 4)
        0.7333
    """
    c = _stack(counts)
    support, named = c.sum(axis=-1), c.sum(axis=-2)
    return _mean_over_present(_ratio(2.0 * _diagonal(c), support + named), support)


METRICS = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy, "macro_f1": macro_f1}
"""Every classification metric by the name used in result lines."""


def _stack(counts: np.ndarray) -> np.ndarray:
    c = np.asarray(counts)
    if c.ndim < 2 or c.shape[-1] != c.shape[-2]:
        raise ValueError(f"confusion counts must be (..., M, M), got {c.shape}")
    return c


def _diagonal(c: np.ndarray) -> np.ndarray:
    return np.diagonal(c, axis1=-2, axis2=-1)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    out = np.full(np.shape(bottom), np.nan)
    return np.divide(top, bottom, out=out, where=np.asarray(bottom) > 0)


def _mean_over_present(values: np.ndarray, support: np.ndarray) -> np.ndarray:
    present = support > 0
    return _ratio(np.where(present, values, 0.0).sum(axis=-1), present.sum(axis=-1))
