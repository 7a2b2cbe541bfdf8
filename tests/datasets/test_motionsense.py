"""MotionSense: trials, gravity and its sign, damaged files; units are in test_layout.py."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from imu_video.datasets.motionsense import MotionSense
from imu_video.errors import RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.motionsense(tmp_path)
    return tmp_path


def test_trials_of_the_right_folder(tree: Path) -> None:
    source = MotionSense(root=str(tree))
    assert source.subjects() == ["s01", "s24"]
    assert [(r.name, r.segments[0].label, r.tags["trial"]) for r in source.recordings()] == [
        ("s01-dws-1", "downstairs", "1"),
        ("s01-sit-13", "sitting", "13"),
        ("s24-wlk-7", "walking", "7"),
    ]


def test_a_phone_at_rest_measures_gravity_upwards(tree: Path, trees: ModuleType) -> None:
    """iOS gives gravity as (0, 0, -1) g with the screen up; a specific force there is +9.81 along z."""
    path = tree / "data/A_DeviceMotion_data/A_DeviceMotion_data/dws_1/sub_1.csv"
    header = path.read_text().splitlines()[0]
    names = header.split(",")
    row = ["0"] * len(names)
    row[names.index("gravity.z")] = "-1"
    path.write_text("\n".join([header, *[",".join(row)] * 60]))
    values = next(MotionSense(root=str(tree)).recordings()).imu[0].values
    assert values[:3].mean(axis=1) == pytest.approx([0, 0, trees.G])


def test_damaged_files(tree: Path) -> None:
    path = tree / "data/A_DeviceMotion_data/A_DeviceMotion_data/dws_1/sub_1.csv"
    whole = path.read_text()
    path.write_text(whole.replace("rotationRate.y", "rotation.y"))
    with pytest.raises(RecordingError, match=r"sub_1\.csv: no column 'rotationRate\.y'"):
        next(MotionSense(root=str(tree)).recordings())
    path.write_text(whole.splitlines()[0])
    with pytest.raises(RecordingError, match=r"sub_1\.csv: no rows"):
        next(MotionSense(root=str(tree)).recordings())
