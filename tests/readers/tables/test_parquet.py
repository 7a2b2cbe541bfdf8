"""Types of Parquet columns: times of every resolution, indices of pandas, texts, and what has no place in a table."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from imu_video.errors import RecordingError
from imu_video.readers.tables import Table

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
FIRST = 1_714_989_600  # 2024-05-06T10:00:00Z


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "subject=1" / "x.parquet"


def write(path: Path, **columns: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_time_stamps_of_every_resolution(unit: str, zone: str | None, file: Path) -> None:
    per = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    stamps = pa.array([FIRST * per, (FIRST + 1) * per]).cast(pa.timestamp(unit, tz=zone))
    table = Table(write(file, t=stamps, x=[1.0, 2.0]), ["t", "x"])
    for declared in ("iso8601", "ms"):
        assert table.increasing_seconds("t", declared).tolist() == [FIRST, FIRST + 1]
    local = table.seconds("t", "iso8601", ZoneInfo("Europe/Berlin"))
    assert local[0] == (FIRST if zone else FIRST - 7200), "only times without a zone are local"


def test_indices_of_pandas_are_columns(file: Path) -> None:
    file.parent.mkdir()
    index = pd.date_range("2024-05-06T10:00:00", periods=3, freq="20ms", name="t")
    pd.DataFrame({"x": [1, 2, 3]}, index=index).to_parquet(file)
    table = Table(file, ["t", "x"])
    assert table.seconds("t", "iso8601").tolist() == pytest.approx([FIRST, FIRST + 0.02, FIRST + 0.04], abs=1e-6)
    assert table.numbers("x").tolist() == [1, 2, 3]
    with pytest.raises(RecordingError, match="no column 'subject'"):
        Table(file, ["subject"])  # "subject=1" in a path is no column


def test_durations_dates_and_numbers(file: Path) -> None:
    path = write(
        file,
        d=pa.array([0, 20], pa.duration("ms")),
        day=pa.array([dt.date(2024, 5, 6), dt.date(2024, 5, 7)]),
        n=pa.array([Decimal("1.5"), None]),
        h=pa.array([1.0, None], pa.float16()),
        k=pa.array([2**60 + 1, 2**60 + 3], pa.int64()),
    )
    table = Table(path, ["d", "day", "n", "h", "k"])
    assert table.seconds("d", "s").tolist() == [0.0, 0.02]
    assert np.diff(table.seconds("day", "iso8601")).tolist() == [86400.0]
    np.testing.assert_array_equal(table.numbers("n"), [1.5, np.nan])
    np.testing.assert_array_equal(table.numbers("h"), [1.0, np.nan])
    assert table.texts("k") == [str(2**60 + 1), str(2**60 + 3)]
    with pytest.raises(RecordingError, match=r"column 'd' has the type duration\[ms\], expected numbers"):
        table.numbers("d")


def test_texts_and_categories(file: Path) -> None:
    label = pa.array(["null", "01", None])
    path = write(file, t=[1, 2, 3], label=label, kind=label.dictionary_encode(), flag=[True, False, True])
    table = Table(path, ["t", "label", "kind", "flag"])
    assert table.texts("label") == table.texts("kind") == ["null", "01", ""]
    with pytest.raises(RecordingError, match="row 1: 'flag' is 'true', expected a number"):
        table.numbers("flag")


@pytest.mark.parametrize("values", [[[1.0], [2.0]], [{"a": 1}, {"a": 2}], [dt.time(1), dt.time(2)], [b"a", b"b"]])
def test_other_types_are_refused(values: list[object], file: Path) -> None:
    with pytest.raises(RecordingError, match=r"column 'x' has the type .*expected numbers, texts"):
        Table(write(file, x=values), ["x"])


def test_damage_and_empty_times(file: Path) -> None:
    path = write(file, t=pa.array([FIRST, None]).cast(pa.timestamp("s")), x=[1, 2])
    with pytest.raises(RecordingError, match="row 2: time 't' is empty, expected timestamp"):
        Table(path, ["t", "x"]).seconds("t", "iso8601")
    with pytest.raises(RecordingError, match=r"row 1: time 't' is -62135596800 s from 1970.*\n.*not set"):
        Table(write(file, t=pa.array([-62135596800]).cast(pa.timestamp("s"))), ["t"]).seconds("t", "iso8601")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecordingError, match="not a readable Parquet file"):
        Table(path, ["t"])
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["t", "t"])
    pq.write_table(twice, path)
    with pytest.raises(RecordingError, match=r"the name 't' belongs to 2 columns \(1, 2\)"):
        Table(path, ["t"])
