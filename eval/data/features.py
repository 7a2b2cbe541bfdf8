"""Features of windows for probes: encoders, untrained encoders, hand-crafted statistics; fits nothing.

The hand-crafted features are a strong baseline. For each signal (every channel, and the magnitude of every sensor with
three axes: eight signals for accelerometer and gyroscope) they are:

- in time: mean, standard deviation, five quantiles, mean absolute deviation from the median, log power, log power of
  the jerk (first difference times rate), mean-crossing rate, and the height of the largest autocorrelation peak;
- of the Hann-windowed spectrum: log power in eight bands, median and dominant frequency, spectral entropy.

In addition: the signal magnitude area of every sensor with three axes, and the correlations between its axes and
between the magnitudes of a device (``torso`` in ``torso.acc_x``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.data.windows import LabelledWindows
from imu_video.channels import triads
from imu_video.errors import ConfigError
from imu_video.types import IMU_CHANNELS

if TYPE_CHECKING:
    from imu_video.bundle.encoder import EncoderBundle
    from imu_video.bundle.input_spec import InputSpec

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BANDS_HZ = (0.2, 0.7, 1.5, 2.5, 4.0, 6.0, 9.0, 14.0, 25.0)
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
_TINY = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureSet:
    """Features of one model, one array per seed.

    Args:
        model: name in tables (``pretrained``, ``untrained``, ``handcrafted``).
        rows: (n,) sorted rows of the windows that have features.
        arrays: (n, E) float32 arrays; several if the model is random or was pretrained with several seeds.
        seeds: seed of each array; empty for a model without randomness in the evaluation.
    """

    model: str
    rows: np.ndarray
    arrays: tuple[np.ndarray, ...]
    seeds: tuple[int, ...] = ()

    def place(self, rows: np.ndarray) -> np.ndarray:
        """Indices of rows of the windows in the arrays.

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
        ConfigError: windows in other units or with another state of gravity than those of the encoder, or features
            that are not finite.
    """
    out = np.asarray(
        bundle.encode(
            windows.x,
            rate_hz=windows.rate_hz,
            channels=windows.channels,
            units=windows.units,
            gravity=windows.gravity,
            batch_size=batch_size,
        ),
        dtype=np.float32,
    )
    if not np.isfinite(out).all():
        bad = int((~np.isfinite(out).all(axis=1)).sum())
        raise ConfigError(f"the encoder gives features that are not finite for {bad} of {len(out)} windows")
    return out


def check_measures(spec: InputSpec, windows: LabelledWindows) -> None:
    """Refuse windows in other units, or with another state of gravity, than those that an encoder was trained on.

    Raises:
        ConfigError: naming the first such channel and both units, or both states.
    """
    from imu_video.bundle.input_spec import check_stated_gravity, check_stated_units

    check_stated_units(windows.units, spec, source=windows.dataset)
    check_stated_gravity(windows.gravity, windows.channels, spec, source=windows.dataset)


def spec_of(windows: LabelledWindows, rows: np.ndarray | None = None, **options: Any) -> InputSpec:
    """Input specification of an untrained encoder for labelled windows, normalised by some of them.

    Args:
        windows: the windows; their channels, units, rate and length are the specification's.
        rows: (n,) rows that the normalisation is fitted to; None: all.
        options: further arguments of `imu_video.bundle.input_spec.fit_input_spec`.

    Raises:
        DataError: as `fit_input_spec`.
    """
    from imu_video.bundle.input_spec import fit_input_spec

    return fit_input_spec(
        windows.x if rows is None else windows.x[rows],
        rate_hz=windows.rate_hz,
        window_s=windows.window_s,
        channels=windows.channels,
        units=windows.units,
        gravity="unknown" if windows.gravity == "mixed" else windows.gravity,
        normalised=windows.normalised,
        **options,
    )


def for_encoder(windows: LabelledWindows, spec: InputSpec, *, name: str) -> LabelledWindows:
    """Windows with the channels of an encoder, in its order and at its rate.

    Args:
        windows: the windows; further channels are dropped.
        spec: input specification of the encoder.
        name: of the encoder, for errors.

    Raises:
        ConfigError: see `check_channels`.
    """
    check_channels(windows, spec, name=name)
    x = windows.x
    if windows.channels != spec.channels:
        x = np.ascontiguousarray(x[:, [windows.channels.index(c) for c in spec.channels]])
    units = None if windows.units is None else {c: windows.units[c] for c in spec.channels}
    x = at_rate(x, rate_hz=windows.rate_hz, wanted_hz=spec.rate_hz)
    return replace(windows, x=x, channels=spec.channels, units=units, rate_hz=spec.rate_hz)


def check_channels(windows: LabelledWindows, spec: InputSpec, *, name: str) -> None:
    """Refuse windows that lack a channel of an encoder, or have it in another unit.

    Raises:
        ConfigError: naming the channel.
    """
    missing = [c for c in spec.channels if c not in windows.channels]
    if missing:
        raise ConfigError(
            f"{name} expects channels {list(spec.channels)}, the data has {list(windows.channels)}: no {missing[0]!r}",
            hint="use an encoder of these channels, e.g. one made by `imu_video.create_encoder`; docs/guides/arrays.md",
        )
    check_measures(spec, windows)


def at_rate(x: np.ndarray, *, rate_hz: float, wanted_hz: float) -> np.ndarray:
    """Windows (N, C, T) resampled to another rate."""
    if math.isclose(rate_hz, wanted_hz, rel_tol=1e-6):
        return x
    from imu_video.recordings.signal import resample_uniform

    return np.asarray(resample_uniform(x, rate_hz, wanted_hz), dtype=np.float32)


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


@dataclass(frozen=True)
class _Signals:
    """The signals of some channels: the channels, then the magnitude of each triad."""

    names: tuple[str, ...]
    triads: tuple[list[int] | slice, ...]
    sensors: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]


@lru_cache(maxsize=8)
def _signals(channels: tuple[str, ...]) -> _Signals:
    found = triads(channels)
    norms = {sensor: len(channels) + i for i, sensor in enumerate(found)}
    devices: dict[str, list[int]] = {}
    for sensor in found:
        devices.setdefault(sensor.rpartition(".")[0], []).append(norms[sensor])
    return _Signals(
        names=(*channels, *(f"{sensor}_norm" for sensor in found)),
        # Neighbouring rows as a slice, which is not copied.
        triads=tuple(slice(r[0], r[0] + 3) if r == (r[0], r[0] + 1, r[0] + 2) else list(r) for r in found.values()),
        sensors=tuple(found),
        pairs=tuple(pair for group in [*found.values(), *devices.values()] for pair in combinations(group, 2)),
    )


def handcrafted_names(channels: Sequence[str] = IMU_CHANNELS) -> tuple[str, ...]:
    """Names of the hand-crafted features of some channels, in order.

    Example:
        >>> len(handcrafted_names()), len(handcrafted_names(["emg_1", "emg_2"]))
        (193, 46)
    """
    signals = _signals(tuple(channels))
    per_signal = [f"{signal}.{name}" for signal in signals.names for name in _PER_SIGNAL]
    pairs = [f"corr.{signals.names[i]}.{signals.names[j]}" for i, j in signals.pairs]
    return (*per_signal, *(f"{sensor}.sma" for sensor in signals.sensors), *pairs)


def handcrafted_features(
    x: np.ndarray, *, rate_hz: float, channels: Sequence[str] = IMU_CHANNELS, chunk: int = 1024
) -> np.ndarray:
    """Time and frequency statistics of raw windows, listed in the docstring of the module.

    Missing samples are excluded from statistics in time; in spectra and differences they are replaced by the mean of
    the signal. A feature that cannot be computed (a missing channel, a band above half the rate) is 0.

    Args:
        x: windows in any units, NaN where missing.
        rate_hz: sampling rate, above 0.
        channels: names of the C channels, which tell the sensors with three axes.
        chunk: windows of eight signals per chunk, at least 1; limits the memory for intermediate arrays.

    Shapes:
        x (N, C, T) -> (N, E) float32, E = len(handcrafted_names(channels)).

    Raises:
        ValueError: not (N, C, T) with the given channels, or shorter than 4 samples.

    Example:
        >>> handcrafted_features(np.zeros((2, 6, 100)), rate_hz=50.0).shape == (2, len(handcrafted_names()))
        True
    """
    x = np.asarray(x)
    if x.ndim != 3 or x.shape[1] != len(channels) or x.shape[2] < 4:
        raise ValueError(f"windows must be (N, {len(channels)}, T) with T >= 4, got {x.shape}")
    signals = _signals(tuple(channels))
    step = max(1, chunk * 8 // len(signals.names))
    parts = [_handcrafted(x[i : i + step].astype(np.float64), rate_hz, signals) for i in range(0, len(x), step)]
    return np.concatenate(parts) if parts else np.zeros((0, len(handcrafted_names(channels))), dtype=np.float32)


def _handcrafted(x: np.ndarray, rate_hz: float, signals: _Signals) -> np.ndarray:
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
    return np.where(measured & np.isfinite(flat), flat, 0.0).astype(np.float32)


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
    median = hertz[(np.cumsum(share, axis=-1) >= 0.5 * share.sum(axis=-1, keepdims=True)).argmax(axis=-1)]
    dominant = hertz[power.argmax(axis=-1)]
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


def compute_features(
    model: str,
    windows: LabelledWindows,
    rows: np.ndarray,
    *,
    bundle: EncoderBundle,
    seeds: Sequence[int] = (),
    also: Sequence[EncoderBundle] = (),
) -> FeatureSet:
    """Features of given rows by a model that needs no labels.

    Args:
        model: ``pretrained`` (the encoder), ``untrained`` (untrained copies, one per seed) or ``handcrafted``.
        windows: the windows.
        rows: rows to compute, sorted.
        bundle: the encoder under test.
        seeds: seeds of the untrained encoders.
        also: further encoders under test, which differ in the pretraining seed.

    Raises:
        ConfigError: an unknown model, or ``untrained`` without seeds.
    """
    some = windows.take(rows)
    if model == "pretrained":
        return FeatureSet(model=model, rows=rows, arrays=tuple(encoder_features(b, some) for b in (bundle, *also)))
    if model == "handcrafted":
        features = handcrafted_features(some.x, rate_hz=some.rate_hz, channels=some.channels)
        return FeatureSet(model=model, rows=rows, arrays=(features,))
    if model == "untrained" and len(seeds):
        arrays = tuple(encoder_features(untrained_twin(bundle, seed), some) for seed in seeds)
        return FeatureSet(model=model, rows=rows, arrays=arrays, seeds=tuple(seeds))
    raise ConfigError(
        f"features of {model!r} with seeds {list(seeds)}: expected pretrained, handcrafted, or untrained with seeds"
    )
