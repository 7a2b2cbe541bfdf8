"""GoPro telemetry: clocks and axes on made-up payloads and movies, modes without real time, missing sensors."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.readers import GoProTelemetry
from imu_video.readers.gopro import axis_order, sample_times, to_camera_axes
from imu_video.readers.gpmf import Payload, payload
from tests.readers.camera_files import gpmf_stream, klv


def part(count: int, first: int | None, *, tick: float | None = None, stamp: float | None = None, mp4: float = 0.0):
    return Payload(
        values=np.zeros((count, 3)),
        first_sample=first,
        mp4_s=mp4,
        mp4_end_s=mp4 + 1.001,
        tick_s=tick,
        stamp_s=stamp,
        device="x",
        unit="m/s\xb2",
        title="",
        axes="ZXY",
    )


# ---------------------------------------------------------------------------------------------------------- clocks


@pytest.mark.parametrize("clock", ["stamp", "tick", "mp4"])
def test_times_follow_the_clock_not_the_payload_length(clock: str) -> None:
    """196, 199, 200 ... samples a payload and only 14 in the last one do not change the rate."""
    rate, counts = 198.7, [196, 199, 200, 199, 199, 14]
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    parts = []
    for i, (count, first) in enumerate(zip(counts, firsts, strict=True)):
        truth = 100.0 + first / rate
        shown = {"stamp": {"stamp": truth}, "tick": {"tick": round(truth, 3)}, "mp4": {}}[clock]
        parts.append(part(count, int(first), mp4=i * 1.001, **shown))
    shutter = part(30, 0, tick=100.018, stamp=100.018)
    times, late = sample_times(parts, shutter, source="f")
    expected = np.arange(sum(counts)) / rate - (0.018 if clock != "mp4" else 0)
    assert np.abs(times - expected).max() < {"stamp": 1e-6, "tick": 1e-3, "mp4": 0.03}[clock]
    assert late == 0


def test_a_lost_payload_leaves_a_gap() -> None:
    parts = [part(200, 200 * i, stamp=i * 1.0, mp4=i * 1.0) for i in (0, 1, 3, 4)]
    times, _ = sample_times(parts, None, source="f")
    assert len(times) == 800
    assert np.diff(times).max() == pytest.approx(1.005)
    assert times[-1] == pytest.approx(4.995)


def test_a_clock_that_jumps_is_followed_piecewise() -> None:
    parts = [part(200, 200 * i, stamp=i * 1.0 + (0.5 if i >= 3 else 0), mp4=i * 1.0) for i in range(6)]
    times, late = sample_times(parts, None, source="f")
    np.testing.assert_allclose(times[::200], [0, 1, 2, 3.5, 4.5, 5.5])
    assert (np.diff(times) > 0).all()
    assert late == 0


def test_one_payload_is_spread_over_its_duration() -> None:
    times, _ = sample_times([part(100, 0, mp4=2.0)], None, source="f")
    np.testing.assert_allclose(times, 2.0 + np.arange(100) * 0.01001)


# ------------------------------------------------------------------------------------------------------------ axes


@pytest.mark.parametrize(
    ("device", "title", "axes", "order"),
    [
        ("Camera", "Gyroscope (z,x,y)", "", "ZXY"),
        ("Camera", "Accelerometer (up/down, right/left, forward/back)", "", "ZXY"),
        ("GoPro Max", "Accelerometer", "XzY", "XzY"),
        ("Fusion", "Gyroscope (z,x,y)", "", "yXZ"),
        ("Some", "Accelerometer", "", ""),
    ],
)
def test_axis_order(device: str, title: str, axes: str, order: str) -> None:
    assert axis_order(device, title, axes) == order


def test_camera_axes() -> None:
    values = np.array([[1.0, 2.0, 3.0]])
    assert to_camera_axes(values, "ZXY").tolist() == [[2, 3, 1]]
    assert to_camera_axes(values, "yXZ").tolist() == [[2, -1, 3]]
    assert to_camera_axes(values, "").tolist() == [[1, 2, 3]]


def test_a_payload_is_read_with_scale_clock_and_axes() -> None:
    counts = np.array([[100, 200, 981], [110, 210, -981]])
    stream = gpmf_stream("ACCL", counts, scale=100, unit="m/s\xb2", stamp_us=4_321_000, total=12)
    data = klv("DEVC", None, 1, klv("DVNM", "c", 1, b"Hero") + stream)
    found = payload(data, "ACCL", 1.0, 2.0)
    assert found is not None
    assert (found.device, found.unit, found.axes) == ("Hero", "m/s\xb2", "YxZ")
    assert (found.first_sample, found.tick_s, found.stamp_s) == (10, None, 4.321)
    # stored Y, -X, Z = 1, 2, 9.81: x = -2, y = 1, z = 9.81
    np.testing.assert_allclose(to_camera_axes(found.values, found.axes), [[-2, 1, 9.81], [-2.1, 1.1, -9.81]])
    assert payload(data, "GYRO", 1.0, 2.0) is None


# ---------------------------------------------------------------------------------------------------------- movies


def test_values_and_times_of_a_movie(device_files: ModuleType, tmp_path: Path) -> None:
    acc, gyr = device_files.motion()
    reading = GoProTelemetry().read(device_files.gopro(tmp_path))
    tracks = reading.devices[0].tracks
    np.testing.assert_allclose(tracks["acc"].values.T, acc * 9.80665, atol=1 / 400)
    np.testing.assert_allclose(tracks["gyr"].values.T, np.deg2rad(gyr), atol=1 / 900)
    np.testing.assert_allclose(tracks["acc"].times, device_files.TIMES, atol=1e-5)
    assert dict(reading.tags) == {"camera": "Hero Test", "axes": "camera"}
    assert reading.notes == ()


@pytest.mark.parametrize(("sensors", "left"), [(("ACCL", "SHUT"), ["acc"]), (("GYRO",), ["gyr"])])
def test_a_missing_sensor_leaves_the_other(
    device_files: ModuleType, tmp_path: Path, sensors: tuple[str, ...], left: list[str]
) -> None:
    reading = GoProTelemetry().read(device_files.gopro(tmp_path, sensors=sensors))
    assert list(reading.devices[0].tracks) == left


def test_without_motion_it_is_refused(device_files: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="neither ACCL nor GYRO") as error:
        GoProTelemetry().read(device_files.gopro(tmp_path, sensors=("SHUT",)))
    assert "time-lapse" in (error.value.hint or "")


def test_a_payload_stamped_late_does_not_move_its_samples(device_files: ModuleType, tmp_path: Path) -> None:
    reading = GoProTelemetry().read(device_files.gopro(tmp_path, late={3: 0.4}))
    np.testing.assert_allclose(reading.devices[0].tracks["gyr"].times, device_files.TIMES, atol=1e-5)
    assert reading.notes[0] == "ACCL: 1 of 8 payloads stamped late: times follow the sample count"


def test_payloads_without_samples_are_counted(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.gopro(tmp_path)
    content = path.read_bytes()
    place = content.index(b"ACCL", content.index(b"ACCL", content.index(b"ACCL") + 4) + 4)
    path.write_bytes(content[:place] + b"XXXX" + content[place + 4 :])
    reading = GoProTelemetry().read(path)
    assert reading.notes == (
        "ACCL: 1 of 8 payloads without samples",
        "ACCL: 50 samples that the camera counted are not in the file",
    )
    acc = reading.devices[0].tracks["acc"]
    np.testing.assert_allclose(acc.times, np.delete(device_files.TIMES, np.s_[100:150]), atol=1e-5)


def test_a_payload_that_is_no_telemetry_is_counted(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.gopro(tmp_path, sensors=("GYRO",))
    content = path.read_bytes()
    place = content.rindex(b"DEVC")
    path.write_bytes(content[:place] + b"XXXX" + content[place + 4 :])
    assert GoProTelemetry().read(path).notes == ("GYRO: 1 of 8 payloads without samples",)


@pytest.mark.parametrize("speed", [30.0, 0.1])
def test_a_movie_that_is_not_in_real_time_is_refused(device_files: ModuleType, tmp_path: Path, speed: float) -> None:
    with pytest.raises(RecordingError, match=f"one second of the video takes {speed:g} s") as error:
        GoProTelemetry().read(device_files.gopro(tmp_path, speed=speed))
    assert "real time" in (error.value.hint or "")


@pytest.mark.parametrize("sensors", [("ACCL", "GYRO", "SHUT"), ("ACCL", "GYRO")])
def test_pre_roll_lies_before_the_movie(device_files: ModuleType, tmp_path: Path, sensors: tuple[str, ...]) -> None:
    reading = GoProTelemetry().read(device_files.gopro(tmp_path, pre_roll=3, sensors=sensors))
    np.testing.assert_allclose(reading.devices[0].tracks["acc"].times, device_files.TIMES - 3, atol=1e-3)


@pytest.mark.parametrize("sensors", [("ACCL", "SHUT"), ("ACCL",)])
def test_a_first_stamp_that_is_zero_is_not_used(
    device_files: ModuleType, tmp_path: Path, sensors: tuple[str, ...]
) -> None:
    reading = GoProTelemetry().read(device_files.gopro(tmp_path, first_stamp=0.0, sensors=sensors))
    np.testing.assert_allclose(reading.devices[0].tracks["acc"].times, device_files.TIMES, atol=1e-3)
