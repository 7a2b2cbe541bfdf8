"""Camera telemetry through the package: units, sensors of different rates, faults inside the package."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers import CameraTelemetry, GoProTelemetry


class Panic(BaseException):
    """What a fault in a Rust package is to Python."""


def test_a_gyroflow_log(device_files: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("telemetry_parser", reason="needs the extra readers")
    acc, gyr = device_files.motion()
    reading = CameraTelemetry().read(device_files.telemetry(tmp_path))
    tracks = reading.devices[0].tracks
    np.testing.assert_allclose(tracks["acc"].values.T, acc * 9.80665, atol=0.01)
    np.testing.assert_allclose(tracks["gyr"].values.T, gyr, atol=0.05)
    np.testing.assert_allclose(tracks["gyr"].times, device_files.TIMES, atol=1e-6)


@pytest.mark.realdata
def test_it_agrees_with_the_reader_of_gopro(real_files: Path) -> None:
    pytest.importorskip("telemetry_parser", reason="needs the extra readers")
    clip = real_files.parent / "gopro-gpmf" / "karma.mp4"
    ours, theirs = (r.read(clip).devices[0].tracks for r in (GoProTelemetry(), CameraTelemetry()))
    order = [1, 2, 0]  # the file has z, x, y
    np.testing.assert_allclose(ours["acc"].values, theirs["acc"].values[order], rtol=1e-6)
    np.testing.assert_allclose(ours["gyr"].values, np.deg2rad(theirs["gyr"].values[order]), atol=1e-6)
    assert CameraTelemetry().recognises(clip) is None, "left to the reader gopro"


def test_sensors_keep_their_own_times_and_faults_are_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "DJI_0001.MP4"
    path.write_bytes(b"\0\0\0\x18ftypmp42")
    rows = [
        {"timestamp_ms": 5.0 * i, "gyro": (1.0, 2.0, 3.0), "accl": (0.0, 9.8, 0.0) if i % 2 else None, "magn": None}
        for i in range(6)
    ]

    def package(samples: object) -> SimpleNamespace:
        def parser(name: str) -> SimpleNamespace:
            if isinstance(samples, BaseException):
                raise samples
            return SimpleNamespace(camera="DJI", model="Action 4", normalized_imu=lambda: samples)

        return SimpleNamespace(Parser=parser)

    monkeypatch.setitem(sys.modules, "telemetry_parser", package(rows))
    reading = CameraTelemetry().read(path)
    tracks = reading.devices[0].tracks
    np.testing.assert_allclose(tracks["acc"].times, [0.005, 0.015, 0.025])
    assert len(tracks["gyr"].times) == 6
    assert reading.tags["camera"] == "DJI Action 4"
    assert CameraTelemetry().recognises(path) == "video of a DJI Action 4 with motion data"
    for fault in (Panic("index out of bounds"), OSError("Unsupported file format"), []):
        monkeypatch.setitem(sys.modules, "telemetry_parser", package(fault))
        with pytest.raises(RecordingError, match=r"DJI_0001\.MP4"):
            CameraTelemetry().read(path)
    monkeypatch.setitem(sys.modules, "telemetry_parser", None)
    with pytest.raises(ConfigError, match="telemetry-parser") as error:
        CameraTelemetry().read(path)
    assert "imu-video[readers]" in (error.value.hint or "")
