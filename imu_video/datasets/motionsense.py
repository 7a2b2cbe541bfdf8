"""MotionSense: a phone in the front pocket, six activities of 24 subjects; no files of a single sensor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from imu_video.datasets.layout import SingleLayout, Take, Track, files_like, stream
from imu_video.readers.tables import Table
from imu_video.registry import datasets
from imu_video.types import Recording

RATE_HZ = 50.0
ACTIVITIES = {
    "dws": "downstairs",
    "ups": "upstairs",
    "wlk": "walking",
    "jog": "jogging",
    "std": "standing",
    "sit": "sitting",
}


@datasets.register("motionsense")
class MotionSense(SingleLayout):
    """MotionSense (Malekzadeh et al., IoTDI 2019), the recordings in ``A_DeviceMotion_data``.

    One recording per trial. The phone separates its acceleration into gravity and the rest; both are added again. iOS
    defines acceleration with the opposite sign, so the sum is negated and a phone at rest measures 1 g upwards, as in
    all other datasets. There are no time stamps; the rate is 50 Hz as documented.

    Args:
        root: the folder that contains ``A_DeviceMotion_data/``.

    Raises:
        RecordingError: missing or damaged files.

    Example:
        >>> MotionSense(root="motion-sense/data").subjects()[0]
        's01'
    """

    name = "motionsense"
    licence: ClassVar[str] = "ODbL 1.0 (database), DbCL 1.0 (contents)"
    citation: ClassVar[str] = (
        "M. Malekzadeh, R. G. Clegg, A. Cavallaro, H. Haddadi. Mobile sensor data anonymization. IoTDI 2019."
    )
    url: ClassVar[str] = "https://github.com/mmalekzadeh/motion-sense"
    placements: ClassVar[tuple[str, ...]] = ("pocket",)
    labels: ClassVar[tuple[str, ...]] = tuple(ACTIVITIES.values())
    rate_hz: ClassVar[float] = RATE_HZ
    files = "A_DeviceMotion_data/dws_N/sub_N.csv"

    def _find(self) -> Iterator[Take]:
        pattern = rf"A_DeviceMotion_data/({'|'.join(ACTIVITIES)})_(\d+)/sub_(\d+)\.csv"
        for path, match in files_like(self.root, pattern):
            activity, trial, subject = match[1].lower(), match[2], f"s{int(match[3]):02d}"
            yield Take(
                subject=subject,
                name=f"{subject}-{activity}-{trial}",
                paths=(path,),
                label=ACTIVITIES[activity],
                tags={"trial": trial},
            )

    def _read(self, take: Take) -> Recording:
        (path,) = take.paths
        names = {part: [f"{part}.{axis}" for axis in "xyz"] for part in ("gravity", "userAcceleration", "rotationRate")}
        table = Table(path, [column for columns in names.values() for column in columns])
        gravity, user, rate = (np.stack([table.numbers(c) for c in columns]) for columns in names.values())
        times = table.rows() / RATE_HZ
        acc = Track(times=times, values=-(gravity + user), unit="g")
        imu = stream("pocket", acc=acc, gyr=Track(times=times, values=rate, unit="rad/s"), source=str(path))
        return self._recording(take, (imu,))
