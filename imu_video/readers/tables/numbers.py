"""Text files that contain nothing but numbers, as arrays; no header and no column names."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from imu_video.errors import RecordingError
from imu_video.readers.tables.encoding import text_blocks
from imu_video.readers.tables.messages import guarded, shown
from imu_video.readers.tables.text import exact_floats, parse_numbers


def number_table(path: Path, columns: int, *, separator: str | None = None, missing: bool = False) -> np.ndarray:
    """Read a text file of numbers without a header as (rows, columns) float64.

    Args:
        path: the file; blank lines are skipped.
        columns: numbers expected in every line.
        separator: between the numbers; any white space when None.
        missing: accept NaN, by which some datasets mark lost samples.

    Raises:
        RecordingError: no such file, no rows, or the first line that is not ``columns`` finite numbers.
    """
    if not path.is_file():
        raise RecordingError(
            f"{path}: no such file", hint="download it again, or exclude its subject (splits.subjects)"
        )
    with guarded(path):
        content = b"".join(text_blocks(path))
        table = None if missing else _finite_table(content, columns, separator)
        if table is not None:
            return table
        rows = content.decode("utf-8").split("\n")
        return _by_line(rows, columns, separator=separator, path=path, lines=None, missing=missing)


def numbers_between(
    rows: Sequence[str],
    columns: int,
    *,
    path: Path,
    separator: str | None = None,
    lines: Sequence[int] | None = None,
    missing: bool = False,
) -> np.ndarray:
    """Lines of numbers as (rows, columns) float64; see `number_table`.

    Args:
        rows: lines of text; blank ones are skipped.
        columns: numbers expected in every line.
        path: file, for error messages.
        separator: between the numbers; any white space when None.
        lines: line number of each row in the file, counted from 1; in order when None.
        missing: accept NaN.

    Raises:
        RecordingError: no rows, or the first line that is not ``columns`` finite numbers.

    Example:
        >>> numbers_between(["1 2", "3 4"], 2, path=Path("x.txt")).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    with guarded(path):
        content = "\n".join(rows).encode(errors="replace")
        table = None if missing else _finite_table(content, columns, separator)
        if table is not None:
            return table
        return _by_line(rows, columns, separator=separator, path=path, lines=lines, missing=missing)


def _finite_table(content: bytes, columns: int, separator: str | None) -> np.ndarray | None:
    """The table if every line is certain to hold the expected count of finite numbers, else None.

    The parser of pandas takes a third of the time of numpy's, but it pads short lines with NaN; after a NaN the lines
    are therefore parsed one by one.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(
            io.BytesIO(content),
            sep=r"\s+" if separator is None else separator,
            header=None,
            dtype=np.float64,
            index_col=False,
            quoting=csv.QUOTE_NONE,
            low_memory=False,
            **exact_floats(),
        )
    # includes the errors of pandas: a field that is not a number, lines of different lengths, no lines
    except ValueError:
        return None
    table = frame.to_numpy()
    return table if table.shape[1] == columns and np.isfinite(table).all() else None


def _by_line(
    rows: Sequence[str],
    columns: int,
    *,
    path: Path,
    separator: str | None,
    lines: Sequence[int] | None,
    missing: bool,
) -> np.ndarray:
    """As `numbers_between`, but slower, with an error that names the wrong line."""
    if not any(row.strip() for row in rows):
        raise RecordingError(f"{path}: no rows")
    try:
        table = np.loadtxt(rows, delimiter=separator, comments=None, ndmin=2, dtype=np.float64)
        right = table.shape[1] == columns and (np.isfinite(table) | (missing & np.isnan(table))).all()
        if right and not any(mark in row for row in rows for mark in "_xX"):  # "1_0" and "0x10" are damage
            return np.asarray(table)
    except ValueError:
        pass  # the error below names the line
    for number, row in enumerate(rows):
        fields = row.split(separator)
        if row.strip() and (len(fields) != columns or not all(_is_number(f, missing) for f in fields)):
            raise RecordingError(
                f"{path}, line {number + 1 if lines is None else lines[number]}: {shown(row.strip())} has "
                f"{len(fields)} fields, expected {columns} finite numbers",
                hint="download the damaged file again, or exclude its subject (splits.subjects)",
            )
    raise RecordingError(f"{path}: not a table of numbers with {columns} columns")


def _is_number(text: str, missing: bool) -> bool:
    values, wrong = parse_numbers(np.array([text], dtype=object))
    return wrong is None and (bool(np.isfinite(values[0])) or (missing and text.strip().lower() == "nan"))
