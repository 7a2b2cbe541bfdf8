"""C3D: real and integer files of both byte orders, units, and files without inertial sensors."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers import C3d


@pytest.mark.parametrize(("floats", "order"), [(True, "<"), (False, "<"), (True, ">"), (False, ">")])
def test_values(device_files: ModuleType, tmp_path: Path, floats: bool, order: str) -> None:
    acc, gyr = device_files.motion()
    reading = C3d().read(device_files.c3d(tmp_path, floats=floats, order=order))
    assert [d.name for d in reading.devices] == ["sensor_1_1"]
    tracks = reading.devices[0].tracks
    np.testing.assert_allclose(tracks["acc"].values.T, acc, atol=0.0006)
    np.testing.assert_allclose(tracks["gyr"].values.T, gyr, atol=0.006)
    np.testing.assert_allclose(tracks["acc"].times, device_files.TIMES, atol=1e-9)
    assert (tracks["acc"].unit, tracks["gyr"].unit) == ("g", "deg/s")


def test_units_of_the_file_are_understood(device_files: ModuleType, tmp_path: Path) -> None:
    acc, _ = device_files.motion()
    reading = C3d().read(device_files.c3d(tmp_path, units=("mm/s²", "rad/s")))
    track = reading.devices[0].tracks["acc"]
    assert track.unit == "m/s^2"
    np.testing.assert_allclose(track.values.T, acc * 1e-3, atol=1e-6)


def test_the_hint_about_a_unit_helps(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.c3d(tmp_path, units=("V", "deg/s"))
    with pytest.raises(ConfigError, match=r"unit of 'Sensor 1.ACCX1' is 'V'") as error:
        C3d().read(path)
    assert "acc_unit: g" in (error.value.hint or "")
    assert C3d(acc_unit="g").read(path).devices[0].tracks["acc"].unit == "g"


def test_a_cut_file_is_refused(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.c3d(tmp_path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(RecordingError, match=r"ends after 17. of 200 frames"):
        C3d().read(path)


def test_without_inertial_sensors_it_is_refused(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.c3d(tmp_path)
    content = path.read_bytes()
    for kind in (b"ACC", b"GYRO"):
        content = content.replace(kind, kind[:-1] + b"Q")
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="none of its 7 analog channels is an axis"):
        C3d().read(path)
