"""UCI HAR in its own layout, "Inertial Signals": windows of a waist-worn phone, joined to signals; no download."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from imu_video.datasets.common import chosen, existing_folder, runs
from imu_video.datasets.hapt import ACTIVITIES
from imu_video.errors import RecordingError
from imu_video.readers.tables import number_table
from imu_video.recordings.signal import convert
from imu_video.registry import datasets
from imu_video.types import ImuStream, Recording, Segment

RATE_HZ = 50.0
WINDOW, STRIDE = 128, 64
PARTS = ("train", "test")
_SIGNALS = tuple(f"{kind}_{axis}" for kind in ("total_acc", "body_gyro") for axis in "xyz")


@datasets.register("ucihar")
class UciHar:
    """Human Activity Recognition Using Smartphones (Anguita et al., ESANN 2013), the folder ``UCI HAR Dataset``.

    The files contain windows of 128 samples with an overlap of half a window. Neighbouring windows of one subject whose
    overlapping halves agree are joined to one recording, so that windows of any length can be cut and no sample occurs
    twice. Total acceleration (g) and angular rate are read; the ``body_acc`` files are the same acceleration without
    gravity. x points up when upright. The tag ``part`` is the authors' split: ``train`` (21 subjects) or ``test`` (9).

    Args:
        root: the folder ``UCI HAR Dataset``, or the folder around it.
        parts: parts to read.

    Raises:
        RecordingError: the folder or one of a part's files is missing, or a person is in both parts.

    Example:
        >>> UciHar(root="data/UCI HAR Dataset").subjects()[:2]
        ['s01', 's02']
    """

    name = "ucihar"
    tested_on: ClassVar[str] = "made-up tree"
    licence: ClassVar[str] = "CC BY 4.0"
    citation: ClassVar[str] = (
        "D. Anguita, A. Ghio, L. Oneto, X. Parra, J. L. Reyes-Ortiz. A public domain dataset for human activity "
        "recognition using smartphones. ESANN 2013."
    )
    url: ClassVar[str] = "https://archive.ics.uci.edu/dataset/240/human+activity+recognition+using+smartphones"
    placements: ClassVar[tuple[str, ...]] = ("waist",)
    labels: ClassVar[tuple[str, ...]] = ACTIVITIES
    rate_hz: ClassVar[float] = RATE_HZ

    def __init__(self, *, root: str, parts: list[Literal["train", "test"]] | None = None) -> None:
        folder = existing_folder(
            root, dataset=self.name, hint=f"download it from {self.url} and set dataset.root to its folder"
        )
        inner = folder / "UCI HAR Dataset"
        self.root = inner if inner.is_dir() else folder
        self._people: dict[str, np.ndarray] = {}
        for part in PARTS if parts is None else parts:
            path = self.root / part / f"subject_{part}.txt"
            column = number_table(path, 1)[:, 0]
            wrong = np.flatnonzero((column < 1) | (column != np.round(column)))
            if len(wrong):
                raise RecordingError(f"{path}, line {wrong[0] + 1}: subject {column[wrong[0]]:g}, expected 1, 2 ...")
            self._people[part] = column.astype(int)
        if not self._people:
            raise RecordingError(f"{self.name}: parts is empty", hint=f"name one or both of {', '.join(PARTS)}")
        both = set.intersection(*(set(people.tolist()) for people in self._people.values()))
        if len(self._people) > 1 and both:
            raise RecordingError(f"{self.root}: subject {min(both)} is in {' and in '.join(self._people)}")

    def subjects(self) -> list[str]:
        """Sorted subjects, from the subject files."""
        return sorted({_subject(n) for people in self._people.values() for n in people.tolist()})

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """Joined windows, ordered by part and then as in the files; the files of a part are read once per call."""
        wanted = chosen(subjects, self.subjects(), dataset=self.name)
        for part, people in self._people.items():
            if not wanted & {_subject(n) for n in people.tolist()}:
                continue
            signals, activity = self._read(part)
            for first, end in runs(people):
                subject = _subject(int(people[first]))
                if subject in wanted:
                    for a, b in _stretches(signals[first:end]):
                        yield self._recording(part, subject, first + a, signals, activity, first + b)

    def _recording(
        self, part: str, subject: str, first: int, signals: np.ndarray, activity: np.ndarray, end: int
    ) -> Recording:
        """Windows ``first`` .. ``end`` as one recording."""
        values = np.concatenate([signals[first], *signals[first + 1 : end, :, STRIDE:]], axis=1)
        # The label of the half that two windows share is that of the later one; it only matters if their labels differ.
        edges = [*(np.arange(end - first) * STRIDE / RATE_HZ).tolist(), values.shape[1] / RATE_HZ]
        return Recording(
            dataset=self.name,
            subject=subject,
            name=f"{part}_{subject}_{first:05d}",
            imu=(
                ImuStream(
                    placement="waist",
                    times=np.arange(values.shape[1]) / RATE_HZ,
                    values=np.concatenate([convert(values[:3], "g", "acc"), convert(values[3:], "rad/s", "gyr")]),
                ),
            ),
            segments=tuple(
                Segment(start=edges[a], end=edges[b], label=ACTIVITIES[activity[first + a] - 1])
                for a, b in runs(activity[first:end])
            ),
            tags={"part": part},
        )

    def _read(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Windows (N, 6, 128) in the units of the files, and activities (N,) 1 .. 6."""
        people, folder = self._people[part], self.root / part
        path = folder / f"y_{part}.txt"
        activity = number_table(path, 1)[:, 0]
        wrong = np.flatnonzero(~np.isin(activity, range(1, len(ACTIVITIES) + 1)))
        if len(wrong):
            raise RecordingError(
                f"{path}, line {wrong[0] + 1}: activity {activity[wrong[0]]:g}, expected 1 .. {len(ACTIVITIES)}"
            )
        signals = []
        for name in _SIGNALS:
            files = folder / "Inertial Signals" / f"{name}_{part}.txt"
            signals.append(number_table(files, WINDOW))
            _same_length(files, len(signals[-1]), len(people))
        _same_length(path, len(activity), len(people))
        return np.stack(signals, axis=1), activity.astype(int)


def _subject(number: int) -> str:
    return f"s{number:02d}"


def _same_length(path: Path, rows: int, expected: int) -> None:
    if rows != expected:
        raise RecordingError(f"{path}: {rows} rows, but the part has {expected} windows", hint="download it again")


def _stretches(signals: np.ndarray) -> Iterator[tuple[int, int]]:
    """First window and end of each run in which every window begins with the second half of the one before."""
    joins = np.all(np.isclose(signals[1:, :, :STRIDE], signals[:-1, :, STRIDE:], atol=1e-6), axis=(1, 2))
    yield from itertools.pairwise([0, *(np.flatnonzero(~joins) + 1).tolist(), len(signals)])
