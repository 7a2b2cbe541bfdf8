"""Offset and stretch between two curves of motion without a common clock, with a calibrated score; sync.py applies it.

sync.py assumes one clock up to a few seconds and a drift of parts per million. Here neither is assumed: the curves may
start at any time, their time bases may differ by several per cent, and they may not belong together at all. The score
is the probability that they do and that the offset is correct within 0.1 s, estimated on true pairs and as many wrong
partners (docs/trust.md). What cannot be a pair is refused with the reason rather than fitted.

For every stretch the curves are correlated at every lag. Correlations are compared on the scale of Fisher's z with the
degrees of freedom that autocorrelated curves have (Bartlett 1946), so that a high correlation over a short overlap does
not win by chance. Two numbers enter the score: how far the best z leads the best one elsewhere (periodic motion fits at
several lags) or the largest one that chance gives in a search of this size, whichever is larger, and the correlation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from imu_video.modalities.base import Curve
from imu_video.recordings.motion import on_grid

MAX_RATIO = 3.0
"""Durations that differ by this factor or more cannot belong to the same scene."""

CALIBRATION = (-3.57, 2.12, 2.95)
"""Constant and weights of the lead's logarithm and the correlation in the logistic model of the score: studies/sync."""

_RATE_HZ = 25.0
_FINE_HZ = 100.0
_SLOW_S, _FAST_S = 1.0, 0.06
_OVERLAP = 0.5  # fraction of the shorter curve that must overlap; shorter overlaps correlate by chance
_SHORTEST_S = 4.0  # of overlap: below it a curve is a single event, and any two of those can be aligned
_APART_S = 0.5  # offsets closer than this to the best one belong to the same peak


@dataclass(frozen=True, kw_only=True)
class PairEstimate:
    """Best alignment of two curves.

    Args:
        offset_s: seconds to add to the stretched times of the reference.
        stretch: factor of the reference's times, about its first time: ``t' = first + stretch (t - first) + offset_s``.
        score: probability that the pair is true and its offset within 0.1 s, if half of the candidates are true pairs.
        correlation: of the curves there, -1 .. 1.
        lead: z of the best fit minus the best one elsewhere, or minus the largest one expected by chance in the search.
        overlap_s: seconds that were compared.
        refused: the reason why nothing was fitted, or None.
    """

    offset_s: float = 0.0
    stretch: float = 1.0
    score: float = 0.0
    correlation: float = 0.0
    lead: float = 0.0
    overlap_s: float = 0.0
    refused: str | None = None


def estimate_pair(
    motion: Curve, reference: Curve, *, max_offset_s: float = 30.0, max_stretch: float = 1.1
) -> PairEstimate:
    """The offset and stretch of a reference on the clock of a motion curve, and the probability that both are correct.

    Args:
        motion: motion of the IMU over time.
        reference: motion of the other stream on a time base of its own.
        max_offset_s: largest offset that is searched, beyond the offset between the two starts.
        max_stretch: the time bases differ by at most this factor, 1 to 1.5.

    Returns:
        The estimate; with ``refused`` and a score of 0 where the curves cannot be a pair or hold too little motion.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> t = np.arange(0, 60, 0.02)
        >>> walk = np.abs(np.convolve(rng.normal(size=t.size), np.ones(25) / 5, "same"))
        >>> a = Curve(times=t, values=walk, breaks=0.1)
        >>> b = Curve(times=t[1000:2500] - 12.0, values=walk[1000:2500], breaks=0.1)
        >>> found = estimate_pair(a, b)
        >>> round(found.offset_s, 1), round(found.stretch, 2), found.score > 0.9
        (12.0, 1.0, True)
    """
    if min(len(motion.times), len(reference.times)) < 16:
        return PairEstimate(refused="fewer than 16 samples of motion")
    lengths = [float(curve.times[-1] - curve.times[0]) for curve in (motion, reference)]
    ratio = max(lengths) / max(min(lengths), 1e-9)
    if ratio >= MAX_RATIO:
        return PairEstimate(
            refused=f"durations of {lengths[0]:.1f} s and {lengths[1]:.1f} s differ by a factor of {ratio:.1f}, "
            f"expected less than {MAX_RATIO:g}"
        )
    if min(lengths) < _SHORTEST_S:
        return PairEstimate(refused=f"{min(lengths):.1f} s of motion, expected at least {_SHORTEST_S:g} s")
    first = float(reference.times[0])
    y = _gridded(motion, _RATE_HZ)
    # Neighbouring stretches move the ends of the reference by a tenth of a second against its middle.
    count = int(np.ceil(np.log(max_stretch) * lengths[1] / 2 / 0.1)) if max_stretch > 1 else 0
    factors = np.exp(np.log(max_stretch) * np.linspace(-1, 1, 2 * count + 1)) if count else np.ones(1)
    rows = [_correlated(y, _gridded(_stretched(reference, factor), _RATE_HZ)) for factor in factors]
    centre = first - float(motion.times[0])
    best: tuple[float, int, int] | None = None
    for number, row in enumerate(rows):
        lags = row.lags / _RATE_HZ - centre  # seconds to add to the stretched reference
        row.z[np.abs(lags) > max_offset_s] = np.nan
        if np.isfinite(row.z).any():
            at = int(np.nanargmax(row.z))
            if best is None or row.z[at] > best[0]:
                best = float(row.z[at]), number, at
    if best is None:
        return PairEstimate(refused="no overlap in which both curves move")
    z, number, at = best
    row, factor = rows[number], float(factors[number])
    middle = factor * lengths[1] / 2
    offset = float(row.lags[at]) / _RATE_HZ - centre
    second = 0.0
    tried = 0.0
    for other, f in zip(rows, factors, strict=True):
        # Offsets are compared in the middle of the reference, where a stretch does not move it.
        moved = other.lags / _RATE_HZ - centre + f * lengths[1] / 2 - (offset + middle)
        away = np.abs(moved) > _APART_S
        if np.isfinite(other.z[away]).any():
            second = max(second, float(np.nanmax(other.z[away])))
        tried += float(np.count_nonzero(np.isfinite(other.z)))
    # Neighbouring lags and stretches are not independent: a lag counts by the bandwidth of the curves, and the
    # stretches by the number of them that move the ends by a whole correlation time.
    independent = max(2.0, tried * row.bandwidth / _RATE_HZ / max(1.0, len(factors) / 3))
    chance = float(np.sqrt(2 * np.log(independent)))
    refined = _refined(motion, reference, factor, offset)
    estimate = PairEstimate(
        offset_s=refined,
        stretch=factor,
        correlation=float(row.r[at]),
        lead=z - max(second, chance),
        overlap_s=float(row.count[at]) / _RATE_HZ,
    )
    return replace(estimate, score=calibrated(estimate))


def calibrated(estimate: PairEstimate, weights: tuple[float, ...] | None = None) -> float:
    """The score of an estimate by the logistic model of the calibration."""
    constant, *slopes = weights or CALIBRATION
    logit = constant + float(np.dot(slopes, features(estimate)))
    return float(1 / (1 + np.exp(-np.clip(logit, -30, 30))))


def features(estimate: PairEstimate) -> tuple[float, float]:
    """Inputs of the calibration; the lead is bounded, so that one extreme value does not decide alone."""
    return float(np.log(np.clip(estimate.lead, 0.05, 8))), estimate.correlation


@dataclass(kw_only=True, eq=False)
class _Row:
    """Correlation ``r``, Fisher's ``z`` and compared samples ``count`` at every lag; the curves' bandwidth in Hz."""

    lags: np.ndarray
    r: np.ndarray
    z: np.ndarray
    count: np.ndarray
    bandwidth: float


def _stretched(curve: Curve, factor: float) -> Curve:
    first = curve.times[0]
    return replace(curve, times=first + factor * (curve.times - first), breaks=curve.breaks * factor)


def _gridded(curve: Curve, rate_hz: float) -> np.ndarray:
    start = float(curve.times[0])
    samples = int(np.floor((float(curve.times[-1]) - start) * rate_hz)) + 1
    return on_grid(curve, start, samples, rate_hz, slow_s=_SLOW_S, fast_s=_FAST_S)


def _correlated(y: np.ndarray, x: np.ndarray) -> _Row:
    """Sample k of ``x`` against sample k + lag of ``y``, for all lags with enough overlap."""
    known_x, known_y = np.isfinite(x), np.isfinite(y)
    x, y = np.where(known_x, x, 0.0), np.where(known_y, y, 0.0)
    size = next_fast_len(len(x) + len(y) - 1, real=True)
    spectra = {
        name: rfft(values, size)
        for name, values in {
            "x": x,
            "xx": x * x,
            "mx": known_x.astype(float),
            "y": y,
            "yy": y * y,
            "my": known_y.astype(float),
        }.items()
    }

    def over_lags(a: str, b: str) -> np.ndarray:
        values = irfft(np.conj(spectra[a]) * spectra[b], size)
        return np.concatenate([values[size - len(x) + 1 :], values[: len(y)]])

    count = np.round(over_lags("mx", "my"))
    n = np.maximum(count, 1)
    sum_x, sum_y = over_lags("x", "my"), over_lags("mx", "y")
    product = over_lags("x", "y") - sum_x * sum_y / n
    power = np.maximum(over_lags("xx", "my") - sum_x**2 / n, 0) * np.maximum(over_lags("mx", "yy") - sum_y**2 / n, 0)
    least = max(_SHORTEST_S * _RATE_HZ, _OVERLAP * min(np.count_nonzero(known_x), np.count_nonzero(known_y)))
    fine = (count >= least) & (power > 1e-20)
    r = np.where(fine, product / np.sqrt(np.where(fine, power, 1.0)), np.nan)
    bandwidth = _bandwidth(x, y)
    freedom = np.maximum(count / _RATE_HZ * bandwidth - 3, 1.0)
    z = np.arctanh(np.clip(r, -0.999, 0.999)) * np.sqrt(freedom)
    return _Row(lags=np.arange(-len(x) + 1, len(y)), r=r, z=z, count=count, bandwidth=bandwidth)


def _bandwidth(x: np.ndarray, y: np.ndarray) -> float:
    """Independent samples per second of the product of two curves: rate / sum of the autocorrelations' products."""
    reach = int(3 * _RATE_HZ)

    def own(values: np.ndarray) -> np.ndarray:
        size = next_fast_len(2 * len(values), real=True)
        lagged = irfft(np.abs(rfft(values, size)) ** 2, size)[: min(reach, len(values))]
        return np.asarray(np.pad(lagged / max(lagged[0], 1e-300), (0, max(0, reach - len(values)))))

    total = 1 + 2 * float(np.sum(own(x)[1:] * own(y)[1:]))
    return float(_RATE_HZ / max(total, 1.0))


def _refined(motion: Curve, reference: Curve, factor: float, offset: float) -> float:
    """The offset on a grid of 10 ms, within a tenth of a second of the coarse one."""
    x = _gridded(_stretched(reference, factor), _FINE_HZ)
    start = float(reference.times[0]) + offset
    margin = int(0.1 * _FINE_HZ)
    begin = start - margin / _FINE_HZ
    y = on_grid(motion, begin, len(x) + 2 * margin, _FINE_HZ, slow_s=_SLOW_S, fast_s=_FAST_S)
    best, value = 0, -2.0
    for lag in range(2 * margin + 1):
        part = y[lag : lag + len(x)]
        known = np.isfinite(part) & np.isfinite(x)
        if np.count_nonzero(known) < 16:
            continue
        a, b = x[known] - x[known].mean(), part[known] - part[known].mean()
        size = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
        if size > 0 and (r := float(np.sum(a * b)) / size) > value:
            best, value = lag, r
    return offset + (best - margin) / _FINE_HZ
