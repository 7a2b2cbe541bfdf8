"""CSV and Parquet files and plain tables of numbers, with errors that name file and line; no channels and no units."""

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
            self._frame, self._first_line, self._word = _read_parquet(path, wanted), 1, "row"
        elif suffix.lower() in TEXT:
            self._frame = _read_text(path, content, wanted, header, sep=delimiter, skiprows=skip_rows, comment=comment)
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

    def increasing_seconds(self, column: str, unit: TimeUnit, *, repair: bool = False) -> np.ndarray:
        """`seconds`, strictly increasing; other times are an error, or repaired.

        Args:
            column, unit: as for `seconds`.
            repair: rows are in the order of measurement, and `repair_times` computes even times for them.

        Raises:
            RecordingError: the first row that is not later than the one before; with ``repair``, times that never
                advance.
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
            same = "repeats" if out[row] == out[row - 1] else "runs backwards"
            raise RecordingError(
                f"{self.where(row)}: time {column!r} {same}: {texts[1]} after {texts[0]}",
                hint="sort the rows and drop repeated ones, declare the correct time column and unit, or let "
                "imu-video repair the clock: time: {..., repair: true}",
            )
        if len(out) < 2:
            raise RecordingError(f"{self.path}: number of rows with samples is {len(out)}, expected at least 2")
        return out


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


def exact_floats() -> dict[str, Any]:
    """The option with which pandas parses every number exactly as Python does; the default since pandas 3."""
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
    """As `numbers_between`, but slower, with an error that names the wrong line."""
    if not any(row.strip() for row in rows):
        raise RecordingError(f"{path}: no rows")
    try:
        table = np.loadtxt(rows, delimiter=separator, comments=None, ndmin=2, dtype=np.float64)
        if table.shape[1] == columns and (np.isfinite(table) | (missing & np.isnan(table))).all():
            return np.asarray(table)
    except ValueError:
        pass  # the error below names the line
    for number, row in enumerate(rows):
        fields = row.split(separator)
        if row.strip() and (len(fields) != columns or not all(_is_number(f, missing) for f in fields)):
            raise RecordingError(
                f"{path}, line {number + 1 if lines is None else lines[number]}: {row.strip()[:60]!r} has "
                f"{len(fields)} fields, expected {columns} finite numbers",
                hint="download the damaged file again, or exclude its subject (splits.subjects)",
            )
    raise RecordingError(f"{path}: not a table of numbers with {columns} columns")


def _is_number(text: str, missing: bool) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return bool(np.isfinite(value) or (missing and np.isnan(value)))


def iso_seconds(texts: Sequence[str]) -> np.ndarray:
    """POSIX seconds of ISO 8601 times, NaN for texts that are not a time.

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
        file = io.BytesIO(content)  # shares the bytes with the caller, without a copy
        file.seek(skipped)
        return file

    common: dict[str, Any] = {
        **how,
        "skipinitialspace": True,
        "skip_blank_lines": False,  # keeps blank lines as rows, so that the row number gives the line
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
        except pd.errors.EmptyDataError:  # a header without rows; the error "no rows" comes later
            width = 0
        if width > len(names):
            raise RecordingError(
                f"{path}: its first row has {width} fields for {len(names)} columns",
                hint="declare the delimiter; numbers must be written with a decimal point",
            )
        if content is not None:
            skipped = _skip(content, common)
        common |= {"header": None, "names": names, "usecols": wanted}
        # parsing without the search for empty fields is faster; if there are any, a column is not numeric and is parsed
        # again
        if full:
            frame = pd.read_csv(source(), na_filter=False, **common)
            if _all_numbers(frame):
                return frame
        frame = pd.read_csv(source(), **common)
    except (
        ValueError,
        EOFError,
        zlib.error,
        OSError,
    ) as error:  # ValueError covers the errors of pandas, the others damaged .gz files
        raise RecordingError(f"{path}: not a readable table: {str(error).strip()}") from error
    return frame


def _all_numbers(frame: Any) -> bool:
    return all(kind.kind in "iuf" for kind in frame.dtypes)


def _skip(content: bytes, common: dict[str, Any]) -> int:
    """Bytes of the lines to skip; options that are not needed are removed from ``common``.

    Skipping lines, searching for spaces and decoding a byte order mark take pandas a third of its time.
    """
    file = io.BytesIO(content)
    skipped = b"".join(file.readline() for _ in range(common["skiprows"]))
    if b'"' in skipped or b"\r" in skipped.replace(b"\r\n", b""):
        return 0  # line ends that differ from "\n" are left to pandas
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
