"""USC-HAD: one unit at the right hip, twelve activities of 14 subjects; downloads nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from imu_video.datasets.layout import Device, SingleLayout, Take, files_like, streams_of
from imu_video.datasets.matlab import load_mat
from imu_video.errors import RecordingError
from imu_video.registry import datasets
from imu_video.types import Recording

RATE_HZ = 100.0
ACTIVITIES = (
    "walking_forward",
    "walking_left",
    "walking_right",
    "walking_upstairs",
    "walking_downstairs",
    "running_forward",
    "jumping_up",
    "sitting",
    "standing",
    "sleeping",
    "elevator_up",
    "elevator_down",
)
DEVICE = Device(placement="right_hip", acc=0, gyr=3, acc_unit="g", gyr_unit="deg/s")


@datasets.register("uschad")
class UscHad(SingleLayout):
    """USC Human Activity Dataset (Zhang and Sawchuk, SAGAware at UbiComp 2012).

    One recording per trial. The activity is taken from the file name: the field in the files is misspelt for one
    person.

    Args:
        root: the folder that contains ``Subject1/`` .. ``Subject14/``.

    Raises:
        RecordingError: missing files, or one whose readings are not (n, 6).

    Example:
        >>> UscHad(root="USC-HAD").subjects()[0]
        's01'
    """

    name = "uschad"
    licence: ClassVar[str] = "free for research; cite the paper (no formal licence text)"
    citation: ClassVar[str] = (
        "M. Zhang, A. A. Sawchuk. USC-HAD: A daily activity dataset for ubiquitous activity recognition using wearable "
        "sensors. UbiComp 2012, workshop SAGAware."
    )
    url: ClassVar[str] = "https://sipi.usc.edu/had/"
    placements: ClassVar[tuple[str, ...]] = ("right_hip",)
    labels: ClassVar[tuple[str, ...]] = ACTIVITIES
    rate_hz: ClassVar[float] = RATE_HZ
    files = "SubjectN/aNtN.mat"

    def _find(self) -> Iterator[Take]:
        for path, match in files_like(self.root, r"Subject(\d+)/a(\d+)t(\d+)\.mat"):
            person, activity, trial = (int(text) for text in match.groups())
            if not 1 <= activity <= len(ACTIVITIES):
                raise RecordingError(f"{path}: activity {activity}, expected 1 .. {len(ACTIVITIES)}")
            yield Take(
                subject=f"s{person:02d}",
                name=f"s{person:02d}-a{activity:02d}-t{trial}",
                paths=(path,),
                label=ACTIVITIES[activity - 1],
                tags={"trial": str(trial)},
            )

    def _read(self, take: Take) -> Recording:
        (path,) = take.paths
        table = load_mat(path, "sensor_readings").astype(np.float64)
        if table.ndim != 2 or table.shape[1] != 6 or len(table) < 2:
            raise RecordingError(f"{path}: sensor_readings has shape {table.shape}, expected (n, 6)")
        return self._recording(take, streams_of(table, np.arange(len(table)) / RATE_HZ, [DEVICE], source=str(path)))
