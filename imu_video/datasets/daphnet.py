"""Daphnet: three accelerometers on patients with Parkinson's disease, freezing of gait marked; downloads nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from imu_video.datasets.common import chosen, existing_folder, runs
from imu_video.errors import RecordingError
from imu_video.readers.tables import number_table
from imu_video.recordings.signal import convert
from imu_video.registry import datasets
from imu_video.types import IMU_CHANNELS, ImuStream, Recording, Segment

RATE_HZ = 64.0
_NAME = re.compile(r"(S\d+)(R\d+)\.txt")
_ROUNDING_S = 0.0021  # stamps are cut to whole milliseconds


@datasets.register("daphnet")
class Daphnet:
    """Daphnet Freezing of Gait (Baechlin et al., IEEE TITB 2010): patients walk in a laboratory and some freeze.

    One recording per file; accelerometers only, axes forward, vertical, lateral. Segments outside the experiment
    (annotation 0) have no label. Stamps are whole milliseconds; where they follow 64 Hz, they are replaced by exact
    times. A sensor that fails during a run (S03R03, thigh) is passed on unchanged and found by the quality checks.

    Args:
        root: folder with the files ``SxxRyy.txt``, or the folder ``dataset_fog_release`` around it.

    Raises:
        RecordingError: the folder is missing or contains no such files.

    Example:
        >>> Daphnet(root="data/daphnet").subjects()
        ['S01', 'S02', 'S03', 'S06', 'S07']
    """

    name = "daphnet"
    licence: ClassVar[str] = "CC BY 4.0 (UCI repository); any publication must cite the paper"
    citation: ClassVar[str] = (
        "M. Baechlin, M. Plotnik, D. Roggen, I. Maidan, J. M. Hausdorff, N. Giladi, G. Troester. Wearable assistant "
        "for Parkinson's disease patients with the freezing of gait symptom. IEEE TITB 14(2), 2010."
    )
    url: ClassVar[str] = "https://archive.ics.uci.edu/dataset/245/daphnet+freezing+of+gait"
    placements: ClassVar[tuple[str, ...]] = ("ankle", "thigh", "trunk")
    labels: ClassVar[tuple[str, ...]] = ("no_freeze", "freeze")
    rate_hz: ClassVar[float] = RATE_HZ

    def __init__(self, *, root: str) -> None:
        folder = existing_folder(
            root, dataset=self.name, hint=f"download it from {self.url} and set dataset.root to its folder"
        )
        self.root = folder / "dataset" if (folder / "dataset").is_dir() else folder
        found = (_NAME.fullmatch(path.name) for path in self.root.glob("S*.txt"))
        self._runs = sorted((m[1], m[2]) for m in found if m)
        if not self._runs:
            raise RecordingError(
                f"{self.name}: no files SxxRyy.txt in {self.root}",
                hint="set dataset.root to the folder dataset/ of the download",
            )

    def subjects(self) -> list[str]:
        """Sorted patients, from the file names."""
        return sorted({subject for subject, _ in self._runs})

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """One recording per file, ordered by patient and run."""
        wanted = chosen(subjects, self.subjects(), dataset=self.name)
        for subject, run in self._runs:
            if subject in wanted:
                yield self._recording(subject, run)

    def _recording(self, subject: str, run: str) -> Recording:
        path = self.root / f"{subject}{run}.txt"
        table = number_table(path, 11)
        times, annotation = _times(table[:, 0] / 1000, path), table[:, 10]
        wrong = np.flatnonzero(~np.isin(annotation, (0, 1, 2)))
        if len(wrong):
            raise RecordingError(
                f"{path}, line {wrong[0] + 1}: annotation {annotation[wrong[0]]:g}, expected 0, 1 or 2"
            )
        edges = np.append(times, times[-1] + 1 / RATE_HZ)
        return Recording(
            dataset=self.name,
            subject=subject,
            name=f"{subject}{run}",
            imu=tuple(
                ImuStream(
                    placement=placement,
                    times=times,
                    values=convert(table[:, 1 + 3 * i : 4 + 3 * i].T, "mg", "acc"),
                    channels=IMU_CHANNELS[:3],
                )
                for i, placement in enumerate(self.placements)
            ),
            segments=tuple(
                Segment(start=edges[first], end=edges[end], label=self.labels[int(annotation[first]) - 1])
                for first, end in runs(annotation)
                if annotation[first] > 0
            ),
            tags={"population": "parkinson"},
        )


def _times(stamps: np.ndarray, path: Path) -> np.ndarray:
    """Exact times at 64 Hz if the rounded stamps agree with them, else the stamps."""
    exact = stamps[0] + np.arange(len(stamps)) / RATE_HZ
    if np.max(np.abs(exact - stamps)) <= _ROUNDING_S:
        return exact
    wrong = np.flatnonzero(np.diff(stamps) <= 0)
    if len(wrong):
        row = int(wrong[0]) + 1
        raise RecordingError(
            f"{path}, line {row + 1}: time {stamps[row] * 1000:g} ms after {stamps[row - 1] * 1000:g} ms"
        )
    return stamps
