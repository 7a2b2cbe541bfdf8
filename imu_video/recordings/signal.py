"""Band-limited resampling of IMU streams on numpy arrays; units are in units.py, cutting windows in windows.py.

Both resamplers use one low-pass: a Kaiser-windowed FIR, flat within 0.3 % up to 0.75 of the new Nyquist frequency and
at least 50 dB down from the new Nyquist frequency on. Signals are continued at their ends by odd reflection, so that
slow content is kept up to the first and last sample; what lies above the band is filtered less well in those outermost
samples. Output times are computed from exact indices: rates are never truncated to integers, nothing drifts.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
from scipy.linalg import solve_banded
from scipy.signal import firwin, kaiser_beta, upfirdn

from imu_video.errors import RecordingError
from imu_video.recordings.units import UNITS as UNITS
from imu_video.recordings.units import check_plausible as check_plausible
from imu_video.recordings.units import convert as convert

_HALF = 13  # filter half-length in samples of the slower rate
_CUTOFF = 0.875  # of the slower Nyquist frequency: middle of the transition band 0.75 .. 1
_STOP_DB = 55.0
_SAME_RATE = 1.02  # a source at most 2 % faster than the grid needs no low-pass: only the last 2 % of its band alias
_MERGE = 0.25  # samples closer than this fraction of the period are averaged
_MAX_SAMPLES = 100_000_000
_BLOCK = 65_536  # grid points per block: bounds the memory of an oversampled recording of many hours
# Of a sample period. Two times closer than this count as equal: no clock is that accurate, and the error of taking the
# sample as it is stays 80 dB below the signal at the edge of the band.
_SAME_TIME = 1e-4
# Samples beyond a block. The effect of a spline's end condition shrinks by a factor of 0.27 per sample, so 32 samples
# away it is below float64 rounding, and blocks join without a seam.
_SPLINE_MARGIN = 32


# ------------------------------------------------------------------------------------------ irregular times to a grid


def resample_to_grid(
    times: np.ndarray, values: np.ndarray, *, rate_hz: float, start: float, samples: int, max_gap_s: float = 0.1
) -> np.ndarray:
    """Resample a stream with arbitrary time stamps to the grid ``start + k / rate_hz``.

    Each channel is used where it is finite (a NaN is a missing sample). Between samples a cubic spline is evaluated, on
    a multiple of the grid rate when the source is faster; the low-pass then reduces it to the grid. Where sample times
    and grid times coincide, the samples are copied. A sample covers half a period to either side: grid points further
    out, and those inside gaps, become NaN.

    Args:
        times: (T,) seconds, strictly increasing.
        values: (C, T); NaN where a channel has no value.
        rate_hz: rate of the grid, > 0.
        start: time of the first grid point in seconds.
        samples: number of grid points.
        max_gap_s: longest distance between two samples that is interpolated; at least 1.5 median sample periods.

    Returns:
        (C, samples) float32.

    Raises:
        RecordingError: arrays whose shapes do not match, or a grid of more than 100 million samples.

    Example:
        >>> t = np.arange(100) / 100
        >>> resample_to_grid(t, t[None], rate_hz=50, start=0.5, samples=3).astype(float).round(3).tolist()
        [[0.5, 0.52, 0.54]]
    """
    times = np.asarray(times, dtype=np.float64)
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or times.shape != (values.shape[1],):
        raise RecordingError(f"times {times.shape} and values {values.shape} must be (T,) and (C, T)")
    if not rate_hz > 0 or not 0 <= samples <= _MAX_SAMPLES:
        raise RecordingError(
            f"grid of {samples} samples at {rate_hz} Hz: expected 0 .. {_MAX_SAMPLES} samples and a positive rate"
        )
    out = np.full((len(values), samples), np.nan, dtype=np.float32)
    finite = np.isfinite(values)
    if finite.all():
        if len(times) >= 2:
            _fill(out, slice(None), *_merge(times, values), rate_hz, start, max_gap_s)
        return out
    groups: dict[bytes, list[int]] = {}
    for channel, mask in enumerate(finite):  # channels measured at the same moments are handled together
        groups.setdefault(mask.tobytes(), []).append(channel)
    for rows in groups.values():
        keep = finite[rows[0]]
        if np.count_nonzero(keep) >= 2:
            _fill(out, rows, *_merge(times[keep], values[rows][:, keep]), rate_hz, start, max_gap_s)
    return out


def _merge(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Samples and their median period; samples much closer than that are averaged.

    A spline through two noisy samples at almost the same time has a steep slope there and overshoots on both sides.
    """
    steps = np.diff(times)
    period = float(np.median(steps))
    width = _MERGE * period
    if steps.min() >= width:
        return times, values, period
    first = [0]  # greedy, so that a cluster never spans more than `width`
    while (following := int(np.searchsorted(times, times[first[-1]] + width, side="left"))) < len(times):
        first.append(following)
    counts = np.diff([*first, len(times)])
    merged = np.add.reduceat(times, first) / counts
    period = float(np.median(np.diff(merged))) if len(merged) > 1 else 0.0
    return merged, np.add.reduceat(values, first, axis=1) / counts, period


def _fill(
    out: np.ndarray,
    rows: list[int] | slice,
    times: np.ndarray,
    values: np.ndarray,
    period: float,
    rate_hz: float,
    start: float,
    max_gap_s: float,
) -> None:
    """Resample each segment between gaps into its part of ``out``."""
    if len(times) < 2:
        return
    oversample = math.ceil(1 / (period * rate_hz * _SAME_RATE))
    longest = max(max_gap_s, 1.5 * period) + 1e-6  # rounding of the clock must not decide a gap of exactly that length
    cuts = np.flatnonzero(np.diff(times) > longest) + 1
    for a, b in zip([0, *cuts], [*cuts, len(times)], strict=True):
        low = max(0, math.ceil((times[a] - period / 2 - start) * rate_hz - 1e-6))
        high = min(out.shape[1] - 1, math.floor((times[b - 1] + period / 2 - start) * rate_hz + 1e-6))
        if low > high:
            continue
        margin = (_HALF + 1) / rate_hz + _SPLINE_MARGIN * period
        for begin in range(low, high + 1, _BLOCK):
            end = min(begin + _BLOCK - 1, high)
            first, last = start + begin / rate_hz - margin, start + end / rate_hz + margin
            i = max(a, int(np.searchsorted(times, first)) - _SPLINE_MARGIN)
            j = min(b, int(np.searchsorted(times, last)) + _SPLINE_MARGIN)
            piece = _Piece(times[i:j], values[:, i:j])
            if oversample <= 1:
                result = piece.at(start, rate_hz, begin, end)
            else:
                result = _decimated(piece, rate_hz, start, begin, end, oversample)
            out[rows, begin : end + 1] = result


class _Piece:
    """A segment without gaps as a function of time: a cubic spline, or straight lines below 4 samples.

    Beyond its ends it is constant: a spline would extrapolate with a cubic and leave the range of the data at once.
    """

    def __init__(self, times: np.ndarray, values: np.ndarray) -> None:
        self.start, self.end = float(times[0]), float(times[-1])
        self._times, self._values = times, values

    def at(self, start: float, rate_hz: float, first: int, last: int) -> np.ndarray:
        """Values at ``start + k / rate_hz`` for k = first .. last."""
        measured = self._samples(start, rate_hz, first, last)
        if measured is not None:
            return measured
        inside = np.clip(start + np.arange(first, last + 1) / rate_hz, self.start, self.end)
        if len(self._times) < 4:
            return np.stack([np.interp(inside, self._times, row) for row in self._values])
        return _spline(self._times, self._values, inside)

    def _samples(self, start: float, rate_hz: float, first: int, last: int) -> np.ndarray | None:
        """The samples themselves where they lie on the requested times; else None.

        A recording that is already on the grid, the most common case, then passes through unchanged to the last bit.
        """
        place = (self._times - start) * rate_hz
        ahead = round(float(place[0]))
        place -= np.arange(ahead, ahead + len(place))
        if not max(place.max(), -place.min()) <= _SAME_TIME:
            return None
        return _held(self._values, first - ahead, last - ahead)


def _held(values: np.ndarray, first: int, last: int) -> np.ndarray:
    """Columns first .. last; indices beyond the ends repeat the outermost column."""
    if first >= 0 and last < values.shape[1]:
        return values[:, first : last + 1]
    return values[:, np.clip(np.arange(first, last + 1), 0, values.shape[1] - 1)]


def _spline(times: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Evaluate the not-a-knot cubic spline through (C, T) values at increasing times within their range.

    Written out because it takes half the time of scipy's CubicSpline, which first stores four coefficients per interval
    and channel.

    Slopes s at the samples solve the tridiagonal system of continuous second derivatives,

        h_{i+1} s_{i-1} + 2 (h_i + h_{i+1}) s_i + h_i s_{i+1} = 3 (h_{i+1} d_i + h_i d_{i+1}),

    with steps h and difference quotients d on both sides of sample i; each cubic is then evaluated from its two ends.
    """
    h = np.diff(times)
    d = np.diff(values, axis=1) / h
    bands = np.zeros((3, len(times)))
    bands[1, 1:-1] = 2 * (h[:-1] + h[1:])
    bands[0, 2:], bands[2, :-2] = h[:-1], h[1:]
    right = np.empty((len(times), len(values)))
    right[1:-1] = 3 * (h[1:] * d[:, :-1] + h[:-1] * d[:, 1:]).T
    for end, near, far, step, slopes in (
        (0, 0, 1, bands[0, 1:2], d[:, :2]),
        (-1, -1, -2, bands[2, -2:-1], d[:, -1:-3:-1]),
    ):
        both = h[near] + h[far]
        bands[1, end], step[:] = h[far], both
        right[end] = ((h[near] + 2 * both) * h[far] * slopes[:, 0] + h[near] ** 2 * slopes[:, 1]) / both
    s = solve_banded((1, 1), bands, right, overwrite_ab=True, overwrite_b=True, check_finite=False).T
    left = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(h) - 1)
    width = h[left]
    u = (at - times[left]) / width
    v = 1 - u
    low = v * v * u * width
    high = u * u * v * width
    rise = u * u * (3 - 2 * u)
    out = np.empty((len(values), len(at)))
    for row, y, slope in zip(out, values, s, strict=True):
        row[:] = y[left] * (1 - rise) + y[left + 1] * rise + slope[left] * low - slope[left + 1] * high
    return out


def _decimated(piece: _Piece, rate_hz: float, start: float, low: int, high: int, factor: int) -> np.ndarray:
    """Grid points low..high: spline on a grid ``factor`` times as fine, extended by reflection, then low-passed."""
    fine = rate_hz * factor
    reach = _HALF * factor
    want_first, want_last = low * factor - reach, high * factor + reach
    first = max(want_first, math.ceil((piece.start - start) * fine - _SAME_TIME))
    last = min(want_last, math.floor((piece.end - start) * fine + _SAME_TIME))
    if first > last:  # a segment so short that it lies between two points of the fine grid
        return piece.at(start, rate_hz, low, high)
    x = _reflect(piece.at(start, fine, first, last), first - want_first, want_last - last)
    y = upfirdn(_low_pass(factor), x, up=1, down=factor, axis=1)
    return np.asarray(y[:, 2 * _HALF : 2 * _HALF + high - low + 1])


@lru_cache(maxsize=32)
def _low_pass(factor: int) -> np.ndarray:
    """FIR with unit gain at zero frequency that band-limits for a rate ``factor`` times lower."""
    return np.asarray(firwin(2 * _HALF * factor + 1, _CUTOFF / factor, window=("kaiser", kaiser_beta(_STOP_DB))))


def _reflect(x: np.ndarray, left: int, right: int) -> np.ndarray:
    """Extend the last axis by odd reflection about its end values, or by constants where it has one sample.

    Odd reflection continues value and slope, so that the filter does not bend gravity towards zero at the ends.
    """
    width = [(0, 0)] * (x.ndim - 1) + [(left, right)]
    if x.shape[-1] == 1:
        return np.pad(x, width, mode="edge")
    return np.pad(x, width, mode="reflect", reflect_type="odd")


# ------------------------------------------------------------------------------------------------- rate to rate


def resample_uniform(values: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Resample uniformly sampled signals along their last axis by a rational polyphase filter.

    Output sample k lies at time ``k / to_hz`` after the first input sample. The ratio of the rates is approximated by a
    fraction that is exact to a thousandth of a sample at the last sample. NaN are interpolated before filtering; output
    samples whose support was measured for less than half become NaN again.

    Args:
        values: (..., T) float.
        from_hz: rate of the input, > 0.
        to_hz: rate of the output, > 0.

    Returns:
        (..., T') with T' = round(T * to_hz / from_hz), at least 1, in the dtype of the input (float64 for integers).

    Raises:
        RecordingError: no samples, or a rate that is not positive.

    Example:
        >>> resample_uniform(np.ones((2, 6, 200)), 100, 50).shape
        (2, 6, 100)
    """
    array = np.asarray(values)
    array = array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float64)
    if array.ndim == 0 or array.shape[-1] == 0 or not from_hz > 0 or not to_hz > 0:
        raise RecordingError(f"cannot resample values of shape {array.shape} from {from_hz} Hz to {to_hz} Hz")
    length = array.shape[-1]
    samples = max(1, round(length * to_hz / from_hz))
    ratio = _ratio(to_hz / from_hz, samples)
    if ratio == 1:
        return array.copy()
    flat = array.reshape(-1, length)
    finite = np.isfinite(flat)
    gaps = not finite.all()
    filled = _bridge(flat, finite) if gaps else flat
    out = _polyphase(filled.astype(np.float64), ratio.numerator, ratio.denominator, samples)
    if gaps:
        out[~_measured(finite, ratio, samples)] = np.nan
    return out.astype(array.dtype).reshape(*array.shape[:-1], samples)


def _ratio(value: float, samples: int) -> Fraction:
    """The simplest fraction whose accumulated error stays below a thousandth of an input sample."""
    for limit in (10**k for k in range(2, 9)):
        ratio = Fraction(value).limit_denominator(limit)
        if ratio > 0 and abs(1 / float(ratio) - 1 / value) * samples < 1e-3:
            return ratio
    raise RecordingError(f"cannot resample between rates of ratio {value!r}: no fraction below 1e8 is close enough")


def _polyphase(x: np.ndarray, up: int, down: int, samples: int) -> np.ndarray:
    reach = math.ceil(_HALF * max(up, down) / up)  # input samples on either side
    half = _HALF * max(up, down)
    taps = firwin(2 * half + 1, _CUTOFF / max(up, down), window=("kaiser", kaiser_beta(_STOP_DB))) * up
    after = max(0, math.ceil((samples - 1) * down / up) + reach + 1 - (x.shape[-1] - 1))
    padded = _reflect(x, reach, after)
    # Output k reads the upsampled signal at reach * up + k * down, half a filter later in the full convolution.
    lead = -(reach * up + half) % down
    taps = np.concatenate([np.zeros(lead), taps])
    skip = (reach * up + half + lead) // down
    return np.asarray(upfirdn(taps, padded, up=up, down=down, axis=-1)[:, skip : skip + samples])


def _bridge(flat: np.ndarray, finite: np.ndarray) -> np.ndarray:
    """Replace NaN by linear interpolation, or by zero in a row without any finite value."""
    out = flat.copy()
    index = np.arange(flat.shape[1])
    for row, known in zip(out, finite, strict=True):
        if known.any() and not known.all():
            row[~known] = np.interp(index[~known], index[known], row[known])
        elif not known.any():
            row[:] = 0.0
    return out


def _measured(finite: np.ndarray, ratio: Fraction, samples: int) -> np.ndarray:
    """(N, samples) bool: at least half of the input around each output sample was finite."""
    length = finite.shape[1]
    width = max(1.0, float(1 / ratio))
    cumulative = np.concatenate([np.zeros((len(finite), 1)), np.cumsum(finite, axis=1)], axis=1)
    centre = np.arange(samples) * float(1 / ratio) + 0.5  # input sample i covers i .. i + 1 on this axis
    low, high = np.clip(centre - width / 2, 0, length), np.clip(centre + width / 2, 0, length)
    edges = np.arange(length + 1)
    share = np.stack([np.interp(high, edges, c) - np.interp(low, edges, c) for c in cumulative])
    return np.asarray(share >= 0.5 * np.maximum(high - low, 1e-9) - 1e-9)
