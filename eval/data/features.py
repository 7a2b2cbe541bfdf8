"""Features of windows for probes: encoders, untrained twins, hand-crafted statistics; nothing is fitted here.

The hand-crafted features are a strong baseline. For each of eight signals (three axes
and the magnitude of accelerometer and gyroscope): mean, standard deviation, five quantiles, mean absolute deviation
from the median, log power, log power of the jerk (first difference times rate), mean-crossing rate, and of its
Hann-windowed spectrum the log power in eight bands, the power's median and dominant frequency and the spectral
entropy, and the height of the largest autocorrelation peak. Besides: signal magnitude area of both sensors and
correlations between the axes of a sensor and between the two magnitudes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from eval.data.windows import LabelledWindows
from imu_video.errors import ConfigError

if TYPE_CHECKING:
    from imu_video.bundle.encoder import EncoderBundle
    from imu_video.bundle.input_spec import InputSpec

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BANDS_HZ = (0.2, 0.7, 1.5, 2.5, 4.0, 6.0, 9.0, 14.0, 25.0)
SIGNALS = ("acc_x", "acc_y", "acc_z", "gyr_x", "gyr_y", "gyr_z", "acc_norm", "gyr_norm")
_PER_SIGNAL = (
    "mean",
    "std",
    *(f"q{int(100 * q):02d}" for q in QUANTILES),
    "mad",
    "log_power",
    "log_jerk_power",
    "crossings",
    *(f"band_{low:g}_{high:g}" for low, high in pairwise(BANDS_HZ)),
    "median_frequency",
    "dominant_frequency",
    "spectral_entropy",
    "periodicity",
)
_PAIRS = ((0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5), (6, 7))
_TINY = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureSet:
    """Features of one model, one array per seed.

    Args:
        model: name in tables (``pretrained``, ``untrained``, ``handcrafted``).
        rows: (n,) sorted rows of the windows that have features.
        arrays: (n, E) float32 arrays; several where the model is random.
        seeds: seed of each array; empty for a model without randomness.
    """

    model: str
    rows: np.ndarray
    arrays: tuple[np.ndarray, ...]
    seeds: tuple[int, ...] = ()

    def place(self, rows: np.ndarray) -> np.ndarray:
        """Positions of the windows' rows in the arrays.

        Raises:
            ValueError: a row without features.
        """
        place = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        if not np.array_equal(self.rows[place], rows):
            raise ValueError(f"{self.model}: features of some of the {len(rows)} requested windows were not computed")
        return place


def encoder_features(bundle: EncoderBundle, windows: LabelledWindows, *, batch_size: int = 256) -> np.ndarray:
    """Encoder features of every window, resampled and normalised as in pretraining.

    Shapes:
        windows (N, C, T) -> (N, E) float32.

    Raises:
        ConfigError: features that are not finite.
    """
    out = np.asarray(
        bundle.encode(windows.x, rate_hz=windows.rate_hz, channels=windows.channels, batch_size=batch_size),
        dtype=np.float32,
    )
    if not np.isfinite(out).all():
        bad = int((~np.isfinite(out).all(axis=1)).sum())
        raise ConfigError(f"the encoder gives features that are not finite for {bad} of {len(out)} windows")
    return out


def at_spec_rate(x: np.ndarray, *, rate_hz: float, spec: InputSpec) -> np.ndarray:
    """Windows (N, C, T) resampled to the encoder's rate; their channels must be the encoder's."""
    if math.isclose(rate_hz, spec.rate_hz, rel_tol=1e-6):
        return x
    from imu_video.recordings.signal import resample_uniform

    return np.asarray(resample_uniform(x, rate_hz, spec.rate_hz), dtype=np.float32)


def untrained_twin(bundle: EncoderBundle, seed: int) -> EncoderBundle:
    """The same encoder class with the same constructor arguments and input specification, freshly initialised.

    Args:
        bundle: the encoder to copy without its weights.
        seed: seed of the initialisation; the global random state is not changed.
    """
    import torch

    from imu_video.bundle.encoder import EncoderBundle

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EncoderBundle(spec=bundle.spec, encoder=bundle.encoder_config).eval()


def handcrafted_names() -> tuple[str, ...]:
    """Names of the hand-crafted features, in order."""
    per_signal = [f"{signal}.{name}" for signal in SIGNALS for name in _PER_SIGNAL]
    pairs = [f"corr.{SIGNALS[i]}.{SIGNALS[j]}" for i, j in _PAIRS]
    return (*per_signal, "acc.sma", "gyr.sma", *pairs)


def handcrafted_features(x: np.ndarray, *, rate_hz: float, chunk: int = 1024) -> np.ndarray:
    """Time and frequency statistics of raw windows, listed in the module's first lines.

    Missing samples do not count in the statistics of time; in spectra and differences they stand at the signal's
    mean. A feature that cannot be measured (a missing channel, a band above half the rate) is 0.

    Args:
        x: windows in m/s^2 and rad/s, canonical six channels, NaN where missing.
        rate_hz: sampling rate, above 0.
        chunk: windows per chunk.

    Shapes:
        x (N, 6, T) -> (N, E) float32, E = len(handcrafted_names()).

    Raises:
        ValueError: not (N, 6, T) or shorter than 4 samples.

    Example:
        >>> handcrafted_features(np.zeros((2, 6, 100)), rate_hz=50.0).shape == (2, len(handcrafted_names()))
        True
    """
    x = np.asarray(x)
    if x.ndim != 3 or x.shape[1] != 6 or x.shape[2] < 4:
        raise ValueError(f"windows must be (N, 6, T) with T >= 4, got {x.shape}")
    parts = [_handcrafted(x[i : i + chunk].astype(np.float64), rate_hz) for i in range(0, len(x), chunk)]
    return np.concatenate(parts) if parts else np.zeros((0, len(handcrafted_names())), dtype=np.float32)


def _handcrafted(x: np.ndarray, rate_hz: float) -> np.ndarray:
    norms = [np.sqrt((x[:, i : i + 3] ** 2).sum(axis=1, keepdims=True)) for i in (0, 3)]
    s = np.concatenate([x, *norms], axis=1)  # (N, 8, T)
    there = np.isfinite(s)
    count = there.sum(axis=-1)
    mean = _masked_mean(s, there)
    centred = np.where(there, s - mean[..., None], 0.0)
    variance = _ratio((centred**2).sum(axis=-1), count)
    std = np.sqrt(variance)
    quantiles = _quantiles(s, count)
    mad = _masked_mean(np.abs(s - quantiles[2][..., None]), there)
    power = _masked_mean(s**2, there)
    jerk = np.diff(centred, axis=-1) * rate_hz
    jerk_power = (jerk**2).mean(axis=-1)
    sign = centred > 0
    crossings = (sign[..., 1:] != sign[..., :-1]).mean(axis=-1) * rate_hz
    time = [mean, std, *quantiles, mad, np.log(power + _TINY), np.log(jerk_power + _TINY), crossings]
    per_signal = np.stack([*time, *_spectrum(centred, variance, rate_hz)], axis=-1)  # (N, 8, features)
    sma = [np.abs(np.where(there[:, i : i + 3], centred[:, i : i + 3], 0)).mean(axis=(1, 2)) for i in (0, 3)]
    correlation = [
        _ratio((centred[:, i] * centred[:, j]).mean(axis=-1), std[:, i] * std[:, j], floor=_TINY) for i, j in _PAIRS
    ]
    flat = np.concatenate([per_signal.reshape(len(x), -1), np.stack([*sma, *correlation], axis=-1)], axis=1)
    measured = np.concatenate(
        [np.repeat(count > 0, len(_PER_SIGNAL), axis=1), np.ones((len(x), 2 + len(_PAIRS)), dtype=bool)], axis=1
    )
    return np.where(measured & np.isfinite(flat), flat, 0.0).astype(np.float32)


def _spectrum(centred: np.ndarray, variance: np.ndarray, rate_hz: float) -> list[np.ndarray]:
    """Band powers, median and dominant frequency, entropy and periodicity of (N, 8, T) signals, each (N, 8)."""
    t = centred.shape[-1]
    power = np.abs(np.fft.rfft(centred * np.hanning(t), axis=-1)) ** 2 / t
    hertz = np.fft.rfftfreq(t, 1.0 / rate_hz)
    power[..., 0] = 0.0
    total = power.sum(axis=-1)
    bands = [
        np.log(power[..., (hertz >= low) & (hertz < high)].sum(axis=-1) + _TINY)
        if np.any((hertz >= low) & (hertz < high))
        else np.zeros(total.shape)
        for low, high in pairwise(BANDS_HZ)
    ]
    share = power / np.maximum(total, _TINY)[..., None]
    median = hertz[(np.cumsum(share, axis=-1) >= 0.5 * share.sum(axis=-1, keepdims=True)).argmax(axis=-1)]
    dominant = hertz[power.argmax(axis=-1)]
    entropy = -(share * np.log(share + 1e-12)).sum(axis=-1) / np.log(len(hertz))
    # Autocorrelation by the spectrum of the zero-padded signal; lags from 0.25 s to half the window.
    padded = np.abs(np.fft.rfft(centred, n=2 * t, axis=-1)) ** 2
    correlation = np.fft.irfft(padded, axis=-1)[..., :t] / np.maximum(variance * t, _TINY)[..., None]
    first, last = max(1, round(0.25 * rate_hz)), max(2, t // 2)
    peak = correlation[..., first:last].max(axis=-1) if first < last else np.zeros(total.shape)
    return [*bands, median, dominant, entropy, peak]


def _masked_mean(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    return _ratio(np.where(there, values, 0.0).sum(axis=-1), there.sum(axis=-1))


def _quantiles(s: np.ndarray, count: np.ndarray) -> list[np.ndarray]:
    """Linear quantiles over the finite entries of the last axis (np.nanquantile, but in one sort)."""
    ordered = np.sort(s, axis=-1)  # NaN last
    out = []
    for q in QUANTILES:
        place = q * np.maximum(count - 1, 0)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, np.maximum(count - 1, 0))
        a = np.take_along_axis(ordered, low[..., None], axis=-1)[..., 0]
        b = np.take_along_axis(ordered, high[..., None], axis=-1)[..., 0]
        out.append(a + (b - a) * (place - low))
    return out


def _ratio(top: np.ndarray, bottom: np.ndarray, *, floor: float = 0.0) -> np.ndarray:
    shape = np.broadcast_shapes(np.shape(top), np.shape(bottom))
    return np.divide(top, bottom, out=np.zeros(shape), where=np.asarray(bottom) > floor)


def compute_features(
    model: str, windows: LabelledWindows, rows: np.ndarray, *, bundle: EncoderBundle, seeds: Sequence[int] = ()
) -> FeatureSet:
    """Features of one of the models that need no labels, for the named rows.

    Args:
        model: ``pretrained`` (the encoder as it is), ``untrained`` (twins of it, one per seed) or ``handcrafted``.
        windows: the windows.
        rows: rows to compute, sorted.
        bundle: the encoder under test.
        seeds: of the untrained twins.

    Raises:
        ConfigError: unknown model, or untrained twins without seeds.
    """
    some = windows.take(rows)
    if model == "pretrained":
        return FeatureSet(model=model, rows=rows, arrays=(encoder_features(bundle, some),))
    if model == "handcrafted":
        return FeatureSet(model=model, rows=rows, arrays=(handcrafted_features(some.x, rate_hz=some.rate_hz),))
    if model == "untrained" and len(seeds):
        arrays = tuple(encoder_features(untrained_twin(bundle, seed), some) for seed in seeds)
        return FeatureSet(model=model, rows=rows, arrays=arrays, seeds=tuple(seeds))
    raise ConfigError(f"features of {model!r} with seeds {list(seeds)}: expected pretrained, handcrafted or untrained")
