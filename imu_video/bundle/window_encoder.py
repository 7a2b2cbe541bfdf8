"""Windows of any device to features: checks, rate, channels, gaps; the networks that compute features are elsewhere."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from imu_video.bundle.input_spec import (
    InputSpec,
    as_windows,
    check_length,
    check_rate,
    check_stated_gravity,
    check_stated_units,
)
from imu_video.bundle.input_spec import check_units as refuse_other_units
from imu_video.errors import ConfigError, RecordingError

__all__ = ["WindowEncoder"]


class WindowEncoder(ABC):
    """Base class of what computes features of windows: `EncoderBundle` with torch, `OnnxEncoder` from a file.

    Subclasses provide ``spec`` (`InputSpec`), ``feature_dim`` (E) and `_features`.
    """

    spec: InputSpec
    feature_dim: int

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
        windows: np.ndarray,
        *,
        rate_hz: float,
        channels: Sequence[str] | None = None,
        units: Mapping[str, str] | None = None,
        gravity: str | None = None,
        batch_size: int = 256,
        check_units: bool = True,
    ) -> np.ndarray:
        """Compute features of windows from a device: any rate, any length, gaps allowed.

        A network runs in evaluation mode without gradient, on its own device.

        Args:
            windows: (N, C, T) or one (C, T) in the units of the spec (m/s^2 and rad/s), NaN = missing.
            rate_hz: sampling rate of the windows in Hz, 1 .. 10 000; resampled (anti-aliased) to the rate of the spec
                if different.
            channels: names of the C axis, in any order; default: those of the spec. Channels that are absent from the
                windows are treated as missing; channels that the encoder does not read are dropped. A name that is
                neither canonical nor in the spec is refused where a channel of the spec is absent: it may be misspelt.
            units: channel -> unit of the windows, which must be those of the spec; None: not stated.
            gravity: state of gravity of the windows, which must be that of the spec: ``included``, ``removed``,
                ``mixed`` or ``unknown``; None: not stated.
            batch_size: windows per forward pass.
            check_units: raise an error for signals whose magnitude is implausible in SI units, and for windows shorter
                than a twentieth or longer than sixty times the training windows.

        Shapes: (N, E) float32; N = 1 for a single window.

        Raises:
            RecordingError: wrong axis order, unknown channels, infinite values, nothing measured, implausible units or
                window length.
            ConfigError: a rate that no motion sensor has, for example a sampling period.
        """
        names = self.spec.channels if channels is None else tuple(channels)
        x = as_windows(windows, names, self.spec)
        check_rate(rate_hz, self.spec)
        check_stated_units(units, self.spec, source="the windows")
        if gravity is not None:
            check_stated_gravity(gravity, names, self.spec, source="the windows")
        if batch_size < 1:
            raise ConfigError(f"batch_size must be positive, got {batch_size}")
        if check_units:
            check_length(x.shape[-1], rate_hz, self.spec)
            refuse_other_units(x, names, self.spec)
        out = np.empty((len(x), self.feature_dim), np.float32)
        for i in range(0, len(x), batch_size):
            piece = self._prepared(x[i : i + batch_size], names, rate_hz)
            there = np.isfinite(piece)  # numpy's function is several times faster than that of torch
            out[i : i + batch_size] = self._features(piece, _gaps(there, rate_hz))
        return out

    def _prepared(self, x: np.ndarray, names: tuple[str, ...], rate_hz: float) -> np.ndarray:
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
