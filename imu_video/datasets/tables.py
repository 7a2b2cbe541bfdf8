"""CSV and Parquet files, and plain tables of numbers, faults reported by file and line; knows no channels or units."""

from __future__ import annotations

import codecs
import csv
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from imu_video.errors import ConfigError, RecordingError, nearest
from imu_video.recordings.timestamps import repair_times

TimeUnit = Literal["s", "ms", "us", "ns", "iso8601"]
PER_SECOND: dict[str, float] = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
PARQUET = {".parquet", ".pq"}
TEXT = {".csv", ".txt", ".tsv"}
_IN_MEMORY = 1 << 28  # bytes of a text file that is read at once; larger ones are streamed


class Table:
    """Some columns of a file, with the line (CSV) or row (Parquet) that each entry came from.

    Args:
        path: ``.csv``, ``.txt``, ``.tsv`` (optionally ``.gz``), ``.parquet`` or ``.pq``.
        columns: the columns to read.
        header: names of all columns for a CSV file without a header line.
        delimiter: between the fields of a CSV file.
        skip_rows: lines of a CSV file before its header.
        comment: a character with which the rest of a line is left out.
        content: the bytes of a text file that lies in an archive; ``path`` is then only its name.

    Raises:
        RecordingError: missing, empty or broken file, or a column that it does not have.
        ConfigError: a Parquet file where pyarrow is not installed.

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
            raise RecordingError(f"{path}: the file is empty", hint="copy it again, or move it out of the way")
        wanted = list(dict.fromkeys(columns))
        suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
        if suffix.lower() in PARQUET:
            self._frame, self._first_line, self._word = _read_parquet(path, wanted), 1, "row"
        elif suffix.lower() in TEXT:
            self._frame = _read_text(path, content, wanted, header, sep=delimiter, skiprows=skip_rows, comment=comment)
            self._first_line, self._word = skip_rows + (2 if header is None else 1), "line"
        else:
            raise RecordingError(
                f"{path}: ending {path.suffix!r} is not known", hint=f"one of {', '.join(sorted(TEXT | PARQUET))}"
            )
        if self._frame.iloc[:, 0].isna().any():
            self._frame = self._frame.dropna(how="all")  # blank lines
        if self._frame.empty:
            raise RecordingError(f"{path}: no rows")

    def __len__(self) -> int:
        return len(self._frame)

    def rows(self) -> np.ndarray:
        """(rows,) number of each entry in the file, from 0; rows in which all columns are empty are left out."""
        return np.asarray(self._frame.index, dtype=np.int64)

    def where(self, row: int) -> str:
        """``file, line n`` of an entry."""
        return f"{self.path}, {self._word} {int(self._frame.index[row]) + self._first_line}"

    def numbers(self, column: str) -> np.ndarray:
        """(rows,) float64, NaN where a field is empty.

        Raises:
            RecordingError: a field that is no number.
        """
        import pandas as pd

        series = self._frame[column]
        if series.dtype != np.float64:
            parsed = pd.to_numeric(series, errors="coerce")
            bad = np.flatnonzero((parsed.isna() & series.notna()).to_numpy())
            if len(bad):
                raise RecordingError(
                    f"{self.where(bad[0])}: {column!r} is {series.iloc[bad[0]]!r}, expected a number",
                    hint="correct the line; a missing sample is an empty field",
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
        """(rows,) float64 seconds; ISO 8601 is read as UTC where it names no zone, and becomes POSIX seconds.

        Raises:
            RecordingError: an empty field or one that is no time.
        """
        iso = unit == "iso8601"
        out = iso_seconds(self.texts(column)) if iso else self.numbers(column) / PER_SECOND[unit]
        missing = np.flatnonzero(~np.isfinite(out))
        if len(missing):
            seen = self.texts(column)[missing[0]]
            raise RecordingError(f"{self.where(missing[0])}: time {column!r} is {seen or 'empty'}, expected {unit}")
        return out

    def increasing_seconds(self, column: str, unit: TimeUnit, *, repair: bool = False) -> np.ndarray:
        """`seconds`, refused unless every row is later than the one before, or made so.

        Args:
            column, unit: as for `seconds`.
            repair: rows are in the order of measurement and `repair_times` gives them even times.

        Raises:
            RecordingError: the first row that is not later, by line; with ``repair``, times that never advance.
        """
        out = self.seconds(column, unit)
        if repair:
            try:
                return repair_times(out)[0]
            except RecordingError as error:
                raise RecordingError(f"{self.path}, {column!r}: {error.message}", hint=error.hint) from error
        wrong = np.flatnonzero(np.diff(out) <= 0)
        if len(wrong):
            row = int(wrong[0]) + 1
            texts = [str(self._frame[column].iloc[r]) for r in (row - 1, row)]
            same = "repeats" if out[row] == out[row - 1] else "goes back"
            raise RecordingError(
                f"{self.where(row)}: time {column!r} {same}: {texts[1]} after {texts[0]}",
                hint="sort the rows and drop repeated ones, declare the column and unit that increase, or have the "
                "clock mended: time: {..., repair: true}",
            )
        if len(out) < 2:
            raise RecordingError(f"{self.path}: {len(out)} row of samples, expected at least 2")
        return out


def number_table(path: Path, columns: int, *, separator: str | None = None, missing: bool = False) -> np.ndarray:
    """A text file of nothing but numbers, without header, as (rows, columns) float64.

    Args:
        path: the file; blank lines are skipped.
        columns: numbers expected in every line.
        separator: between the numbers; any white space when None.
        missing: accept NaN, as sets write samples that were lost.

    Raises:
        RecordingError: no such file, no rows, or the first line that is not ``columns`` finite numbers.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordingError(f"{path}: {'no such file' if not path.exists() else error.strerror}") from error
    table = None if missing else _finite_table(content.removeprefix(codecs.BOM_UTF8), columns, separator)
    if table is not None:
        return table
    lines = content.decode("utf-8-sig", errors="replace").splitlines()
    return _by_line(lines, columns, separator=separator, path=path, lines=None, missing=missing)


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
        path: named in errors.
        separator: between the numbers; any white space when None.
        lines: line number of each row in the file, counted from 1; in order when None.
        missing: accept NaN.

    Raises:
        RecordingError: no rows, or the first line that is not ``columns`` finite numbers.

    Example:
        >>> numbers_between(["1 2", "3 4"], 2, path=Path("x.txt")).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    content = "\n".join(rows).encode(errors="replace")
    table = None if missing else _finite_table(content, columns, separator)
    if table is not None:
        return table
    return _by_line(rows, columns, separator=separator, path=path, lines=lines, missing=missing)


def _finite_table(content: bytes, columns: int, separator: str | None) -> np.ndarray | None:
    """The table where every line is the expected count of finite numbers; None where one is not, or may not be.

    pandas' parser takes a third of the time of numpy's, but fills short lines up: a NaN says that the lines must be
    looked at one by one.
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
    except ValueError:  # pandas' own errors too: a field that is no number, lines of several lengths, no lines
        return None
    table = frame.to_numpy()
    return table if table.shape[1] == columns and np.isfinite(table).all() else None


def exact_floats() -> dict[str, Any]:
    """The option with which pandas reads every number as Python does; its default since version 3."""
    import pandas as pd

    return {} if int(pd.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}


def _by_line(
    rows: Sequence[str],
    columns: int,
    *,
    path: Path,
    separator: str | None,
    lines: Sequence[int] | None,
    missing: bool,
) -> np.ndarray:
    """As `numbers_between`, slower: tells which line is wrong."""
    if not any(row.strip() for row in rows):
        raise RecordingError(f"{path}: no rows")
    try:
        table = np.loadtxt(rows, delimiter=separator, comments=None, ndmin=2, dtype=np.float64)
        if table.shape[1] == columns and (np.isfinite(table) | (missing & np.isnan(table))).all():
            return np.asarray(table)
    except ValueError:
        pass  # which line it is, is said below
    for number, row in enumerate(rows):
        fields = row.split(separator)
        if row.strip() and (len(fields) != columns or not all(_is_number(f, missing) for f in fields)):
            raise RecordingError(
                f"{path}, line {number + 1 if lines is None else lines[number]}: {row.strip()[:60]!r} has "
                f"{len(fields)} fields, expected {columns} finite numbers",
                hint="the file is damaged: download it again, or leave its subject out (splits.subjects)",
            )
    raise RecordingError(f"{path}: not a table of {columns} columns of numbers")


def _is_number(text: str, missing: bool) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return bool(np.isfinite(value) or (missing and np.isnan(value)))


def iso_seconds(texts: Sequence[str]) -> np.ndarray:
    """POSIX seconds of ISO 8601 times, NaN where a text is none.

    Example:
        >>> iso_seconds(["1970-01-01T00:01:00.5Z", "noon"]).tolist()
        [60.5, nan]
    """
    import pandas as pd

    moments = pd.to_datetime(pd.Series(list(texts), dtype="object"), utc=True, format="ISO8601", errors="coerce")
    return ((moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).to_numpy(dtype=np.float64)


def _need(path: Path, wanted: Sequence[str], there: Sequence[str]) -> None:
    for column in wanted:
        if column not in there:
            raise RecordingError(
                f"{path}: no column {column!r}{nearest(column, there)}",
                hint=f"its columns are: {', '.join(map(repr, there))}",
            )


def _read_text(path: Path, content: bytes | None, wanted: list[str], header: Sequence[str] | None, **how: Any) -> Any:
    import pandas as pd

    if content is None and path.suffix != ".gz" and path.stat().st_size <= _IN_MEMORY:
        content = path.read_bytes()

    skipped = 0

    def source() -> Any:
        if content is None:
            return path
        file = io.BytesIO(content)  # shares the bytes
        file.seek(skipped)
        return file

    common: dict[str, Any] = {
        **how,
        "skipinitialspace": True,
        "skip_blank_lines": False,  # so that the row number tells the line
        "encoding": "utf-8-sig",
        "low_memory": False,
        "index_col": False,
        **exact_floats(),
    }
    try:
        if header is None:
            line = pd.read_csv(source(), nrows=1, header=None, dtype=str, keep_default_na=False, **common)
            names = [str(name).strip() for name in line.iloc[0]]
            common["skiprows"] += 1
        else:
            names = list(header)
        _need(path, wanted, names)
        full = False
        try:
            first = pd.read_csv(source(), nrows=1, header=None, **common)
            full = _all_numbers(first) and not first.isna().any(axis=None)
            width = first.dropna(axis=1).shape[1]
        except pd.errors.EmptyDataError:  # a header and nothing else: "no rows" is said later
            width = 0
        if width > len(names):
            raise RecordingError(
                f"{path}: its first row has {width} fields for {len(names)} columns",
                hint="declare the delimiter; numbers must be written with a decimal point",
            )
        if content is not None:
            skipped = _skip(content, common)
        common |= {"header": None, "names": names, "usecols": wanted}
        if full:  # without looking for empty fields it is quicker; where there are any, a column is no longer numbers
            frame = pd.read_csv(source(), na_filter=False, **common)
            if _all_numbers(frame):
                return frame
        frame = pd.read_csv(source(), **common)
    except (
        ValueError,
        EOFError,
        zlib.error,
        OSError,
    ) as error:  # pandas' own errors are ValueErrors; damaged .gz files
        raise RecordingError(f"{path}: not a readable table: {str(error).strip()}") from error
    return frame


def _all_numbers(frame: Any) -> bool:
    return all(kind.kind in "iuf" for kind in frame.dtypes)


def _skip(content: bytes, common: dict[str, Any]) -> int:
    """Bytes of the lines to be skipped; options that only cost time are taken out of ``common``.

    Skipping lines, looking for spaces and decoding a byte order mark take pandas a third of its time.
    """
    file = io.BytesIO(content)
    skipped = b"".join(file.readline() for _ in range(common["skiprows"]))
    if b'"' in skipped or b"\r" in skipped.replace(b"\r\n", b""):
        return 0  # lines that may end elsewhere: pandas knows
    common["skiprows"] = 0
    if skipped or not content.startswith(codecs.BOM_UTF8):
        common["encoding"] = "utf-8"
    if b" " not in content and b"\t" not in content:
        common["skipinitialspace"] = False
    return len(skipped)


def _read_parquet(path: Path, wanted: list[str]) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigError(f"{path}: reading Parquet needs pyarrow", hint="pip install 'imu-video[parquet]'") from error
    try:
        _need(path, wanted, pq.read_schema(path).names)
        frame = pq.read_table(path, columns=wanted).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise RecordingError(f"{path}: not a readable Parquet file: {str(error).strip()}") from error
    return frame.reset_index(drop=True)
