"""Statistics that no motion has in m/s^2 and rad/s are named with channel, value and range."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from imu_video.errors import ShardError
from imu_video.shards.batches.arrays import channel_statistics
from imu_video.shards.reading.array_files import RunningStatistics
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.plausible import check_signals, faults
from imu_video.shards.schema import Index

CHANNELS = ("acc_x", "acc_y", "acc_z", "gyr_x", "gyr_y", "gyr_z")


def seen(change: Callable[[np.ndarray], None] | None = None, normalised: str = "none") -> list[str]:
    """Faults of windows (20, 6, 50) of noise with gravity on z."""
    windows = np.random.default_rng(0).normal(size=(20, 6, 50)).astype(np.float32)
    if normalised == "none":
        windows[:, 2] += 9.8
    if change is not None:
        change(windows)
    running = RunningStatistics([f"waist.{channel}" for channel in CHANNELS])
    running.add(windows)
    return faults(running.statistics(), normalised)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w[3, 1].__setitem__(4, 1e38), "waist.acc_y: largest magnitude 1e+38 m/s^2, expected at most 10000"),
        (lambda w: w[:, :3].__imul__(980.0), "waist.acc_x: standard deviation"),  # mg
        (lambda w: w[:, :3].__imul__(1e4), "waist.acc_x: largest magnitude"),  # raw counts
        (lambda w: w[:, 3:].__imul__(57.3), "waist.gyr_x: standard deviation 5"),  # deg/s
        (lambda w: w[:, 4].__iadd__(30), "waist.gyr_y: magnitude of the mean 30"),
        (lambda w: w[:, :3].fill(0), "waist.acc: all 3 channels are constant"),
        (lambda w: w[:, 3:].fill(1.5), "waist.gyr: all 3 channels are constant"),
    ],
)
def test_faults(change: Callable[[np.ndarray], None], message: str) -> None:
    assert seen(change)[0].startswith(message)


@pytest.mark.parametrize(
    "change",
    [
        None,
        lambda w: w[:, 3:].fill(np.nan),  # no gyroscope
        lambda w: w[:, 5].fill(0),  # a gyroscope of two axes
        lambda w: w[:, :3].__imul__(0.1),  # nearly at rest
        lambda w: w[:, :2].__imul__(100),  # impacts
        lambda w: w[0, 0].fill(np.nan),
    ],
)
def test_what_sensors_record_is_accepted(change: Callable[[np.ndarray], None] | None) -> None:
    assert seen(change) == []


def test_standardised_recordings_have_ranges_of_their_own() -> None:
    assert seen(normalised="recording") == []
    assert seen(lambda w: w[:, 1].__iadd__(50), "recording")[0].startswith(
        "waist.acc_y: magnitude of the mean 49.95, expected at most 10"
    )


def test_the_error_names_folder_and_remedy(shared_folder: Index) -> None:
    columns = open_columns(shared_folder, "train")
    statistics = channel_statistics(columns)
    assert list(statistics) == [f"{p}.{c}" for p in ("right_wrist", "waist") for c in CHANNELS]
    assert statistics["waist.acc_x"] == columns.imu.facts.statistics["waist.acc_x"]
    check_signals(statistics, shared_folder, "train")
    assert list(channel_statistics(columns, ["waist", "head"])) == [f"waist.{c}" for c in CHANNELS]
    bad = {**statistics, "waist.acc_x": statistics["waist.acc_x"].model_copy(update={"mean": 77.0})}
    with pytest.raises(ShardError, match=r"split 'train': waist.acc_x: magnitude of the mean 77") as caught:
        check_signals(bad, shared_folder, "train")
    assert f"delete {shared_folder.root}/columns/train" in str(caught.value)
