"""Input specification of an encoder: channels, units, rate, window, normalisation; windows are checked elsewhere.

Weights and files are handled in encoder.py and folder.py, windows of a caller in input_checks.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from torch import Tensor

from imu_video.channels import name_fault, sensor_of
from imu_video.config import Config
from imu_video.errors import DataError
from imu_video.types import IMU_CHANNELS, stored_unit

SMALLEST_STD = 1e-30
LARGEST_RMS = 1e6
"""Largest root mean square of a sensor that windows are normalised with; one damaged float32 can make it 1e36, and then
every input of the encoder 0."""
MOST_SAMPLES = 2**22
"""Most samples of a window: an hour at 1,000 Hz."""
Windows = TypeVar("Windows", np.ndarray, Tensor)


class Accepts(Config):
    """Windows that an encoder was trained for beside those of its own rate and length.

    Args:
        min_rate_hz: lowest sampling rate; windows of any higher rate are resampled.
        min_window_s: shortest window in seconds.
        max_window_s: longest window in seconds.
    """

    min_rate_hz: float = Field(gt=0, le=1e4)
    min_window_s: float = Field(gt=0, le=1e6)
    max_window_s: float = Field(gt=0, le=1e6)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_window_s > self.max_window_s:
            raise ValueError(f"min_window_s {self.min_window_s} is above max_window_s {self.max_window_s}")
        return self


class InputSpec(Config):
    """Input specification of an encoder: channels, units, rate, window length and normalisation.

    Args:
        channels: names in order: any of IMU_CHANNELS, and others such as ``torso.mag_x`` or ``emg_1``.
        units: unit of each channel. Those of IMU_CHANNELS are m/s^2 and rad/s and are filled in if omitted; ``1`` for
            an unknown unit.
        rate_hz: samples per second, > 0.
        window_s: length of training windows in seconds, > 0; `EncoderBundle.encode` accepts other lengths.
        gravity: whether accelerations include gravity (specific force) or gravity was removed.
        normalised: ``recording`` if channels were standardised over a whole recording before windows were cut
            (`signal.normalise` of a build), ``unknown`` if they were prepared by an unknown method, as in released
            arrays. Such windows have no units, and inputs must be prepared in the same way.
        mean, std: (C,) per channel, in the channel's unit; normalised = (x - mean) / std.
        accepts: rates and lengths that the encoder was trained for; None: not stated.

    Raises:
        ConfigError: through `imu_video.config.validate`; pydantic's ValidationError when built directly.

    Example:
        >>> spec = InputSpec(rate_hz=50, window_s=5, mean=(0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
        >>> spec.samples, float(spec.normalise(np.full((6, 4), 9.8))[0, 0])
        (250, 1.0)
    """

    channels: tuple[str, ...] = IMU_CHANNELS
    units: dict[str, str] = Field(default_factory=dict)
    rate_hz: float = Field(gt=0, le=1e6)
    window_s: float = Field(gt=0, le=1e6)
    gravity: Literal["included", "removed", "unknown"] = "included"
    normalised: Literal["none", "recording", "unknown"] = "none"
    mean: tuple[float, ...]
    std: tuple[float, ...]
    accepts: Accepts | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Left out where it is not stated: folders stay readable by versions that do not know the key."""
        plain: dict[str, Any] = serialise(self)
        if plain.get("accepts", ...) is None:
            del plain["accepts"]
        return plain

    @model_validator(mode="before")
    @classmethod
    def _fill_units(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            given, units = data.get("channels", IMU_CHANNELS), data.get("units") or {}
            if not isinstance(given, list | tuple) or not isinstance(units, Mapping):
                return data  # the type of the field refuses it
            normalised = str(data.get("normalised", "none"))
            known = [c for c in given if isinstance(c, str) and c in IMU_CHANNELS]
            # A folder states all units or none: with some of them, those of the canonical channels are checked below.
            filled = {c: stored_unit(c, normalised) for c in known} if not set(units) & set(IMU_CHANNELS) else {}
            return {**data, "units": {**filled, **units}}
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if fault := name_fault(self.channels):
            raise ValueError(f"channels must be distinct names such as {IMU_CHANNELS[0]!r} or 'torso.mag_x': {fault}")
        self._check_units()
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != len(self.channels) or not all(map(math.isfinite, values)):
                raise ValueError(f"{name} must be {len(self.channels)} finite numbers, got {list(values)}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {list(self.std)}")
        # Windows are float32: beyond these, features are infinite or not numbers.
        if min(self.std) < SMALLEST_STD or max(map(abs, (*self.mean, *self.std))) > LARGEST_RMS:
            raise ValueError(
                f"mean {list(self.mean)} and std {list(self.std)}: expected at most {LARGEST_RMS:g}, and a std of at "
                f"least {SMALLEST_STD:g}"
            )
        if not 1 <= self.samples <= MOST_SAMPLES:
            raise ValueError(
                f"a window of {self.window_s} s at {self.rate_hz} Hz has {self.samples} samples, expected 1 to "
                f"{MOST_SAMPLES}"
            )
        return self

    def _check_units(self) -> None:
        wrong = any(u != stored_unit(c, self.normalised) for c, u in self.units.items() if c in IMU_CHANNELS)
        if set(self.units) != set(self.channels) or wrong:
            wanted = "m/s^2 and rad/s" if self.normalised == "none" else "1"
            raise ValueError(
                f"units must be {wanted} for acc_* and gyr_*, and stated for exactly the channels, got {self.units}"
            )
        blank = [c for c, unit in self.units.items() if not unit.strip() or len(unit) > 100]
        if blank:
            raise ValueError(f"units: expected up to 100 characters for {blank[0]!r}, `1` for an unknown unit")

    @property
    def samples(self) -> int:
        """T of a training window."""
        return round(self.window_s * self.rate_hz)

    @property
    def encoder_context(self) -> dict[str, Any]:
        """Arguments of an encoder that the windows determine, filled in where it takes them and a config does not."""
        return {
            "channels": len(self.channels),
            "samples": self.samples,
            "rate_hz": self.rate_hz,
            "names": self.channels,
        }

    @property
    def named_units(self) -> dict[str, str]:
        """Channel -> unit, in the order of the channels."""
        return {channel: self.units[channel] for channel in self.channels}

    def normalise(self, x: Windows) -> Windows:
        """(x - mean) / std of (..., C, T) in SI units; NaN stays NaN. numpy in, numpy out; torch in, torch out.

        Raises:
            ValueError: another number of channels.
        """
        if x.shape[-2] != len(self.channels):
            raise ValueError(f"expected (..., C, T) with C={len(self.channels)}, got {tuple(x.shape)}")
        if isinstance(x, Tensor):
            return (x - x.new_tensor(self.mean)[:, None]) / x.new_tensor(self.std)[:, None]
        return (x - np.asarray(self.mean, x.dtype)[:, None]) / np.asarray(self.std, x.dtype)[:, None]


def _method_or_number(value: Any) -> Any:
    """Refuse what is neither, in words that name both; true would be the number 1."""
    if isinstance(value, str) and value in ("sensors", "channels", "none"):
        return value
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not SMALLEST_STD <= number <= LARGEST_RMS:
        raise ValueError(f"expected sensors, channels, none, or a number {SMALLEST_STD:g} .. {LARGEST_RMS:g}")
    return number


Normalise = Annotated[
    Literal["sensors", "channels", "none"] | Annotated[float, Field(gt=0, ge=SMALLEST_STD, le=LARGEST_RMS)],
    BeforeValidator(_method_or_number),
]
"""Normalisation of windows: see `fit_input_spec`."""


def fit_input_spec(
    imu: np.ndarray,
    *,
    rate_hz: float,
    window_s: float,
    channels: Sequence[str] = IMU_CHANNELS,
    units: Mapping[str, str] | None = None,
    gravity: Literal["included", "removed", "unknown"] = "included",
    normalised: Literal["none", "recording", "unknown"] = "none",
    normalise: Normalise = "sensors",
) -> InputSpec:
    """Fit the normalisation to training windows; by default zero mean and one RMS per sensor triad.

    With a common scale for the three axes of a sensor and no offset, rotations commute with the normalisation: a device
    that is mounted differently gives a rotation of the same normalised signal. A channel that is no axis (``emg_1``,
    a temperature) has its own mean and standard deviation.

    Args:
        imu: (N, C, T) or (N, V, C, T) in SI units, NaN = missing; a memory map is read in pieces.
        rate_hz: samples per second of the windows, > 0.
        window_s: length of the windows in seconds, > 0.
        channels: names of the C axis.
        units: unit of each channel; None: those of the canonical channels.
        gravity, normalised: see `InputSpec`.
        normalise: ``sensors``, as above; ``channels``: mean and standard deviation of each channel; ``none``: mean 0
            and standard deviation 1; or a number in place of every standard deviation.

    Raises:
        DataError: no measured sample, or a sensor whose values are all zero or exceed `LARGEST_RMS` (a sensor without
            any sample gets std 1).

    Example:
        >>> spec = fit_input_spec(np.full((3, 6, 100), 2.0), rate_hz=50, window_s=2)
        >>> spec.std
        (2.0, 2.0, 2.0, 2.0, 2.0, 2.0)
    """
    if imu.ndim not in (3, 4) or imu.shape[-2] != len(channels):
        raise DataError(f"imu has shape {imu.shape}, expected (N, C, T) or (N, V, C, T) with C={len(channels)}")
    squares, counts = np.zeros(len(channels)), np.zeros(len(channels))
    for first in range(0, len(imu), 512):
        # float64, because float32 sums of squares over millions of samples lose digits.
        piece = np.asarray(imu[first : first + 512], np.float64)
        axes = tuple(a for a in range(piece.ndim) if a != piece.ndim - 2)
        squares += np.nansum(piece**2, axis=axes)
        counts += np.isfinite(piece).sum(axis=axes)
    if not counts.any():
        raise DataError("fit_input_spec: no window contains a measured sample")
    sensors = [sensor_of(c) for c in channels]
    mean, std = np.zeros(len(channels)), np.ones(len(channels))
    # No axis: a heart rate or a temperature varies around a value far from zero.
    alone = [i for i, (sensor, c) in enumerate(zip(sensors, channels, strict=True)) if sensor == c]
    if normalise == "channels":
        mean, std = _channel_moments(imu, counts)
    elif normalise != "sensors":
        std[:] = 1.0 if normalise == "none" else normalise
    elif alone:
        mean[alone], std[alone] = _channel_moments(imu[..., alone, :], counts[alone])
    axes_of = [s for i, s in enumerate(sensors) if i not in alone]
    for sensor in dict.fromkeys(axes_of if normalise == "sensors" else ()):
        rows = [i for i, s in enumerate(sensors) if s == sensor]
        if counts[rows].sum():
            std[rows] = math.sqrt(squares[rows].sum() / counts[rows].sum())
            if not 0 < std[rows[0]] <= LARGEST_RMS:
                raise DataError(
                    f"fit_input_spec: sensor {sensor!r} has RMS {std[rows[0]]:.4g} over {int(counts[rows].sum())} "
                    f"samples, expected above 0 and at most {LARGEST_RMS:g}",
                    hint="mark a broken sensor as NaN (missing)",
                )
    return InputSpec(
        channels=tuple(channels),
        units=dict(units or {}),
        rate_hz=rate_hz,
        window_s=window_s,
        gravity=gravity,
        normalised=normalised,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
    )


def _channel_moments(imu: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, in two passes; 0 and 1 for a channel without values."""
    axes = tuple(a for a in range(imu.ndim) if a != imu.ndim - 2)
    pieces = [slice(first, first + 512) for first in range(0, len(imu), 512)]
    count = np.maximum(counts, 1)
    mean = sum(np.nansum(np.asarray(imu[p], np.float64), axis=axes) for p in pieces) / count
    centred = (np.asarray(imu[p], np.float64) - mean[:, None] for p in pieces)
    std = np.sqrt(sum(np.nansum(x**2, axis=axes) for x in centred) / count)
    # A channel that is constant in training would be divided by rounding errors.
    std[std <= 1e-9 * np.maximum(np.abs(mean), 1)] = 1.0
    return mean, std
