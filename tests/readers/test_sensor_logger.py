"""Sensor Logger: the four exports of one motion agree, whatever the platform's units and signs."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers import SensorLogger
from imu_video.recordings.signal import convert

SHARED = Path(os.environ.get("IMU_VIDEO_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
REAL = SHARED / "format-fixtures" / "sensor-logger"


@pytest.mark.parametrize(
    ("form", "how"),
    [
        ("zip", {"platform": "android"}),
        ("folder", {"platform": "ios"}),
        ("json", {"platform": "ios"}),
        ("sqlite", {"platform": "ios", "standardised": True}),
    ],
)
@pytest.mark.parametrize("acceleration", ["auto", "sum", "uncalibrated"])
def test_every_export_gives_the_same_specific_force(
    files: ModuleType, tmp_path: Path, form: str, how: dict[str, object], acceleration: str
) -> None:
    gravity, linear, rate = files.turning()
    reading = SensorLogger(acceleration=acceleration).read(files.sensor_logger(tmp_path, form, **how))  # type: ignore[arg-type]
    phone = reading.device("phone", source="x")
    acc, gyr = phone.tracks["acc"], phone.tracks["gyr"]
    assert phone.gravity is True
    np.testing.assert_allclose(convert(acc.values, acc.unit, "acc"), gravity + linear, atol=1e-9)
    np.testing.assert_allclose(convert(gyr.values, gyr.unit, "gyr"), rate, atol=1e-9)
    np.testing.assert_allclose(acc.times, files.TIMES, atol=2e-6)
    np.testing.assert_allclose(gyr.times, files.TIMES + 0.004, atol=2e-6)
    assert reading.start_utc == pytest.approx(files.START, abs=1e-5)
    assert [(s.label, round(s.start, 3), round(s.end, 3)) for s in reading.segments] == [
        ("walk", 0.5, 1.5),
        ("sit", 1.5, 2.004),
    ]
    assert reading.tags["platform"] == how["platform"]
    assert reading.tags["time_zone"] == "Europe/Berlin"


@pytest.mark.parametrize("standardised", [False, True])
def test_watch_and_headphones_are_further_devices(files: ModuleType, tmp_path: Path, standardised: bool) -> None:
    gravity, linear, rate = files.turning()
    reading = SensorLogger().read(files.sensor_logger(tmp_path, platform="ios", standardised=standardised))
    assert [device.name for device in reading.devices] == ["phone", "watch", "headphones"]
    for device in reading.devices[1:]:
        np.testing.assert_allclose(device.tracks["acc"].values, gravity + linear, atol=1e-9)
        np.testing.assert_allclose(device.tracks["gyr"].values, rate, atol=1e-9)
        assert device.gravity is True


def test_without_gravity_the_reading_says_so(files: ModuleType, tmp_path: Path) -> None:
    _, linear, _ = files.turning()
    path = files.sensor_logger(tmp_path, "folder", platform="ios")
    for name in ("Gravity", "AccelerometerUncalibrated", "WristMotion", "Headphone"):
        (path / f"{name}.csv").unlink()
    reading = SensorLogger().read(path)
    assert reading.devices[0].gravity is False
    np.testing.assert_allclose(reading.devices[0].tracks["acc"].values, linear, atol=1e-9)
    assert reading.notes[0] == "phone: only acceleration without gravity was recorded"
    with pytest.raises(ConfigError, match="has no acceleration 'sum'; it has: linear"):
        SensorLogger(acceleration="sum").read(path)


def test_an_unknown_platform_is_asked_for(files: ModuleType, tmp_path: Path) -> None:
    _, linear, _ = files.turning()
    path = files.sensor_logger(tmp_path, "folder", platform="ios")
    for name in ("Metadata", "AccelerometerUncalibrated", "WristMotion", "Headphone"):
        (path / f"{name}.csv").unlink()
    with pytest.raises(RecordingError, match="iPhone or an Android phone") as error:
        SensorLogger().read(path)
    assert "platform: android" in (error.value.hint or "")
    read = SensorLogger(platform="ios", acceleration="linear").read(path).devices[0].tracks["acc"]
    np.testing.assert_allclose(read.values, linear, atol=1e-9)
    with pytest.raises(ConfigError, match="its Metadata contains platform android, the declaration says ios"):
        SensorLogger(platform="ios").read(files.sensor_logger(tmp_path, "zip", platform="android"))


def test_the_size_of_raw_acceleration_tells_the_platform_s_sign(files: ModuleType, tmp_path: Path) -> None:
    gravity, linear, _ = files.turning()
    path = files.sensor_logger(tmp_path, "folder", platform="ios")
    (path / "Metadata.csv").unlink()
    acc = SensorLogger().read(path).devices[0].tracks["acc"]
    np.testing.assert_allclose(acc.values, gravity + linear, atol=1e-9)


def test_repeated_rows_are_counted_and_one_csv_stands_for_its_siblings(files: ModuleType, tmp_path: Path) -> None:
    sheets = files.sensor_logger_sheets("android")
    for name in ("TotalAcceleration", "Gyroscope", "Metadata"):
        text = files.csv_text(sheets[name])
        if name == "Gyroscope":
            lines = text.splitlines(keepends=True)
            text = "".join([*lines[:9], *lines[5:]])
        (tmp_path / f"s1_{name}.csv").write_text(text)
    (tmp_path / "s2_Gyroscope.csv").write_text(files.csv_text(sheets["Gyroscope"]))
    path = tmp_path / "s1_Gyroscope.csv"
    reading = SensorLogger().read(path)
    assert [p.name for p in SensorLogger().files(path)] == [
        "s1_Gyroscope.csv",
        "s1_Metadata.csv",
        "s1_TotalAcceleration.csv",
    ]
    assert set(reading.devices[0].tracks) == {"acc", "gyr"}
    assert len(reading.devices[0].tracks["gyr"].times) == files.SAMPLES
    assert reading.notes == ("s1_Gyroscope.csv: 5 samples repeated or out of order",)
    with pytest.raises(RecordingError, match="contains several exports"):
        SensorLogger().read(tmp_path)


def test_names_of_files_in_lower_case(files: ModuleType, tmp_path: Path) -> None:
    path = files.sensor_logger(tmp_path, "folder", platform="ios")
    (path / "Metadata.csv").rename(path / "metadata.csv")
    (path / "AccelerometerUncalibrated.csv").unlink()
    (path / "WristMotion.csv").unlink()
    assert SensorLogger().read(path).tags["platform"] == "ios", "from the metadata alone"


def test_a_wrong_field_is_named_with_its_line(files: ModuleType, tmp_path: Path) -> None:
    path = files.sensor_logger(tmp_path, "folder", platform="android")
    file = path / "Gyroscope.csv"
    lines = file.read_text().splitlines()
    lines[7] = lines[7].rsplit(",", 1)[0] + ",oops"
    file.write_text("\n".join(lines))
    with pytest.raises(RecordingError, match=r"Gyroscope\.csv, line 8: 'x' is 'oops', expected a number"):
        SensorLogger().read(path)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real recordings: ../shared/data or $IMU_VIDEO_DATA")
def test_real_exports() -> None:
    android = SensorLogger().read(REAL / "a_Gyroscope.csv").devices[0]
    assert android.gravity is True
    assert np.median(np.linalg.norm(android.tracks["acc"].values, axis=0)) == pytest.approx(9.8, abs=0.7)
    assert 1 / np.median(np.diff(android.tracks["acc"].times)) == pytest.approx(101.5, abs=1)
    other = SensorLogger(platform="android").read(REAL / "b_Accelerometer.csv")
    assert other.devices[0].gravity is False
    assert other.start_utc == pytest.approx(1760565906.145, abs=0.01)
