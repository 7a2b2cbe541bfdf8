"""Files that readers read, in the folder dataset: devices, clock, annotations, tags, and the declaration's checks."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from imu_video.datasets.folder import Folder
from imu_video.errors import ConfigError, RecordingError
from imu_video.testing import check_dataset


def declare(root: Path, **changes: Any) -> Path:
    base: dict[str, Any] = {
        "dataset": "phones",
        "licence": "CC0-1.0",
        "citation": "we, 2024",
        "url": "our shelf",
        "imu": {"reader": "sensor_logger"},
        "placements": {"pocket": {"reader": {"name": "sensor_logger", "device": "phone"}}},
        "files": {"imu": "{subject}/{recording}.zip"},
    }
    (root / "dataset.yaml").write_text(yaml.safe_dump({**base, **changes}))
    return root


def test_a_line_in_the_declaration_reads_a_phone_and_a_watch(files: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    files.sensor_logger(tmp_path / "anna", "zip", platform="ios")
    placements = {
        "pocket": {"reader": {"name": "sensor_logger", "device": "phone"}},
        "left_wrist": {"reader": {"name": "sensor_logger", "device": "watch"}},
    }
    source = Folder(root=str(declare(tmp_path, placements=placements)))
    recording = next(source.recordings())
    gravity, linear, _ = files.turning()
    assert [stream.placement for stream in recording.imu] == ["left_wrist", "pocket"]
    for stream in recording.imu:
        measured = np.isfinite(stream.values[0])
        np.testing.assert_allclose(stream.values[:3, measured], gravity + linear, atol=1e-6)
        assert stream.times[0] == pytest.approx(files.START, abs=1e-5)
    assert [(s.label, round(s.start - files.START, 2)) for s in recording.segments] == [("walk", 0.5), ("sit", 1.5)]
    assert recording.tags["platform"] == "ios"
    assert "gravity" not in recording.tags
    check_dataset(source)


def test_an_export_may_be_a_folder_and_its_clock_the_recording_s_own(files: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    path = files.sensor_logger(tmp_path / "anna", "folder", platform="android")
    for name in ("TotalAcceleration", "Gravity", "AccelerometerUncalibrated"):
        (path / f"{name}.csv").unlink()
    (tmp_path / "anna" / "walk.csv").write_text("start,end,label\n0.2,1.0,run\n")
    root = declare(
        tmp_path,
        imu={"reader": "sensor_logger", "clock": "recording"},
        placements={"pocket": None},
        files={"imu": "{subject}/{recording}", "labels": "{subject}/{recording}.csv"},
    )
    recording = next(Folder(root=str(root)).recordings())
    assert recording.imu[0].times[0] == pytest.approx(0.0, abs=1e-5)
    assert recording.tags["gravity"] == "removed"
    assert [(s.label, s.start, s.end) for s in recording.segments] == [("run", 0.2, 1.0)], "a label file comes first"


def test_the_declaration_is_checked_before_a_file_is_read(files: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    files.sensor_logger(tmp_path / "anna", "zip", platform="ios")
    for imu, expected in (
        ({"reader": "sensor_loger"}, "unknown reader 'sensor_loger'; did you mean 'sensor_logger'"),
        ({"reader": {"name": "sensor_logger", "platfrm": "ios"}}, "no argument 'platfrm'; did you mean 'platform'"),
        ({"reader": "sensor_logger", "units": {"acc": "g"}}, "'reader' replaces 'units'"),
    ):
        with pytest.raises(ConfigError, match=expected):
            Folder(root=str(declare(tmp_path, imu=imu, placements={"pocket": None})))
    root = declare(tmp_path, placements={"pocket": None})
    with pytest.raises(ConfigError, match="contains the devices phone, watch, headphones"):
        next(Folder(root=str(root)).recordings())
    with pytest.raises(RecordingError, match="annotation 'walk' is not declared"):
        next(Folder(root=str(declare(tmp_path, labels=["sit"]))).recordings())


def test_a_placement_with_columns_of_its_own_is_no_reader_s(files: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    path = files.sensor_logger(tmp_path / "anna", "folder", platform="android")
    (path / "Gyroscope.csv").rename(tmp_path / "anna" / "TotalAcceleration.csv")
    table = {
        "time": {"column": "seconds_elapsed", "unit": "s"},
        "channels": {"gyr_x": "x", "gyr_y": "y", "gyr_z": "z"},
        "units": {"gyr": "rad/s"},
    }
    root = declare(
        tmp_path,
        imu={"reader": "sensor_logger"},
        placements={"pocket": table},
        files={"imu": "{subject}/{recording}.csv"},
    )
    assert next(Folder(root=str(root)).recordings()).imu[0].channels == ("gyr_x", "gyr_y", "gyr_z")


def test_devices_with_and_without_gravity_are_not_mixed(files: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    path = files.sensor_logger(tmp_path / "anna", "folder", platform="android")
    (path / "Gyroscope.csv").unlink()
    (tmp_path / "anna" / "walk_hip.csv").write_text((path / "TotalAcceleration.csv").read_text())
    for name in ("TotalAcceleration", "Gravity", "AccelerometerUncalibrated"):
        (path / f"{name}.csv").unlink()
    table = {
        "time": {"column": "time", "unit": "ns"},
        "channels": {f"acc_{axis}": axis for axis in "xyz"},
        "units": {"acc": "m/s^2"},
    }
    root = declare(
        tmp_path,
        imu={},
        placements={"pocket": {"reader": "sensor_logger"}, "hip": table},
        files=None,
        recordings=[{"subject": "anna", "name": "r", "imu": {"pocket": "anna/walk", "hip": "anna/walk_hip.csv"}}],
    )
    with pytest.raises(ConfigError, match="gravity is removed from pocket, but not from its other placements"):
        next(Folder(root=str(root)).recordings())


def test_files_beside_the_declared_one_belong_to_it(files: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    files.metamotion(tmp_path / "anna")
    root = declare(
        tmp_path,
        imu={"reader": "metamotion"},
        placements={"wrist": None},
        files={"imu": "{subject}/{recording}_Accelerometer_*.csv"},
    )
    source = Folder(root=str(root))
    assert source.notes == (), "no file is unused"
    (unread,) = source.unread("anna")
    assert [path.name.split("_")[3] for path in unread.files] == ["Accelerometer", "Gyroscope"]
    assert next(source.recordings()).imu[0].channels == ("acc_x", "acc_y", "acc_z", "gyr_x", "gyr_y", "gyr_z")
