"""BIDS-Motion: inheritance of sidecars, missing values, events, units."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.readers import BidsMotion


def test_points_are_devices(device_files: ModuleType, tmp_path: Path) -> None:
    acc, gyr = device_files.motion()
    reading = BidsMotion().read(device_files.bids_motion(tmp_path))
    assert [d.name for d in reading.devices] == ["left_foot", "right_wrist"]
    left, right = (d.tracks for d in reading.devices)
    np.testing.assert_allclose(np.delete(left["acc"].values.T, 7, axis=0), np.delete(acc, 7, axis=0), atol=1e-6)
    assert np.isnan(left["acc"].values[:, 7]).all()
    np.testing.assert_allclose(right["gyr"].values.T, -gyr, atol=1e-6)
    np.testing.assert_allclose(left["acc"].times, device_files.TIMES)
    assert reading.start_utc == device_files.LOCAL_START + 0.5
    assert [(s.label, s.start, s.end) for s in reading.segments] == [("walk", 0.5, 2.5), ("turn", 4.0, 5.5)]
    assert BidsMotion(events=False).read(device_files.bids_motion(tmp_path / "b")).segments == ()


def test_files_name_all_that_determines_the_reading(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.bids_motion(tmp_path)
    assert [p.name for p in BidsMotion().files(path)] == [
        "sub-01_task-walk_tracksys-imu_channels.tsv",
        "sub-01_task-walk_tracksys-imu_events.tsv",
        "sub-01_task-walk_tracksys-imu_motion.tsv",
        "sub-01_scans.tsv",
        "task-walk_tracksys-imu_motion.json",
    ]


@pytest.mark.parametrize(
    ("suffix", "old", "new", "message"),
    [
        ("channels", "LeftFoot\tg", "LeftFoot\tbananas", "unit of acc of 'left_foot' is bananas, g"),
        ("channels", "\ttracked_point", "\tpoint", "line 1: no column 'tracked_point'"),
        ("channels", "\tx\tACCEL", "\ty\tACCEL", "two channels ACCEL y of 'LeftFoot'"),
        ("events", "0.5\t2.0\twalk", "soon\t2.0\twalk", "events.tsv, line 2: onset 'soon'"),
    ],
)
def test_faults_name_file_and_line(
    device_files: ModuleType, tmp_path: Path, suffix: str, old: str, new: str, message: str
) -> None:
    path = device_files.bids_motion(tmp_path)
    file = path.with_name(path.name.replace("motion.tsv", f"{suffix}.tsv"))
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(RecordingError, match=message):
        BidsMotion().read(path)


def test_the_hint_about_the_rate_helps(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.bids_motion(tmp_path)
    sidecar = tmp_path / "study" / "task-walk_tracksys-imu_motion.json"
    sidecar.write_text("{}")
    with pytest.raises(RecordingError, match="neither a LATENCY channel nor a SamplingFrequency") as error:
        BidsMotion().read(path)
    assert "SamplingFrequency" in (error.value.hint or "")
    path.with_name(path.name.replace(".tsv", ".json")).write_text('{"SamplingFrequency": 25.0}')
    assert BidsMotion().read(path).devices[0].tracks["acc"].times[1] == pytest.approx(0.04)
