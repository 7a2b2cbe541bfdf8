"""SP-SW-HAR: phone in a pocket and watch on a wrist on one clock, timed-up-and-go sequences; downloads nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from imu_video.datasets.common import chosen, existing_folder, runs
from imu_video.errors import RecordingError
from imu_video.readers.tables import Table
from imu_video.recordings.clock import sample_times
from imu_video.recordings.signal import convert
from imu_video.registry import datasets
from imu_video.types import ImuStream, Recording, Segment

_COLUMNS = ("x_acc", "y_acc", "z_acc", "x_gyro", "y_gyro", "z_gyro")
_TOLERANCE = 0.006  # of the clocks: 102.2 .. 102.9 and 104.2 .. 104.5 Hz over whole executions
_NAME = re.compile(r"(s\d+)_(\d+)_sw\.csv")


@datasets.register("sp_sw_har")
class SpSwHar:
    """Smartphone and smartwatch human activity recognition (Matey-Sanz, Casteleyn, Granell, Data in Brief 2023).

    One recording per execution: stand up, walk, turn, walk back, turn, sit down. Both devices have time stamps of one
    clock, in milliseconds, set when samples were delivered; `recordings.clock.sample_times` spreads repeated and
    bunched stamps. Labels are those of the watch's rows, whose stamps are more regular.

    Args:
        root: folder ``DATA`` with ``executions_info.csv`` and ``sXX/sXX_YY_{sp,sw}.csv``, or the folder around it.

    Raises:
        RecordingError: the folder or one of its two tables is missing, or it contains no recordings.

    Example:
        >>> source = SpSwHar(root="data/sp-sw-har")
        >>> next(source.recordings()).tags["phone_orientation"]
        'back_inv'
    """

    name = "sp_sw_har"
    licence: ClassVar[str] = "CC BY 4.0"
    citation: ClassVar[str] = (
        "M. Matey-Sanz, S. Casteleyn, C. Granell. Dataset of inertial measurements of smartphones and smartwatches for "
        "human activity recognition. Data in Brief 51, 109809, 2023."
    )
    url: ClassVar[str] = "https://doi.org/10.5281/zenodo.8398688"
    placements: ClassVar[tuple[str, ...]] = ("pocket", "wrist")
    labels: ClassVar[tuple[str, ...]] = ("seated", "standing_up", "walking", "turning", "sitting_down")
    rate_hz: ClassVar[dict[str, float]] = {"pocket": 102.5, "wrist": 104.3}

    def __init__(self, *, root: str) -> None:
        folder = existing_folder(
            root, dataset=self.name, hint=f"download it from {self.url} and set dataset.root to its folder DATA"
        )
        self.root = folder / "DATA" if (folder / "DATA").is_dir() else folder
        people = Table(self.root / "subjects_info.csv", ["subject_id", "age", "gender", "dominant_hand"])
        columns = zip(*(people.texts(c) for c in ("subject_id", "age", "gender", "dominant_hand")), strict=True)
        self._people = {
            subject: {"age": age, "sex": sex.lower(), "dominant_hand": hand.lower()}
            for subject, age, sex, hand in columns
        }
        info = Table(self.root / "executions_info.csv", ["execution_id", "orientation"])
        self._orientation = dict(zip(info.texts("execution_id"), info.texts("orientation"), strict=True))
        found = (_NAME.fullmatch(path.name) for path in self.root.glob("s*/s*_sw.csv"))
        self._executions = sorted((m[1], m[2]) for m in found if m)
        if not self._executions:
            raise RecordingError(
                f"{self.name}: no files sXX/sXX_YY_sw.csv in {self.root}", hint="set dataset.root to DATA/"
            )

    def subjects(self) -> list[str]:
        """Sorted subjects, from the folders."""
        return sorted({subject for subject, _ in self._executions})

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """One recording per execution, ordered by subject and execution."""
        wanted = chosen(subjects, self.subjects(), dataset=self.name)
        for subject, number in self._executions:
            if subject in wanted:
                yield self._recording(subject, number)

    def _recording(self, subject: str, number: str) -> Recording:
        execution = f"{subject}_{number}"
        if subject not in self._people or execution not in self._orientation:
            table = "subjects_info.csv" if subject not in self._people else "executions_info.csv"
            raise RecordingError(f"{self.root / table}: has no row of {execution}")
        tables = {
            placement: Table(
                self.root / subject / f"{execution}_{kind}.csv", [*_COLUMNS, "timestamp", "label"], texts=["label"]
            )
            for placement, kind in (("pocket", "sp"), ("wrist", "sw"))
        }
        arrived = {placement: _stamps(table) for placement, table in tables.items()}
        zero = min(float(stamps[0]) for stamps in arrived.values())
        watch = arrived["wrist"] - zero
        return Recording(
            dataset=self.name,
            subject=subject,
            name=execution,
            imu=tuple(self._stream(place, table, arrived[place] - zero) for place, table in tables.items()),
            segments=_segments(tables["wrist"], watch, self.labels),
            tags={"phone_orientation": self._orientation[execution], **self._people[subject]},
        )

    def _stream(self, placement: str, table: Table, arrived: np.ndarray) -> ImuStream:
        columns = np.stack([table.numbers(column) for column in _COLUMNS])
        return ImuStream(
            placement=placement,
            times=sample_times(arrived, rate_hz=self.rate_hz[placement], tolerance=_TOLERANCE),
            values=np.concatenate([convert(columns[:3], "m/s^2", "acc"), convert(columns[3:], "rad/s", "gyr")]),
        )


def _stamps(table: Table) -> np.ndarray:
    """Seconds, never decreasing."""
    stamps = table.seconds("timestamp", "ms")
    back = np.flatnonzero(np.diff(stamps) < 0)
    if len(back):
        raise RecordingError(
            f"{table.where(int(back[0]) + 1)}: the clock runs backwards by {-np.diff(stamps)[back[0]]:.3f} s"
        )
    if len(stamps) < 2:
        raise RecordingError(f"{table.path}: number of rows with samples is {len(stamps)}, expected at least 2")
    return stamps


def _segments(table: Table, stamps: np.ndarray, labels: tuple[str, ...]) -> tuple[Segment, ...]:
    """Segments of rows with one label; a segment ends where the next one begins."""
    texts = np.array([text.lower() for text in table.texts("label")])
    wrong = np.flatnonzero(~np.isin(texts, labels))
    if len(wrong):
        raise RecordingError(f"{table.where(int(wrong[0]))}: label {str(texts[wrong[0]])!r}, expected one of {labels}")
    edges = np.append(stamps, stamps[-1] + np.median(np.diff(stamps)))
    return tuple(
        Segment(start=float(edges[first]), end=float(edges[end]), label=str(texts[first]))
        for first, end in runs(texts)
        if edges[end] > edges[first]
    )
