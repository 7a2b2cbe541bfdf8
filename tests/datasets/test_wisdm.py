"""WISDM: devices, activities, clock faults, damaged lines; units are in test_layout.py."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.datasets.wisdm import Wisdm
from imu_video.errors import RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.wisdm(tmp_path)
    return tmp_path


RAW = "wisdm-dataset/wisdm-dataset/raw"


def test_a_recording_each_device_and_activity(tree: Path) -> None:
    source = Wisdm(root=str(tree))
    assert source.subjects() == ["1600", "1601"]
    found = [(r.name, r.imu[0].placement, r.segments[0].label) for r in source.recordings(["1600"])]
    assert found == [
        ("1600-phone-A", "pocket", "walking"),
        ("1600-phone-S", "pocket", "folding_clothes"),
        ("1600-watch-A", "wrist", "walking"),
        ("1600-watch-S", "wrist", "folding_clothes"),
    ]
    first = next(source.recordings())
    assert first.imu[0].values.shape == (6, 120), "accelerometer and gyroscope were sampled at different moments"
    assert np.isfinite(first.imu[0].values[0]).sum() == 60


def test_without_gyroscope_its_channels_are_left_out(tree: Path) -> None:
    (tree / RAW / "watch/gyro/data_1601_gyro_watch.txt").unlink()
    assert [len(r.imu[0].channels) for r in Wisdm(root=str(tree)).recordings(["1601"])] == [6, 6, 3, 3]


def test_clock_faults_are_repaired_and_told(tree: Path) -> None:
    path = tree / RAW / "phone/accel/data_1600_accel_phone.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[1], lines[0], lines[2], *lines[2:]]))
    first, second, *_ = Wisdm(root=str(tree)).recordings(["1600"])
    assert first.tags["clock"] == "repaired, 2 samples"
    assert second.tags["clock"] == "in order"


def test_damaged_lines(tree: Path) -> None:
    path = tree / RAW / "phone/accel/data_1600_accel_phone.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], lines[4].replace(",A,", ",N,"), *lines[5:]]))
    with pytest.raises(RecordingError, match=r"data_1600_accel_phone\.txt, line 5: activity 'N'"):
        next(Wisdm(root=str(tree)).recordings())
    path.write_text("\n".join([*lines[:4], lines[4].replace("0.", "x.", 1), *lines[5:]]))
    with pytest.raises(RecordingError, match=r"data_1600_accel_phone\.txt, line 5: .* expected a number"):
        next(Wisdm(root=str(tree)).recordings())
