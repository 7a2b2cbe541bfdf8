"""ActiGraph .gt3x: both encodings, idle sleep, the IMU of the Link, damage between records, old firmware."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.readers import ActigraphCsv, Gt3x


@pytest.mark.parametrize("kind", [0, 26])
def test_values_times_and_idle_sleep(device_files: ModuleType, tmp_path: Path, kind: int) -> None:
    acc, _ = device_files.motion()
    awake = np.delete(np.arange(400), np.s_[200:250])
    reading = Gt3x().read(device_files.gt3x(tmp_path, kind=kind))
    track = reading.devices[0].tracks["acc"]
    np.testing.assert_allclose(track.values.T, acc[awake], atol=1 / 256)
    np.testing.assert_allclose(track.times, device_files.TIMES[awake], atol=1e-5)
    assert reading.notes == ("1 s in idle sleep mode: no samples",)
    assert reading.start_utc == device_files.LOCAL_START + 5 * 3600
    assert reading.tags["start_local"] == "2020-02-01 12:30:05.000"


def test_the_imu_of_the_link_is_a_second_device(device_files: ModuleType, tmp_path: Path) -> None:
    acc, gyr = device_files.motion()
    reading = Gt3x().read(device_files.gt3x(tmp_path, imu=True))
    assert [d.name for d in reading.devices] == ["monitor", "imu"]
    tracks = reading.devices[1].tracks
    awake = np.delete(np.arange(400), np.s_[200:250])
    np.testing.assert_allclose(tracks["acc"].values.T, acc[awake], atol=1e-3)
    np.testing.assert_allclose(tracks["gyr"].values.T, gyr[awake], atol=0.05)


def test_damage_costs_one_second_and_is_counted(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.gt3x(tmp_path)
    with zipfile.ZipFile(path) as archive:
        log = bytearray(archive.read("log.bin"))
    place = log.index(device_files.gt3x_record(26, 1, b"")[:2], 200 + 309)  # the record of second 1
    log[place + 20] ^= 1
    reading = Gt3x().read(device_files.gt3x(tmp_path, log=bytes(log)))
    assert reading.notes[0] == "1 damaged stretches of log.bin, together 309 bytes: skipped"
    assert len(reading.devices[0].tracks["acc"].times) == 300


def test_epochs_only_are_refused(device_files: ModuleType, tmp_path: Path) -> None:
    log = device_files.gt3x_record(9, 0, bytes(12))
    with pytest.raises(RecordingError, match="no valid record of samples"):
        Gt3x().read(device_files.gt3x(tmp_path, log=log))
    info = device_files.GT3X_INFO.replace("Sample Rate: 50", "Sample Rate: none")
    with pytest.raises(RecordingError, match=r"info\.txt: Sample Rate is 'none'"):
        Gt3x().read(device_files.gt3x(tmp_path, info=info))


@pytest.mark.realdata
def test_gt3x_and_the_csv_of_the_manufacturer_hold_the_same_samples(real_files: Path) -> None:
    binary = Gt3x().read(real_files / "pygt3x/neo.gt3x")
    text = ActigraphCsv().read(real_files / "pygt3x/neo.csv")
    a, b = (r.devices[0].tracks["acc"] for r in (binary, text))
    assert a.values.shape == b.values.shape == (3, 18_004)
    assert np.abs(a.values - b.values).max() < 0.00051, "the CSV is rounded to 0.001 g"
    np.testing.assert_allclose(a.times, b.times, atol=1e-4)
    assert binary.tags["start_local"] == text.tags["start_local"] == "2021-12-20 11:55:00.000"


@pytest.mark.realdata
def test_idle_sleep_of_real_files(real_files: Path) -> None:
    off, on = (Gt3x().read(real_files / f"pygt3x/ISM_{mode}.gt3x") for mode in ("Disabled", "Enabled"))
    assert len(off.devices[0].tracks["acc"].times) == 9000
    assert len(on.devices[0].tracks["acc"].times) == 2190
    assert on.notes[0].startswith("227 s in idle sleep mode")
