"""Tables in archives, with comments, with lost samples and empty rows; the rest of `Table` is tested with `folder`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imu_video.errors import RecordingError
from imu_video.readers.tables import Table, number_table, numbers_between


def test_content_of_an_archive_is_named_by_its_path() -> None:
    table = Table(Path("a.zip/b.csv"), ["t"], content=b"t,x\n1,2\n3,4\n")
    assert table.numbers("t").tolist() == [1.0, 3.0]
    with pytest.raises(RecordingError, match=r"a\.zip/b\.csv: the file is empty"):
        Table(Path("a.zip/b.csv"), ["t"], content=b"")
    with pytest.raises(RecordingError, match=r"a\.zip/b\.csv, line 2: 't' is 'x', expected a number"):
        Table(Path("a.zip/b.csv"), ["t"], content=b"t\nx\n").numbers("t")


def test_terminators_of_rows() -> None:
    table = Table(Path("x.txt"), ["a", "b"], header=["a", "b"], terminator=";", content=b"1,2;\n3,4;\n5,6\n")
    assert table.numbers("b").tolist() == [2.0, 4.0, 6.0]
    with pytest.raises(RecordingError, match=r"x\.txt, line 2: two rows on one line") as error:
        Table(Path("x.txt"), ["a"], header=["a", "b"], terminator=";", content=b"1,2;\n3,4;5,6;\n")
    assert error.value.hint == "start a new line after it"


def test_rows_keep_their_number_where_others_are_empty() -> None:
    table = Table(Path("x.csv"), ["b"], content=b"a,b\n0,1\n1,\n2,3\n")
    assert table.rows().tolist() == [0, 2]
    assert table.numbers("b").tolist() == [1.0, 3.0]


def test_empty_fields_are_rows_and_blank_lines_are_none() -> None:
    """Times of files without a time column are computed from these numbers."""
    table = Table(Path("x.csv"), ["a", "b"], content=b"a,b\n1,2\n,\n\n3,4\n\n \n5,6\n")
    assert table.rows().tolist() == [0, 2, 3]
    assert [table.where(row) for row in range(3)] == ["x.csv, line 2", "x.csv, line 5", "x.csv, line 8"]


def test_lost_samples_are_accepted_where_a_set_has_them_and_short_lines_never(tmp_path: Path) -> None:
    path = tmp_path / "x.dat"
    path.write_text("1 2 3\n4 NaN nan\n")
    with pytest.raises(RecordingError, match=r"x\.dat, line 2"):
        number_table(path, 3)
    np.testing.assert_array_equal(number_table(path, 3, missing=True), [[1, 2, 3], [4, np.nan, np.nan]])
    path.write_text("1 2 3\n4 NaN\n5 6 7\n")
    with pytest.raises(RecordingError, match=r"x\.dat, line 2: '4 NaN' has 2 fields, expected 3"):
        number_table(path, 3, missing=True)
    path.write_text("1 2 inf\n")
    with pytest.raises(RecordingError, match=r"x\.dat, line 1"):
        number_table(path, 3, missing=True)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2), min_size=1),
    separator=st.sampled_from([None, ",", ";"]),
)
def test_numbers_are_read_as_python_reads_them(rows: list[list[float]], separator: str | None) -> None:
    texts = [(separator or "  ").join(map(repr, row)) for row in rows]
    np.testing.assert_array_equal(numbers_between(texts, 2, separator=separator, path=Path("x.txt")), rows)


@pytest.mark.parametrize("line", ["1", "1 2 3", "1 x", "1 nan", "1 inf", "1 1e999", "1 0x10", '1 "2"', "1 NA", "1,2"])
def test_lines_that_are_no_numbers_are_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(f"5 6\n\n{line}\n7 8\n")
    with pytest.raises(RecordingError, match=r"x\.txt, line 3"):
        number_table(path, 2)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a,b\n1,2\n3,4\n", [2, 4]),
        (b"\xef\xbb\xbfa,b\n1,2\n3,4\n", [2, 4]),
        (b"a,b\r\n1,2\r\n3,4\r\n", [2, 4]),
        (b"a,b\r1,2\r3,4\r", [2, 4]),
        (b"a, b\n1, 2\n3,\t4\n", [2, 4]),
        (b'"a","b"\n1,"2"\n3,4\n', [2, 4]),
        (b'"a\nc","b"\n1,2\n3,4\n', [2, 4]),
        (b"a,b\n1,2\n3,4\n5,\n", [2, 4, np.nan]),
        (b"a,b\n1,2\n\n3,4\n\n", [2, 4]),
        (b"a,b\n1,2.5\n3,inf\n", [2.5, np.nan]),
    ],
)
def test_spaces_blank_lines_and_empty_fields(content: bytes, expected: list[float]) -> None:
    name = "a\nc" if b"\nc" in content else "a"
    table = Table(Path("x.csv"), [name, "b"], content=content)
    np.testing.assert_array_equal(table.numbers("b"), expected)
    assert table.numbers(name).tolist() == [1, 3, 5][: len(expected)]


def test_whole_numbers_stay_whole_as_texts() -> None:
    table = Table(Path("x.csv"), ["a", "b"], content=b"a,b\n1,2.5\n3,4\n")
    assert table.texts("a") == ["1", "3"]
    assert table.where(1) == "x.csv, line 3"
