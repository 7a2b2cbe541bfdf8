"""MetaMotion: two files form one device."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.readers import MetaMotion
from imu_video.recordings.signal import convert


@pytest.mark.parametrize("form", ["csv", "zip"])
def test_two_files_form_one_device(files: ModuleType, tmp_path: Path, form: str) -> None:
    gravity, linear, rate = files.turning()
    path = files.metamotion(tmp_path, form)
    reading = MetaMotion().read(path)
    tracks = reading.devices[0].tracks
    np.testing.assert_allclose(convert(tracks["acc"].values, "g", "acc"), gravity + linear, atol=1e-9)
    np.testing.assert_allclose(convert(tracks["gyr"].values, "deg/s", "gyr"), rate, atol=1e-9)
    np.testing.assert_allclose(tracks["gyr"].times, files.TIMES + 0.005, atol=1e-3)
    assert reading.start_utc == pytest.approx(files.START, abs=1e-3)
    assert len(MetaMotion().files(path)) == (2 if form == "csv" else 1)


def test_two_sensors_in_a_folder_are_told_apart(files: ModuleType, tmp_path: Path) -> None:
    path = files.metamotion(tmp_path)
    other = tmp_path / path.name.replace("E8C9A9D9D4D7", "D70000000001")
    other.write_text(path.read_text())
    assert len(MetaMotion().files(path)) == 2
    assert set(MetaMotion().read(other).devices[0].tracks) == {"acc"}
    with pytest.raises(RecordingError, match="contains several recordings"):
        MetaMotion().read(tmp_path)
