"""SensorLog and other files with the quantities of Core Motion: sign, gravity, clocks, repeated rows."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers import CoreMotion, SensorLog
from imu_video.recordings.signal import convert


@pytest.mark.parametrize("acceleration", ["raw", "sum"])
def test_sensorlog_has_the_sign_of_a_specific_force(files: ModuleType, tmp_path: Path, acceleration: str) -> None:
    gravity, linear, rate = files.turning()
    reading = SensorLog(acceleration=acceleration).read(files.sensorlog(tmp_path))  # type: ignore[arg-type]
    phone = reading.devices[0]
    acc, gyr = phone.tracks["acc"], phone.tracks["gyr"]
    np.testing.assert_allclose(convert(acc.values, acc.unit, "acc"), gravity + linear, atol=1e-9)
    np.testing.assert_allclose(acc.times, files.TIMES, atol=1e-6)
    assert reading.start_utc == pytest.approx(files.START + 0.007, abs=1e-6)
    if acceleration == "raw":  # the raw gyroscope is slower, and its rows repeat
        np.testing.assert_allclose(gyr.values, rate[:, ::2], atol=1e-9)
        np.testing.assert_allclose(gyr.times, files.TIMES[::2], atol=1e-6)
    assert [(s.label, round(s.start, 2), round(s.end, 2)) for s in reading.segments] == [("2", 0.5, 1.5)]
    assert reading.notes == ()


def test_user_acceleration_alone_has_no_gravity(files: ModuleType, tmp_path: Path) -> None:
    path = files.sensorlog(tmp_path, "stream Apple Watch 1.csv", raw=False)
    reading = SensorLog(acceleration="user").read(path)
    assert (reading.devices[0].name, reading.devices[0].gravity) == ("watch", False)
    assert SensorLog().read(path).devices[0].gravity is True, "user acceleration and gravity"
    with pytest.raises(ConfigError, match="has no acceleration 'raw'; it has: sum, user"):
        SensorLog(acceleration="raw").read(path)


@pytest.mark.parametrize(
    ("per_second", "zero"), [(1.0, "START"), (1e3, "START"), (1e9, "START"), (1.0, 0.0), (1e3, 0.0)]
)
def test_the_step_of_the_times_tells_their_unit(
    files: ModuleType, tmp_path: Path, per_second: float, zero: float | str
) -> None:
    gravity, linear, rate = files.turning()
    path = files.core_motion(tmp_path, per_second=per_second, zero=files.START if zero == "START" else zero)
    reading = CoreMotion().read(path)
    watch = reading.devices[0]
    np.testing.assert_allclose(convert(watch.tracks["acc"].values, "g", "acc"), gravity + linear, atol=1e-9)
    np.testing.assert_allclose(watch.tracks["gyr"].values, rate, atol=1e-9)
    np.testing.assert_allclose(watch.tracks["acc"].times, files.TIMES, atol=1e-5)
    assert reading.start_utc == (pytest.approx(files.START, abs=1e-5) if zero == "START" else None)


def test_a_doubtful_time_is_asked_for(files: ModuleType, tmp_path: Path) -> None:
    path = files.core_motion(tmp_path)
    text = path.read_text()
    path.write_text(text.replace("timestamp", "timestamp,time", 1).replace("\n", "\n0,").rsplit("0,", 1)[0])
    with pytest.raises(ConfigError, match=r"the columns \['timestamp', 'time'\] look like the time") as error:
        CoreMotion().read(path)
    assert "time: COLUMN" in (error.value.hint or "")
    assert CoreMotion(time="time").read(path).start_utc == pytest.approx(files.START, abs=1e-5)
    slow = files.core_motion(tmp_path, "slow.csv", per_second=25.0, zero=0.0)
    with pytest.raises(ConfigError, match="which fits no unit"):
        CoreMotion().read(slow)
    (tmp_path / "other.csv").write_text("time,a\n1,2\n3,4\n")
    with pytest.raises(RecordingError, match="no columns of Core Motion"):
        CoreMotion().read(tmp_path / "other.csv")
