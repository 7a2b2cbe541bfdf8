"""Windows of any device to features: checks, rate, channels, gaps; the networks that compute features are elsewhere."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from imu_video.bundle.input_checks import (
    as_array,
    as_windows,
    check_accepted,
    check_rate,
    check_stated_gravity,
    check_stated_units,
)
from imu_video.bundle.input_checks import check_units as refuse_other_units
from imu_video.bundle.input_spec import InputSpec
from imu_video.errors import ConfigError, RecordingError
from imu_video.types import JsonDict

__all__ = ["WindowEncoder"]


class WindowEncoder(ABC):
    """Base class of what computes features of windows: `EncoderBundle` with torch, `OnnxEncoder` from a file.

    Subclasses provide `_features` and the facts below: ``feature_dim`` is E, ``encoder_config`` the config entry that
    builds the network, ``weights_sha256`` the hash of the file that contains the weights (empty without a file),
    ``source_sha256`` that of the encoder from which an ONNX file was exported, ``name`` the name under which the
    encoder was loaded (empty without one).
    """

    spec: InputSpec
    feature_dim: int
    encoder_config: JsonDict
    lineage: JsonDict
    weights_sha256: str
    source_sha256: str = ""
    name: str = ""

    @property
    def parts(self) -> dict[str, slice]:
        """Columns of the features by their origin, for an encoder that joins several; empty for any other.

        Tables of an evaluation show each part alone beside the whole.
        """
        return {}

    @abstractmethod
    def _features(self, x: np.ndarray, there: np.ndarray | None) -> np.ndarray:
        """Features of windows with the channels and the rate of the specification.

        Args:
            x: (B, C, T) float32 in the units of the specification, NaN = missing.
            there: (B, C, T) bool, True where measured; None: all.

        Shapes: -> (B, E) float32.
        """

    def encode(
        self,
        windows: np.ndarray | Mapping[str, np.ndarray],
        *,
        rate_hz: float,
        channels: Sequence[str] | None = None,
        units: Mapping[str, str] | None = None,
        gravity: str | None = None,
        batch_size: int = 256,
        check_units: bool = True,
    ) -> np.ndarray:
        """Compute features of windows from one device or several: any rate, any length, gaps allowed.

        The encoder takes the windows of one device. Of several devices worn at once, it gives one feature per window:
        the mean of the features of those devices that measured a channel of the encoder in the window. A network runs
        in evaluation mode without gradient, on its own device.

        Args:
            windows: (N, C, T) or one (C, T) in the units of the spec (m/s^2 and rad/s), NaN = missing; of several
                devices (N, V, C, T) or a mapping of placements to (N, C, T), where the lengths T may differ.
            rate_hz: sampling rate of the windows in Hz, 1 .. 10 000; resampled (anti-aliased) to the rate of the spec
                if different.
            channels: names of the C axis, in any order; default: those of the spec. Channels that are absent from the
                windows are treated as missing; channels that the encoder does not read are dropped. A name that is
                neither canonical nor in the spec is refused where a channel of the spec is absent: it may be misspelt.
            units: channel -> unit of the windows, which must be those of the spec; None: not stated.
            gravity: state of gravity of the windows, which must be that of the spec: ``included``, ``removed``,
                ``mixed`` or ``unknown``; None: not stated.
            batch_size: windows per forward pass.
            check_units: raise an error for signals whose magnitude is implausible in SI units, and for a rate or length
                outside `InputSpec.accepts`; an encoder that states none is given windows of a twentieth to sixty times
                the length of its training windows.

        Shapes: (N, E) float32; N = 1 for a single window.

        Raises:
            RecordingError: wrong axis order, unknown channels, infinite values, nothing measured, implausible units or
                window length, or devices with different numbers of windows.
            ConfigError: a rate that no motion sensor has, for example a sampling period, or a rate that is lower than
                the encoder accepts.
        """
        if not isinstance(windows, Mapping):
            windows = as_array(windows)
        if isinstance(windows, Mapping) or windows.ndim == 4:
            options: dict[str, Any] = {"rate_hz": rate_hz, "channels": channels, "units": units, "gravity": gravity}
            options |= {"batch_size": batch_size, "check_units": check_units}
            return self._mean_over_devices(windows, options)
        if isinstance(channels, str):
            raise RecordingError(
                f"channels must be a list of names, got {channels!r}", hint='channels=["acc_x", "acc_y", "acc_z"]'
            )
        names = self.spec.channels if channels is None else tuple(channels)
        x = as_windows(windows, names, self.spec)
        check_rate(rate_hz, self.spec)
        for channel in units or {}:
            if channel not in names:
                raise ConfigError(
                    f"a unit is stated for {channel!r}, which is no channel of the windows: {', '.join(names)}",
                    hint=f"state units by channel, for example units={{{names[0]!r}: 'm/s^2'}}",
                )
        check_stated_units(units, self.spec, source="the windows")
        if gravity is not None:
            check_stated_gravity(gravity, names, self.spec, source="the windows")
        if batch_size < 1:
            raise ConfigError(f"batch_size must be positive, got {batch_size}")
        if check_units:
            check_accepted(x.shape[-1], rate_hz, self.spec)
            refuse_other_units(x, names, self.spec)
        out = np.empty((len(x), self.feature_dim), np.float32)
        for i in range(0, len(x), batch_size):
            piece = self.prepared(x[i : i + batch_size], names, rate_hz)
            there = np.isfinite(piece)  # numpy's function is several times faster than that of torch
            out[i : i + batch_size] = self._features(piece, _gaps(there, rate_hz))
        return out

    def _mean_over_devices(
        self, windows: np.ndarray | Mapping[str, np.ndarray], options: Mapping[str, Any]
    ) -> np.ndarray:
        """Mean feature (N, E) over the devices that measured anything in a window."""
        if isinstance(windows, Mapping):
            devices = {str(name): as_array(one) for name, one in windows.items()}
        else:
            devices = {str(v): windows[:, v] for v in range(windows.shape[1])}
        shapes = {name: one.shape for name, one in devices.items()}
        if not devices or any(len(s) != 3 for s in shapes.values()) or len({s[0] for s in shapes.values()}) > 1:
            raise RecordingError(
                f"windows of devices have shapes {shapes}, expected (N, C, T) with the same number N of windows",
                hint="give NaN for windows in which a device is missing",
            )
        total = np.zeros((next(iter(shapes.values()))[0], self.feature_dim))
        number = np.zeros(len(total), np.int64)
        for name, one in devices.items():
            rows = self._measured(one, options["channels"])
            if not len(rows):
                continue
            try:
                total[rows] += self.encode(one[rows], **options)
            except RecordingError as error:
                raise RecordingError(f"device {name}: {error.message}", hint=error.hint) from error
            number[rows] += 1
        empty = np.flatnonzero(number == 0)
        if len(empty):
            raise RecordingError(
                f"{len(empty)} of {len(total)} windows contain no measured sample of any device, the first is window "
                f"{empty[0]}",
                hint="drop these windows",
            )
        return (total / number[:, None]).astype(np.float32)

    def _measured(self, windows: np.ndarray, channels: Sequence[str] | None) -> np.ndarray:
        """Windows of a device in which a channel that the encoder reads was measured."""
        if windows.dtype.kind != "f":
            return np.arange(len(windows))
        names = self.spec.channels if channels is None else tuple(channels)
        read = [i for i, name in enumerate(names) if name in self.spec.channels]
        # Channels that do not fit the windows are refused with the windows themselves.
        known = windows[:, read] if read and len(names) == windows.shape[1] else windows
        return np.flatnonzero(~np.isnan(known).all(axis=(1, 2)))

    def prepared(self, x: np.ndarray, names: tuple[str, ...], rate_hz: float) -> np.ndarray:
        """Windows (B, C, T) with the channels of the specification at its rate, NaN = missing."""
        x = np.asarray(x, np.float32)
        if not math.isclose(rate_hz, self.spec.rate_hz, rel_tol=1e-6):
            from imu_video.recordings.signal import resample_uniform  # scipy is loaded only if the rates differ

            x = resample_uniform(x, rate_hz, self.spec.rate_hz)
        if names != self.spec.channels:
            known, x = x, np.full((len(x), len(self.spec.channels), x.shape[-1]), np.nan, np.float32)
            for row, name in enumerate(self.spec.channels):
                if name in names:
                    x[:, row] = known[:, names.index(name)]
        return x


def _gaps(there: np.ndarray, rate_hz: float) -> np.ndarray | None:
    """The mask of windows; None without gaps.

    Raises:
        RecordingError: windows without any sample.
    """
    if there.all():
        return None
    empty = int((~there.any(axis=(1, 2))).sum())
    if empty:
        raise RecordingError(
            f"{empty} windows have too few samples to resample from {rate_hz:g} Hz", hint="drop these windows"
        )
    return there
