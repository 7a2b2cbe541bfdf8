"""PDIoT 2023: chest and pocket IMU at 25 Hz, 12 activities with breathing and social signals; no usable time stamps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from imu_video.datasets.layout import Device, SingleLayout, Take, files_like, streams_of
from imu_video.datasets.repeated import Repeated, without_false_labels
from imu_video.errors import RecordingError
from imu_video.readers.tables import Table
from imu_video.registry import datasets
from imu_video.types import Recording

RATE_HZ = 25.0
ACTIVITIES = {
    "sitting": "sitting",
    "standing": "standing",
    "lyingBack": "lying_back",
    "lyingLeft": "lying_left",
    "lyingRight": "lying_right",
    "lyingStomach": "lying_stomach",
    "normalWalking": "walking",
    "shuffleWalking": "shuffle_walking",
    "running": "running",
    "ascending": "ascending_stairs",
    "descending": "descending_stairs",
    "miscMovement": "misc_movement",
}
SIGNALS = {
    "breathingNormal": "breathing",
    "coughing": "coughing",
    "hyperventilating": "hyperventilating",
    "talking": "talking",
    "singing": "singing",
    "laughing": "laughing",
    "eating": "eating",
}
PLACEMENTS = {"respeck": "chest", "thingy": "pocket"}
RESTLESS = frozenset({"s7_respeck_sitting_breathingNormal", "s17_respeck_sitting_breathingNormal"})
"""Recordings labelled as sitting that contain clear motion."""
_AXES = ("accel_x", "accel_y", "accel_z", "gyro_x", "gyro_y", "gyro_z")
_STEP = 40  # of the stamps in all files; as milliseconds it is the sample period, but they start like seconds


@datasets.register("pdiot")
class Pdiot(SingleLayout):
    """PDIoT course data 2023 of the University of Edinburgh: Respeck on the chest, Thingy:52 in a trouser pocket.

    One recording per file of about 30 s. Every file's stamps start at the same number and step by 40: they are not the
    time of recording, so the two devices of a subject cannot be aligned. Times are the row number at 25 Hz. The Respeck
    clips accelerations at 2 g. The respiratory or social signal is the tag ``signal``.

    Args:
        root: the folder that contains ``Respeck/`` and ``Thingy/``.
        repeated: what to do with files that repeat another one: ``keep`` or ``drop``. Copies under different labels
            get no label.

    Raises:
        RecordingError: missing files, an unknown activity or signal, or stamps that do not step by 40.

    Example:
        >>> next(Pdiot(root="pdiot-2023").recordings()).tags["signal"]
        'breathing'
    """

    name = "pdiot"
    licence: ClassVar[str] = "none stated: research use, no redistribution"
    citation: ClassVar[str] = (
        "Principles and Design of IoT Systems (PDIoT) course, School of Informatics, University of Edinburgh: shared "
        "repository of motion capture data, 2023."
    )
    url: ClassVar[str] = "https://github.com/specknet/pdiot-data"
    tested_on: ClassVar[str] = "real files"
    placements: ClassVar[tuple[str, ...]] = tuple(PLACEMENTS.values())
    labels: ClassVar[tuple[str, ...]] = tuple(ACTIVITIES.values())
    rate_hz: ClassVar[float] = RATE_HZ
    files = "Respeck/sNN/sNN_respeck_activity_signal.csv"

    def __init__(self, *, root: str, repeated: Repeated = "keep") -> None:
        self.repeated = repeated
        super().__init__(root=root)

    def _find(self) -> list[Take]:
        return without_false_labels(self._takes_of_files(), dataset=self.name, repeated=self.repeated)

    def _takes_of_files(self) -> Iterator[Take]:
        for path, match in files_like(self.root, r"(?:respeck|thingy)/s\d+/(s\d+)_(respeck|thingy)_(\w+)_(\w+)\.csv"):
            subject, device, activity, signal = match[1], match[2].lower(), match[3], match[4]
            if activity not in ACTIVITIES or signal not in SIGNALS:
                raise RecordingError(
                    f"{path}: activity {activity!r} and signal {signal!r}, expected one of {', '.join(ACTIVITIES)} and "
                    f"one of {', '.join(SIGNALS)}"
                )
            tags = {"device": device, "signal": SIGNALS[signal]}
            if path.stem in RESTLESS:
                tags["label"] = "doubtful: moves while sitting"
            yield Take(subject=subject, name=path.stem, paths=(path,), label=ACTIVITIES[activity], tags=tags)

    def _read(self, take: Take) -> Recording:
        path = take.paths[0]
        table = Table(path, ["timestamp", *_AXES])
        steps = np.diff(table.numbers("timestamp"))
        other = np.flatnonzero(steps != _STEP)
        if len(other):
            raise RecordingError(
                f"{table.where(int(other[0]) + 1)}: the stamp steps by {steps[other[0]]:g}, expected {_STEP} as in all "
                "files of the release",
                hint="restore the file of the release, or read your own with the adapter `folder` and their own rate",
            )
        values = np.stack([table.numbers(axis) for axis in _AXES], axis=1)
        device = Device(placement=PLACEMENTS[take.tags["device"]], acc=0, gyr=3, acc_unit="g", gyr_unit="deg/s")
        return self._recording(take, streams_of(values, table.rows() / RATE_HZ, [device], source=str(path)))
