"""Empatica: an E4 session and an EmbracePlus file of the same motion; archives that unpack without end."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.readers import EmpaticaE4, EmpaticaEmbrace, empatica


def test_e4(device_files: ModuleType, tmp_path: Path) -> None:
    acc, _ = device_files.motion()
    reading = EmpaticaE4().read(device_files.empatica_e4(tmp_path))
    track = reading.devices[0].tracks["acc"]
    np.testing.assert_allclose(track.values.T, acc, atol=1 / 64)
    np.testing.assert_allclose(track.times, device_files.TIMES)
    assert reading.start_utc == device_files.LOCAL_START
    assert reading.notes == ("2 marks of the button in tags.csv: not read",)


def test_an_acc_file_in_g_is_refused(device_files: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "ACC.csv"
    with zipfile.ZipFile(device_files.empatica_e4(tmp_path)) as archive:
        lines = archive.read("ACC.csv").decode().splitlines()
    path.write_text("\n".join([*lines[:2], "0.1,0.2,0.9", *lines[3:]]))
    with pytest.raises(RecordingError, match="not whole steps of 1/64 g"):
        EmpaticaE4().read(path)


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_embrace(device_files: ModuleType, tmp_path: Path, codec: str) -> None:
    pytest.importorskip("fastavro", reason="needs the extra readers")
    acc, gyr = device_files.motion()
    reading = EmpaticaEmbrace().read(device_files.empatica_embrace(tmp_path, codec=codec))
    tracks = reading.devices[0].tracks
    np.testing.assert_allclose(tracks["acc"].values.T, acc, atol=1e-3)
    np.testing.assert_allclose(tracks["gyr"].values.T, gyr, atol=0.02)
    np.testing.assert_allclose(tracks["acc"].times, device_files.TIMES, atol=1e-6)
    assert reading.start_utc == device_files.LOCAL_START
    assert reading.tags["time_zone"] == "UTC+1.00 h"


def test_a_block_that_unpacks_to_too_much_is_refused(
    device_files: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastavro", reason="needs the extra readers")
    monkeypatch.setattr(empatica, "_LARGEST", 1000)
    with pytest.raises(RecordingError, match="more than 1000 bytes unpacked"):
        EmpaticaEmbrace().read(device_files.empatica_embrace(tmp_path))
