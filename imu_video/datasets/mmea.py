"""UESTC-MMEA-CL: clips of smart glasses with an inertial unit, 32 daily activities; optical flow is not read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import ClassVar

import numpy as np

from imu_video.datasets.layout import Device, SingleLayout, Take, files_like, streams_of
from imu_video.datasets.splitlists import SplitName, log_absent, need_lists, read_lists
from imu_video.errors import RecordingError
from imu_video.modalities.mp4 import Mp4Source
from imu_video.readers.tables import number_table
from imu_video.registry import datasets
from imu_video.types import GRAVITY, Recording

RATE_HZ = 25.0
ACTIVITIES = (
    "upstairs",
    "downstairs",
    "drinking",
    "fall",
    "reading",
    "sweep_floor",
    "cut_fruits",
    "mop_floor",
    "writing",
    "wipe_table",
    "wash_hand",
    "standing",
    "play_phone",
    "type_pc",
    "eating",
    "cooking",
    "pick_up_phone",
    "drop_trush",
    "fold_clothes",
    "walking",
    "play_card",
    "brush_teeth",
    "wash_dish",
    "moving_sth",
    "type_phone",
    "chat",
    "open_close_door",
    "ride_bike",
    "sit_stand",
    "take_drop_sth",
    "shopping",
    "watch_TV",
)
GYR_COUNTS = 16.4
"""Counts for each deg/s, at the range of 2000 deg/s."""
COMODO = {"train": 4553, "val": 653, "test": 1316}
"""Entries of the released lists. Their last line has no newline, so that ``wc -l`` counts one less in each."""
_RANGES = (16384.0, 8192.0, 4096.0, 2048.0)
_NEAR = 1.3  # a clip's median norm is within this factor of 1 g, and the ranges are a factor of 2 apart
_CLIP = re.compile(r"(\d+)_(\w+?)_(\d{4}_\d\d_\d\d)_(\d\d_\d\d_\d\d)", re.ASCII)


@datasets.register("mmea")
class Mmea(SingleLayout):
    """UESTC-MMEA-CL (Xu et al., IEEE Transactions on Multimedia 2024): video, acceleration and angular rate of glasses.

    One recording per clip of about 17 s; clip and samples begin together. The files contain raw counts. Publications
    divide accelerations by 16384 or by 8192, so each clip is checked to measure about 1 g; if it does not, an error
    names the scale that would fit.

    The dataset does not identify who wore the glasses. The day of recording is used as the subject, so that clips of
    one day are never in two splits. The same person may appear on several days, so this is not a split by subject. The
    COMODO lists split by clip instead: 44 of the 45 days are in more than one of their splits.

    Args:
        root: the folder that contains ``sensor/`` and ``video/``.
        acc_counts_per_g: raw counts for 1 g: 8192 at a range of 4 g, 16384 at 2 g.
        video: offer the clips where they exist.
        lists: folder of the COMODO lists; clips outside them are left out.
        split: one part of the lists only.

    Raises:
        RecordingError: missing files, another scale, a damaged file, or lists with other counts than published.

    Example:
        >>> next(Mmea(root="UESTC-MMEA-CL", video=False).recordings()).imu[0].placement
        'head'
    """

    name = "mmea"
    licence: ClassVar[str] = "education and non-commercial use only"
    citation: ClassVar[str] = (
        "L. Xu, Q. Wu, L. Pan, F. Meng, H. Li, C. He, H. Wang, S. Cheng, Y. Dai. Towards continual egocentric activity "
        "recognition: A multi-modal egocentric activity dataset for continual learning. IEEE Transactions on "
        "Multimedia 26, 2024."
    )
    url: ClassVar[str] = "https://ivipclab.github.io/publication_uestc-mmea-cl/mmea-cl/"
    streams: ClassVar[tuple[str, ...]] = ("imu", "video")
    placements: ClassVar[tuple[str, ...]] = ("head",)
    labels: ClassVar[tuple[str, ...]] = ACTIVITIES
    rate_hz: ClassVar[float] = RATE_HZ
    files = "sensor/N_activity/N_activity_YYYY_MM_DD_hh_mm_ss.csv"

    def __init__(
        self,
        *,
        root: str,
        acc_counts_per_g: float = 8192.0,
        video: bool = True,
        lists: str | None = None,
        split: SplitName | None = None,
    ) -> None:
        need_lists(lists, split, self.name)
        self.acc_counts_per_g, self.video, self.split = acc_counts_per_g, video, split
        self.listed = (
            None
            if lists is None
            else read_lists(lists, dataset=self.name, protocol="COMODO", counts=COMODO, parse=_list_line)
        )
        super().__init__(root=root)
        log_absent(self.listed, split, (take.name for take in self._takes), dataset=self.name)

    def _find(self) -> Iterator[Take]:
        for path, _ in files_like(self.root, r"sensor/\d+_\w+/\d+_\w+\.csv"):
            match = _CLIP.fullmatch(path.stem)
            if not match or not 1 <= int(match[1]) <= len(ACTIVITIES):
                raise RecordingError(f"{path}: expected N_activity_YYYY_MM_DD_hh_mm_ss.csv, N 1 .. {len(ACTIVITIES)}")
            tags = {}
            if self.listed is not None:
                entry = self.listed.get(path.stem)
                if entry is None or self.split not in (None, entry.split):
                    continue
                tags["split"] = entry.split
            clip = path.parents[2] / "video" / path.parent.name / f"{path.stem}.mp4"
            yield Take(
                subject=f"day_{match[3]}",
                name=path.stem,
                paths=(path, clip) if self.video and clip.is_file() else (path,),
                label=ACTIVITIES[int(match[1]) - 1],
                tags=tags,
            )

    def _read(self, take: Take) -> Recording:
        path = take.paths[0]
        counts = number_table(path, 6, separator=",")
        norm = float(np.median(np.linalg.norm(counts[:, :3], axis=1)))
        if not 1 / _NEAR <= norm / self.acc_counts_per_g <= _NEAR:
            fits = [f"{scale:g}" for scale in _RANGES if 1 / _NEAR <= norm / scale <= _NEAR]
            raise RecordingError(
                f"{path}: the median acceleration is {norm:.0f} counts, which is {norm / self.acc_counts_per_g:.2f} g "
                f"at {self.acc_counts_per_g:g} counts per g, expected about 1 g",
                hint=f"dataset.acc_counts_per_g={fits[0]} fits" if fits else "the sensor was saturated or dead",
            )
        scaled = counts / np.repeat([self.acc_counts_per_g / GRAVITY, GYR_COUNTS], 3)
        device = Device(placement="head", acc=0, gyr=3, acc_unit="m/s^2", gyr_unit="deg/s")
        imu = streams_of(scaled, np.arange(len(scaled)) / RATE_HZ, [device], source=str(path))
        return self._recording(take, imu, video=Mp4Source(take.paths[1]) if len(take.paths) > 1 else None)


def _list_line(line: str) -> tuple[str, str | None]:
    """``.../27_open_close_door/27_open_close_door_2022_04_29_13_04_21 333 333 26`` to the clip's name."""
    name = PurePosixPath(line.split()[0]).name
    match = _CLIP.fullmatch(name)
    if not match:
        raise ValueError(name)
    return name, match[2]
