"""WEAR: four watches and a head camera in outdoor workouts, 18 exercises of 22 subjects; features are not read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from imu_video.datasets.layout import SingleLayout, Take, Track, files_like, segments_of, stream
from imu_video.errors import RecordingError
from imu_video.modalities.mp4 import Mp4Source
from imu_video.readers.tables import Table
from imu_video.registry import datasets
from imu_video.types import Recording

RATE_HZ = 50.0
ACTIVITIES = (
    "jogging",
    "jogging (rotating arms)",
    "jogging (skipping)",
    "jogging (sidesteps)",
    "jogging (butt-kicks)",
    "stretching (triceps)",
    "stretching (lunging)",
    "stretching (shoulders)",
    "stretching (hamstrings)",
    "stretching (lumbar rotation)",
    "push-ups",
    "push-ups (complex)",
    "sit-ups",
    "sit-ups (complex)",
    "burpees",
    "lunges",
    "lunges (complex)",
    "bench-dips",
)
PLACEMENTS = {
    "right_arm": "right_wrist",
    "right_leg": "right_ankle",
    "left_leg": "left_ankle",
    "left_arm": "left_wrist",
}
SAME_PERSON = {18: 0, 19: 14}
"""Recordings 18 and 19 are second visits of subjects 0 and 14: 24 recordings of 22 subjects."""
_UNLABELLED = ("", "null", "nan", "None")


@datasets.register("wear")
class Wear(SingleLayout):
    """WEAR (Bock et al., IMWUT 2024): accelerometers on both wrists and ankles, video from the head.

    One recording per visit, with its clip on the same clock (synchronised by the authors). The watches have no
    gyroscope.

    Args:
        root: the folder that contains ``raw/``.
        video: read ``sbj_N.mp4`` if it exists in a folder ``camera`` or ``video`` of the dataset.

    Raises:
        RecordingError: missing files, a label that is not declared, or a damaged file.

    Example:
        >>> Wear(root="wear_dataset").subjects()[:2]
        ['s00', 's01']
    """

    name = "wear"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0"
    citation: ClassVar[str] = (
        "M. Bock, H. Kuehne, K. Van Laerhoven, M. Moeller. WEAR: An outdoor sports dataset for wearable and egocentric "
        "activity recognition. Proc. ACM Interact. Mob. Wearable Ubiquitous Technol. 8(4), 2024."
    )
    url: ClassVar[str] = "https://mariusbock.github.io/wear/"
    streams: ClassVar[tuple[str, ...]] = ("imu", "video")
    placements: ClassVar[tuple[str, ...]] = tuple(PLACEMENTS.values())
    labels: ClassVar[tuple[str, ...]] = ACTIVITIES
    rate_hz: ClassVar[float] = RATE_HZ
    files = "raw/inertial/50hz/sbj_N.csv"

    def __init__(self, *, root: str, video: bool = True) -> None:
        self.video = video
        super().__init__(root=root)

    def _find(self) -> Iterator[Take]:
        clips: dict[int, Path] = {}
        if self.video:
            for path, match in files_like(self.root, r"(?:camera|videos?)/(?:.*/)?sbj_(\d+)\.mp4"):
                clips.setdefault(int(match[1]), path)
        for path, match in files_like(self.root, r"inertial(?:/50hz|_50hz)?/sbj_(\d+)\.csv"):
            number = int(match[1])
            person = SAME_PERSON.get(number, number)
            yield Take(
                subject=f"s{person:02d}",
                name=f"sbj_{number}",
                paths=(path, *([clips[number]] if number in clips else [])),
                session="1" if person == number else "2",
            )

    def _read(self, take: Take) -> Recording:
        path = take.paths[0]
        columns = {arm: [f"{arm}_acc_{axis}" for axis in "xyz"] for arm in PLACEMENTS}
        table = Table(path, [*(c for three in columns.values() for c in three), "label"], texts=["label"])
        times = table.rows() / RATE_HZ
        imu = []
        for arm, placement in PLACEMENTS.items():
            values = np.stack([table.numbers(c) for c in columns[arm]])
            if np.isfinite(values).any():
                imu.append(stream(placement, acc=Track(times=times, values=values, unit="g"), source=str(path)))
        if not imu:
            raise RecordingError(f"{path}: no watch measured anything")
        numbers = {name: code for code, name in enumerate(ACTIVITIES, start=1)} | dict.fromkeys(_UNLABELLED, 0)
        texts = table.texts("label")
        strange = [row for row, text in enumerate(texts) if text not in numbers]
        if strange:
            raise RecordingError(f"{table.where(strange[0])}: label {texts[strange[0]]!r} is not a label of WEAR")
        codes = np.array([numbers[text] for text in texts])
        names = dict(enumerate(ACTIVITIES, start=1))
        video = Mp4Source(take.paths[1]) if len(take.paths) > 1 else None
        return self._recording(take, imu, segments_of(times, codes, names, source=str(path)), video=video)
