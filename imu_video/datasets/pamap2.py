"""PAMAP2: three inertial units and 18 activities of 9 subjects; the heart rate is not read, nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from imu_video.datasets.layout import (
    Device,
    SingleLayout,
    Take,
    clock_tag,
    files_like,
    segments_of,
    streams_of,
)
from imu_video.readers.base import in_order
from imu_video.readers.tables import number_table
from imu_video.registry import datasets
from imu_video.types import Recording

ACTIVITIES = {
    1: "lying",
    2: "sitting",
    3: "standing",
    4: "walking",
    5: "running",
    6: "cycling",
    7: "nordic_walking",
    9: "watching_tv",
    10: "computer_work",
    11: "car_driving",
    12: "ascending_stairs",
    13: "descending_stairs",
    16: "vacuum_cleaning",
    17: "ironing",
    18: "folding_laundry",
    19: "house_cleaning",
    20: "playing_soccer",
    24: "rope_jumping",
}
# A unit's 17 columns: temperature, acceleration +-16 g, acceleration +-6 g, angular rate, magnetic field, orientation.
# The wide range is read: the narrow one saturates in running and is not calibrated precisely.
DEVICES = tuple(
    Device(placement=placement, acc=first + 1, gyr=first + 7)
    for placement, first in (("wrist", 3), ("chest", 20), ("ankle", 37))
)


@datasets.register("pamap2")
class Pamap2(SingleLayout):
    """PAMAP2 physical activity monitoring (Reiss and Stricker, ISWC 2012).

    One recording per file; the person's optional activities are session 2. Wrist and ankle are those of the dominant
    side. Samples that the radio lost are NaN in the files and stay missing.

    Args:
        root: the folder that contains ``Protocol/`` and ``Optional/``.
        optional: also read ``Optional/``.

    Raises:
        RecordingError: missing or damaged files.

    Example:
        >>> Pamap2(root="PAMAP2_Dataset").subjects()[:2]
        ['s101', 's102']
    """

    name = "pamap2"
    licence: ClassVar[str] = "CC BY 4.0"
    citation: ClassVar[str] = (
        "A. Reiss, D. Stricker. Introducing a new benchmarked dataset for activity monitoring. ISWC 2012."
    )
    url: ClassVar[str] = "https://archive.ics.uci.edu/dataset/231/pamap2+physical+activity+monitoring"
    placements: ClassVar[tuple[str, ...]] = ("wrist", "chest", "ankle")
    labels: ClassVar[tuple[str, ...]] = tuple(ACTIVITIES.values())
    rate_hz: ClassVar[float] = 100.0
    files = "Protocol/subject1NN.dat"

    def __init__(self, *, root: str, optional: bool = True) -> None:
        self.optional = optional
        super().__init__(root=root)

    def _find(self) -> Iterator[Take]:
        for path, match in files_like(self.root, r"(protocol|optional)/subject(\d+)\.dat"):
            part, subject = match[1].lower(), f"s{match[2]}"
            if self.optional or part == "protocol":
                session = "1" if part == "protocol" else "2"
                yield Take(subject=subject, name=f"{subject}-{part}", paths=(path,), session=session)

    def _read(self, take: Take) -> Recording:
        (path,) = take.paths
        table = number_table(path, 54, missing=True)
        rows, faults = in_order(table[:, 0])
        table = table[rows]
        times = table[:, 0]
        imu = streams_of(table, times, DEVICES, source=str(path))
        segments = segments_of(times, table[:, 1], ACTIVITIES, source=str(path))
        return self._recording(take, imu, segments, tags=clock_tag(faults))
