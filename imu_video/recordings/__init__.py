"""From raw streams to clean windows: units, resampling, sync, quality, subject splits, cutting; reads no files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.recordings.axes import axis_matrix, rotate
    from imu_video.recordings.calibration import fit_gravity
    from imu_video.recordings.checks import Check
    from imu_video.recordings.gravity import align_gravity, gravity_vector, remove_gravity
    from imu_video.recordings.prepare import SignalConfig, prepare_stream
    from imu_video.recordings.quality import Inspector, resolve_checks
    from imu_video.recordings.recipe import Recipe
    from imu_video.recordings.signal import resample_to_grid, resample_uniform
    from imu_video.recordings.splits import SplitConfig, assign
    from imu_video.recordings.sync import SyncConfig, SyncEstimate, estimate_sync
    from imu_video.recordings.timestamps import ClockReport, repair_times
    from imu_video.recordings.units import check_plausible, convert
    from imu_video.recordings.windows import WindowConfig, cut

__all__ = [
    "Check",
    "ClockReport",
    "Inspector",
    "Recipe",
    "SignalConfig",
    "SplitConfig",
    "SyncConfig",
    "SyncEstimate",
    "WindowConfig",
    "align_gravity",
    "assign",
    "axis_matrix",
    "check_plausible",
    "convert",
    "cut",
    "estimate_sync",
    "fit_gravity",
    "gravity_vector",
    "prepare_stream",
    "remove_gravity",
    "repair_times",
    "resample_to_grid",
    "resample_uniform",
    "resolve_checks",
    "rotate",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "axes": ["axis_matrix", "rotate"],
        "calibration": ["fit_gravity"],
        "checks": ["Check"],
        "gravity": ["align_gravity", "gravity_vector", "remove_gravity"],
        "prepare": ["SignalConfig", "prepare_stream"],
        "quality": ["Inspector", "resolve_checks"],
        "recipe": ["Recipe"],
        "signal": ["resample_to_grid", "resample_uniform"],
        "splits": ["SplitConfig", "assign"],
        "sync": ["SyncConfig", "SyncEstimate", "estimate_sync"],
        "timestamps": ["ClockReport", "repair_times"],
        "units": ["check_plausible", "convert"],
        "windows": ["WindowConfig", "cut"],
    },
)
