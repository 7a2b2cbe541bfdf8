"""ISO 8601 times with and without zones, clocks that were not set, and mixtures."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.readers.tables import Table, iso_seconds
from imu_video.readers.tables.times import whole_seconds

X = Path("x.csv")
BERLIN = ZoneInfo("Europe/Berlin")


def table(*times: str) -> Table:
    return Table(X, ["t", "x"], texts=["t"], content=("t,x\n" + "".join(f'"{time}",1\n' for time in times)).encode())


@pytest.mark.parametrize(
    "text",
    [
        *("2024-05-06T10:00:00.5Z", "2024-05-06 10:00:00.500", "2024-05-06T12:00:00.5+02:00", "20240506T100000.5Z"),
        *(
            "2024-05-06T10:00:00,5Z",
            "2024-05-06T12:00:00.500000000+0200",
            "2024-05-06 10:00:00.5 Z",
            "2024-05-06 10:00:00.5 UTC",
        ),
    ],
)
def test_notations_of_one_moment(text: str) -> None:
    assert iso_seconds([text]).tolist() == [1714989600.5]
    assert table(
        text, text.replace("10:00:00", "10:00:01").replace("12:00:00", "12:00:01").replace("100000", "100001")
    ).seconds("t", "iso8601").tolist() == [1714989600.5, 1714989601.5]


def test_local_times_are_read_in_their_zone() -> None:
    local, zoned = "2024-05-06T12:00:00", "2024-05-06T12:00:00+02:00"
    assert iso_seconds([local], BERLIN).tolist() == iso_seconds([zoned]).tolist() == [1714989600.0]
    assert iso_seconds([zoned], ZoneInfo("Asia/Tokyo")).tolist() == [1714989600.0], "an offset is kept"
    assert iso_seconds(["2024-10-27T02:30:00+02:00", "2024-10-27T02:30:00+01:00"]).tolist() == [1729989000, 1729992600]


@pytest.mark.parametrize("text", ["2024-10-27T02:30:00", "2024-03-31T02:30:00"])
def test_times_that_a_change_of_the_clock_repeats_or_skips(text: str) -> None:
    with pytest.raises(RecordingError, match=r"line 2: .* that the change of the clock in Europe/Berlin") as error:
        table(text, "2024-11-01T00:00:00").seconds("t", "iso8601", BERLIN)
    assert "with an offset" in str(error.value.hint)


def test_mixtures_of_zones_are_refused() -> None:
    with pytest.raises(RecordingError, match=r"line 3: .*without a time zone, but other rows have one"):
        table("2024-05-06T10:00:00Z", "2024-05-06T10:00:01").seconds("t", "iso8601")
    with pytest.raises(RecordingError, match=r"line 3: .*with a time zone, but other rows have none"):
        table("2024-05-06T10:00:00", "2024-05-06T10:00:01Z").seconds("t", "iso8601")
    mixed = table("2024-05-06T10:00:00+02:00", "2024-05-06T10:00:01+01:00").seconds("t", "iso8601")
    assert np.diff(mixed).tolist() == [3601.0]


@pytest.mark.parametrize("year", ["0000", "0001", "1601", "1899", "1904", "2999", "9999"])
def test_clocks_that_were_not_set(year: str) -> None:
    with pytest.raises(RecordingError, match=rf"line 2: time 't' is '{year}.*expected a date from 1970") as error:
        table(f"{year}-12-30T00:00:00", f"{year}-12-30T00:00:01").seconds("t", "iso8601")
    assert "not set" in str(error.value.hint)


@pytest.mark.parametrize(
    "text", ["now", "today", "2024", "202405", "noon", "6/5/2024 10:00", "2024-05-06T24:61:00", "-", "17149896"]
)
def test_what_is_not_a_time(text: str) -> None:
    with pytest.raises(RecordingError, match=r"line 3: time 't' is '.*', expected iso8601"):
        table("2024-05-06T10:00:00", text).seconds("t", "iso8601")
    with pytest.raises(RecordingError, match=r"line 3: time 't' is empty, expected iso8601"):
        table("2024-05-06T10:00:00", "").seconds("t", "iso8601")


def test_numbers_declared_as_iso() -> None:
    with pytest.raises(RecordingError, match=r"line 2: .*expected iso8601") as error:
        table("1714989600.5", "1714989601.5").seconds("t", "iso8601")
    assert "declare the unit of the time column" in str(error.value.hint)


def test_whole_units_are_rounded_once() -> None:
    values = np.array([1_700_000_000_123_456_789, -1, 3], dtype=np.int64)
    assert whole_seconds(values, 1e9).tolist() == pytest.approx([1_700_000_000.1234567, -1e-9, 3e-9], rel=1e-7)
    assert whole_seconds(np.array([2**64 - 1], dtype=np.uint64), 1e9).tolist() == [18446744073.709553]
