"""Features of windows for probes: encoders, untrained encoders, hand-crafted statistics; fits nothing.

The hand-crafted features are a strong baseline: statistics of signals in time and of their spectra, listed in
`imu_video.encoders.layers.statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.data.windows import LabelledWindows
from imu_video.errors import ConfigError
from imu_video.types import IMU_CHANNELS

if TYPE_CHECKING:
    from imu_video.bundle.encoder import EncoderBundle
    from imu_video.bundle.input_spec import InputSpec
    from imu_video.bundle.window_encoder import WindowEncoder


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


def encoder_features(bundle: WindowEncoder, windows: LabelledWindows, *, batch_size: int = 256) -> np.ndarray:
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
    from imu_video.bundle.input_checks import check_stated_gravity, check_stated_units

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


def untrained_twin(bundle: WindowEncoder, seed: int) -> EncoderBundle:
    """The same encoder class with the same constructor arguments and input specification, freshly initialised.

    What the encoder took from training windows without gradients, such as the moments of a hybrid's statistics, stays.

    Args:
        bundle: the encoder to copy without its weights.
        seed: seed of the initialisation; the global random state is not changed.
    """
    import torch

    from imu_video.bundle.encoder import EncoderBundle

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = EncoderBundle(spec=bundle.spec, encoder=bundle.encoder_config).eval()
    if hasattr(twin.encoder, "keep_fit"):
        if not isinstance(bundle, EncoderBundle):
            raise ConfigError(
                f"an exported file of encoder {bundle.encoder_config['name']!r} has no untrained reference: the "
                "moments of its statistics are inside the graph",
                hint="evaluate the encoder folder, and name the exported file with --against",
            )
        twin.encoder.keep_fit(bundle.encoder)  # type: ignore[operator]
    return twin


def handcrafted_names(channels: Sequence[str] = IMU_CHANNELS) -> tuple[str, ...]:
    """Names of the hand-crafted features of some channels, in order.

    Example:
        >>> len(handcrafted_names()), len(handcrafted_names(["emg_1", "emg_2"]))
        (193, 46)
    """
    from imu_video.encoders.layers.statistics import statistic_names

    return statistic_names(channels)


def handcrafted_features(
    x: np.ndarray, *, rate_hz: float, channels: Sequence[str] = IMU_CHANNELS, chunk: int = 128
) -> np.ndarray:
    """Time and frequency statistics of raw windows (`imu_video.encoders.layers.statistics`), computed in float64.

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
    import torch

    from imu_video.encoders.layers.statistics import SignalStatistics

    x = np.asarray(x)
    if x.ndim != 3 or x.shape[1] != len(channels) or x.shape[2] < 4:
        raise ValueError(f"windows must be (N, {len(channels)}, T) with T >= 4, got {x.shape}")
    layer = SignalStatistics(channels=channels, rate_hz=rate_hz)
    step = max(1, chunk * 8 // len(layer.signals.names))
    out = np.zeros((len(x), len(layer.names)), dtype=np.float32)
    with torch.inference_mode():
        for first in range(0, len(x), step):
            piece = x[first : first + step].astype(np.float64)
            there = np.isfinite(piece)
            mask = None if there.all() else torch.from_numpy(there)
            out[first : first + step] = layer(torch.from_numpy(piece), mask)[0].numpy()
    return out


def compute_features(
    model: str,
    windows: LabelledWindows,
    rows: np.ndarray,
    *,
    bundle: WindowEncoder,
    seeds: Sequence[int] = (),
    also: Sequence[WindowEncoder] = (),
) -> FeatureSet:
    """Features of given rows by a model that needs no labels.

    Args:
        model: ``pretrained`` (the encoder), one of its parts (`EncoderBundle.parts`), ``untrained`` (untrained copies,
            one per seed) or ``handcrafted``.
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
    if model in bundle.parts:
        arrays = tuple(encoder_features(b, some)[:, b.parts[model]] for b in (bundle, *also))
        return FeatureSet(model=model, rows=rows, arrays=arrays)
    raise ConfigError(
        f"features of {model!r} with seeds {list(seeds)}: expected pretrained or a part of the encoder, "
        "handcrafted, or untrained with seeds"
    )
