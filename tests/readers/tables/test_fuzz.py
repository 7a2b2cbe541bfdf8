"""Mutated tables give a RecordingError or what an independent parser reads; no other exception and no wrong row."""

from __future__ import annotations

import csv
import gzip
import io
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.readers.tables import Table, number_table
from imu_video.readers.tables.text import MISSING

COLUMNS = ["t", "ax", "ay"]
TOKENS = [
    *(b"\0", b"\0\0\0\0", b'"', b'""', b",", b",,", b"\r", b"\n", b"\r\n", b";", b"\t", b" ", b"\xff", b"\xc3\xa9"),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"nan", b"inf", b"1e999", b"1_0", b"0x10", b"null", b"0001-01-01T00:00:00Z"),
    *(b"99999999999999999999999", b"-", b"+", b".", b"e", b"true", b"\x1a", b"\xe2\x80\xa8", b"2024", b"now"),
]


def plain() -> bytes:
    rng = np.random.default_rng(0)
    rows = [
        f"{k / 50:.2f},{x:.4f},{y:.4f},{'walk' if k % 2 else 'run'}"
        for k, (x, y) in enumerate(rng.normal(size=(30, 2)))
    ]
    return ("t,ax,ay,label\n" + "\n".join(rows) + "\n").encode()


def quoted() -> bytes:
    return plain().replace(b",walk", b',"walk, ""fast"""').replace(b",run", b',"run"')


def parquet() -> bytes:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    t = np.arange(30) / 50
    stamps = (t * 1e9).astype("datetime64[ns]")
    table = pa.table({"t": stamps, "ax": t, "ay": t, "label": [str(k) for k in range(30)]})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def iso() -> bytes:
    return b"t,ax,ay,label\n" + b"".join(b"2024-05-06T10:00:%02d.%d0Z,1,2,x\n" % (k // 10, k % 10) for k in range(30))


def mutated(content: bytes, rng: random.Random) -> bytes:
    out = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        place = rng.randrange(len(out) + 1)
        length = rng.choice([1, 1, 3, 20, 200])
        kind = rng.randrange(6)
        if kind == 0 and out:
            out[min(place, len(out) - 1)] = rng.choice([rng.randrange(256), *b"0123456789.,"])
        elif kind == 1:
            del out[place : place + length]
        elif kind == 2:
            out[place:place] = out[place : place + length]
        elif kind == 3:
            out[place:place] = rng.randbytes(length)
        elif kind == 4:
            del out[place:]
        else:
            out[place:place] = rng.choice(TOKENS)
    return bytes(out)


def expected(content: bytes) -> list[list[str]]:
    """Rows of a text table by the parser of Python."""
    text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    return [row for row in csv.reader(io.StringIO(text, newline=""), skipinitialspace=True) if "".join(row).strip()]


def number(text: str) -> float:
    text = text.strip()
    return float("nan") if text in MISSING or "inf" in text.lower() else float(text)


def compare(content: bytes, table: Table, columns: dict[str, Any]) -> None:
    """Every row that was read is the row that the parser of Python reads."""
    header, *rows = expected(content)
    names = [name.strip() for name in header]
    rows = [
        row
        for row in rows
        if any(row[names.index(c)].strip() not in MISSING for c in [*COLUMNS, "label"] if c in names)
    ]
    assert len(rows) == len(table)
    for name, values in columns.items():
        cells = [row[names.index(name)] for row in rows]
        if name == "label":
            assert [value.replace("\r\n", "\n") for value in values] == [cell.strip() for cell in cells]
        else:
            np.testing.assert_array_equal(values, [number(cell) for cell in cells])


def kind_of(error: RecordingError, path: Path) -> str:
    """Whether one of our checks or a parser found the damage; the message is short and names the file."""
    assert len(str(error)) < 1000, "a message is not a dump of the file"
    assert str(path) in str(error)
    return "refused by the parser" if "not a readable" in str(error) else "refused"


def attempt(path: Path, content: bytes, unit: Any, outcomes: Counter[str]) -> None:
    path.write_bytes(content)
    try:
        table = Table(path, [*COLUMNS, "label"], texts=["label", *(["t"] if unit == "iso8601" else [])])
        columns: dict[str, Any] = {name: table.numbers(name) for name in COLUMNS[1:]} | {"label": table.texts("label")}
        times = table.increasing_seconds("t", unit)
    except RecordingError as caught:
        outcomes[kind_of(caught, path)] += 1
        return
    assert np.all(np.diff(times) > 0)
    assert np.isfinite(times).all()
    assert all(len(values) == len(table) for values in columns.values())
    for name in COLUMNS[1:]:
        assert not np.isinf(columns[name]).any()
    if path.suffix == ".csv":
        compare(content, table, columns | ({"t": times} if unit == "s" else {}))
    outcomes["read"] += 1


def fuzz(folder: Path, cases: int) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    kinds: list[tuple[str, bytes, Any]] = [
        ("a.csv", plain(), "s"),
        ("q.csv", quoted(), "s"),
        ("r.csv", plain().replace(b"\n", b"\r\n"), "s"),
        ("i.csv", iso(), "iso8601"),
        ("p.parquet", parquet(), "iso8601"),
        ("g.csv.gz", gzip.compress(plain()), "s"),
    ]
    for seed in range(cases):
        rng = random.Random(seed)
        name, content, unit = kinds[seed % len(kinds)]
        attempt(folder / name, mutated(content, rng), unit, outcomes)
    return outcomes


def test_mutated_files(tmp_path: Path) -> None:
    outcomes = fuzz(tmp_path, 150)
    assert outcomes["read"] > 5
    assert outcomes["refused"] > 50


@pytest.mark.slow
def test_ten_thousand_mutated_files(tmp_path: Path) -> None:
    outcomes = fuzz(tmp_path, 10_000)
    assert outcomes["read"] > 500
    assert sum(outcomes.values()) == 10_000


@pytest.mark.parametrize("separator", [None, ","])
def test_mutated_tables_of_numbers(separator: str | None, tmp_path: Path) -> None:
    """The same for files without a header: numbers as `float` reads them, in lines of three."""
    rows = np.random.default_rng(1).normal(size=(20, 3)).round(4)
    content = "\n".join((separator or " ").join(map(str, row)) for row in rows.tolist()).encode() + b"\n"
    path, read = tmp_path / "x.txt", 0
    for seed in range(100):
        damaged = mutated(content, random.Random(seed))
        path.write_bytes(damaged)
        try:
            values = number_table(path, 3, separator=separator)
        except RecordingError as caught:
            kind_of(caught, path)
            continue
        lines = damaged.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        fields = [line.split(separator) for line in lines if line.strip()]
        np.testing.assert_array_equal(values, [[float(field) for field in row] for row in fields])
        read += 1
    assert read > 0
