"""ActiGraph CSV: with and without names, time stamps and decimal commas; epoch counts are refused."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.readers import ActigraphCsv


@pytest.mark.parametrize("how", [{}, {"names": False}, {"stamps": True}, {"comma": True}])
def test_forms(device_files: ModuleType, tmp_path: Path, how: dict[str, Any]) -> None:
    acc, _ = device_files.motion()
    reading = ActigraphCsv().read(device_files.actigraph_csv(tmp_path, **how))
    track = reading.devices[0].tracks["acc"]
    np.testing.assert_allclose(track.values.T, acc, atol=0.00051)
    np.testing.assert_allclose(track.times, device_files.TIMES, atol=1e-6)
    assert reading.start_utc == device_files.LOCAL_START
    assert reading.tags["start_local"] == "2020-02-01 12:30:05.000", "day before month, as line 1 says"


def test_epoch_counts_are_refused(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.actigraph_csv(tmp_path)
    path.write_text(path.read_text().replace("at 50 Hz ", "").replace(") 00:00:00", ") 00:00:15"))
    with pytest.raises(RecordingError, match=r"activity counts per epoch .*00:00:15") as error:
        ActigraphCsv().read(path)
    assert "RAW data" in (error.value.hint or "")


def test_a_last_line_that_does_not_end_is_left_out(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.actigraph_csv(tmp_path)
    path.write_bytes(path.read_bytes()[:-3])  # the last digit of a number, and the end of the line
    reading = ActigraphCsv().read(path)
    assert len(reading.devices[0].tracks["acc"].times) == 399
    assert reading.notes == ("the last line does not end: left out",)


def test_a_time_stamp_of_another_format_names_its_line(device_files: ModuleType, tmp_path: Path) -> None:
    path = device_files.actigraph_csv(tmp_path, stamps=True)
    lines = path.read_text().splitlines()
    lines[15] = lines[15].replace("01/02/2020", "13/13/2020")
    path.write_text("\n".join(lines))
    with pytest.raises(RecordingError, match="line 16: time stamp '13/13/2020"):
        ActigraphCsv().read(path)


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["ActiGraph13", "ActiGraph13_timestamps_headers", "ActiGraph61"])
def test_real_epoch_files_are_refused(real_files: Path, name: str) -> None:
    with pytest.raises(RecordingError, match="activity counts per epoch"):
        ActigraphCsv().read(real_files / f"ggirread/{name}.csv")
