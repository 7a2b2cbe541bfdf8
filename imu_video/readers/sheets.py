"""Text tables of apps whose delimiter, decimal mark and encoding are found from the text; no columns are known here."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from imu_video.errors import RecordingError
from imu_video.readers.base import Track
from imu_video.readers.tables import Table

_DELIMITERS = "\t;,"
_TEXT = {".csv", ".txt", ".tsv"}
LONGEST_RETURN_S = 1.0
"""Samples may be out of order by this much: apps write the buffers of their sensors one after the other."""


class Sheet:
    """A table of text with one header line; numbers may have decimal commas unless the comma separates the fields.

    Args:
        where: path of the file, for messages.
        content: its bytes: UTF-8, UTF-16 with a byte order mark, or Latin-1.
        skip: lines before the header; empty lines before it are skipped as well.
        units: whether the line after the header holds the units of the columns.

    Raises:
        RecordingError: no header line, or another number of units than of columns.

    Example:
        >>> sheet = Sheet("Raw Data.csv", b'"Time (s)";"X (m/s^2)"\\n0,00;9,81\\n0,01;9,80\\n')
        >>> sheet.names, sheet.numbers(["X (m/s^2)"]).tolist()
        (('Time (s)', 'X (m/s^2)'), [[9.81, 9.8]])
    """

    def __init__(self, where: str, content: bytes, *, skip: int = 0, units: bool = False) -> None:
        self.where = where
        text = decoded(content)
        lines = text.split("\n", skip + 16)
        while len(lines) > skip + 1 and not lines[skip].strip():
            skip += 1
        header = lines[skip] if len(lines) > skip else ""
        if not header.strip():
            raise RecordingError(f"{where}: no header line, expected the names of the columns")
        self.delimiter = max(_DELIMITERS, key=header.count)
        self._header = _distinct(self._fields(header))
        self.names = tuple(self._header)
        below = lines[skip + 1 :]
        self.units: dict[str, str] = {}
        if units:
            found = self._fields(below[0]) if below else []
            if len(found) != len(self._header):
                raise RecordingError(
                    f"{where}, line {skip + 2}: {len(found)} units, expected {len(self._header)}, one per column"
                )
            self.units = dict(zip(self._header, found, strict=True))
            below = below[1:]
        self._lines = skip + (2 if units else 1)
        comma = self.delimiter != "," and any(re.search(r"\d,\d", line) for line in below[:5])
        self._content = text.encode()
        self._with_points = text.replace(",", ".").encode() if comma else self._content
        # A table leaves out rows without any of the wanted columns; their number in the file puts them back in place.
        self._rows = max(0, text.rstrip("\n").count("\n") + 1 - self._lines)

    def _fields(self, line: str) -> list[str]:
        try:
            return [name.strip() for name in next(csv.reader([line], delimiter=self.delimiter), [])]
        except csv.Error as error:
            raise RecordingError(f"{self.where}: {line[:60]!r} is not a line of a table: {error}") from error

    def _table(self, columns: Sequence[str], content: bytes, *, empty: bool = False) -> Table:
        path = Path(self.where) if Path(self.where).suffix.lower() in _TEXT else Path(f"{self.where}.csv")
        return Table(
            path,
            columns,
            header=self._header,
            delimiter=self.delimiter,
            skip_rows=self._lines,
            content=content,
            empty=empty,
        )

    def numbers(self, columns: Sequence[str]) -> np.ndarray:
        """(columns, rows) float64, NaN where a field is empty; every call has the same rows.

        Raises:
            RecordingError: a missing column, a field that is not a number, or no row with one of the columns.
        """
        table = self._table(columns, self._with_points)
        out = np.full((len(columns), self._rows), np.nan)
        out[:, table.rows()] = [table.numbers(column) for column in columns]
        return out

    def texts(self, column: str, *, empty: bool = False) -> list[str]:
        """A stripped text per row, empty where a field is empty; the same rows as `numbers` has.

        Args:
            column: its name.
            empty: whether a column without any text is accepted.

        Raises:
            RecordingError: a missing column, or one without any text that is not accepted.
        """
        table = self._table([column], self._content, empty=empty)  # a comma in a text is no decimal mark
        out = [""] * self._rows
        for row, text in zip(table.rows().tolist(), table.texts(column), strict=True):
            out[row] = text
        return out


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of columns; empty and repeated ones get their number, since a table needs distinct names.

    Example:
        >>> _distinct(["t", "x", "x", ""])
        ['t', 'x', 'x, column 3', 'column 4']
    """
    found: list[str] = []
    for number, name in enumerate(names, 1):
        found.append(f"column {number}" if not name else f"{name}, column {number}" if name in found else name)
    return found


def decoded(content: bytes) -> str:
    """Text of a file in UTF-8, UTF-16 with a byte order mark, or else Latin-1, with ``\\n`` line ends.

    Example:
        >>> decoded("µT".encode("latin-1")), decoded("µT".encode("utf-16"))
        ('µT', 'µT')
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16", errors="replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def ordered(track: Track, *, where: str, notes: list[str]) -> Track:
    """The track with increasing times; samples that had to be dropped or moved are counted in the notes.

    Raises:
        RecordingError: fewer than two samples with a time, no value, or times that go back by more than
            `LONGEST_RETURN_S`: sorting them would mix two recordings.
    """
    known = track.times[np.isfinite(track.times)]
    steps = np.diff(known)
    if len(steps) and float(steps.min()) < -LONGEST_RETURN_S:
        at = int(np.argmin(steps))
        raise RecordingError(
            f"{where}: times go back by {-float(steps[at]):.6g} s after {known[at]:.6g} s",
            hint="the file contains two recordings, or the clock was set: split it there",
        )
    rows = np.isfinite(track.times) | np.isfinite(track.values).any(axis=0)  # blank lines are no samples
    track, faults = Track(times=track.times[rows], values=track.values[:, rows], unit=track.unit).in_order()
    if len(track.times) < 2 or not np.isfinite(track.values).any():
        raise RecordingError(f"{where}: {len(track.times)} samples with a time, expected at least two with values")
    note = f"{Path(where).name}: {faults} samples repeated or out of order"
    if faults and note not in notes:
        notes.append(note)
    return track
