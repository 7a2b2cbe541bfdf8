"""Headers, numbers and texts of CSV files; every hint is obeyed and the result checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.readers.tables import Table

X = Path("x.csv")


@pytest.mark.parametrize(
    "text", ["null", "NULL", "NA", "nan", "None", "01", "1e3", "true", "True", "1_0", "inf", "-", "0x1"]
)
def test_text_is_read_as_text(text: str) -> None:
    content = f"t,label\n1,{text}\n2,{text}\n".encode()
    assert Table(X, ["t", "label"], texts=["label"], content=content).texts("label") == [text, text]
    assert Table(X, ["label"], texts=["label"], content=content).texts("label") == [text, text]
    assert Table(X, ["t", "label"], content=content).texts("label") == [text, text], "not declared as text"


@pytest.mark.parametrize(
    "text", ["1_000", "0x10", "true", "True", "1,5", "1.234.567", "1e999", "--1", "1 2", "５", "−5", "1e", "5f", "- 5"]
)
def test_only_numbers_are_numbers(text: str) -> None:
    for others in ("2", "x", "True"):
        content = f"t;a\n1;{others}\n2;{text}\n".encode()
        table = Table(X, ["a"], delimiter=";", content=content)
        with pytest.raises(RecordingError, match=r"x\.csv, line [23]: 'a' is '.*', expected a number"):
            table.numbers("a")


@pytest.mark.parametrize("text", ["", "NaN", "nan", "NA", "null", "None", "inf", "-inf", "Infinity", "#N/A"])
def test_missing_numbers(text: str) -> None:
    table = Table(X, ["t", "a"], content=f"t,a\n1,2.5\n2,{text}\n".encode())
    np.testing.assert_array_equal(table.numbers("a"), [2.5, np.nan])


def test_decimal_commas() -> None:
    content = b"t;a\n0,00;-9,81\n0,02;1,5e-3\n"
    table = Table(X, ["t", "a"], delimiter=";", content=content)
    with pytest.raises(RecordingError, match=r"line 2: 'a' is '-9,81'") as error:
        table.numbers("a")
    assert error.value.hint == "declare `decimal: ','`"
    assert Table(X, ["a"], delimiter=";", decimal=",", content=content).numbers("a").tolist() == [-9.81, 0.0015]
    for other in (b"1.234,5", b"1.5", b"1.234"):
        with pytest.raises(RecordingError, match="expected a number"):
            Table(X, ["a"], delimiter=";", decimal=",", content=b"t;a\n0;" + other + b"\n").numbers("a")
    with pytest.raises(RecordingError, match=r"expected a number.*\n.*without separators of thousands"):
        Table(X, ["a"], content=b't,a\n0,"1,234.5"\n').numbers("a")


@pytest.mark.parametrize(
    ("content", "hint", "obeyed"),
    [
        (b"t;a\n1;2\n", 'delimiter: ";"', {"delimiter": ";"}),
        (b"t\ta\n1\t2\n", 'delimiter: "\\t"', {"delimiter": "\t"}),
        (b"sep=;\nt;a\n1;2\n", 'skip_rows: 1` and `delimiter: ";"', {"skip_rows": 1, "delimiter": ";"}),
        (b"device: x\nrate: 50\nt,a\n1,2\n", "skip_rows: 2", {"skip_rows": 2}),
        (b"1,2\n3,4\n", "columns: [...]", {"header": ["t", "a"]}),
    ],
)
def test_a_missing_header_is_explained(content: bytes, hint: str, obeyed: dict[str, Any]) -> None:
    with pytest.raises(RecordingError, match="no column 't'") as error:
        Table(X, ["t", "a"], content=content)
    assert hint in str(error.value.hint)
    assert Table(X, ["t", "a"], content=content, **obeyed).numbers("a")[-1] in (2.0, 4.0)


def test_repeated_and_missing_names() -> None:
    content = b"t,a,b,b,,\n1,2,3,4,,\n"
    assert Table(X, ["a"], content=content).numbers("a").tolist() == [2.0]
    with pytest.raises(RecordingError, match=r"the name 'b' belongs to 2 columns \(3, 4\)") as error:
        Table(X, ["b"], content=content)
    assert "skip_rows" in str(error.value.hint)
    again = Table(X, ["b2"], header=["t", "a", "b", "b2", "", ""], skip_rows=1, content=content)
    assert again.numbers("b2").tolist() == [4.0]
    with pytest.raises(RecordingError, match=r"line 1: 'a' is 'a', expected a number.*\n.*skip_rows"):
        Table(X, ["a"], header=["t", "a", "b", "c", "d", "e"], content=content).numbers("a")


def test_tables_without_rows() -> None:
    with pytest.raises(RecordingError, match="no rows"):
        Table(X, ["a"], content=b"t,a\n")
    for content in (b"t,a\n", b"t,a", b"t,a\n\n\n"):
        table = Table(X, ["t", "a"], texts=["a"], empty=True, content=content)
        assert (len(table), table.texts("a"), table.seconds("t", "s").tolist()) == (0, [], [])
        assert table.seconds("t", "iso8601").tolist() == []
    for content in (b"", b"\n", b"\xef\xbb\xbf"):
        with pytest.raises(RecordingError):
            Table(X, ["a"], empty=True, content=content)


def test_a_line_of_units_and_dates_have_a_remedy() -> None:
    content = b"t,a\ns,m/s^2\n0,1\n1,2\n"
    with pytest.raises(RecordingError, match=r"line 2: 'a' is 'm/s\^2', expected a number") as error:
        Table(X, ["t", "a"], content=content).numbers("a")
    assert "skip_rows: 2" in str(error.value.hint)
    assert Table(X, ["a"], header=["t", "a"], skip_rows=2, content=content).numbers("a").tolist() == [1.0, 2.0]
    with pytest.raises(RecordingError, match="expected a number") as error:
        Table(X, ["t"], content=b"t,a\n2024-05-06T10:00:00,1\n").seconds("t", "s")
    assert "the unit iso8601" in str(error.value.hint)


def test_integers_keep_their_digits() -> None:
    first = 1_700_000_000_123_456_789
    table = Table(X, ["t"], content=f"t,x\n{first},1\n{first + 20_000_000},1\n".encode())
    assert np.diff(table.seconds("t", "ns")).tolist() == pytest.approx([0.02], abs=3e-7)
    assert table.texts("t") == [str(first), str(first + 20_000_000)]
