"""Rows with another number of fields are named by their line; what looks like damage and is none is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.readers.tables import Table
from imu_video.readers.tables.rows import RowCheck

X = Path("x.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n3,4,5\n6,7\n", r"x\.csv, line 3: 3 fields, expected 2 \(a, b\): '3,4,5'"),
        (b"a,b\n1,2\n3\n6,7\n", r"line 3: 1 field, expected 2"),
        (b"a,b\n1,2\n3,4,5\n6\n", r"line 3: 3 fields, expected 2 \(a, b\) \(and 1 more such lines\)"),
        (b"a,b\n1,2,3\n4\n", r"line 2: 3 fields, expected 2"),
        (b"a,b\n1,2\n3,4,1,2\n", r"line 3: 4 fields, .*\n.*if two rows are joined, divide them"),
        (b"a,b\n1,2\n3,4,\n", r"line 3: 3 fields, expected 2"),
        (b"a,b\n1,2,\n3,4,\n5,6,7\n", r"line 4: 3 fields, expected 2"),
        (b"a,b\n1,2,\n3,4\n", r"line 3: 2 fields, expected 2|line 3"),
        (b'a,b\n1,"x,y"\n3,4,5\n', r"line 3: 3 fields, expected 2"),
        (b'a,b\n1,"x\ny"\n3,4,5\n', r"line 4: 3 fields, expected 2"),
        (b'a,b\n1,"x\n3,4\n5,6\n', r"line 2: a quotation mark is not closed until the end"),
        (b'a,b\n1,"x\n3,4\n5,"y"\n', r"line 2"),
        (b'a,b\n1,x"y\n3,z"w\n', r"line 2: a quotation mark inside a field"),
    ],
)
def test_the_line_of_a_wrong_row_is_named(content: bytes, message: str) -> None:
    for wanted in (["a"], ["a", "b"]):
        with pytest.raises(RecordingError, match=message):
            Table(X, wanted, content=content)


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"t,a,b,,\n1,2,x,,\n3,4,y,,\n", ["x", "y"]),
        (b"t,a,b\n1,2,x,\n3,4,y,\n", ["x", "y"]),
        (b"t,a,b,\n1,2,x\n3,4,y\n", ["x", "y"]),
        (b't,a,b\n1,2,"x,y"\n3,4,"say ""z"""\n', ["x,y", 'say "z"']),
        (b't,a,b\r\n1,2,"x"\r\n\r\n3,4,y\r\n', ["x", "y"]),
        (b"t,a,b\r1,2,x\r3,4,y", ["x", "y"]),
        (b"t;a;b\n1;2;x\n3;4;y\n", ["x", "y"]),
        (b"t a  b\n1  2 x\n 3 4 y\n", ["x", "y"]),
        (b"t\ta\tb\n1\t2\tx\n3\t4\ty\n", ["x", "y"]),
    ],
)
def test_irregular_but_complete_rows_are_read(content: bytes, texts: list[str]) -> None:
    delimiter = next((d for d in ";\t" if d.encode() in content), "," if b"," in content else " ")
    table = Table(X, ["a", "b"], texts=["b"], delimiter=delimiter, content=content)
    assert table.texts("b") == texts
    assert table.numbers("a").tolist() == [2.0, 4.0]


def test_lines_after_quoted_line_ends() -> None:
    table = Table(X, ["a", "b"], texts=["b"], content=b'a,b\n1,"x\ny\nz"\n2,w\n')
    assert [table.where(row) for row in range(2)] == ["x.csv, line 2", "x.csv, line 5"]
    with pytest.raises(RecordingError, match=r"line 2: a quoted field continues over 2 more lines, of which 2 look"):
        Table(X, ["a"], content=b'a,b\n1,"x\n2,y\n3,"\n4,z\n')


def test_large_files_are_checked_in_blocks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Blocks smaller than a line give the same as one block, and lines are counted across them."""
    rows = [f'{k},"v{k}, x"' if k % 3 else f"{k},v{k}" for k in range(50)]
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "\n".join(rows) + "\n")
    whole = Table(path, ["a", "b"], texts=["b"])
    monkeypatch.setattr("imu_video.readers.tables.encoding._BLOCK", 7)
    monkeypatch.setattr("imu_video.readers.tables.text.IN_MEMORY", 0)
    blocks = Table(path, ["a", "b"], texts=["b"])
    assert blocks.texts("b") == whole.texts("b")
    np.testing.assert_array_equal(blocks.numbers("a"), whole.numbers("a"))
    assert blocks.where(40) == whole.where(40) == f"{path}, line 42"
    path.write_text("a,b\n" + "\n".join(rows) + "\n1,2,3\n")
    with pytest.raises(RecordingError, match="line 52: 3 fields"):
        Table(path, ["a", "b"])


def test_the_total_alone_does_not_decide() -> None:
    """One row too long and one too short give the right total; the exact count finds them."""
    check = RowCheck(X, ",", 3, total=True)
    assert list(check.passed(iter([b"1,2,3\n4,5\n6,7,8,9\n"])))
    assert check.rows == 3
    with pytest.raises(RecordingError, match="line 2: 2 fields, expected 3"):
        check.recheck(iter([b"1,2,3\n4,5\n6,7,8,9\n"]), 1)
    with pytest.raises(RecordingError, match="line 3: 2 fields, expected 3"):
        Table(X, ["a", "b", "c"], content=b"a,b,c\n1,2,3\n4,5\n6,7,8,9\n")
    with pytest.raises(RecordingError, match="line 3: 2 fields, expected 3"):
        Table(X, ["a"], content=b"a,b,c\n1,2,3\n4,5\n6,7,8,9\n")
