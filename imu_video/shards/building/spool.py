"""Rows of a build by recording, on disk until the reports of the data folder are written; the rows are made elsewhere.

A build of many recordings keeps in memory only the names of the recordings, which must be unique. Each run of a
build rewrites the files from its journal, which has the rows of every finished subject.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from imu_video.errors import LeakageError
from imu_video.runtime.files import remove
from imu_video.shards.building.encode import Tally
from imu_video.shards.left_out import LeftOut
from imu_video.shards.quality_report import Totals
from imu_video.shards.schema import SourceFile

_LISTS = ("findings", "sync", "clocks", "notes", "statistics", "left_out")
_TABLES = ("dropped", "sources")
_AT_ONCE = 4 << 20
Row = tuple[str, str]
"""Name and JSON of its value."""


class Spool:
    """Collects the rows of subjects and gives them back, kind by kind.

    Args:
        folder: made, or emptied if it exists; removed at the end of the context.

    Attributes:
        totals: of the findings.
        first: the first recording that was left out.

    Example:
        >>> import tempfile
        >>> one = Tally(recordings=["a", "b"], sources={"b.csv": {"bytes": 1, "mtime_ns": 2}})
        >>> with Spool(Path(tempfile.mkdtemp()) / "rows") as spool:
        ...     spool.add(one)
        ...     list(spool.table("sources"))
        [('b.csv', '{"bytes": 1, "mtime_ns": 2}')]
    """

    def __init__(self, folder: Path) -> None:
        self.totals = Totals()
        self.first: LeftOut | None = None
        self._folder = folder
        self._names: set[str] = set()
        # Where each sorted run of a table begins; rows that continue the order of the last run belong to it.
        self._runs: dict[str, list[int]] = {kind: [] for kind in _TABLES}
        self._last: dict[str, str] = {}

    def __enter__(self) -> Self:
        remove(self._folder)
        self._folder.mkdir(parents=True)
        self._files = {kind: (self._folder / kind).open("w+b") for kind in (*_LISTS, *_TABLES)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
        remove(self._folder)

    def add(self, tally: Tally) -> None:
        """Add the rows of one subject.

        Raises:
            LeakageError: another subject has a recording of the same name.
        """
        twice = self._names.intersection(tally.recordings)
        if twice:
            raise LeakageError(
                f"recording name {min(twice)!r} is used by two subjects",
                hint="make the recording names unique within the dataset, for example by adding the subject's name",
            )
        self._names.update(tally.recordings)
        self.totals.add(tally.findings)
        if self.first is None and tally.left_out:
            self.first = tally.left_out[0]
        for kind in ("findings", "sync", "clocks", "notes"):
            self._append(kind, (dumped(row.model_dump(mode="json")) for row in getattr(tally, kind)))
        self._append("left_out", (dumped(row.model_dump(exclude_none=True)) for row in tally.left_out))
        self._append("statistics", (f"{dumped(name)}: {dumped(one)}" for name, one in tally.statistics.items()))
        self._insert("dropped", tally.lost)
        self._insert("sources", tally.sources)

    def add_sources(self, files: Mapping[str, SourceFile]) -> None:
        """Add source files that belong to no subject; they replace files of the same name."""
        self._insert("sources", {name: file.plain() for name, file in files.items()})

    def has(self, kind: str) -> bool:
        """Whether ``dropped`` or ``sources`` has rows."""
        return bool(self._runs[kind])

    def rows(self, kind: str) -> Iterator[str]:
        """JSON of the rows of ``findings``, ``sync``, ``clocks``, ``notes`` or ``left_out`` in the order of addition.

        For ``statistics``: ``"NAME": JSON``.
        """
        file = self._files[kind]
        file.seek(0)
        for line in file:
            yield line.decode().removesuffix("\n")

    def table(self, kind: str) -> Iterator[Row]:
        """Rows of ``dropped`` or ``sources``, sorted by name; of rows with one name, the one added last."""
        file = self._files[kind]
        file.flush()
        starts = self._runs[kind]
        ends = [*starts[1:], os.fstat(file.fileno()).st_size] if starts else []
        # All runs are read side by side, with as much memory as one.
        block = max(512, min(1 << 16, _AT_ONCE // max(1, len(starts))))
        runs = [_run(file.fileno(), start, end, block) for start, end in zip(starts, ends, strict=True)]
        for _, same in groupby(merge(*runs, key=_name), key=_name):
            *_, last = same
            yield last

    def _append(self, kind: str, rows: Iterable[str]) -> None:
        file = self._files[kind]
        for row in rows:
            file.write(row.encode() + b"\n")

    def _insert(self, kind: str, rows: Mapping[str, Any]) -> None:
        names = sorted(rows)
        if not names:
            return
        file = self._files[kind]
        if not self._runs[kind] or names[0] <= self._last[kind]:
            self._runs[kind].append(file.tell())
        self._last[kind] = names[-1]
        for name in names:
            file.write(f"{dumped(name)}\t{dumped(rows[name])}\n".encode())


def dumped(value: Any) -> str:
    """JSON of a value on one line; it contains neither tabs nor line breaks."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _name(row: Row) -> str:
    return row[0]


def _run(handle: int, start: int, end: int, block: int) -> Iterator[Row]:
    """Rows of one part of a file, read in blocks at their positions, because other parts are read at the same time."""
    rest = b""
    while start < end:
        data = os.pread(handle, min(block, end - start), start)
        start += len(data)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            name, _, value = line.decode().partition("\t")
            yield json.loads(name), value
