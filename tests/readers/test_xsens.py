"""Xsens DOT and MTw: units of the angular rate, wrapping counters, lost packets, increments."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers import XsensDot, XsensMtw
from imu_video.readers.xsens import unwrapped
from imu_video.recordings.signal import convert


def test_dot_has_degrees_and_microseconds_that_wrap_around(files: ModuleType, tmp_path: Path) -> None:
    gravity, linear, rate = files.turning()
    path = files.xsens_dot(tmp_path)
    reading = XsensDot().read(path)
    tracks = reading.devices[0].tracks
    np.testing.assert_allclose(tracks["acc"].values, gravity + linear, atol=1e-9)
    np.testing.assert_allclose(convert(tracks["gyr"].values, tracks["gyr"].unit, "gyr"), rate, atol=1e-9)
    np.testing.assert_allclose(tracks["acc"].times, files.TIMES, atol=1e-6)
    assert reading.devices[0].tags == {"sensor": "left shank"}
    assert (XsensDot().recognises(path) is None, XsensMtw().recognises(path) is None) == (False, True)


def test_mtw_has_radians_and_packets_that_are_lost(files: ModuleType, tmp_path: Path) -> None:
    gravity, linear, rate = files.turning()
    path = files.xsens_mtw(tmp_path)
    reading = XsensMtw().read(path)
    keep = np.r_[0:60, 70 : files.SAMPLES]
    tracks = reading.devices[0].tracks
    np.testing.assert_allclose(tracks["acc"].values, (gravity + linear)[:, keep], atol=1e-9)
    np.testing.assert_allclose(convert(tracks["gyr"].values, tracks["gyr"].unit, "gyr"), rate[:, keep], atol=1e-9)
    np.testing.assert_allclose(tracks["acc"].times, files.TIMES[keep], atol=1e-6)
    assert reading.notes == ("packet counter wrapped around 1 times", "10 of 101 packets lost: gaps")
    assert (XsensDot().recognises(path) is None, XsensMtw().recognises(path) is None) == (True, False)


def test_a_rate_is_asked_for_and_checked(files: ModuleType, tmp_path: Path) -> None:
    path = files.xsens_mtw(tmp_path)
    path.write_text(path.read_text().replace("// Update Rate: 50.0Hz\n", ""))
    with pytest.raises(ConfigError, match="no line of its header contains the rate") as error:
        XsensMtw().read(path)
    assert "rate_hz" in (error.value.hint or "")
    assert XsensMtw(rate_hz=50).read(path).devices[0].tracks["acc"].times[1] == pytest.approx(0.02)
    with pytest.raises(RecordingError, match=r"its times step by 0\.02 s, but the rate is 100 Hz"):
        XsensDot(rate_hz=100).read(files.xsens_dot(tmp_path))


def test_a_counter_that_starts_again_is_a_second_recording(files: ModuleType, tmp_path: Path) -> None:
    path = files.xsens_mtw(tmp_path, first=0, lost=0)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, *lines[4:]]) + "\n")
    with pytest.raises(RecordingError, match="times go back by 2 s after 2 s"):
        XsensMtw().read(path)


def test_increments_are_rates_and_free_acceleration_is_refused(files: ModuleType, tmp_path: Path) -> None:
    gravity, linear, rate = files.turning()
    angle = np.linalg.norm(rate, axis=0) / files.RATE
    axis = np.divide(rate, np.linalg.norm(rate, axis=0), out=np.zeros_like(rate), where=angle > 0)
    dq = np.vstack([np.cos(angle / 2), np.sin(angle / 2) * axis])
    dv = (gravity + linear) / files.RATE
    columns = {"PacketCounter": range(files.SAMPLES), "SampleTimeFine": range(0, files.SAMPLES * 20_000, 20_000)}
    columns |= {f"dq_{a}": row for a, row in zip("WXYZ", dq, strict=True)}
    columns |= {f"dv[{i}]": row for i, row in enumerate(dv, 1)}
    path = tmp_path / "dot.csv"
    path.write_text("DeviceTag:,1\nOutputRate:,50\n" + files.csv_text(columns))
    tracks = XsensDot().read(path).devices[0].tracks
    np.testing.assert_allclose(tracks["acc"].values, gravity + linear, atol=1e-9)
    np.testing.assert_allclose(convert(tracks["gyr"].values, tracks["gyr"].unit, "gyr"), rate, atol=1e-6)
    path.write_text("PacketCounter,SampleTimeFine,FreeAcc_X,FreeAcc_Y,FreeAcc_Z\n1,16667,0,0,0\n2,33334,0,0,0\n")
    with pytest.raises(RecordingError, match="only FreeAcc, which is in an earth-fixed frame"):
        XsensDot().read(path)


def test_counters_of_every_width_continue() -> None:
    assert unwrapped(np.array([254.0, 255, 0, 1]))[0].tolist() == [254, 255, 256, 257]
    assert unwrapped(np.array([65535.0, 0, np.nan, 2, 65535, 0]))[1] == 2
    assert unwrapped(np.array([5.0, 6, 0, 1]))[0].tolist() == [5, 6, 0, 1], "a restart is none"


def test_real_files(real_files: Path) -> None:
    for name in ("1-1_lb", "1-1_lf"):
        path = real_files / "xsens-mtw" / f"{name}.txt"
        assert XsensMtw().recognises(path) is not None
        acc = XsensMtw().read(path).devices[0].tracks["acc"]
        assert len(acc.times) == 2913
        assert np.median(np.diff(acc.times)) == pytest.approx(0.01)
        assert np.median(np.linalg.norm(acc.values, axis=0)) == pytest.approx(10.1, abs=0.5), name
