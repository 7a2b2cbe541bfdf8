"""Axivity: values and times of all packings, damaged blocks skipped with their exact number."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers import Axivity


@pytest.mark.parametrize(("kind", "exact"), [("ax6", True), ("ax3", True), ("ax3_unpacked", True), ("ax3", False)])
def test_values_and_times(device_files: ModuleType, tmp_path: Path, kind: str, exact: bool) -> None:
    acc, gyr = device_files.motion()
    reading = Axivity().read(device_files.axivity(tmp_path, kind=kind, exact=exact))
    tracks = reading.devices[0].tracks
    np.testing.assert_allclose(tracks["acc"].values.T, acc, atol=1 / 256)
    # Time stamps have a resolution of 1/32768 s, and of one sample in files of old firmware.
    np.testing.assert_allclose(tracks["acc"].times, device_files.TIMES, atol=1e-3 if exact else 1 / device_files.RATE)
    assert reading.tags["start_local"].startswith("2020-02-01 12:30:05.0")
    assert reading.notes == ()
    if kind == "ax6":
        np.testing.assert_allclose(tracks["gyr"].values.T, gyr, atol=2000 / 32768)
        assert tracks["gyr"].unit == "deg/s"


def test_local_time_is_read_as_utc_or_in_its_zone(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.axivity(tmp_path)
    plain, berlin = (Axivity(timezone=zone).read(path) for zone in (None, "Europe/Berlin"))
    assert plain.start_utc == pytest.approx(device_files.LOCAL_START, abs=1e-3)
    assert berlin.start_utc == pytest.approx(device_files.LOCAL_START - 3600, abs=1e-3)
    assert plain.tags["time_zone"] == "not stated; read as UTC"
    with pytest.raises(ConfigError, match="unknown timezone 'Berlin'"):
        Axivity(timezone="Berlin")


def test_damaged_blocks_are_counted_and_leave_a_gap(device_files: ModuleType, tmp_path: Path) -> None:
    whole = Axivity().read(device_files.axivity(tmp_path)).devices[0].tracks["acc"]
    path = tmp_path / "ax6.cwa"
    content = bytearray(path.read_bytes())
    content[1024 + 3 * 512 + 100] ^= 4  # one bit of a sample
    content[1024 + 7 * 512] = 0  # the mark of a block
    path.write_bytes(content + b"\0" * 100)
    reading = Axivity().read(path)
    assert reading.notes[:2] == ("2 of 10 blocks damaged: skipped", "the last 100 bytes are no complete block: skipped")
    assert reading.notes[2].startswith("gaps between blocks: 2, together 1.6 s")
    acc = reading.devices[0].tracks["acc"]
    kept = np.r_[0:120, 160:280, 320:400]
    np.testing.assert_array_equal(acc.values, whole.values[:, kept])
    np.testing.assert_allclose(acc.times, whole.times[kept], atol=1e-3)


def test_blocks_that_are_not_there_are_a_gap(device_files: ModuleType, tmp_path: Path) -> None:
    acc = Axivity().read(device_files.axivity(tmp_path, missing=(4, 5))).devices[0].tracks["acc"]
    np.testing.assert_allclose(acc.times, np.delete(device_files.TIMES, np.s_[160:240]), atol=1e-3)


def test_a_block_with_a_wrong_date_costs_that_block_only(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.axivity(tmp_path)
    content = path.read_bytes()
    acc, _ = device_files.motion()
    counts = np.zeros((40, 6))
    wrong = device_files.axivity_block(counts, start=40.0)  # among blocks of the first eight seconds
    path.write_bytes(content[: 1024 + 5 * 512] + wrong + content[1024 + 6 * 512 :])
    reading = Axivity().read(path)
    assert "1 of 10 blocks out of order in time: skipped" in reading.notes
    track = reading.devices[0].tracks["acc"]
    np.testing.assert_allclose(track.values.T, np.delete(acc, np.s_[200:240], axis=0), atol=1 / 2048)


def test_a_file_without_a_sound_block_is_refused(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.axivity(tmp_path)
    path.write_bytes(path.read_bytes()[:1024] + b"AX\xfc\x01" + bytes(1020))
    with pytest.raises(RecordingError, match="none of its 2 blocks has a valid checksum"):
        Axivity().read(path)


@pytest.mark.realdata
def test_real_files(real_files: Path) -> None:
    whole = Axivity().read(real_files / "ggirread/ax3_testfile.cwa")
    damaged = Axivity().read(real_files / "ggirread/ax3_testfile_corrupt_blocks_0_13_14_142_143_144.cwa")
    assert whole.notes == ()
    assert damaged.notes[0] == "6 of 145 blocks damaged: skipped"
    # Blocks 13 and 14 lie inside; 0 and 142 to 144 are the ends.
    kept = np.r_[120 : 13 * 120, 15 * 120 : 142 * 120]
    all_acc, some_acc = (r.devices[0].tracks["acc"] for r in (whole, damaged))
    np.testing.assert_array_equal(some_acc.values, all_acc.values[:, kept])
    # Only the last sample period of a run differs: the next block, which gives its length, is missing there.
    np.testing.assert_allclose(some_acc.times, all_acc.times[kept] - all_acc.times[120], atol=0.02)
    for name in ("ggirread/ax6_testfile.cwa", "skdh/ax6_sample.cwa"):
        tracks = Axivity().read(real_files / name).devices[0].tracks
        assert np.median(np.linalg.norm(tracks["acc"].values, axis=0)) == pytest.approx(1.0, abs=0.05)
        assert tracks["gyr"].values.shape == tracks["acc"].values.shape
