"""MCAP: the encodings of ROS 1, ROS 2 and JSON; cut files and damaged chunks are read as far as they are sound."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.readers import Mcap


@pytest.mark.parametrize("encoding", ["cdr", "ros1", "json"])
def test_encodings(device_files: ModuleType, tmp_path: Path, encoding: str) -> None:
    acc, gyr = device_files.motion()
    reading = Mcap().read(device_files.mcap(tmp_path, encoding=encoding))
    assert [d.name for d in reading.devices] == ["imu_data"]
    assert reading.notes == ()
    tracks = reading.devices[0].tracks
    np.testing.assert_allclose(tracks["acc"].values.T, acc * 9.80665)
    np.testing.assert_allclose(tracks["gyr"].values.T, np.deg2rad(gyr))
    np.testing.assert_allclose(tracks["acc"].times, device_files.TIMES, atol=1e-6)
    assert reading.start_utc == device_files.LOCAL_START


def test_a_cut_file_is_read_up_to_there(device_files: ModuleType, tmp_path: Path) -> None:
    reading = Mcap().read(device_files.mcap(tmp_path, cut=True))
    assert len(reading.devices[0].tracks["acc"].times) == 200
    assert "the end of the file is missing" in reading.notes[0]


def test_a_damaged_chunk_is_counted(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.mcap(tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content)
    reading = Mcap().read(path)
    assert reading.notes == ("1 of 2 chunks damaged: skipped",)
    assert reading.start_utc == device_files.LOCAL_START + 4


def test_without_imu_messages_it_is_refused(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.mcap(tmp_path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(RecordingError, match="no topic with two or more messages sensor_msgs/Imu"):
        Mcap().read(path)
