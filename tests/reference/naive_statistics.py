"""Hand-crafted statistics in numpy, one definition per line: the twin of `imu_video.encoders.layers.statistics`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from imu_video.encoders.layers.statistics import BANDS_HZ, PER_SIGNAL, QUANTILES, Signals

_TINY = 1e-6
_PER_SIGNAL = (*PER_SIGNAL["time"], *PER_SIGNAL["spectrum"])


def naive_statistics(x: np.ndarray, *, rate_hz: float, channels: Sequence[str]) -> np.ndarray:
    """(N, C, T), NaN where missing -> (N, E) float64."""
    return _handcrafted(np.asarray(x, np.float64), rate_hz, Signals.of(channels))


def _handcrafted(x: np.ndarray, rate_hz: float, signals: Signals) -> np.ndarray:
    # A magnitude is NaN where any of its axes is missing, so it is treated as missing present.
    norms = [np.sqrt((x[:, rows] ** 2).sum(axis=1, keepdims=True)) for rows in signals.triads]
    s = np.concatenate([x, *norms], axis=1)  # (N, signals, T)
    present = np.isfinite(s)
    count = present.sum(axis=-1)
    mean = _masked_mean(s, present)
    centred = np.where(present, s - mean[..., None], 0.0)
    variance = _ratio((centred**2).sum(axis=-1), count)
    std = np.sqrt(variance)
    quantiles = _quantiles(s, count)
    mad = _masked_mean(np.abs(s - quantiles[2][..., None]), present)
    power = _masked_mean(s**2, present)
    # Quantities over neighbouring samples use the centred signal, in which a gap is 0 and adds little power.
    jerk = np.diff(centred, axis=-1) * rate_hz
    jerk_power = (jerk**2).mean(axis=-1)
    sign = centred > 0
    crossings = (sign[..., 1:] != sign[..., :-1]).mean(axis=-1) * rate_hz
    time = [mean, std, *quantiles, mad, np.log(power + _TINY), np.log(jerk_power + _TINY), crossings]
    per_signal = np.stack([*time, *_spectrum(centred, variance, rate_hz)], axis=-1)  # (N, signals, features)
    sma = [np.abs(np.where(present[:, rows], centred[:, rows], 0)).mean(axis=(1, 2)) for rows in signals.triads]
    correlation = [
        _ratio((centred[:, i] * centred[:, j]).mean(axis=-1), std[:, i] * std[:, j], floor=_TINY)
        for i, j in signals.pairs
    ]
    joint = np.array([*sma, *correlation]).reshape(-1, len(x)).T  # (N, 0) without a triad
    flat = np.concatenate([per_signal.reshape(len(x), -1), joint], axis=1)
    # A signal without samples would give log(0 + tiny) and similar values; all its features are set to 0 instead.
    measured = np.concatenate(
        [np.repeat(count > 0, len(_PER_SIGNAL), axis=1), np.ones(joint.shape, dtype=bool)], axis=1
    )
    return np.where(measured & np.isfinite(flat), flat, 0.0)


def _spectrum(centred: np.ndarray, variance: np.ndarray, rate_hz: float) -> list[np.ndarray]:
    """Band powers, median and dominant frequency, entropy and periodicity of (N, signals, T), each (N, signals)."""
    t = centred.shape[-1]
    power = np.abs(np.fft.rfft(centred * np.hanning(t), axis=-1)) ** 2 / t
    hertz = np.fft.rfftfreq(t, 1.0 / rate_hz)
    power[..., 0] = 0.0  # the mean is a feature of its own and would dominate shares and frequencies
    total = power.sum(axis=-1)
    bands = [
        np.log(power[..., (hertz >= low) & (hertz < high)].sum(axis=-1) + _TINY)
        if np.any((hertz >= low) & (hertz < high))
        else np.zeros(total.shape)
        for low, high in pairwise(BANDS_HZ)
    ]
    share = power / np.maximum(total, _TINY)[..., None]
    moving = total > _TINY  # the spectrum of a constant signal is rounding noise
    median = moving * hertz[(np.cumsum(share, axis=-1) >= 0.5 * share.sum(axis=-1, keepdims=True)).argmax(axis=-1)]
    dominant = moving * hertz[power.argmax(axis=-1)]
    entropy = -(share * np.log(share + 1e-12)).sum(axis=-1) / np.log(len(hertz))
    # Autocorrelation from the spectrum of the signal, zero-padded so that lags do not wrap around. Lags range from
    # 0.25 s, below which every smooth signal correlates with itself, to half the window.
    padded = np.abs(np.fft.rfft(centred, n=2 * t, axis=-1)) ** 2
    correlation = np.fft.irfft(padded, axis=-1)[..., :t] / np.maximum(variance * t, _TINY)[..., None]
    first, last = max(1, round(0.25 * rate_hz)), max(2, t // 2)
    peak = correlation[..., first:last].max(axis=-1) if first < last else np.zeros(total.shape)
    return [*bands, median, dominant, entropy, peak]


def _masked_mean(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    return _ratio(np.where(present, values, 0.0).sum(axis=-1), present.sum(axis=-1))


def _quantiles(s: np.ndarray, count: np.ndarray) -> list[np.ndarray]:
    """Linear quantiles over the finite entries of the last axis; as np.nanquantile, but with one sort for all."""
    ordered = np.sort(s, axis=-1)  # NaN entries come last
    out = []
    for q in QUANTILES:
        position = q * np.maximum(count - 1, 0)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, np.maximum(count - 1, 0))
        a = np.take_along_axis(ordered, low[..., None], axis=-1)[..., 0]
        b = np.take_along_axis(ordered, high[..., None], axis=-1)[..., 0]
        out.append(a + (b - a) * (position - low))
    return out


def _ratio(top: np.ndarray, bottom: np.ndarray, *, floor: float = 0.0) -> np.ndarray:
    shape = np.broadcast_shapes(np.shape(top), np.shape(bottom))
    return np.divide(top, bottom, out=np.zeros(shape), where=np.asarray(bottom) > floor)
