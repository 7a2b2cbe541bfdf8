"""The interface of dataset adapters as a typing.Protocol; other components have base classes in their own packages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    from imu_video.types import Recording


@dataclass(frozen=True, kw_only=True)
class Unread:
    """One recording (or take) of a dataset before it is read, so that one damaged file does not end the whole reading.

    Args:
        name: name of the recording, or of the take if it contains several.
        files: the files that are read for it.
        tables: those of ``files`` that give meaning to the signals (labels); their content is part of a build's digest.
        read: reads it; raises RecordingError for a damaged file.
        parts: each reads one file of it on its own, so that the faults of all its files can be listed.
    """

    name: str
    files: tuple[Path, ...]
    read: Callable[[], Iterable[Recording]]
    tables: tuple[Path, ...] = ()
    parts: tuple[Callable[[], object], ...] = ()


@runtime_checkable
class RecordingSource(Protocol):
    """A dataset adapter: iterates over the recordings of one dataset, in a stable order, in SI units.

    Class attributes tell users what the data is: ``licence``, ``citation``, ``url`` (how to obtain it), ``placements``,
    ``labels``, ``rate_hz`` (nominal; a mapping by placement where devices differ, 0 where only the files say it),
    ``streams`` (of ``imu``, ``video``, ``skeleton``), ``tested_on`` (``real files`` or ``made-up tree``).

    Optional members that a build uses where an adapter has them:

    - ``version`` (int, default 1): incremented when the adapter reads the same files differently.
    - ``root`` (Path): the folder of the files; paths in records of a build are relative to it.
    - ``unread(subject) -> Iterator[Unread]``: the recordings of ``recordings([subject])`` in the same order, unread.
    - ``notes`` (sequence of str): facts about files that are not used, which the build prints.
    - ``subject_tags() -> dict``: subject -> tags that are known without reading signals, for stratified splits.
    - ``provenance() -> dict``: JSON that determines the meaning of the files: a declaration, hashes of subject tables.
    """

    name: str
    licence: ClassVar[str]
    citation: ClassVar[str]
    url: ClassVar[str]

    def subjects(self) -> list[str]:
        """Sorted subjects, known without reading signals, so that splits are made before windows are cut."""

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """Recordings of the given subjects (all when None), in a stable order."""
