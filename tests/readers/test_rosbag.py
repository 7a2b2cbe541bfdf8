"""Bags of ROS 1 and ROS 2."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.readers import Rosbag


@pytest.mark.parametrize("compression", ["bz2", "none"])
def test_ros_1(device_files: ModuleType, tmp_path: Path, compression: str) -> None:
    acc, gyr = device_files.motion()
    reading = Rosbag().read(device_files.rosbag(tmp_path, compression=compression))
    tracks = reading.devices[0].tracks
    np.testing.assert_allclose(tracks["acc"].values.T, acc * 9.80665)
    np.testing.assert_allclose(tracks["gyr"].values.T, np.deg2rad(gyr))
    np.testing.assert_allclose(tracks["acc"].times, device_files.TIMES, atol=1e-6)
    assert reading.start_utc == device_files.LOCAL_START


def test_ros_2(device_files: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "walk"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "walk_0.db3")) as base:
        base.execute("CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT)")
        base.execute("CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)")
        base.execute("INSERT INTO topics VALUES (1, '/imu/data', 'sensor_msgs/msg/Imu', 'cdr')")
        base.execute("INSERT INTO topics VALUES (2, '/camera', 'sensor_msgs/msg/Image', 'cdr')")
        rows = [(1, i, device_files.imu_message(i, "cdr")) for i in range(400)]
        base.executemany("INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)", rows[::-1])
        base.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES (1, 500, x'0001')")
        base.commit()
    (folder / "metadata.yaml").write_text("rosbag2_bagfile_information: {version: 5}\n")
    assert Rosbag().recognises(folder) == "folder with metadata.yaml and walk_0.db3"
    assert Rosbag().recognises(folder / "walk_0.db3") == "SQLite tables of a ROS 2 bag"
    acc, _ = device_files.motion()
    reading = Rosbag().read(folder)
    np.testing.assert_allclose(reading.devices[0].tracks["acc"].values.T, acc * 9.80665)
    assert reading.notes == ("/imu/data: 1 messages cannot be decoded: skipped",)
    (folder / "walk_1.db3").write_bytes(b"")
    with pytest.raises(RecordingError, match=r"2 files \.db3 or \.mcap"):
        Rosbag().read(folder)


def test_a_cut_bag_is_read_up_to_there(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.rosbag(tmp_path, compression="none")
    content = path.read_bytes()
    path.write_bytes(content + content[13:200])  # a second chunk that ends early
    reading = Rosbag().read(path)
    assert len(reading.devices[0].tracks["acc"].times) == 400
    assert "not a complete record: the bag was cut off" in reading.notes[-1]
