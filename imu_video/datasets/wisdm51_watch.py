"""WISDM 51: the watch accelerometer of 51 subjects, six activities, without time stamps; not the full WISDM 2019."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from imu_video.datasets.common import runs
from imu_video.datasets.layout import Layout, Take, files_like
from imu_video.datasets.wisdm import ACTIVITIES as ALL
from imu_video.datasets.wisdm import Wisdm
from imu_video.errors import RecordingError
from imu_video.readers.tables import Table
from imu_video.recordings.signal import check_plausible
from imu_video.registry import datasets
from imu_video.types import IMU_CHANNELS, ImuStream, Recording

RATE_HZ = 20.0
ACTIVITIES = {letter: ALL[letter] for letter in "ABCDEM"}
_COLUMNS = ("subject", "activity", "x", "y", "z")


@datasets.register("wisdm51_watch")
class Wisdm51Watch(Layout):
    """WISDM 51 (a class competition's reduction of WISDM 2019): ``data_16NN_accel_watch.txt`` of five columns.

    The rows have no time stamps: times are the row number at the nominal 20 Hz. The activities of a file were not
    recorded one right after the other, so each uninterrupted run of one activity is one recording. The files of
    `wisdm`, which have a time stamp, are refused.

    Args:
        root: the folder of the text files.

    Raises:
        RecordingError: missing files, or a line that is not as documented.

    Example:
        >>> Wisdm51Watch(root="wisdm51-watch").subjects()[0]
        '1600'
    """

    name = "wisdm51_watch"
    licence: ClassVar[str] = Wisdm.licence
    citation: ClassVar[str] = Wisdm.citation
    url: ClassVar[str] = "https://github.com/Chrissi2802/WISDM---Biometric-time-series-data-classification"
    tested_on: ClassVar[str] = "real files"
    placements: ClassVar[tuple[str, ...]] = ("wrist",)
    labels: ClassVar[tuple[str, ...]] = tuple(ACTIVITIES.values())
    rate_hz: ClassVar[float] = RATE_HZ
    files = "data_16NN_accel_watch.txt"

    def _find(self) -> Iterator[Take]:
        for path, match in files_like(self.root, r"data_(\d+)_accel_watch\.txt"):
            yield Take(subject=match[1], name=match[1], paths=(path,), tags={"device": "watch"})

    def _read_all(self, take: Take) -> Iterator[Recording]:
        path = take.paths[0]
        table = Table(path, _COLUMNS, texts=["subject", "activity"], header=_COLUMNS, terminator=";")
        subjects, letters = np.array(table.texts("subject")), np.array(table.texts("activity"))
        for column, texts, allowed in (("subject", subjects, [take.subject]), ("activity", letters, list(ACTIVITIES))):
            strange = np.flatnonzero(~np.isin(texts, allowed))
            if len(strange):
                raise RecordingError(
                    f"{table.where(int(strange[0]))}: {column} {str(texts[strange[0]])!r}, expected "
                    f"{'one of ' if len(allowed) > 1 else ''}{', '.join(allowed)}",
                    hint="files with a time stamp in the third column are read by the adapter `wisdm`",
                )
        values = np.stack([table.numbers(axis) for axis in "xyz"])
        # Over all activities of the subject: the median of a single bout of jogging may exceed 2 g.
        check_plausible(values, IMU_CHANNELS[:3], source=str(path), acc_unit="m/s^2")
        bouts: dict[str, int] = {}
        for first, end in runs(letters):
            letter = str(letters[first])
            bouts[letter] = bouts.get(letter, 0) + 1
            times = np.arange(end - first) / RATE_HZ
            imu = ImuStream(placement="wrist", times=times, values=values[:, first:end], channels=IMU_CHANNELS[:3])
            named = Take(
                subject=take.subject,
                name=f"{take.subject}-{letter}-{bouts[letter]}",
                paths=take.paths,
                label=ACTIVITIES[letter],
                tags=take.tags,
            )
            yield self._recording(named, (imu,))
