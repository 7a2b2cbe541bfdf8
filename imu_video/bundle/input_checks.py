"""Checks of the windows that a caller gives to an encoder, each with the likely cause; nothing is converted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from imu_video.bundle.input_spec import InputSpec
from imu_video.channels import name_fault
from imu_video.errors import ConfigError, RecordingError, nearest
from imu_video.types import GRAVITY, IMU_CHANNELS


def as_array(windows: object) -> np.ndarray:
    """Windows as an array, without a conversion of their values.

    Masked values of a masked array become NaN, because they are not measured.

    Raises:
        RecordingError: windows of different lengths, a tensor that NumPy cannot read, or a list of arrays of devices.
    """
    if isinstance(windows, np.ma.MaskedArray):
        values = np.asarray(windows.data)
        if not np.ma.is_masked(windows):
            return values
        return np.where(np.ma.getmaskarray(windows), np.nan, values)
    if isinstance(windows, list | tuple) and any(getattr(one, "ndim", 0) == 3 for one in windows):
        raise RecordingError(
            "windows are a list of arrays of three axes, which may be devices or windows",
            hint='of devices, pass a mapping of placements: {"waist": one, "wrist": other}; else np.stack(list)',
        )
    try:
        return np.asarray(windows)
    except (ValueError, TypeError, RuntimeError) as error:
        raise RecordingError(
            f"windows are no array: {str(error).splitlines()[0]}",
            hint="pass one NumPy array (N, C, T); of a tensor, tensor.detach().cpu().numpy()",
        ) from error


def as_windows(windows: np.ndarray, names: tuple[str, ...], spec: InputSpec) -> np.ndarray:
    """Validate windows and return them as (N, C, T).

    Raises:
        RecordingError: wrong axis order or type, unknown channels, infinite values, a window without a measured sample.
    """
    x = as_array(windows)
    given = x.ndim
    x = x[None] if x.ndim == 2 else x
    if fault := name_fault(names):
        raise RecordingError(f"channels {list(names)}: {fault}")
    known_names = {*IMU_CHANNELS, *spec.channels}
    unknown = [c for c in names if c not in known_names]
    missing = [c for c in spec.channels if c not in names]
    # A further channel is dropped, but one that may be a misspelt channel of the encoder is not.
    if unknown and missing:
        raise RecordingError(
            f"channel {unknown[0]!r}: this encoder does not know it and lacks {len(missing)} of its "
            f"{len(spec.channels)} channels{nearest(unknown[0], missing)}",
            hint="name the channels as the encoder does (spec.channels)",
        )
    if len(missing) == len(spec.channels):
        raise RecordingError(f"channels {list(names)}: this encoder reads only {list(spec.channels)}")
    real = any(np.issubdtype(x.dtype, kind) for kind in (np.integer, np.floating))
    if x.ndim == 3 and x.shape[1] == len(names) and not real:
        raise RecordingError(
            f"windows are {x.dtype}, expected {'real ' if x.dtype.kind == 'c' else ''}numbers",
            hint="encode the signal itself, not its spectrum" if x.dtype.kind == "c" else "pass float32 windows",
        )
    if x.ndim != 3 or x.shape[1] != len(names) or x.shape[2] < 1 or not real:
        swapped = x.ndim == 3 and x.shape[2] == len(names)
        raise RecordingError(
            f"windows are {x.dtype} of shape {np.shape(windows)}, expected numbers (N, C, T) or (C, T) "
            f"with C={len(names)}: {', '.join(names)}",
            hint=f"the axes are probably {'(N, T, C)' if given == 3 else '(T, C)'}: pass windows."
            f"{'transpose(0, 2, 1)' if given == 3 else 'T'}"
            if swapped
            else "give the names of the channels: channels=[...]",
        )
    if np.isfinite(x).all():
        return x
    if np.isinf(x).any():
        raise RecordingError("windows contain infinite values", hint="mark missing samples as NaN")
    known = [i for i, c in enumerate(names) if c in spec.channels]
    empty = np.flatnonzero(np.isnan(x[:, known]).all(axis=(1, 2)))
    if len(empty):
        raise RecordingError(
            f"{len(empty)} of {len(x)} windows contain no measured sample, the first is window {empty[0]}",
            hint="drop these windows",
        )
    return x


def check_units(x: np.ndarray, names: tuple[str, ...], spec: InputSpec) -> None:
    """Reject (N, C, T) signals whose magnitude is implausible in m/s^2 (with gravity, if the spec has it) and rad/s.

    Raises:
        RecordingError: an implausible magnitude; the message gives the value and the likely unit.
    """
    if spec.normalised == "unknown":
        return
    if spec.normalised != "none":
        size = np.abs(x[np.isfinite(x)])
        if len(size) and float(np.median(size)) > 4:
            raise RecordingError(
                f"the median magnitude of the values is {float(np.median(size)):.3g}, expected below 1",
                hint="this encoder was trained on recordings standardised with signal.normalise=recording: "
                "prepare windows in the same way",
            )
        return
    acc = [names.index(c) for c in IMU_CHANNELS[:3] if c in names]
    gyr = [names.index(c) for c in IMU_CHANNELS[3:] if c in names]
    if len(acc) == 3 and spec.gravity == "included" and not _mostly_gravity(x, acc):
        norm = np.sqrt((x[:, acc].astype(np.float64) ** 2).sum(1))
        median = float(np.median(norm[np.isfinite(norm)])) if np.isfinite(norm).any() else GRAVITY
        if not 0.4 * GRAVITY < median < 4 * GRAVITY:
            likely = "g, or gravity was removed" if median < GRAVITY else "mg or raw counts"
            raise RecordingError(
                f"the median acceleration is {median:.3g}; in m/s^2 with gravity it would be near {GRAVITY:.1f}",
                hint=f"the unit is probably {likely}: convert to m/s^2 with gravity; check_units=False skips the check",
            )
    rates = [np.abs(x[:, row]) for row in gyr]
    if any((rate > 60).any() for rate in rates):
        rate = np.concatenate(rates)
        high = float(np.quantile(rate[np.isfinite(rate)], 0.999))
        if high > 60:
            raise RecordingError(
                f"angular rates reach {high:.3g}; in rad/s, human motion stays below about 60",
                hint="the unit is probably deg/s: multiply by pi / 180; check_units=False skips the check",
            )


def check_stated_units(units: Mapping[str, str] | None, spec: InputSpec, *, source: str) -> None:
    """Refuse windows whose stated units differ from those that an encoder was trained on.

    Args:
        units: channel -> unit; None: not stated.
        spec: input specification of the encoder.
        source: name of the data, for the error.

    Raises:
        ConfigError: naming the first such channel and both units.
    """
    for channel, unit in (units or {}).items():
        if channel in spec.channels and unit != spec.units[channel]:
            raise ConfigError(
                f"channel {channel!r} of {source} is in {unit!r}, the encoder was trained on {spec.units[channel]!r}",
                hint="convert the windows or correct their declaration; `1` is an unknown unit",
            )


def check_stated_gravity(gravity: str, channels: Sequence[str], spec: InputSpec, *, source: str) -> None:
    """Refuse accelerations with another state of gravity than those that an encoder was trained on.

    Args:
        gravity: ``included``, ``removed``, ``mixed`` or ``unknown``.
        channels: names of the channels of the windows; without an acceleration nothing is compared.
        spec: input specification of the encoder; ``unknown`` accepts any state.
        source: name of the data, for the error.

    Raises:
        ConfigError: naming both states.
    """
    if spec.gravity not in ("unknown", gravity) and any(c.rpartition(".")[2].startswith("acc") for c in channels):
        raise ConfigError(
            f"{source}: gravity is {gravity!r}, but the encoder was trained with {spec.gravity!r}",
            hint="build the data folder or prepare the windows with the signal settings of the encoder's training data",
        )


RATES_HZ = (1.0, 10_000.0)
"""Plausible sampling rates of a motion sensor in Hz."""
LENGTHS = (1 / 20, 60.0)
"""Plausible lengths of a window that is encoded, relative to the length of the training windows."""


def check_rate(rate_hz: float, spec: InputSpec) -> None:
    """Reject a sampling rate that no motion sensor has: a sampling period or another unit.

    Args:
        rate_hz: sampling rate as given by the caller.
        spec: input specification; its rate is quoted in the hint.

    Raises:
        ConfigError: not a finite number within `RATES_HZ` (a slower encoder's own rate is accepted).

    Example:
        >>> spec = InputSpec(rate_hz=50, window_s=5, mean=(0,) * 6, std=(1,) * 6)
        >>> check_rate(0.01, spec)
        Traceback (most recent call last):
            ...
        imu_video.errors.ConfigError: rate_hz is 0.01, expected samples per second within 1 .. 10000
          try: if 0.01 is the sampling period in seconds, rate_hz=100
    """
    try:
        number = math.nan if isinstance(rate_hz, str | bytes) else float(rate_hz)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise ConfigError(
            f"rate_hz is {rate_hz!r}, expected samples per second within {RATES_HZ[0]:g} .. {RATES_HZ[1]:g}",
            hint=f"the sampling rate of the windows in Hz; this encoder was trained at {spec.rate_hz:g} Hz",
        )
    if math.isfinite(number) and min(RATES_HZ[0], spec.rate_hz) <= rate_hz <= RATES_HZ[1]:
        return
    hint = f"the sampling rate of the windows in Hz; this encoder was trained at {spec.rate_hz:g} Hz"
    if 0 < rate_hz < RATES_HZ[0] and 1 / rate_hz <= RATES_HZ[1]:
        hint = f"if {rate_hz:g} is the sampling period in seconds, rate_hz={1 / rate_hz:.4g}"
    elif RATES_HZ[1] < rate_hz <= 1e9:
        # A period of 20 ms is 20 000 us or 20 000 000 ns: the coarser unit with a plausible rate is the likely one.
        unit, per_second = ("microseconds", 1e6) if 1e6 / rate_hz >= RATES_HZ[0] else ("nanoseconds", 1e9)
        hint = f"if {rate_hz:g} is the sampling period in {unit}, rate_hz={per_second / rate_hz:.4g}"
    raise ConfigError(
        f"rate_hz is {rate_hz}, expected samples per second within {RATES_HZ[0]:g} .. {RATES_HZ[1]:g}", hint=hint
    )


def check_accepted(samples: int, rate_hz: float, spec: InputSpec) -> None:
    """Reject windows whose rate or length an encoder was not trained for.

    Args:
        samples: T of the windows.
        rate_hz: their sampling rate, > 0.
        spec: input specification; without `InputSpec.accepts`, `check_length` decides.

    Raises:
        ConfigError: a lower rate than the encoder accepts.
        RecordingError: a shorter or longer window than it accepts.

    Example:
        >>> from imu_video.bundle.input_spec import Accepts
        >>> accepts = Accepts(min_rate_hz=20, min_window_s=1, max_window_s=10)
        >>> spec = InputSpec(rate_hz=50, window_s=5, mean=(0,) * 6, std=(1,) * 6, accepts=accepts)
        >>> check_accepted(200, 20, spec)
        >>> check_accepted(100, 10, spec)
        Traceback (most recent call last):
            ...
        imu_video.errors.ConfigError: windows at 10 Hz: this encoder accepts 20 Hz and more
          try: record at a higher rate; check_units=False computes features that were not tested
    """
    accepts, seconds = spec.accepts, samples / rate_hz
    if accepts is None or not accepts.min_window_s / 3 <= seconds <= 3 * accepts.max_window_s:
        # Far outside, the rate is probably wrong: this check finds the likely one.
        check_length(samples, rate_hz, spec)
    if accepts is None:
        return
    anyway = "check_units=False computes features that were not tested"
    # The rate of a real device is never exactly its nominal one.
    if rate_hz < 0.98 * accepts.min_rate_hz:
        raise ConfigError(
            f"windows at {rate_hz:g} Hz: this encoder accepts {accepts.min_rate_hz:g} Hz and more",
            hint=f"record at a higher rate; {anyway}",
        )
    if not 0.98 * accepts.min_window_s <= seconds <= 1.02 * accepts.max_window_s:
        raise RecordingError(
            f"windows of {_duration(seconds)}: this encoder accepts {_duration(accepts.min_window_s)} to "
            f"{_duration(accepts.max_window_s)}",
            hint=f"cut windows of {_duration(spec.window_s)}; {anyway}",
        )


def check_length(samples: int, rate_hz: float, spec: InputSpec) -> None:
    """Reject windows whose length in seconds is far from that of the training windows.

    Args:
        samples: T of the windows.
        rate_hz: their sampling rate, > 0.
        spec: input specification with the length of the training windows.

    Raises:
        RecordingError: shorter or longer than `LENGTHS` times the training windows; the message gives the length.
    """
    seconds = samples / rate_hz
    low, high = (factor * spec.window_s for factor in LENGTHS)
    if low <= seconds <= high:
        return
    hint = "cut the signal into windows first" if seconds > high else "give rate_hz in samples per second"
    for name, per_second in (("milliseconds", 1e3), ("microseconds", 1e6)):
        # A period that was given as a rate leaves the number of samples right: with the rate corrected, the length of
        # the window is near that of the training windows.
        rate = per_second / rate_hz
        if RATES_HZ[0] <= rate <= RATES_HZ[1] and 1 / 3 <= samples / rate / spec.window_s <= 3:
            hint = f"if {rate_hz:g} is the sampling period in {name}, rate_hz={rate:.4g}"
    raise RecordingError(
        f"windows of {samples} samples at {rate_hz:g} Hz last {_duration(seconds)}, expected "
        f"{_duration(low)} .. {_duration(high)}: this encoder was trained on windows of {_duration(spec.window_s)}",
        hint=f"{hint}; check_units=False skips the check",
    )


def _duration(seconds: float) -> str:
    """A length of time in a readable unit."""
    if seconds >= 7200:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 60:.3g} min" if seconds >= 120 else f"{seconds:.3g} s"


def _mostly_gravity(x: np.ndarray, acc: list[int]) -> bool:
    """Whether more than half of all samples have a plausible norm, so that the median is plausible as well.

    Counting is much cheaper than computing the median.
    """
    square = sum(np.square(x[:, row], dtype=np.float32) for row in acc)
    plausible = (square > (0.4 * GRAVITY) ** 2) & (square < (4 * GRAVITY) ** 2)
    return bool(2 * np.count_nonzero(plausible) > plausible.size)
