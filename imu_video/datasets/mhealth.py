"""mHealth: chest, wrist and ankle of ten subjects in twelve exercises; the electrocardiogram is not read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np

from imu_video.datasets.layout import Device, SingleLayout, Take, files_like, segments_of, streams_of
from imu_video.errors import RecordingError
from imu_video.readers.tables import number_table
from imu_video.registry import datasets
from imu_video.types import Recording

RATE_HZ = 50.0
ACTIVITIES = dict(
    enumerate(
        (
            "standing",
            "sitting",
            "lying",
            "walking",
            "climbing_stairs",
            "waist_bends_forward",
            "arm_elevation",
            "knee_bends",
            "cycling",
            "jogging",
            "running",
            "jump_front_and_back",
        ),
        start=1,
    )
)
DEVICES = (
    Device(placement="chest", acc=0),
    Device(placement="left_ankle", acc=5, gyr=8),
    Device(placement="right_wrist", acc=14, gyr=17),
)
_FAST = (10, 11, 12)  # jogging, running, jumping
_SLOWEST_FAST = 20.0  # deg/s: an ankle or wrist turns faster than this for a good part of any of them


@datasets.register("mhealth")
class MHealth(SingleLayout):
    """mHealth (Banos et al., IWAAL 2014).

    One recording per subject. The documentation of the dataset gives the angular rate in deg/s. Where the values cannot
    be deg/s (90 % below 20 while jogging, running or jumping) the default raises an error; ``gyroscope: drop`` reads
    only the accelerations.

    Args:
        root: the folder ``MHEALTHDATASET``.
        gyroscope: unit of the angular rate, or ``drop``.

    Raises:
        RecordingError: missing or damaged files, or an angular rate that is not in the declared unit.

    Example:
        >>> MHealth(root="MHEALTHDATASET", gyroscope="drop").subjects()[0]
        's01'
    """

    name = "mhealth"
    licence: ClassVar[str] = "CC BY 4.0"
    citation: ClassVar[str] = (
        "O. Banos, R. Garcia, J. A. Holgado-Terriza, M. Damas, H. Pomares, I. Rojas, A. Saez, C. Villalonga. "
        "mHealthDroid: a novel framework for agile development of mobile health applications. IWAAL 2014."
    )
    url: ClassVar[str] = "https://archive.ics.uci.edu/dataset/319/mhealth+dataset"
    placements: ClassVar[tuple[str, ...]] = ("chest", "left_ankle", "right_wrist")
    labels: ClassVar[tuple[str, ...]] = tuple(ACTIVITIES.values())
    rate_hz: ClassVar[float] = RATE_HZ
    files = "mHealth_subjectN.log"

    def __init__(self, *, root: str, gyroscope: Literal["deg/s", "rad/s", "drop"] = "deg/s") -> None:
        self.gyroscope = gyroscope
        super().__init__(root=root)

    def _find(self) -> Iterator[Take]:
        for path, match in files_like(self.root, r"mHealth_subject(\d+)\.log"):
            subject = f"s{int(match[1]):02d}"
            yield Take(subject=subject, name=subject, paths=(path,))

    def _read(self, take: Take) -> Recording:
        (path,) = take.paths
        table = number_table(path, 24)
        times, codes = np.arange(len(table)) / RATE_HZ, table[:, 23].astype(int)
        drop = self.gyroscope == "drop"
        devices = [replace(d, gyr=None) if drop else replace(d, gyr_unit=self.gyroscope) for d in DEVICES]
        fast = np.abs(table[np.isin(codes, _FAST)][:, [8, 9, 10, 17, 18, 19]])
        if self.gyroscope == "deg/s" and len(fast) and (seen := float(np.quantile(fast, 0.9))) < _SLOWEST_FAST:
            raise RecordingError(
                f"{path}: nine in ten angular rates are below {seen:.3g} deg/s in jogging, running and jumping, "
                f"expected above {_SLOWEST_FAST:g}",
                hint="read the accelerations alone with dataset.gyroscope=drop; the values are not deg/s as documented",
            )
        return self._recording(
            take,
            streams_of(table, times, devices, source=str(path)),
            segments_of(times, codes, ACTIVITIES, source=str(path)),
        )
