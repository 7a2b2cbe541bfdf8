"""Shimmer: Consensys and the older header, both accelerometers, several devices, raw counts."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.readers import Shimmer
from imu_video.recordings.signal import convert


def test_consensys_with_two_sensors(files: ModuleType, tmp_path: Path) -> None:
    gravity, linear, rate = files.turning()
    reading = Shimmer().read(files.shimmer(tmp_path, devices=("Shimmer_8665", "Shimmer_40AC")))
    assert [device.name for device in reading.devices] == ["shimmer_8665", "shimmer_40ac"]
    for device in reading.devices:
        np.testing.assert_allclose(device.tracks["acc"].values, gravity + linear, atol=1e-9)
        gyr = device.tracks["gyr"]
        np.testing.assert_allclose(convert(gyr.values, gyr.unit, "gyr"), rate, atol=1e-9)
        np.testing.assert_allclose(device.tracks["acc"].times, files.TIMES, atol=1e-5)
    assert reading.start_utc == pytest.approx(files.START, abs=1e-5)
    wide = Shimmer(accelerometer="wide_range").read(files.shimmer(tmp_path)).devices[0]
    np.testing.assert_allclose(wide.tracks["acc"].values, gravity, atol=1e-9)


def test_raw_counts_and_unknown_units_are_refused(files: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no calibrated accelerometer or gyroscope, only raw counts"):
        Shimmer().read(files.shimmer(tmp_path, calibrated=False))
    path = files.shimmer(tmp_path)
    path.write_text(path.read_text().replace("m/(s^2)", "furlong"))
    with pytest.raises(RecordingError, match=r"unit of Shimmer_8665_Accel_LN_X_CAL is 'furlong', expected one of"):
        Shimmer().read(path)


def test_the_header_of_four_lines(tmp_path: Path) -> None:
    names = ["Time Stamp", *(f"Low Noise Accelerometer {a}" for a in "XYZ"), *(f"Gyroscope {a}" for a in "XYZ")]
    units = ["mSecs", *["m/(sec^2)"] * 3, *["deg/s"] * 3]
    rows = [[20.0 * i, 0.1, 9.8, 0.2, 1.0, 2.0, 3.0] for i in range(5)]
    lines = [["Shimmer 8665"] * 7, names, ["CAL"] * 7, units, *rows]
    path = tmp_path / "old.csv"
    path.write_text("\n".join("\t".join(map(str, line)) for line in lines) + "\n")
    reading = Shimmer().read(path)
    tracks = reading.devices[0].tracks
    assert reading.start_utc is None
    assert tracks["acc"].times.tolist() == [0.0, 0.02, 0.04, 0.06, 0.08]
    assert tracks["acc"].values[:, 0].tolist() == [0.1, 9.8, 0.2]
    assert tracks["gyr"].values[:, 4].tolist() == [1.0, 2.0, 3.0]
