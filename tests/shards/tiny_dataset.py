"""A plugin file for tests: people who walk and sit, with two devices, a tiny video and a skeleton, in known numbers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from imu_video.modalities.skeleton import SkeletonTrack
from imu_video.registry import datasets
from imu_video.types import ImuStream, Recording, Segment


class GreyFrames:
    """Video at 10 Hz whose frame i has grey level 5 * i, or another multiple."""

    def __init__(self, count: int, level: int = 5) -> None:
        self._count = count
        self._level = level

    @property
    def times(self) -> np.ndarray:
        return np.arange(self._count) / 10

    def read(self, indices: Sequence[int]) -> np.ndarray:
        levels = np.array(indices, np.uint8) * self._level
        return np.broadcast_to(levels[:, None, None, None], (len(indices), 24, 32, 3)).copy()


@datasets.register("tiny_people")
class TinyPeople:
    """Everybody has a walk of 4 s and a sit of 3 s; the wrist of each sit is lost after 1 s; p3 has no video.

    Args:
        people: how many, named p0, p1, ...
        fault: ``none``, or which promise of a dataset to break.
        cameras: also offer a camera ``depth`` of everybody and a camera ``exo`` of p0.
        seed: of the signals.
    """

    name = "tiny_people"
    licence: ClassVar[str] = "CC0-1.0"
    citation: ClassVar[str] = "Nobody, 2024"
    url: ClassVar[str] = "https://example.org"
    placements: ClassVar[tuple[str, ...]] = ("right_wrist", "waist")
    labels: ClassVar[tuple[str, ...]] = ("sit", "walk")
    rate_hz: ClassVar[float] = 50.0

    def __init__(self, *, people: int = 4, fault: str = "none", cameras: bool = False, seed: int = 0) -> None:
        self.people = people
        self.fault = fault
        self.cameras = cameras
        self.seed = seed

    def subjects(self) -> list[str]:
        return [f"p{i}" for i in range(self.people)]

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        for subject in self.subjects() if subjects is None else subjects:
            number = int(subject[1:])
            awaited = os.environ.get("TINY_PEOPLE_WAIT")
            while awaited is not None and number >= 2 and not Path(awaited).exists():
                time.sleep(0.02)
            if self.fault == "crash" and number == 2:
                raise RuntimeError("sensor on fire")
            for label, seconds in (("walk", 4), ("sit", 3)):
                yield self._recording(subject, number, label, seconds)

    def _recording(self, subject: str, number: int, label: str, seconds: int) -> Recording:
        rng = np.random.default_rng([self.seed, number, seconds])
        times = np.arange(50 * seconds) / 50
        wrist = rng.normal(size=(6, len(times)))
        if label == "sit":
            wrist[:, 50:] = np.nan
        waist = rng.normal(size=(6, len(times)))
        if self.fault == "lost" and number == 1:
            waist[:] = np.nan
            wrist[:] = np.nan
        names = ("head", "hip") if self.fault != "joints" or number != 2 else ("head", "knee")
        return Recording(
            dataset=self.name,
            subject="p0" if self.fault == "other_subject" else subject,
            name=f"{label}_{subject}" if self.fault != "same_name" else label,
            imu=(
                ImuStream(placement="waist", times=times, values=waist),
                ImuStream(placement="right_wrist", times=times, values=wrist),
            ),
            streams={
                "video": GreyFrames(10 * seconds) if number != 3 else None,
                **self._cameras(number, seconds),
                "skeleton": SkeletonTrack(
                    times=np.arange(10 * seconds) / 10, joints=rng.normal(size=(10 * seconds, 2, 3)), names=names
                ),
            },
            segments=(Segment(start=0, end=seconds, label=label),),
            tags={"camera": "front" if number % 2 else "side"},
        )

    def _cameras(self, number: int, seconds: int) -> dict[str, GreyFrames]:
        if not self.cameras:
            return {}
        depth = {"video.depth": GreyFrames(10 * seconds, level=3)}
        return {**depth, "video.exo": GreyFrames(10 * seconds, level=4)} if number == 0 else depth
