"""A dataset whose recordings end the process that reads them, and a decoder that some videos end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from imu_video.modalities import video_child
from imu_video.protocols import Unread
from imu_video.registry import datasets
from imu_video.types import ImuStream, Recording, Segment

# The children of every worker that loads this plugin decode with tests/runtime/deadly.py.
video_child.SERVICE = "deadly"
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1] / "runtime")


@datasets.register("deadly")
class Deadly:
    """Three subjects with two recordings each.

    Args:
        deadly: names of recordings that end their process.
        way: name of the signal.
        listed: whether the recordings are readable one by one (``unread``).
        once: folder in which a process leaves a note before it ends; with a note, the recording is read.
    """

    name: ClassVar[str] = "deadly"
    licence: ClassVar[str] = "CC0"
    citation: ClassVar[str] = ""
    url: ClassVar[str] = ""
    placements: ClassVar[tuple[str, ...]] = ("waist",)
    labels: ClassVar[tuple[str, ...]] = ("walk",)
    rate_hz: ClassVar[float] = 50.0

    def __init__(
        self, *, deadly: tuple[str, ...] = (), way: str = "SIGSEGV", listed: bool = True, once: str | None = None
    ) -> None:
        self.deadly, self.way, self.once = tuple(deadly), way, once
        if listed:
            self.unread = self._unread

    def subjects(self) -> list[str]:
        return ["s1", "s2", "s3"]

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        for subject in subjects or self.subjects():
            for name in ("a", "b"):
                yield self._read(subject, f"{subject}-{name}")

    def _unread(self, subject: str) -> Iterator[Unread]:
        for name in (f"{subject}-a", f"{subject}-b"):
            yield Unread(name=name, files=(), read=lambda name=name: iter([self._read(subject, name)]))

    def _read(self, subject: str, name: str) -> Recording:
        note = Path(self.once or "", name)
        if name in self.deadly and not (self.once and note.exists()):
            if self.once:
                note.touch()
            os.kill(os.getpid(), getattr(signal, self.way))
        times = np.arange(200) / 50
        return Recording(
            dataset="deadly",
            subject=subject,
            name=name,
            imu=(ImuStream(placement="waist", times=times, values=np.full((6, 200), 9.8) + times),),
            segments=(Segment(start=0.0, end=4.0, label="walk"),),
        )
