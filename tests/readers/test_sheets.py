"""Sheets: delimiters, decimal commas, encodings, units, rows that stay in step; times that go back."""

from __future__ import annotations

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.readers.base import Track
from imu_video.readers.sheets import Sheet, ordered


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize(("delimiter", "decimal"), [(",", "."), (";", ","), ("\t", ","), ("\t", ".")])
def test_the_text_tells_its_form(encoding: str, delimiter: str, decimal: str) -> None:
    text = '"t"|"x (µT)"\r\n0.5|-1.25\r\n1.5|\r\n2.5|1E3\r\n'.replace(".", decimal).replace("|", delimiter)
    sheet = Sheet("a.csv", text.encode(encoding))
    assert sheet.names == ("t", "x (µT)")
    np.testing.assert_array_equal(sheet.numbers(["x (µT)"])[0, :3], [-1.25, np.nan, 1000.0])
    both = sheet.numbers(["t", "x (µT)"])
    assert both.shape[1] == sheet.numbers(["x (µT)"]).shape[1], "rows stay in step"


def test_units_and_lines_before_the_header() -> None:
    sheet = Sheet("a.txt", b"# made by X\n\nt\tx\tx\t\nms\tg\tg\t\n1\t2\t3\t\n", skip=1, units=True)
    assert sheet.names == ("t", "x", "x, column 3", "column 4")
    assert sheet.units["x"] == "g"
    with pytest.raises(RecordingError, match="line 4: 1 units, expected 4"):
        Sheet("a.txt", b"# made by X\n\nt\tx\tx\t\n1 2 3\n", skip=1, units=True)
    with pytest.raises(RecordingError, match="no header line"):
        Sheet("a.txt", b"\n\n")


def test_times_that_go_back_are_two_recordings() -> None:
    notes: list[str] = []
    times = np.array([0.0, 0.1, 0.3, 0.2, 0.2, np.nan])
    values = np.ones((3, 6))
    values[:, 5] = np.nan
    track = ordered(Track(times=times, values=values, unit="g"), where="x/a.csv", notes=notes)
    assert track.times.tolist() == [0.0, 0.1, 0.2, 0.3]
    assert notes == ["a.csv: 2 samples repeated or out of order"], "a blank line at the end is none of them"
    again = Track(times=np.concatenate([np.arange(50.0), np.arange(50.0)]), values=np.ones((3, 100)), unit="g")
    with pytest.raises(RecordingError, match="times go back by 49 s after 49 s") as error:
        ordered(again, where="a.csv", notes=notes)
    assert "two recordings" in (error.value.hint or "")
