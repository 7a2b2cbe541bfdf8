"""DSADS: five inertial units, 19 daily and sports activities of eight subjects; the magnetometers are not read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from imu_video.datasets.layout import Device, SingleLayout, Take, files_like, streams_of
from imu_video.errors import RecordingError
from imu_video.readers.tables import number_table
from imu_video.registry import datasets
from imu_video.types import Recording

RATE_HZ = 25.0
ROWS = 125
ACTIVITIES = (
    "sitting",
    "standing",
    "lying_on_back",
    "lying_on_right_side",
    "ascending_stairs",
    "descending_stairs",
    "standing_in_elevator",
    "moving_in_elevator",
    "walking_in_parking_lot",
    "walking_on_flat_treadmill",
    "walking_on_inclined_treadmill",
    "running_on_treadmill",
    "exercising_on_stepper",
    "exercising_on_cross_trainer",
    "cycling_horizontal",
    "cycling_vertical",
    "rowing",
    "jumping",
    "playing_basketball",
)
DEVICES = tuple(
    Device(placement=placement, acc=9 * i, gyr=9 * i + 3)
    for i, placement in enumerate(("chest", "right_wrist", "left_wrist", "right_knee", "left_knee"))
)


@datasets.register("dsads")
class Dsads(SingleLayout):
    """Daily and Sports Activities (Altun, Barshan and Tuncel, Pattern Recognition 2010).

    One recording per activity and subject: its 60 files of five seconds were cut from one recording of five minutes and
    are joined again. A missing file is a gap.

    Args:
        root: the folder that contains ``data/`` or ``a01/``.

    Raises:
        RecordingError: missing files, or one that is not 125 rows of 45 numbers.

    Example:
        >>> Dsads(root="data").subjects()[:2]
        ['p1', 'p2']
    """

    name = "dsads"
    licence: ClassVar[str] = "CC BY 4.0"
    citation: ClassVar[str] = (
        "K. Altun, B. Barshan, O. Tuncel. Comparative study on classifying human activities with miniature inertial "
        "and magnetic sensors. Pattern Recognition 43(10), 2010."
    )
    url: ClassVar[str] = "https://archive.ics.uci.edu/dataset/256/daily+and+sports+activities"
    placements: ClassVar[tuple[str, ...]] = tuple(device.placement for device in DEVICES)
    labels: ClassVar[tuple[str, ...]] = ACTIVITIES
    rate_hz: ClassVar[float] = RATE_HZ
    files = "aNN/pN/sNN.txt"

    def _find(self) -> Iterator[Take]:
        found: dict[tuple[int, int], list[Path]] = {}
        for path, match in files_like(self.root, r"a(\d\d)/p(\d)/s\d\d\.txt"):
            found.setdefault((int(match[2]), int(match[1])), []).append(path)
        for (person, activity), paths in found.items():
            if not 1 <= activity <= len(ACTIVITIES):
                raise RecordingError(f"{paths[0]}: activity {activity}, expected 1 .. {len(ACTIVITIES)}")
            yield Take(
                subject=f"p{person}",
                name=f"p{person}-a{activity:02d}",
                paths=tuple(sorted(paths)),
                label=ACTIVITIES[activity - 1],
            )

    def _read(self, take: Take) -> Recording:
        tables, times = [], []
        for path in take.paths:
            table = number_table(path, 45, separator=",")
            if len(table) != ROWS:
                raise RecordingError(f"{path}: {len(table)} rows, expected {ROWS}")
            tables.append(table)
            times.append(((int(path.stem[1:]) - 1) * ROWS + np.arange(ROWS)) / RATE_HZ)
        source = str(take.paths[0].parent)
        return self._recording(take, streams_of(np.concatenate(tables), np.concatenate(times), DEVICES, source=source))
