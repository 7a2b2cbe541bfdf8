"""GENEActiv: calibration, half-second page times, damaged pages."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.readers import GeneActiv


def test_values_times_and_zone(device_files: ModuleType, tmp_path: Path) -> None:
    acc, _ = device_files.motion()
    reading = GeneActiv().read(device_files.geneactiv(tmp_path))
    track = reading.devices[0].tracks["acc"]
    np.testing.assert_allclose(track.values.T, acc, atol=0.0021)
    np.testing.assert_allclose(track.times, device_files.TIMES, atol=1e-5)
    assert reading.start_utc == pytest.approx(device_files.LOCAL_START + 4 * 3600, abs=0.25)


def test_damaged_pages_are_counted(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.geneactiv(tmp_path)
    content = path.read_bytes().decode()
    pages = content.split("Recorded Data")
    pages[2] = pages[2].replace("Page Time:2020-02-01", "Page Time:2020-02-41")
    pages[4] = pages[4][:-500]
    path.write_text("Recorded Data".join(pages), newline="")
    reading = GeneActiv().read(path)
    assert reading.notes[0] == "2 of 4 pages damaged: skipped"
    acc, _ = device_files.motion()
    np.testing.assert_allclose(reading.devices[0].tracks["acc"].values.T[:100], acc[:100], atol=0.0021)


def test_without_calibration_it_is_refused(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.geneactiv(tmp_path)
    path.write_text(path.read_bytes().decode().replace("y gain:25457", "y gain:"), newline="")
    with pytest.raises(RecordingError, match="header: 'y gain' is ''"):
        GeneActiv().read(path)


@pytest.mark.realdata
def test_real_files(real_files: Path) -> None:
    long = GeneActiv().read(real_files / "ggirread/GENEActiv_testfile.bin")
    assert long.notes == ("1 of 17 pages damaged: skipped", "222031 of 222048 pages missing at the end")
    short = GeneActiv().read(real_files / "skdh/gnactv_sample.bin")
    for reading, samples, rate in ((long, 4800, 85.7), (short, 900, 50.0)):
        track = reading.devices[0].tracks["acc"]
        assert track.values.shape == (3, samples)
        assert 1 / np.median(np.diff(track.times)) == pytest.approx(rate, rel=1e-3)
        assert np.median(np.linalg.norm(track.values, axis=0)) == pytest.approx(1.0, abs=0.02)
