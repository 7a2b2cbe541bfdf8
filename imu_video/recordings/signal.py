"""Units, band-limited resampling and plausibility of IMU streams on numpy arrays; cutting windows is in windows.py.

Both resamplers use one low-pass: a Kaiser-windowed FIR, flat within 0.3 % up to 0.75 of the new Nyquist frequency and
at least 50 dB down from the new Nyquist frequency on. Signals are continued at their ends by odd reflection, so that
slow content is kept up to the first and last sample; what lies above the band is filtered less well in those outermost
samples.
Output times are computed from exact indices: rates are never truncated to integers, nothing drifts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np
from scipy.linalg import solve_banded
from scipy.signal import firwin, kaiser_beta, upfirdn

from imu_video.errors import RecordingError, nearest
from imu_video.types import GRAVITY

UNITS: dict[str, dict[str, float]] = {
    "acc": {"m/s^2": 1.0, "g": GRAVITY, "mg": GRAVITY / 1000},
    "gyr": {"rad/s": 1.0, "deg/s": math.pi / 180},
}
"""Known units by channel kind, with the factor to SI."""

_HALF = 13  # filter half-length in samples of the slower rate
_CUTOFF = 0.875  # of the slower Nyquist frequency: middle of the transition band 0.75 .. 1
_STOP_DB = 55.0
_SAME_RATE = 1.02  # a source this little faster than the grid folds nothing that matters
_MERGE = 0.25  # samples closer than this share of the period are averaged
_MAX_SAMPLES = 100_000_000
_BLOCK = 65_536  # grid points at a time
_SAME_TIME = 1e-4  # of a sample: two times this near are one (beyond the accuracy of clocks; 80 dB down at the band)
_SPLINE_MARGIN = 32  # samples beyond a block: a spline's end conditions fade by 0.27 a sample


def convert(values: np.ndarray, unit: str, kind: str) -> np.ndarray:
    """Convert to SI units: ``acc`` to m/s^2, ``gyr`` to rad/s; g is standard gravity.

    Args:
        values: any shape.
        unit: ``m/s^2``, ``g`` or ``mg`` for acc; ``rad/s`` or ``deg/s`` for gyr.
        kind: ``acc`` or ``gyr``.

    Raises:
        RecordingError: a unit that is not known for this kind.

    Example:
        >>> float(convert(np.array(180.0), "deg/s", "gyr").round(4))
        3.1416
    """
    if kind not in UNITS:
        raise RecordingError(f"unknown channel kind {kind!r}{nearest(kind, UNITS)}")
    if unit not in UNITS[kind]:
        raise RecordingError(
            f"unit {unit!r} of {kind} is not known{nearest(unit, UNITS[kind])}",
            hint=f"{kind} takes one of: {', '.join(UNITS[kind])}",
        )
    return np.asarray(values, dtype=np.float64) * UNITS[kind][unit]


def check_plausible(
    values: np.ndarray, channels: Sequence[str], *, source: str, acc_unit: str = "m/s^2", gyr_unit: str = "rad/s"
) -> None:
    """Refuse a stream whose numbers cannot be wearable motion in the units that were declared for it.

    The median norm of the acceleration must lie within 0.5 .. 2 g (gravity included), and 99.9 % of the angular rate
    below 60 rad/s. A sensor with fewer than three measured axes is not judged by its norm.

    Args:
        values: (C, T) after conversion to SI; NaN where missing.
        channels: C canonical names.
        source: file or stream, named in the error.
        acc_unit, gyr_unit: the declared units, from which the likely ones are worked out.

    Raises:
        RecordingError: implausible size; the hint names the unit that would fit.
    """
    rows = {c: i for i, c in enumerate(channels)}
    acc = [rows[c] for c in ("acc_x", "acc_y", "acc_z") if c in rows]
    if len(acc) == 3:
        squares = sum(values[row] ** 2 for row in acc)
        squares = squares[np.isfinite(squares)]
        median = math.sqrt(float(np.median(squares))) / GRAVITY if len(squares) else 1.0
        if not 0.5 <= median <= 2.0:
            raw = median * GRAVITY / UNITS["acc"][acc_unit]
            fits = [u for u, factor in UNITS["acc"].items() if 0.5 <= raw * factor / GRAVITY <= 2.0]
            raise RecordingError(
                f"{source}: median acceleration is {median:.3g} g when read as {acc_unit}, expected 0.5 .. 2 g",
                hint=f"the numbers look like {fits[0]}: declare that unit"
                if fits
                else "declare the right unit; gravity must be included (raw, not linear, acceleration)",
            )
    gyr = [rows[c] for c in ("gyr_x", "gyr_y", "gyr_z") if c in rows]
    if not gyr or all(np.abs(values[row]).max(initial=0.0) <= 60.0 for row in gyr):  # NaN is not: looked at closely
        return
    rate = np.abs(values[gyr])
    rate = rate[np.isfinite(rate)]
    if len(rate) and (high := float(np.quantile(rate, 0.999))) > 60.0:
        likely = high / UNITS["gyr"][gyr_unit] * UNITS["gyr"]["deg/s"] <= 60.0
        raise RecordingError(
            f"{source}: angular rate reaches {high:.3g} rad/s when read as {gyr_unit}, expected below 60 rad/s",
            hint="the numbers look like deg/s: declare that unit" if likely else "declare the right unit and scale",
        )


# ------------------------------------------------------------------------------------------ irregular times to a grid


def resample_to_grid(
    times: np.ndarray, values: np.ndarray, *, rate_hz: float, start: float, samples: int, max_gap_s: float = 0.1
) -> np.ndarray:
    """Resample a stream with arbitrary time stamps to the grid ``start + k / rate_hz``.

    Each channel is used where it is finite (a NaN is a missing sample). Between samples a cubic spline is evaluated, on
    a multiple of the grid rate when the source is faster; the low-pass then takes it down to the grid. Where samples
    and grid fall on the same times the samples themselves are taken. A sample speaks for half a period to either side:
    grid points further out, and those inside gaps, become NaN.

    Args:
        times: (T,) seconds, strictly increasing.
        values: (C, T); NaN where a channel has no value.
        rate_hz: rate of the grid, > 0.
        start: time of the first grid point in seconds.
        samples: number of grid points.
        max_gap_s: longest distance of two samples that is bridged; never less than 1.5 median periods of the channel.

    Returns:
        (C, samples) float32.

    Raises:
        RecordingError: arrays that do not fit together, or a grid beyond any sensible length.

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
        raise RecordingError(f"a grid of {samples} samples at {rate_hz} Hz cannot be made")
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
    """Samples and their usual period, those much closer than it averaged: between them a spline amplifies noise."""
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
    """Write the stretches between gaps into ``out``."""
    if len(times) < 2:
        return
    oversample = math.ceil(1 / (period * rate_hz * _SAME_RATE))
    longest = max(max_gap_s, 1.5 * period) + 1e-6  # s: rounding of the clock must not decide a gap of just that length
    cuts = np.flatnonzero(np.diff(times) > longest) + 1
    for a, b in zip([0, *cuts], [*cuts, len(times)], strict=True):
        low = max(0, math.ceil((times[a] - period / 2 - start) * rate_hz - 1e-6))
        high = min(out.shape[1] - 1, math.floor((times[b - 1] + period / 2 - start) * rate_hz + 1e-6))
        if low > high:
            continue
        margin = (_HALF + 1) / rate_hz + _SPLINE_MARGIN * period
        for begin in range(low, high + 1, _BLOCK):  # in blocks, so that hours at a high rate fit in memory
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
    """A gapless stretch as a function of time, constant beyond its ends: a cubic spline, straight below 4 samples."""

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
        """The samples themselves where they were taken at the very times that are asked for."""
        place = (self._times - start) * rate_hz
        ahead = round(float(place[0]))
        place -= np.arange(ahead, ahead + len(place))
        if not max(place.max(), -place.min()) <= _SAME_TIME:
            return None
        return _held(self._values, first - ahead, last - ahead)


def _held(values: np.ndarray, first: int, last: int) -> np.ndarray:
    """Columns first .. last, the outermost ones repeated beyond the ends."""
    if first >= 0 and last < values.shape[1]:
        return values[:, first : last + 1]
    return values[:, np.clip(np.arange(first, last + 1), 0, values.shape[1] - 1)]


def _spline(times: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The cubic spline through (C, T) values, not-a-knot at its ends, at increasing times between the outermost ones.

    Slopes s at the samples solve the tridiagonal system of continuous second derivatives,

        h_{i+1} s_{i-1} + 2 (h_i + h_{i+1}) s_i + h_i s_{i+1} = 3 (h_{i+1} d_i + h_i d_{i+1}),

    with steps h and difference quotients d on both sides of sample i; then each cubic is evaluated from its two ends.
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
    """Grid points low..high: spline on a grid ``factor`` times as fine, continued by reflection, low-passed."""
    fine = rate_hz * factor
    reach = _HALF * factor
    want_first, want_last = low * factor - reach, high * factor + reach
    first = max(want_first, math.ceil((piece.start - start) * fine - _SAME_TIME))
    last = min(want_last, math.floor((piece.end - start) * fine + _SAME_TIME))
    if first > last:  # a stretch between two fine grid points
        return piece.at(start, rate_hz, low, high)
    x = _reflect(piece.at(start, fine, first, last), first - want_first, want_last - last)
    y = upfirdn(_low_pass(factor), x, up=1, down=factor, axis=1)
    return np.asarray(y[:, 2 * _HALF : 2 * _HALF + high - low + 1])


@lru_cache(maxsize=32)
def _low_pass(factor: int) -> np.ndarray:
    """FIR with unit gain at zero frequency that band-limits for a rate ``factor`` times lower."""
    return np.asarray(firwin(2 * _HALF * factor + 1, _CUTOFF / factor, window=("kaiser", kaiser_beta(_STOP_DB))))


def _reflect(x: np.ndarray, left: int, right: int) -> np.ndarray:
    """Continue the last axis by odd reflection about its end values, or by constants where it has one sample."""
    width = [(0, 0)] * (x.ndim - 1) + [(left, right)]
    if x.shape[-1] == 1:
        return np.pad(x, width, mode="edge")
    return np.pad(x, width, mode="reflect", reflect_type="odd")


# ------------------------------------------------------------------------------------------------- rate to rate


def resample_uniform(values: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Resample uniformly sampled signals along their last axis by a rational polyphase filter.

    Output sample k lies at time ``k / to_hz`` after the first input sample. The ratio of the rates is approximated by a
    fraction so close that the last sample is off by less than a thousandth of a sample. NaN are bridged for the filter;
    output samples of which less than half was measured are NaN again.

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
    """The simplest fraction whose error adds up to less than a thousandth of an input sample."""
    for limit in (10**k for k in range(2, 9)):
        ratio = Fraction(value).limit_denominator(limit)
        if ratio > 0 and abs(1 / float(ratio) - 1 / value) * samples < 1e-3:
            return ratio
    raise RecordingError(f"rates with the ratio {value!r} are too far apart to resample")


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
    """Replace NaN by straight lines between the neighbours, or by zero in a row without any value."""
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
