"""Columns of a CSV or Parquet file, with errors that name file and line; no channels and no units."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np

from imu_video.errors import RecordingError
from imu_video.readers.tables.messages import guarded, shown
from imu_video.readers.tables.parquet import Moments, read_parquet
from imu_video.readers.tables.text import TextFile, TextFormat, number_advice, parse_numbers
from imu_video.readers.tables.times import (
    EARLIEST_S,
    LATEST_S,
    PER_SECOND,
    TimeUnit,
    iso_problem,
    iso_seconds,
    posix_seconds,
    whole_seconds,
)
from imu_video.recordings.timestamps import MAX_MOVE_S, ClockReport, repair_times

PARQUET = {".parquet", ".pq"}
TEXT = {".csv", ".txt", ".tsv"}


class Table:
    """Some columns of a file, with the line (CSV) or row (Parquet) that each entry came from.

    Every row of a text file must have as many fields as the file has columns. Rows in which all wanted columns are
    empty are left out.

    Args:
        path: ``.csv``, ``.txt``, ``.tsv`` (optionally ``.gz``), ``.parquet`` or ``.pq``.
        columns: the columns to read.
        texts: which of them hold text; they are read as they are (``null``, ``01``, ``true``). `texts` returns other
            columns as text too, but reads the file again for them.
        header: names of all columns for a CSV file without a header line.
        delimiter: between the fields of a CSV file, one character; repeated spaces count as one.
        skip_rows: lines of a CSV file before its header.
        terminator: character that ends every row of a text file in addition to the end of its line, such as ``;``.
        encoding: of a text file, UTF-8 when None; a byte order mark of UTF-8 is skipped.
        decimal: decimal mark of a CSV file.
        empty: accept a file without rows.
        content: the bytes of a text file from an archive; ``path`` is then only its name.

    Raises:
        RecordingError: a missing, empty or damaged file, a missing or repeated column, a row with another number of
            fields.
        ConfigError: a Parquet file, but pyarrow is not installed.

    Example:
        >>> table = Table(Path("watch.csv"), ["t", "ax"], content=b"t,ax,ay\\n0.00,9.8,0.1\\n0.02,9.7,0.2\\n")
        >>> table.numbers("ax").tolist()
        [9.8, 9.7]
    """

    def __init__(
        self,
        path: Path,
        columns: Sequence[str],
        *,
        texts: Sequence[str] = (),
        header: Sequence[str] | None = None,
        delimiter: str = ",",
        skip_rows: int = 0,
        terminator: str | None = None,
        encoding: str | None = None,
        decimal: Literal[".", ","] = ".",
        empty: bool = False,
        content: bytes | None = None,
    ) -> None:
        self.path = path
        self._decimal = decimal
        self._text: TextFile | None = None
        self._lines: np.ndarray | None = None
        self._blank: Sequence[int] = ()
        with guarded(path):
            if content is None and not path.is_file():
                raise RecordingError(f"{path}: no such file", hint="correct its path in the declaration")
            if (path.stat().st_size if content is None else len(content)) == 0:
                raise RecordingError(f"{path}: the file is empty", hint="copy it again, or remove it from the folder")
            wanted = list(dict.fromkeys(columns))
            suffix = path.with_suffix("").suffix if path.suffix.lower() == ".gz" else path.suffix
            if suffix.lower() in PARQUET:
                self._columns = read_parquet(path, wanted)
                self._first_line, self._word = 1, "row"
            elif suffix.lower() in TEXT:
                form = TextFormat(
                    header=header,
                    delimiter=delimiter,
                    skip_rows=skip_rows,
                    terminator=terminator,
                    encoding=encoding,
                    decimal=decimal,
                )
                self._text = TextFile(path, content, form)
                found = self._text.read(wanted, [name for name in wanted if name in texts])
                self._columns = dict(found.values)
                self._first_line, self._lines, self._word = found.first_line, found.lines, "line"
                self._blank = found.blank
            else:
                raise RecordingError(
                    f"{path}: unknown file type {path.suffix!r}",
                    hint=f"use one of {', '.join(sorted(TEXT | PARQUET))}",
                )
            self._kept = self._leave_out_empty_rows()
        if not empty and not len(self):
            raise RecordingError(f"{path}: no rows")

    def _leave_out_empty_rows(self) -> np.ndarray:
        """Row numbers with a value in any column; the others are removed."""
        columns = list(self._columns.values())
        empty = _missing(columns[0])
        if not empty.any():
            return np.arange(len(empty))
        missing = np.logical_and.reduce([_missing(column) for column in columns])
        kept = np.flatnonzero(~missing)
        for name, column in self._columns.items():
            if isinstance(column, Moments):
                self._columns[name] = Moments(column.seconds[kept], column.local, column.kind)
            else:
                self._columns[name] = column[kept]
        return kept

    def __len__(self) -> int:
        return len(self._kept)

    def rows(self) -> np.ndarray:
        """(rows,) number of each entry in the file, from 0; rows of empty fields count, blank lines do not."""
        return self._kept.astype(np.int64) - np.searchsorted(self._blank, self._kept)

    def where(self, row: int) -> str:
        """``file, line n`` of an entry."""
        number = int(self._kept[row])
        line = number + self._first_line if self._lines is None else int(self._lines[number])
        return f"{self.path}, {self._word} {line}"

    def numbers(self, column: str) -> np.ndarray:
        """(rows,) float64, NaN where a field is empty, ``NaN``, ``NA``, ``null`` or infinite.

        Raises:
            RecordingError: a field that is not a number.
        """
        values = self._columns[column]
        if isinstance(values, Moments):
            raise RecordingError(
                f"{self.path}: column {column!r} has the type {values.kind}, expected numbers",
                hint="declare it as the time column, or another column for this channel",
            )
        if values.dtype == object:
            parsed, wrong = parse_numbers(values, self._decimal)
            if wrong is not None:
                self._refuse_number(column, wrong, str(values[wrong]))
            return parsed
        out = np.array(values, dtype=np.float64)
        lost = np.isinf(out)
        if lost.any():
            infinite = np.flatnonzero(lost)
            # sensors write "inf" for a lost sample; a number that is too large to be one is damaged
            if self._text is not None:
                words = self.texts(column)
                large = [row for row in infinite.tolist() if words[row].lower().lstrip("+-") not in _INFINITE]
                if large:
                    self._refuse_number(column, large[0], words[large[0]])
            out[infinite] = np.nan
        return out

    def _refuse_number(self, column: str, row: int, text: str) -> NoReturn:
        hint = number_advice(text, self._decimal)
        if row == 0 and text.strip() == column:
            hint = "the first line holds the column names: remove `columns`, or skip the line (skip_rows)"
        elif row == 0 and self._word == "line" and re.match(r"[^\W\d]|[(\[]", text.strip()):
            line = self.where(0).rsplit(" ", 1)[1]
            hint = f"if the line holds units, declare the names of all columns (columns: [...]) and `skip_rows: {line}`"
        elif re.match(r"\d{4}-\d\d-\d\d", text.strip()):
            hint = "it is a date: declare it as the time column, with the unit iso8601"
        raise RecordingError(f"{self.where(row)}: {column!r} is {shown(text)}, expected a number", hint=hint)

    def texts(self, column: str) -> list[str]:
        """Stripped strings as they are in the file, empty where a field is empty.

        Raises:
            RecordingError: a Parquet column of times.
        """
        values = self._columns[column]
        if isinstance(values, Moments):
            raise RecordingError(f"{self.path}: column {column!r} has the type {values.kind}, expected texts")
        if values.dtype != object and self._text is not None:
            # numbers have lost their notation: "01" has become 1
            with guarded(self.path):
                values = self._text.read([column], [column]).values[column][self._kept]
        if values.dtype.kind == "f":
            return ["" if value != value else str(value) for value in values.tolist()]
        return [str(value).strip() for value in values.tolist()]

    def seconds(self, column: str, unit: TimeUnit, zone: tzinfo | None = None) -> np.ndarray:
        """(rows,) float64 seconds; ISO 8601 becomes POSIX seconds.

        Time stamps and durations of Parquet files are read by their own type, whatever the unit.

        Args:
            column: a column of times.
            unit: their unit.
            zone: zone of ISO 8601 times and Parquet time stamps without one, UTC when None.

        Raises:
            RecordingError: an empty field, one that is not a time, dates before 1970 or after 2200, or times of which
                only some have a zone.
        """
        values = self._columns[column]
        with guarded(self.path):
            if isinstance(values, Moments):
                return self._dated(self._moments(column, values, zone), column)
            if unit == "iso8601":
                return self._dated(self._iso(column, zone), column)
            if values.dtype.kind in "iu":
                return whole_seconds(values, PER_SECOND[unit])
            out = self.numbers(column) / PER_SECOND[unit]
        missing = np.flatnonzero(~np.isfinite(out))
        if len(missing):
            seen = self.texts(column)[missing[0]]
            raise RecordingError(
                f"{self.where(missing[0])}: time {column!r} is {shown(seen) if seen else 'empty'}, expected {unit}",
                hint="correct or remove the line",
            )
        return out

    def _iso(self, column: str, zone: tzinfo | None) -> np.ndarray:
        words = self.texts(column)
        out = iso_seconds(words, zone)
        missing = np.flatnonzero(~np.isfinite(out))
        if len(missing):
            row = int(missing[0])
            if not words[row]:
                raise RecordingError(
                    f"{self.where(row)}: time {column!r} is empty, expected iso8601", hint="correct or remove the line"
                )
            if len(missing) == len(words):  # a mixture of times with and without a zone: the first that differs
                row = next((r for r in range(1, len(words)) if iso_problem(words, r, zone)[0].startswith("with")), row)
            problem, hint = iso_problem(words, row, zone)
            raise RecordingError(f"{self.where(row)}: time {column!r} is {shown(words[row])}, {problem}", hint=hint)
        return out

    def _moments(self, column: str, values: Moments, zone: tzinfo | None) -> np.ndarray:
        out = values.seconds
        missing = np.flatnonzero(~np.isfinite(out))
        if len(missing):
            raise RecordingError(
                f"{self.where(missing[0])}: time {column!r} is empty, expected {values.kind}",
                hint="correct or remove the row",
            )
        if values.local and zone is not None:
            moments = np.datetime64(0, "us") + np.round(out * 1e6).astype("timedelta64[us]")
            words = np.datetime_as_string(moments).tolist()
            zoned = iso_seconds(words, zone)
            wrong = np.flatnonzero(~np.isfinite(zoned))
            if len(wrong):
                problem, hint = iso_problem(words, int(wrong[0]), zone)
                raise RecordingError(
                    f"{self.where(wrong[0])}: time {column!r} = {words[wrong[0]]} {problem}", hint=hint
                )
            out = zoned + (out - posix_seconds(moments))
        return out

    def _dated(self, out: np.ndarray, column: str) -> np.ndarray:
        """The times if all are plausible dates."""
        wrong = np.flatnonzero((out < EARLIEST_S) | (out > LATEST_S))
        if len(wrong):
            row = int(wrong[0])
            values = self._columns[column]
            seen = f"{out[row]:.0f} s from 1970" if isinstance(values, Moments) else shown(self.texts(column)[row])
            raise RecordingError(
                f"{self.where(row)}: time {column!r} is {seen}, expected a date from 1970 to 2200",
                hint="the clock of the device was not set; use a column of time since its start, or "
                "`time: {rate_hz: ...}`",
            )
        return out

    def repaired_seconds(
        self, column: str, unit: TimeUnit, *, max_move_s: float = MAX_MOVE_S, zone: tzinfo | None = None
    ) -> tuple[np.ndarray, ClockReport]:
        """`seconds` as even times: rows are in the order of measurement, their stamps may repeat, bunch or go back.

        Args:
            column, unit, zone: as for `seconds`.
            max_move_s: as for `repair_times`.

        Returns:
            (rows,) float64 seconds, and what was repaired.

        Raises:
            RecordingError: as `seconds` and `repair_times`.
        """
        out = self.seconds(column, unit, zone)
        try:
            return repair_times(out, max_move_s=max_move_s)
        except RecordingError as error:
            raise RecordingError(f"{self.path}, {column!r}: {error.message}", hint=error.hint) from error

    def increasing_seconds(self, column: str, unit: TimeUnit, *, zone: tzinfo | None = None) -> np.ndarray:
        """`seconds`, strictly increasing; other times are an error.

        Args:
            column, unit, zone: as for `seconds`.

        Raises:
            RecordingError: the first row that is not later than the one before.
        """
        out = self.seconds(column, unit, zone)
        wrong = np.flatnonzero(np.diff(out) <= 0)
        if len(wrong):
            row = int(wrong[0]) + 1
            texts = [self._seen(column, r) for r in (row - 1, row)]
            same = "repeats" if out[row] == out[row - 1] else "runs backwards"
            raise RecordingError(
                f"{self.where(row)}: time {column!r} {same}: {texts[1]} after {texts[0]}",
                hint="sort the rows and drop repeated ones, declare the correct time column and unit, or let "
                "imu-video repair the clock: time: {..., repair: true}",
            )
        if len(out) < 2:
            raise RecordingError(f"{self.path}: number of rows with samples is {len(out)}, expected at least 2")
        return out

    def _seen(self, column: str, row: int) -> str:
        values = self._columns[column]
        return f"{values.seconds[row]:.6f} s" if isinstance(values, Moments) else str(values[row]).strip()


_INFINITE = ("inf", "infinity")


def _missing(column: np.ndarray | Moments) -> np.ndarray:
    """(rows,) whether a field is empty."""
    if isinstance(column, Moments):
        return np.isnan(column.seconds)
    if column.dtype == object:
        return np.array([not text.strip() for text in column], dtype=bool)
    return np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), dtype=bool)
