"""Filters on regularly sampled (C, T) signals: running median, gap filling, standardisation; not gravity.

Missing samples are NaN before and after. Every function checks the axes, because a (T, C) array of six columns would
otherwise be filtered across channels without an error.
"""

from __future__ import annotations

import numpy as np

from imu_video.errors import RecordingError

_MAX_CHANNELS = 64  # more rows than this are time, not channels


def median_filter(values: np.ndarray, width: int = 5) -> np.ndarray:
    """Running median over time per channel (width 5 in Cheshmi et al. 2025).

    At the ends the window is truncated to the existing samples. NaN are ignored by the medians and stay NaN.

    Args:
        values: (C, T).
        width: samples, odd; usually 3..9.

    Returns:
        (C, T) in the dtype of ``values``.

    Raises:
        RecordingError: an array that is not (C, T), or an even width.

    Example:
        >>> median_filter(np.array([[0.0, 0.0, 9.0, 0.0, 1.0]]), 3).tolist()
        [[0.0, 0.0, 0.0, 1.0, 0.5]]
    """
    _check_axes(values)
    if width < 1 or width % 2 == 0:
        raise RecordingError(f"median width {width}: expected an odd number of samples")
    half = width // 2
    padded = np.pad(np.asarray(values, dtype=np.float64), ((0, 0), (half, half)), constant_values=np.nan)
    ordered = np.sort(np.lib.stride_tricks.sliding_window_view(padded, width, axis=1), axis=2)  # NaN come last
    known = np.isfinite(ordered).sum(axis=2)
    low, high = np.maximum(known - 1, 0) // 2, known // 2
    pick = np.take_along_axis(ordered, np.stack([low, np.minimum(high, width - 1)], axis=2), axis=2)
    out = pick.mean(axis=2)
    out[~np.isfinite(values)] = np.nan
    return out.astype(values.dtype)


def fill_gaps(values: np.ndarray, max_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Fill short gaps by linear interpolation per channel, and return which samples were filled.

    Longer gaps and gaps at the ends stay NaN.

    Args:
        values: (C, T), NaN where missing.
        max_samples: longest gap that is filled, in samples.

    Returns:
        (C, T) with the gaps filled, and (C, T) bool: True where a value was interpolated.

    Raises:
        RecordingError: an array that is not (C, T), or a negative length.

    Example:
        >>> filled, made_up = fill_gaps(np.array([[1.0, np.nan, 3.0]]), 1)
        >>> filled.tolist(), made_up.tolist()
        ([[1.0, 2.0, 3.0]], [[False, True, False]])
    """
    _check_axes(values)
    if max_samples < 0:
        raise RecordingError(f"longest gap {max_samples}: expected 0 or more samples")
    out = np.array(values, copy=True)
    made_up = np.zeros(values.shape, dtype=bool)
    for row, marks in zip(out, made_up, strict=True):
        known = np.flatnonzero(np.isfinite(row))
        steps = np.diff(known)
        for at in np.flatnonzero((steps > 1) & (steps <= max_samples + 1)):
            marks[known[at] + 1 : known[at + 1]] = True
        if marks.any():
            row[marks] = np.interp(np.flatnonzero(marks), known, row[known])
    return out, made_up


def standardise(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Subtract each channel's mean and divide by its standard deviation, both over time.

    A constant channel is only centred. The statistics are returned, so that the step can be undone.

    Args:
        values: (C, T), NaN where missing.

    Returns:
        (C, T) without unit, (C,) means and (C,) standard deviations in the units of ``values``; mean 0 and deviation 1
        for a channel without values.

    Raises:
        RecordingError: an array that is not (C, T).

    Example:
        >>> out, mean, std = standardise(np.array([[1.0, 3.0]]))
        >>> out.tolist(), mean.tolist(), std.tolist()
        ([[-1.0, 1.0]], [2.0], [1.0])
    """
    _check_axes(values)
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=1), 1)
    x = np.where(known, values, 0).astype(np.float64)
    mean = x.sum(axis=1) / count
    std = np.sqrt((np.where(known, x - mean[:, None], 0) ** 2).sum(axis=1) / count)
    std[~(std > 1e-9)] = 1.0
    return ((values - mean[:, None]) / std[:, None]).astype(values.dtype), mean, std


def _check_axes(values: np.ndarray) -> None:
    if values.ndim != 2 or values.shape[0] > _MAX_CHANNELS or not np.issubdtype(values.dtype, np.floating):
        raise RecordingError(
            f"signal has shape {values.shape} and type {values.dtype}, expected (C, T) float with C <= {_MAX_CHANNELS}",
            hint="IMU arrays are channels first; transpose once where the file is read",
        )
