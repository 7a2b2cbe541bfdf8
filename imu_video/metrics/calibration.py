"""Calibration of predictions: reliability bins and the expected calibration error; no confidence intervals."""

from __future__ import annotations

import numpy as np

BINS = 15


def reliability_bins(confidence: np.ndarray, correct: np.ndarray, *, bins: int = BINS) -> np.ndarray:
    """Number of predictions, sum of their confidences and number of hits in bins of equal width over [0, 1].

    Bin b holds ``b / bins < confidence <= (b + 1) / bins``; a confidence of zero belongs to the first bin.

    Args:
        confidence: of the predicted class, in [0, 1].
        correct: whether each prediction was right.
        bins: number of bins, at least 1; 10 to 20.

    Shapes:
        confidence (N,), correct (N,) -> (bins, 3) float64.

    Raises:
        ValueError: different lengths, or a confidence outside [0, 1].

    Example:
        >>> reliability_bins(np.array([0.4, 0.9, 0.8]), np.array([True, True, False]), bins=2).tolist()
        [[1.0, 0.4, 1.0], [2.0, 1.7000000000000002, 1.0]]
    """
    everyone = np.zeros(np.shape(confidence), dtype=np.int64)
    return grouped_reliability_bins(confidence, correct, everyone, groups=1, bins=bins)[0]


def grouped_reliability_bins(
    confidence: np.ndarray, correct: np.ndarray, group: np.ndarray, *, groups: int, bins: int = BINS
) -> np.ndarray:
    """`reliability_bins` of every group of predictions, in one pass.

    Args:
        confidence, correct: see `reliability_bins`.
        group: number of each prediction's group, 0 .. groups - 1.
        groups: number of groups; a group without predictions has zeros.
        bins: see `reliability_bins`.

    Shapes:
        confidence, correct, group (N,) -> (groups, bins, 3) float64.

    Raises:
        ValueError: different lengths, or a confidence outside [0, 1].

    Example:
        >>> grouped_reliability_bins(np.array([0.4, 0.9]), np.array([True, True]), np.array([1, 0]), groups=2, bins=1)
        array([[[1. , 0.9, 1. ]],
        <BLANKLINE>
               [[1. , 0.4, 1. ]]])
    """
    p, hit = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if p.ndim != 1 or not p.shape == hit.shape == group.shape:
        raise ValueError(f"confidence, correct and group must all be (N,), got {p.shape}, {hit.shape}, {group.shape}")
    if len(p) and not (p.min() >= 0 and p.max() <= 1 + 1e-6):
        raise ValueError(f"confidences are in [{p.min()}, {p.max()}], expected [0, 1]")
    place = np.clip(np.ceil(p * bins).astype(int) - 1, 0, bins - 1) + bins * group
    sums = [np.bincount(place, weights=w, minlength=bins * groups) for w in (np.ones_like(p), p, hit)]
    return np.stack(sums, axis=1).reshape(groups, bins, 3)


def expected_calibration_error(bins: np.ndarray) -> np.ndarray:
    """``ECE = sum_b n_b / N |acc_b - conf_b|`` (Guo et al. 2017, arXiv 1706.04599, eq. 3); NaN without predictions.

    Biased upwards for bins with few predictions, whose noise counts as miscalibration.

    Shapes:
        bins (..., B, 3), see `reliability_bins` -> (...).

    Example:
        >>> b = reliability_bins(np.array([0.5, 0.5, 1.0]), np.array([True, False, True]), bins=4)
        >>> float(expected_calibration_error(b))
        0.0
    """
    b = _bins(bins)
    return _share(np.abs(b[..., 2] - b[..., 1]).sum(axis=-1), b[..., 0].sum(axis=-1))


def overconfidence(bins: np.ndarray) -> np.ndarray:
    """Mean confidence minus accuracy, positive for overconfident predictions; NaN without predictions.

    Shapes:
        bins (..., B, 3) -> (...).

    Example:
        >>> float(overconfidence(np.array([[2.0, 1.5, 1.0]])))
        0.25
    """
    b = _bins(bins)
    return _share((b[..., 1] - b[..., 2]).sum(axis=-1), b[..., 0].sum(axis=-1))


def _bins(bins: np.ndarray) -> np.ndarray:
    b = np.asarray(bins, dtype=np.float64)
    if b.ndim < 2 or b.shape[-1] != 3:
        raise ValueError(f"reliability bins must be (..., B, 3), got {b.shape}")
    return b


def _share(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(np.shape(bottom), np.nan), where=np.asarray(bottom) > 0)
