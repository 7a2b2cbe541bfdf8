"""mHealth: placements, labels, the unit of its angular rate, damaged files; units are in test_layout.py."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.datasets.mhealth import MHealth
from imu_video.errors import RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.mhealth(tmp_path)
    return tmp_path


def test_recordings_and_labels(tree: Path) -> None:
    source = MHealth(root=str(tree))
    assert source.subjects() == ["s01", "s10"]
    recording = next(source.recordings())
    assert [(s.placement, len(s.channels)) for s in recording.imu] == [
        ("chest", 3),
        ("left_ankle", 6),
        ("right_wrist", 6),
    ]
    assert [(s.label, s.start, s.end) for s in recording.segments] == [("walking", 2.0, 4.0), ("lying", 4.0, 6.0)]


def test_angular_rates_that_cannot_be_degrees_are_refused(tree: Path) -> None:
    """A runner's ankle turns by hundreds of degrees a second; numbers of a few are in another unit."""
    path = tree / "MHEALTHDATASET/mHealth_subject1.log"
    table = np.loadtxt(path)
    table[100:, 23], table[:, [8, 9, 10, 17, 18, 19]] = 11, 1.5
    np.savetxt(path, table, delimiter="\t")
    with pytest.raises(RecordingError, match=r"below 1\.5 deg/s in jogging") as caught:
        next(MHealth(root=str(tree)).recordings())
    assert "dataset.gyroscope=drop" in str(caught.value)
    dropped = next(MHealth(root=str(tree), gyroscope="drop").recordings())
    assert all(len(s.channels) == 3 for s in dropped.imu)
    declared = next(MHealth(root=str(tree), gyroscope="rad/s").recordings())
    np.testing.assert_allclose(declared.imu[1].values[3:], 1.5)


def test_damaged_file(tree: Path) -> None:
    path = tree / "MHEALTHDATASET/mHealth_subject1.log"
    path.write_text(path.read_text().replace("\t4.0\n", "\tfour\n", 1))
    with pytest.raises(RecordingError, match=r"mHealth_subject1\.log, line 101: .* expected 24 finite numbers"):
        next(MHealth(root=str(tree)).recordings())
