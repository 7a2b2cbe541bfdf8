"""The interface of dataset adapters as a typing.Protocol; other components have base classes in their own packages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from imu_video.types import Recording


@runtime_checkable
class RecordingSource(Protocol):
    """A dataset adapter: iterates over the recordings of one dataset, in a stable order, in SI units.

    Class attributes tell users what the data is: ``licence``, ``citation``, ``url`` (how to obtain it), ``placements``,
    ``labels``, ``rate_hz`` (nominal; a mapping by placement where devices differ, 0 where only the files say it),
    ``streams`` (of ``imu``, ``video``, ``skeleton``), ``tested_on`` (``real files`` or ``made-up tree``).
    """

    name: str
    licence: ClassVar[str]
    citation: ClassVar[str]
    url: ClassVar[str]

    def subjects(self) -> list[str]:
        """Sorted subjects, known without reading signals, so that splits are made before windows are cut."""

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """Recordings of the given subjects (all when None), in a stable order."""
