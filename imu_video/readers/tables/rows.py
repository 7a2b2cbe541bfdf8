"""Number of fields in every row of a text table, and the line that each row starts on; no values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from imu_video.errors import RecordingError
from imu_video.readers.tables.messages import shown

_NEWLINE, _QUOTE = ord("\n"), ord('"')


class RowCheck:
    """Checks that every row has the expected number of fields, block by block.

    Blank lines are accepted. Rows may end with empty fields beyond the named ones only if all rows do.

    Args:
        path: file, for messages.
        delimiter: one character between fields.
        width: fields of every row.
        surplus: how many of these at the end of the row are unnamed and must be empty.
        names: column names, for messages.
        line: number of the first line, counted from 1.
        total: count the fields of all rows together, which is faster; the caller looks for rows that are too short.

    Example:
        >>> check = RowCheck(Path("x.csv"), ",", 2, names=["t", "x"])
        >>> for block in check.passed(iter([b"0,1\\n1,2\\n"])):
        ...     print(check.rows)
        2
    """

    def __init__(
        self,
        path: Path,
        delimiter: str,
        width: int,
        *,
        surplus: int = 0,
        names: Sequence[str] = (),
        line: int = 1,
        total: bool = False,
    ) -> None:
        self.path = path
        self.rows = 0
        """Rows so far; blank lines count."""
        self.blank: list[int] = []
        """Numbers of the rows, from 0, that are blank lines."""
        self._delimiter, self._width, self._surplus, self._names = delimiter.encode(), width, surplus, list(names)
        self._line, self._total = line, total
        self._dropped = bytes(sorted(set(range(256)) - {_NEWLINE, _QUOTE, *self._delimiter}))
        self._pattern = self._delimiter * (width - 1)
        self._tail = self._delimiter * surplus + b"\n"
        self._starts: list[np.ndarray | range] = []
        self._spans = False

    @property
    def lines(self) -> np.ndarray | None:
        """(rows,) line on which each row starts, or None if every row is one line."""
        return np.concatenate([np.asarray(s, dtype=np.int64) for s in self._starts]) if self._spans else None

    def passed(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The blocks, each after its rows are checked; they end where a row ends.

        Raises:
            RecordingError: the first row with another number of fields, or a quotation mark that is not closed.
        """
        rest = b""
        for block in blocks:
            block = rest + block if rest else block
            rest = b""
            if not self._regular(block):
                if b'"' in block:
                    block, rest = self._quoted(block)
                else:
                    self._exact(block)
            if block:
                yield block
        if rest:
            raise RecordingError(
                f"{self.path}, line {self._line}: a quotation mark is not closed until the end of the file",
                hint="close it, or remove it",
            )

    def recheck(self, blocks: Iterator[bytes], line: int) -> None:
        """Count the fields of every row one by one, after the parser refused one.

        Args:
            blocks: all rows again.
            line: number of the first line.

        Raises:
            RecordingError: the first row with another number of fields.
        """
        self._line, self._total, self._starts, self.rows = line, False, [], 0
        self.blank = []
        for _ in self.passed(blocks):
            pass

    def _regular(self, block: bytes) -> bool:
        """Count a block that is certain to be correct without checking every row."""
        if self._total and b'"' not in block:
            text = np.frombuffer(block, dtype=np.uint8)
            rows = int(np.count_nonzero(text == _NEWLINE))
            if int(np.count_nonzero(text == self._delimiter[0])) != rows * (self._width - 1):
                return False
        else:
            kept = block.translate(None, self._dropped)
            pattern = kept[: kept.index(b"\n")]
            rows = len(kept) // (len(pattern) + 1)
            # with marks in adjacent pairs no delimiter and no line end is quoted
            if pattern.replace(b'""', b"") != self._pattern or kept != (pattern + b"\n") * rows:
                return False
            if self._surplus and block.count(self._tail) != rows:
                return False
        self._add(rows)
        return True

    def _add(self, rows: int, starts: np.ndarray | None = None, lines: int | None = None) -> None:
        self._starts.append(range(self._line, self._line + rows) if starts is None else starts)
        self.rows += rows
        self._line += rows if lines is None else lines

    def _exact(self, block: bytes) -> None:
        text = np.frombuffer(block, dtype=np.uint8)
        ends = np.flatnonzero(text == _NEWLINE)
        self._compare(block, ends, np.flatnonzero(text == self._delimiter[0]), line=self._line + np.arange(len(ends)))
        self._add(len(ends))

    def _quoted(self, block: bytes) -> tuple[bytes, bytes]:
        """Check the complete rows of a block with quotation marks, and return them and the rest."""
        text = np.frombuffer(block, dtype=np.uint8)
        marks = text == _QUOTE
        inside = np.bitwise_xor.accumulate(marks.view(np.uint8)).view(bool)
        every = np.flatnonzero(text == _NEWLINE)
        ends = every[~inside[every]]
        size = int(ends[-1]) + 1 if len(ends) else 0
        block, rest = block[:size], block[size:]
        places = np.flatnonzero(marks[:size])
        starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
        line = self._line + np.searchsorted(every, starts)
        self._require_whole_fields(text, places, ends, line)
        delimiters = np.flatnonzero((text[:size] == self._delimiter[0]) & ~inside[:size])
        self._compare(block, ends, delimiters, line=line)
        lines = int(np.searchsorted(every, size))
        if lines != len(ends):
            self._spans = True
            self._require_no_rows_inside(block, ends, starts, line)
        self._add(len(ends), line, lines)
        return block, rest

    def _require_whole_fields(self, text: np.ndarray, marks: np.ndarray, ends: np.ndarray, line: np.ndarray) -> None:
        """Quotation marks must enclose whole fields; parsers treat others differently."""
        around = np.frombuffer(self._delimiter + b' \n\r"', dtype=np.uint8)
        before = np.where(marks[0::2] > 0, text[marks[0::2] - 1], _NEWLINE)
        after = text[np.minimum(marks[1::2] + 1, len(text) - 1)]
        wrong = np.concatenate([marks[0::2][~np.isin(before, around)], marks[1::2][~np.isin(after, around)]])
        if len(wrong):
            row = int(np.searchsorted(ends, wrong.min()))
            raise RecordingError(
                f"{self.path}, line {line[min(row, len(line) - 1)]}: a quotation mark inside a field",
                hint='quotation marks enclose whole fields; a mark inside a field is doubled: "5"" tube"',
            )

    def _require_no_rows_inside(self, block: bytes, ends: np.ndarray, starts: np.ndarray, line: np.ndarray) -> None:
        """A mark that is not closed encloses all rows up to the next mark, so that its content looks like rows."""
        for row in np.flatnonzero(np.diff(np.append(line, line[-1] + 1)) > 1):
            inner = block[int(starts[row]) : int(ends[row])].split(b"\n")
            count = sum(part.count(self._delimiter) == self._width - 1 > 0 for part in inner[1:])
            if count and self._width > 1:
                raise RecordingError(
                    f"{self.path}, line {line[row]}: a quoted field continues over {len(inner) - 1} more lines, "
                    f"of which {count} look like rows",
                    hint="close the quotation mark in that line",
                )

    def _compare(self, block: bytes, ends: np.ndarray, delimiters: np.ndarray, *, line: np.ndarray) -> None:
        """Raise an error for the first row with another number of delimiters, or with a value in a surplus field."""
        upto = np.searchsorted(delimiters, ends)
        counts = np.diff(upto, prepend=0)
        starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
        wrong = np.flatnonzero(counts != self._width - 1)
        bad = [row for row in wrong.tolist() if block[int(starts[row]) : int(ends[row])].strip(b" \t\r")]
        self.blank += sorted(self.rows + row for row in set(wrong.tolist()) - set(bad))
        if bad:
            row = bad[0]
            self._refuse(block[int(starts[row]) : int(ends[row])], int(line[row]), int(counts[row]) + 1, len(bad) - 1)
        if self._surplus:
            for row in np.flatnonzero(counts == self._width - 1).tolist():
                tail = block[int(delimiters[upto[row] - self._surplus]) : int(ends[row])]
                if tail.strip(self._delimiter + b' \t\r"'):
                    self._refuse(block[int(starts[row]) : int(ends[row])], int(line[row]), self._width, 0)

    def _refuse(self, text: bytes, line: int, fields: int, more: int) -> NoReturn:
        expected = self._width - self._surplus
        others = f" (and {more} more such lines)" if more else ""
        named = f" ({', '.join(self._names[:12])}{', ...' if len(self._names) > 12 else ''})" if self._names else ""
        if fields < expected:
            hint = "remove the incomplete line, or write its missing values as empty fields"
        elif self._delimiter == b"," and fields > expected + 1:
            hint = "if its numbers have decimal commas, export with the delimiter ';' and declare `delimiter: ';'` and "
            hint += "`decimal: ','`; if two rows are joined, divide them"
        else:
            hint = "correct the line; a field that contains the delimiter must be in quotation marks"
        raise RecordingError(
            f"{self.path}, line {line}: {fields} field{'s' * (fields != 1)}, expected {expected}{named}{others}: "
            f"{shown(text.decode(errors='replace').strip())}",
            hint=hint,
        )
