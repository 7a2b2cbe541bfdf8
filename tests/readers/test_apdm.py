"""APDM: monitors named by their labels, sizes checked before they are read."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.readers import Apdm

h5py = pytest.importorskip("h5py", reason="needs the extra readers")


def test_monitors_are_devices(device_files: ModuleType, tmp_path: Path) -> None:
    acc, gyr = device_files.motion()
    reading = Apdm().read(device_files.apdm(tmp_path))
    assert [d.name for d in reading.devices] == ["left_foot", "lumbar"]
    tracks = reading.devices[1].tracks
    np.testing.assert_allclose(tracks["acc"].values.T, acc * 9.80665)
    np.testing.assert_allclose(tracks["gyr"].values.T, np.deg2rad(gyr))
    np.testing.assert_allclose(tracks["mag"].times, device_files.TIMES, atol=1e-6)
    assert reading.start_utc == device_files.LOCAL_START
    assert "2 annotations" in reading.notes[0]


def test_an_old_format_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["FileFormatVersion"] = 3
    with pytest.raises(RecordingError, match=r"no group 'Sensors' in it .FileFormatVersion 3."):
        Apdm().read(tmp_path / "old.h5")


def test_a_large_shape_in_a_small_file_is_refused(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.apdm(tmp_path)
    with h5py.File(path, "a") as file:
        del file["Sensors/1234/Accelerometer"]
        file.create_dataset("Sensors/1234/Accelerometer", (100_000_000, 3), "f8", chunks=(1000, 3))  # nothing stored
    with pytest.raises(RecordingError, match="2400000000 bytes in 0 stored ones"):
        Apdm().read(path)
