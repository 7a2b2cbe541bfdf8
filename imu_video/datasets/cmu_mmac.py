"""CMU-MMAC: five wired inertial units and a head camera while cooking; wireless units and audio are not read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from imu_video.datasets.layout import SingleLayout, Take, TimedVideo, Track, clock_tag, files_like, stream
from imu_video.errors import RecordingError
from imu_video.readers.tables import Table
from imu_video.registry import datasets
from imu_video.types import Recording

RECIPES = ("brownie", "eggs", "pizza", "salad", "sandwich")
PLACEMENTS = {"2794": "left_arm", "2795": "back", "2796": "left_leg", "3261": "right_leg", "3337": "right_arm"}
"""Placement of each unit by its serial number."""
HEAD_CAMERA = "7150991"
_ACC, _RATE = ("Accel_X", "Accel_Y", "Accel_Z"), ("Roll", "Pitch", "Yaw")
_STAMP = re.compile(r"(\d+)_(\d+)_(\d+)_(\d{1,7})")
_FRAME = re.compile(r"\s*Frame:\s*(\d+)\b.*?(\d+_\d+_\d+_\d{1,7})\s*$")


@datasets.register("cmu_mmac")
class CmuMmac(SingleLayout):
    """CMU Multimodal Activity database (De la Torre et al., CMU-RI-TR-08-22, 2009), wired units and the head camera.

    One recording per subject and recipe. Times are the system times of the recording computers, for samples and for
    every frame of the video, whose file name ends in the number of its first frame. The dataset does not document
    units: accelerations are read as ``acc_unit`` and must then measure gravity. Whether the columns Roll, Pitch and Yaw
    are rates is not documented either; they are read only if ``gyr_unit`` is given.

    Args:
        root: the folder with ``S07_Brownie_3DMGX1/`` and, optionally, ``S07_Brownie_Video/``.
        acc_unit: unit of the accelerations.
        gyr_unit: unit of Roll, Pitch, Yaw if they are angular rates; None ignores them.
        video: offer the head camera where its file and time stamps exist.

    Raises:
        RecordingError: missing files, another unit, or a damaged file.

    Example:
        >>> CmuMmac(root="CMU-MMAC").subjects()[0]
        'S07'
    """

    name = "cmu_mmac"
    licence: ClassVar[str] = "free for research; acknowledge NSF grant EEEC-0540865"
    citation: ClassVar[str] = (
        "F. De la Torre, J. Hodgins, A. Bargteil, X. Martin, J. Macey, A. Collado, P. Beltran. Guide to the Carnegie "
        "Mellon University Multimodal Activity (CMU-MMAC) database. CMU-RI-TR-08-22, 2009."
    )
    url: ClassVar[str] = "http://kitchen.cs.cmu.edu"
    streams: ClassVar[tuple[str, ...]] = ("imu", "video")
    placements: ClassVar[tuple[str, ...]] = tuple(PLACEMENTS.values())
    labels: ClassVar[tuple[str, ...]] = RECIPES
    rate_hz: ClassVar[float] = 125.0
    files = "SNN_Recipe_3DMGX1/2794_MM-DD_hh_mm_ss-time.txt"

    def __init__(
        self,
        *,
        root: str,
        acc_unit: Literal["g", "mg", "m/s^2"] = "g",
        gyr_unit: Literal["rad/s", "deg/s"] | None = None,
        video: bool = True,
    ) -> None:
        self.acc_unit, self.gyr_unit, self.video = acc_unit, gyr_unit, video
        super().__init__(root=root)

    def _find(self) -> Iterator[Take]:
        found: dict[tuple[str, str], list[Path]] = {}
        pattern = rf"(S\d+)_({'|'.join(RECIPES)})_3DMGX1/({'|'.join(PLACEMENTS)})_[^/]*-time[^/]*\.txt"
        for path, match in files_like(self.root, pattern):
            found.setdefault((match[1].upper(), match[2].lower()), []).append(path)
        for (subject, recipe), paths in found.items():
            yield Take(subject=subject, name=f"{subject}-{recipe}", paths=tuple(paths), label=recipe)

    def _read(self, take: Take) -> Recording:
        tracks: dict[str, list[Track]] = {}
        faults = 0
        for path in take.paths:
            table = Table(path, [*_ACC, *_RATE, "SysTime"], texts=["SysTime"], delimiter="\t", skip_rows=1)
            times = _clock(table.texts("SysTime"))
            sensors = [Track(times=times, values=np.stack([table.numbers(c) for c in _ACC]), unit=self.acc_unit)]
            if self.gyr_unit is not None:
                values = np.stack([table.numbers(c) for c in _RATE])
                sensors.append(Track(times=times, values=values, unit=self.gyr_unit))
            repaired = [track.in_order() for track in sensors]
            faults += repaired[0][1]
            if len(repaired[0][0].times) < 2:
                raise RecordingError(f"{path}: fewer than two samples with a SysTime hh_mm_ss_fffffff")
            tracks[PLACEMENTS[path.name.split("_")[0]]] = [track for track, _ in repaired]
        zero = min(float(sensors[0].times[0]) for sensors in tracks.values())
        imu = []
        for placement, sensors in sorted(tracks.items()):
            acc, *gyr = (Track(times=t.times - zero, values=t.values, unit=t.unit) for t in sensors)
            imu.append(stream(placement, acc=acc, gyr=gyr[0] if gyr else None, source=take.name))
        video = self._video(take.paths[0].parent, zero) if self.video else None
        return self._recording(take, imu, video=video, tags=clock_tag(faults))

    def _video(self, sensors: Path, zero: float) -> TimedVideo | None:
        folder = sensors.with_name(sensors.name.rsplit("_", 1)[0] + "_Video")
        clips = sorted(folder.glob(f"*_{HEAD_CAMERA}-*.avi"))
        stamps = sorted(folder.glob(f"STime{HEAD_CAMERA}-time*.txt"))
        if not clips or not stamps:
            return None
        lines = stamps[0].read_text(encoding="utf-8", errors="replace").splitlines()
        matches = [match for line in lines if (match := _FRAME.match(line))]
        first = int(clips[0].stem.rsplit("-", 1)[1])
        texts = [match[2] for match in matches if int(match[1]) >= first]
        if not texts:
            raise RecordingError(f"{stamps[0]}: no line 'Frame:N ... hh_mm_ss_fffffff' from frame {first} on")
        return TimedVideo(clips[0], _clock(texts) - zero)


def _clock(texts: list[str]) -> np.ndarray:
    """Seconds of the day of ``hh_mm_ss_fffffff`` (the last part in 100 ns), NaN where a text is none.

    Example:
        >>> _clock(["01_00_02_5000000", "ERROR_1"]).tolist()
        [3602.5, nan]
    """
    found = [_STAMP.fullmatch(text) for text in texts]
    return np.array([int(m[1]) * 3600 + int(m[2]) * 60 + int(m[3]) + int(m[4]) / 1e7 if m else np.nan for m in found])
