"""Signal conditioning of a device before windows are cut: order and defaults of the steps; not their equations.

Order: clock and axes on the original stream; then, on the common grid, gap filling, median filter, gravity and
standardisation. With the defaults no step is active.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from imu_video.config import Config
from imu_video.errors import RecordingError
from imu_video.recordings.axes import axis_matrix, rotate
from imu_video.recordings.conditioning import fill_gaps, median_filter, standardise
from imu_video.recordings.gravity import GravityMethod, align_gravity, remove_gravity, vqf_package
from imu_video.recordings.timestamps import repair_times
from imu_video.types import ImuStream


class SignalConfig(Config):
    """Configuration of the signal conditioning.

    Args:
        clock: ``regular`` replaces each device's time stamps by `timestamps.repair_times`, without jitter and bunches.
        axes: placement -> axes by name, ``{waist: {x: -y, y: x, z: z}}`` (`axes.axis_matrix`), for a sensor that was
            mounted differently from the others.
        fill_gap_s: longest gap in seconds that is filled by straight lines; windows with filled samples carry the flag
            ``<placement>:filled``. (Up to ``window.max_gap_s`` the resampler interpolates without a flag.)
        median: width in samples of a running median; 5 in Cheshmi et al. 2025.
        gravity: ``keep``; ``remove`` leaves linear acceleration; ``align`` rotates both sensors so that z points up.
        gravity_method: see gravity.py; ``vqf`` needs the extra of that name.
        normalise: ``recording`` gives every channel of a device mean 0 and deviation 1 over the recording. Amplitude
            and the size of gravity are lost and the data has no units; the statistics are stored in quality.json.
            (Normalisation with fixed statistics belongs to the encoder: `input_spec.fit_input_spec` fits them, and
            they are stored with the encoder.)
    """

    clock: Literal["keep", "regular"] = "keep"
    axes: dict[str, dict[str, str]] = Field(default_factory=dict)
    fill_gap_s: float = Field(default=0.0, ge=0, le=10)
    median: int | None = Field(default=None, ge=3, le=101)
    gravity: Literal["keep", "remove", "align"] = "keep"
    gravity_method: GravityMethod = "auto"
    normalise: Literal["none", "recording"] = "none"

    @model_validator(mode="after")
    def _sound(self) -> SignalConfig:
        if self.median is not None and self.median % 2 == 0:
            raise ValueError(f"median is {self.median}, expected an odd number of samples")
        for placement, axes in self.axes.items():
            try:
                axis_matrix(axes)
            except RecordingError as error:
                raise ValueError(f"{placement}: {error.message}") from error
        return self

    def require_packages(self) -> None:
        """Check that the packages that the config needs are installed, before anything is read.

        Raises:
            ConfigError: the package `vqf` is required but not installed.
        """
        if self.gravity != "keep" and self.gravity_method == "vqf":
            vqf_package()


@dataclass(frozen=True, kw_only=True, eq=False)
class Conditioned:
    """One device on the common grid.

    Args:
        values: (6, T) float32.
        made_up: (T,) bool: True where a channel was filled.
        statistics: channel means and deviations that were removed, or None.
        clock: the report of a repair of the device's time stamps, or None.
    """

    values: np.ndarray
    made_up: np.ndarray
    statistics: dict[str, list[float]] | None
    clock: Mapping[str, Any] | None = None


def prepare_stream(stream: ImuStream, config: SignalConfig) -> ImuStream:
    """A device's stream with the clock and the axes that the config requests.

    Raises:
        RecordingError: a sensor that lacks an axis and cannot be rotated.
    """
    if config.clock == "regular":
        times, report = repair_times(stream.times)
        # A clock that the reader repaired is even already: the report of that repair is the one that tells something.
        stream = replace(stream, times=times, clock=stream.clock or report.plain())
    axes = config.axes.get(stream.placement)
    if axes is not None:
        stream = replace(stream, values=rotate(stream.values, axis_matrix(axes), stream.channels))
    return stream


def condition(values: np.ndarray, rate_hz: float, config: SignalConfig) -> Conditioned:
    """Apply the steps on the grid.

    Args:
        values: (6, T) float32 in canonical channels, NaN where missing.
        rate_hz: of the grid.
        config: which steps.

    Raises:
        RecordingError: the gravity method needs a gyroscope and the device has none.
    """
    made_up: np.ndarray = np.zeros(values.shape[1], dtype=bool)
    if config.fill_gap_s > 0:
        values, marks = fill_gaps(values, round(config.fill_gap_s * rate_hz))
        made_up = np.asarray(marks.any(axis=0))
    if config.median is not None:
        values = median_filter(values, config.median)
    if config.gravity == "remove":
        values = remove_gravity(values, rate_hz, config.gravity_method)
    elif config.gravity == "align":
        values = align_gravity(values, rate_hz, config.gravity_method)
    statistics = None
    if config.normalise == "recording":
        values, mean, std = standardise(values)
        statistics = {"mean": _digits(mean), "std": _digits(std)}
    return Conditioned(values=values, made_up=made_up, statistics=statistics)


def _digits(values: np.ndarray) -> list[float]:
    return [float(f"{value:.7g}") for value in values]
