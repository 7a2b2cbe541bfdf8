"""Columns of CSV files, every row checked; the meaning of the columns is not known here."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import RecordingError
from imu_video.readers.tables.encoding import IN_MEMORY, count_lines, text_blocks
from imu_video.readers.tables.messages import guarded, need_columns
from imu_video.readers.tables.rows import RowCheck

_EMPTY = "NaN nan -NaN -nan NA N/A n/a <NA> #N/A #NA null NULL None 1.#IND -1.#IND 1.#QNAN -1.#QNAN"
MISSING = frozenset(["", *_EMPTY.split()])  # fmt: skip
"""Fields of a column of numbers that mean a missing sample."""
_HEAD = 1 << 20  # bytes in which the header and the first row are found


def exact_floats() -> dict[str, Any]:
    """The option with which pandas parses every number exactly as Python does; the default since pandas 3."""
    return {} if _pandas_major() >= 3 else {"float_precision": "round_trip"}


def _pandas_major() -> int:
    import pandas as pd

    return int(pd.__version__.split(".")[0])


@dataclass(frozen=True, kw_only=True)
class TextFormat:
    """Format of a CSV file.

    Args:
        header: names of all columns of a file without a header line.
        delimiter: one character between fields; repeated spaces count as one.
        skip_rows: lines before the header.
        terminator: character that ends every row in addition to the end of its line, such as ``;``.
        encoding: see `text_blocks`.
        decimal: decimal mark of numbers, ``.`` or ``,``.
    """

    header: Sequence[str] | None = None
    delimiter: str = ","
    skip_rows: int = 0
    terminator: str | None = None
    encoding: str | None = None
    decimal: str = "."


@dataclass(kw_only=True)
class TextColumns:
    """Some columns of a CSV file.

    Args:
        values: per column (rows,) float64, int64, uint64, or object with the texts of the file as they are.
        first_line: line of the first row, counted from 1.
        lines: (rows,) line of each row if quoted fields contain line ends, else None.
        rows: number of rows; blank lines count.
        blank: numbers of the rows that are blank lines.
    """

    values: dict[str, np.ndarray] = field(default_factory=dict)
    first_line: int = 1
    lines: np.ndarray | None = None
    rows: int = 0
    blank: Sequence[int] = ()


class TextFile:
    """A CSV file whose header has been read.

    Args:
        path: the file, for messages and, without ``content``, to read from.
        content: bytes of the file.
        form: its format.

    Raises:
        RecordingError: no such header, or a first row that does not fit it.
    """

    def __init__(self, path: Path, content: bytes | None, form: TextFormat) -> None:
        self.path, self.form = path, form
        self._given = content is not None
        self._content = content
        if content is None and path.suffix.lower() != ".gz" and path.stat().st_size <= IN_MEMORY:
            self._content = path.read_bytes()
        if len(form.delimiter.encode()) != 1:
            raise RecordingError(f"{path}: delimiter {form.delimiter!r}, expected one ASCII character")
        self.names: list[str] = []
        self._head()

    def _blocks(self, content: bytes | None) -> Iterator[bytes]:
        """Lines from the beginning of the file, without terminators."""
        line = 1
        for block in text_blocks(self.path, content, encoding=self.form.encoding):
            if self.form.terminator:
                mark = re.escape(self.form.terminator.encode())
                joined = re.search(mark + rb"[ \t]*[^\s" + mark + rb"]", block)
                if joined:
                    line += block.count(b"\n", 0, joined.start())
                    raise RecordingError(
                        f"{self.path}, line {line}: two rows on one line: {self.form.terminator!r} is not at its end",
                        hint="start a new line after it",
                    )
                line += count_lines(block)
                block = block.replace(self.form.terminator.encode(), b"")
            if self.form.delimiter == " ":
                block = re.sub(rb'("[^"]*")| +', lambda match: match[1] or b" ", block)
                block = re.sub(rb"(?m)^ | $", b"", block)
            yield block

    def _body(self) -> Iterator[bytes]:
        """Lines after the header."""
        left = self._header_lines
        for block in self._blocks(self._content):
            start = 0
            while left and start < len(block):
                start = block.index(b"\n", start) + 1
                left -= 1
            if start < len(block):
                yield block[start:] if start else block

    def _head(self) -> None:
        """Read the header and the first row."""
        form = self.form
        with guarded(self.path):
            text = self._beginning()
            lines = io.StringIO(text, newline="\n")
            for number in range(form.skip_rows):
                if not lines.readline():
                    raise RecordingError(
                        f"{self.path}: {number} lines, but skip_rows is {form.skip_rows}", hint="correct skip_rows"
                    )
            reader = csv.reader(lines, delimiter=form.delimiter, skipinitialspace=True)
            names = [name.strip() for name in next(reader, [])] if form.header is None else list(form.header)
            self._header_lines = form.skip_rows + reader.line_num
            first = next((row for row in reader if any(cell.strip() for cell in row)), None)
        self._first_line = self._header_lines + 1
        if not any(names):
            raise RecordingError(f"{self.path}: no rows", hint="its header line is empty; correct skip_rows")
        self.names, self._width, self._surplus = self._fit(names, first)
        # The parser truncates a first row that is too long and reports nothing.
        self._fits = first is None or len(first) == self._width

    @staticmethod
    def _fit(names: list[str], first: list[str] | None) -> tuple[list[str], int, int]:
        """Names, fields of a row, and how many of these are unnamed and empty."""
        if first is None or len(first) == len(names):
            return names, max(len(names), 1), 0
        if len(first) < len(names) and not any(names[len(first) :]):
            return names[: len(first)], len(first), 0  # the header alone ends with delimiters
        if len(first) > len(names) and not any(cell.strip() for cell in first[len(names) :]):
            return names, len(first), len(first) - len(names)
        return names, len(names), 0  # the check of the rows names the line

    def _has_spaces(self) -> bool:
        """Whether the file may contain spaces; the search for them takes the parser a tenth of its time."""
        content = self._content
        return content is None or self.form.encoding is not None or b" " in content or b"\t" in content

    def positions(self, wanted: Sequence[str]) -> list[int]:
        """Positions of the wanted columns.

        Raises:
            RecordingError: a column that is missing or occurs twice.
        """
        hint = None
        missing = [name for name in wanted if name not in self.names]
        if missing and self.form.header is None:
            hint = self._advice(missing[0])
        return need_columns(self.path, wanted, self.names, hint=hint)

    def _advice(self, missing: str) -> str | None:
        joined = self.form.delimiter.join(self.names)
        for other in ";\t,| ":
            if other != self.form.delimiter and missing in [part.strip(' "') for part in joined.split(other)]:
                spoken = "\\t" if other == "\t" else other
                decimal = " (and `decimal: ','` if the numbers have decimal commas)" if other == ";" else ""
                return f'declare the delimiter of the file: `delimiter: "{spoken}"`{decimal}'
        if self.names and re.fullmatch(r"sep=.", joined):
            return f'the first line only declares the delimiter: `skip_rows: 1` and `delimiter: "{joined[-1]}"`'
        if self.names and all(_NUMBER.fullmatch(name) for name in self.names if name):
            return "the first line holds numbers; declare the names of all columns: `columns: [...]`"
        for number, line in enumerate(self._beginning().split("\n")[:50]):
            if missing in [part.strip(' "') for part in line.split(self.form.delimiter)]:
                return f"the header is in line {number + 1}: declare `skip_rows: {number}`"
        return None

    def _beginning(self) -> str:
        """The first lines as text."""
        content = self._content
        if content is not None and self.form.encoding is None:
            content = content[: content.rfind(b"\n", 0, _HEAD) + 1] or content
        return next(self._blocks(content), b"")[:_HEAD].decode("utf-8", errors="ignore")

    def read(self, wanted: Sequence[str], texts: Sequence[str] = ()) -> TextColumns:
        """Read columns and check every row.

        Args:
            wanted: columns without repetitions.
            texts: which of them are read as text: ``null``, ``01`` and ``true`` stay as they are.

        Raises:
            RecordingError: a row with another number of fields, or a damaged file.
        """
        places = dict(zip(wanted, self.positions(wanted), strict=True))
        found = TextColumns(first_line=self._first_line)
        as_text = {places[name] for name in texts}
        frame = self._parse(places, dict.fromkeys(as_text, object), found)
        # of columns that are not all numbers the texts are needed, since parsers differ in what a number is
        strange = {place for place in places.values() if place not in as_text and frame[place].dtype.kind not in "iuf"}
        if strange:
            frame = self._parse(places, dict.fromkeys(as_text | strange, object), found)
        if not self._given:
            self._content = None  # the columns are enough; the file is there if they are not
        found.values = {name: frame[place].to_numpy() for name, place in places.items()}
        return found

    def frame(self, types: Mapping[str, Any]) -> Any:
        """Columns as a frame of pandas with given types, every row checked; for files of many millions of rows.

        Args:
            types: type per column, such as ``float64`` or ``category``; nothing is taken for a missing value.

        Raises:
            RecordingError: a missing column, a row with another number of fields, or a value of another type.
        """
        places = dict(zip(types, self.positions(list(types)), strict=True))
        frame = self._parse(places, {places[name]: kind for name, kind in types.items()}, TextColumns())
        return frame[list(places.values())].set_axis(list(places), axis=1)

    def _parse(self, places: dict[str, int], types: dict[int, Any], found: TextColumns) -> Any:
        """Columns by position; those with a type are read as that type, others as numbers if they are."""
        import pandas as pd

        last = self._width - 1
        # if as many delimiters are there as all rows need, and no row lacks its last field, then no row is too short,
        # and hence none is too long; to parse one more column takes less time than to count the fields of every row
        total = self._fits and not self._surplus
        columns = sorted({*places.values(), last} if total else places.values())
        missing = sorted(MISSING)
        check = RowCheck(
            self.path,
            self.form.delimiter,
            self._width,
            surplus=self._surplus,
            names=self.names,
            line=self._first_line,
            total=total,
        )
        source = _Source(check.passed(self._body()))
        if source.empty:
            found.rows, found.lines = 0, None
            return pd.DataFrame({place: np.empty(0) for place in columns})
        try:
            with guarded(self.path):
                frame = pd.read_csv(  # type: ignore[call-overload]  # its stubs ask more of a file than it does
                    source,
                    sep=self.form.delimiter,
                    header=None,
                    names=list(range(self._width)),
                    usecols=None if len(columns) == self._width else columns,
                    dtype=types,
                    decimal=self.form.decimal,
                    skipinitialspace=self._has_spaces(),
                    skip_blank_lines=False,  # keeps blank lines as rows, so that the row number gives the line
                    encoding="utf-8",
                    low_memory=len(types) == len(columns),  # types that are known do not depend on the block
                    index_col=False,
                    keep_default_na=False,
                    na_filter=len(types) < len(columns),
                    na_values={place: missing for place in columns if place not in types} if types else missing,
                    **exact_floats(),
                )
        except RecordingError:
            check.recheck(self._body(), self._first_line)  # names the line of a row that is too long
            raise
        if total and (frame[last].isna().any() or (frame[last].dtype.kind == "O" and (frame[last] == "").any())):
            check.recheck(self._body(), self._first_line)
        if len(frame) != check.rows:
            raise RecordingError(f"{self.path}: {check.rows} rows, of which {len(frame)} can be read")
        found.rows, found.lines, found.blank = check.rows, check.lines, check.blank
        return frame


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def parse_numbers(texts: np.ndarray, decimal: str = ".") -> tuple[np.ndarray, int | None]:
    """Numbers in the notation of CSV files as (rows,) float64, NaN where missing, and the first row without a number.

    Underscores, hexadecimal numbers, separators of thousands and digits of other scripts are not numbers.

    Example:
        >>> parse_numbers(np.array(["1e3", "NA", " -.5 "], dtype=object))[0].tolist()
        [1000.0, nan, -0.5]
        >>> parse_numbers(np.array(["1", "1_000"], dtype=object))[1]
        1
    """
    values, wrong = np.full(len(texts), np.nan), None
    for row, text in enumerate(texts):
        word = text.strip() if isinstance(text, str) else str(text)
        if word in MISSING or word.lower().lstrip("+-") in ("inf", "infinity"):
            continue
        if decimal != ".":
            word = "?" if "." in word else word.replace(decimal, ".")
        if _NUMBER.fullmatch(word):
            values[row] = float(word)
        if not np.isfinite(values[row]):
            wrong = row if wrong is None else wrong
    return values, wrong


def number_advice(text: str, decimal: str = ".") -> str:
    """The next step for a field that is not a number."""
    text = text.strip()
    if decimal == "." and re.fullmatch(r"[+-]?\d+,\d+([eE][+-]?\d+)?", text) and not re.fullmatch(r"\d+,\d{3}", text):
        return "declare `decimal: ','`"
    if re.fullmatch(r"[+-]?\d{1,3}([,.' \u00a0\u202f_]\d{3})+([.,]\d+)?", text):
        return "write numbers without separators of thousands; decimal commas are declared: `decimal: ','`"
    if decimal == "," and "." in text:
        return "remove `decimal: ','` if the numbers have decimal points"
    return "correct the line; leave the field empty for a missing sample"


class _Source:
    """Blocks as a file for pandas, which takes bytes from ``read`` as they are."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._block, self._place = next(blocks, b""), 0
        self.empty = not self._block

    def read(self, size: int = -1) -> bytes:
        if self._place >= len(self._block):
            self._block, self._place = next(self._blocks, b""), 0
        start = self._place
        self._place = len(self._block) if size < 0 else min(start + size, len(self._block))
        return self._block[start : self._place]

    def __iter__(self) -> Iterator[bytes]:  # pandas requires it of a file, and does not use it
        return iter(self.read, b"")
