"""Columns of a CSV or Parquet file, with errors that name file and line; no channels and no units."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from imu_video.errors import RecordingError
from imu_video.readers.tables.parquet import read_parquet
from imu_video.readers.tables.text import read_text
from imu_video.readers.tables.times import PER_SECOND, TimeUnit, iso_seconds
from imu_video.recordings.timestamps import MAX_MOVE_S, ClockReport, repair_times

PARQUET = {".parquet", ".pq"}
TEXT = {".csv", ".txt", ".tsv"}


class Table:
    """Some columns of a file, with the line (CSV) or row (Parquet) that each entry came from.

    Args:
        path: ``.csv``, ``.txt``, ``.tsv`` (optionally ``.gz``), ``.parquet`` or ``.pq``.
        columns: the columns to read.
        header: names of all columns for a CSV file without a header line.
        delimiter: between the fields of a CSV file.
        skip_rows: lines of a CSV file before its header.
        comment: character that starts a comment; the rest of the line is ignored.
        content: the bytes of a text file from an archive; ``path`` is then only its name.

    Raises:
        RecordingError: a missing, empty or damaged file, or a missing column.
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
        header: Sequence[str] | None = None,
        delimiter: str = ",",
        skip_rows: int = 0,
        comment: str | None = None,
        content: bytes | None = None,
    ) -> None:
        self.path = path
        if content is None and not path.is_file():
            raise RecordingError(f"{path}: no such file", hint="correct its path in the declaration")
        if (path.stat().st_size if content is None else len(content)) == 0:
            raise RecordingError(f"{path}: the file is empty", hint="copy it again, or remove it from the folder")
        wanted = list(dict.fromkeys(columns))
        suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
        if suffix.lower() in PARQUET:
            self._frame, self._first_line, self._word = read_parquet(path, wanted), 1, "row"
        elif suffix.lower() in TEXT:
            self._frame = read_text(path, content, wanted, header, sep=delimiter, skiprows=skip_rows, comment=comment)
            self._first_line, self._word = skip_rows + (2 if header is None else 1), "line"
        else:
            raise RecordingError(
                f"{path}: unknown file type {path.suffix!r}", hint=f"use one of {', '.join(sorted(TEXT | PARQUET))}"
            )
        if self._frame.iloc[:, 0].isna().any():
            self._frame = self._frame.dropna(how="all")  # blank lines
        if self._frame.empty:
            raise RecordingError(f"{path}: no rows")

    def __len__(self) -> int:
        return len(self._frame)

    def rows(self) -> np.ndarray:
        """(rows,) number of each entry in the file, from 0; rows in which all columns are empty are skipped."""
        return np.asarray(self._frame.index, dtype=np.int64)

    def where(self, row: int) -> str:
        """``file, line n`` of an entry."""
        return f"{self.path}, {self._word} {int(self._frame.index[row]) + self._first_line}"

    def numbers(self, column: str) -> np.ndarray:
        """(rows,) float64, NaN where a field is empty.

        Raises:
            RecordingError: a field that is not a number.
        """
        import pandas as pd

        series = self._frame[column]
        if series.dtype != np.float64:
            parsed = pd.to_numeric(series, errors="coerce")
            bad = np.flatnonzero((parsed.isna() & series.notna()).to_numpy())
            if len(bad):
                raise RecordingError(
                    f"{self.where(bad[0])}: {column!r} is {series.iloc[bad[0]]!r}, expected a number",
                    hint="correct the line; leave the field empty for a missing sample",
                )
            series = parsed
        values = np.array(series.to_numpy(dtype=np.float64, na_value=np.nan))
        wrong = np.isinf(values)
        if wrong.any():
            values[wrong] = np.nan
        return values

    def texts(self, column: str) -> list[str]:
        """Stripped strings, empty where a field is empty."""
        return ["" if value is None or value != value else str(value).strip() for value in self._frame[column]]

    def seconds(self, column: str, unit: TimeUnit) -> np.ndarray:
        """(rows,) float64 seconds; ISO 8601 becomes POSIX seconds and is read as UTC without a time zone.

        Raises:
            RecordingError: an empty field or one that is not a time.
        """
        iso = unit == "iso8601"
        out = iso_seconds(self.texts(column)) if iso else self.numbers(column) / PER_SECOND[unit]
        missing = np.flatnonzero(~np.isfinite(out))
        if len(missing):
            seen = self.texts(column)[missing[0]]
            raise RecordingError(f"{self.where(missing[0])}: time {column!r} is {seen or 'empty'}, expected {unit}")
        return out

    def repaired_seconds(
        self, column: str, unit: TimeUnit, *, max_move_s: float = MAX_MOVE_S
    ) -> tuple[np.ndarray, ClockReport]:
        """`seconds` as even times: rows are in the order of measurement, their stamps may repeat, bunch or go back.

        Args:
            column, unit: as for `seconds`.
            max_move_s: as for `repair_times`.

        Returns:
            (rows,) float64 seconds, and what was repaired.

        Raises:
            RecordingError: as `seconds` and `repair_times`.
        """
        out = self.seconds(column, unit)
        try:
            return repair_times(out, max_move_s=max_move_s)
        except RecordingError as error:
            raise RecordingError(f"{self.path}, {column!r}: {error.message}", hint=error.hint) from error

    def increasing_seconds(self, column: str, unit: TimeUnit) -> np.ndarray:
        """`seconds`, strictly increasing; other times are an error.

        Args:
            column, unit: as for `seconds`.

        Raises:
            RecordingError: the first row that is not later than the one before.
        """
        out = self.seconds(column, unit)
        wrong = np.flatnonzero(np.diff(out) <= 0)
        if len(wrong):
            row = int(wrong[0]) + 1
            texts = [str(self._frame[column].iloc[r]) for r in (row - 1, row)]
            same = "repeats" if out[row] == out[row - 1] else "runs backwards"
            raise RecordingError(
                f"{self.where(row)}: time {column!r} {same}: {texts[1]} after {texts[0]}",
                hint="sort the rows and drop repeated ones, declare the correct time column and unit, or let "
                "imu-video repair the clock: time: {..., repair: true}",
            )
        if len(out) < 2:
            raise RecordingError(f"{self.path}: number of rows with samples is {len(out)}, expected at least 2")
        return out
