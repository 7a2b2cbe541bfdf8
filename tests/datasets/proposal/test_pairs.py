"""Accelerometer and gyroscope in separate tables: their pairs, their patterns."""

from __future__ import annotations

import pytest

from imu_video.datasets.proposal.files import ImuFile
from imu_video.datasets.proposal.names import read_names
from imu_video.datasets.proposal.pairs import pairs_of, pattern_of


@pytest.mark.parametrize(
    ("acc", "gyr", "pattern"),
    [
        ("{}/walk_acc.csv", "{}/walk_gyro.csv", "{subject}/{recording}_acc.csv"),
        ("{}/acc_walk.csv", "{}/gyr_walk.csv", "{subject}/acc_{recording}.csv"),
        ("{}/walk/Accelerometer.csv", "{}/walk/Gyroscope.csv", "{subject}/{recording}/Accelerometer.csv"),
        ("{}_walk_acc.csv", "{}_walk_gyr.csv", "{subject}_{recording}_acc.csv"),
        ("{}/walk_acc_hip.csv", "{}/walk_gyr_hip.csv", None),
    ],
)
def test_files_that_differ_in_the_sensor_alone(acc: str, gyr: str, pattern: str | None) -> None:
    kind = "columns t, x, y, z"
    files = [
        ImuFile(path=text.format(subject), kind=kind, evidence="") for subject in ("s1", "s2") for text in (acc, gyr)
    ]
    alone = ImuFile(path="s3/walk_acc.csv", kind=kind, evidence="")
    pairs = pairs_of([*files, alone])
    assert [pair.gyr.path for pair in pairs] == [gyr.format("s1"), gyr.format("s2")]
    names = read_names([pair.plain for pair in pairs])
    assert names.pattern is not None
    assert pattern_of(names.pattern, {pair.plain: pair.acc.path for pair in pairs}) == pattern
