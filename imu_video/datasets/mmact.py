"""MMAct: a phone, a watch and four cameras, 35 trimmed actions of 20 subjects; orientation is not read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from imu_video.datasets.layout import SingleLayout, Take, Track, clock_tag, files_like, stream
from imu_video.errors import RecordingError
from imu_video.modalities.mp4 import Mp4Source
from imu_video.readers.tables import Table
from imu_video.registry import datasets
from imu_video.types import ImuStream, Recording

ACTIVITIES = (
    "carrying",
    "carrying_heavy",
    "carrying_light",
    "checking_time",
    "closing",
    "crouching",
    "drinking",
    "entering",
    "exiting",
    "fall",
    "jumping",
    "kicking",
    "loitering",
    "looking_around",
    "opening",
    "picking_up",
    "pocket_in",
    "pocket_out",
    "pointing",
    "pulling",
    "pushing",
    "running",
    "setting_down",
    "sitting",
    "sitting_down",
    "standing",
    "standing_up",
    "talking",
    "talking_on_phone",
    "throwing",
    "transferring_object",
    "using_pc",
    "using_phone",
    "walking",
    "waving_hand",
)
_SOURCES = {"acc_phone_clip": ("pocket", "acc"), "acc_watch_clip": ("wrist", "acc"), "gyro_clip": ("pocket", "gyr")}
_UNITS = {"acc": "m/s^2", "gyr": "rad/s"}
_COLUMNS = ("time", "x", "y", "z")


@datasets.register("mmact")
class MMAct(SingleLayout):
    """MMAct (Kong et al., ICCV 2019): trimmed clips of accelerometers, the phone's gyroscope, and video.

    One recording per clip that has an acceleration of phone or watch. Sensor and video clips were trimmed to the same
    action but have different clocks; the first frame is placed at the first sample. The dataset contains empty sensor
    files; they are skipped, and so are clips that have no other.

    Args:
        root: the folder with ``acc_phone_clip/``, ``acc_watch_clip/``, ``gyro_clip/`` and videos, at any depth.
        camera: the video to read, ``cam1`` .. ``cam4`` fixed in the scene; None: no video.

    Raises:
        RecordingError: missing files, an action that the set does not have, or a damaged file.

    Example:
        >>> MMAct(root="MMAct", camera="cam1").subjects()[0]
        's01'
    """

    name = "mmact"
    licence: ClassVar[str] = "on request, for research; see its page"
    citation: ClassVar[str] = (
        "Q. Kong, Z. Wu, Z. Deng, M. Klinkigt, B. Tong, T. Murakami. MMAct: A large-scale dataset for cross modal "
        "human action understanding. ICCV 2019."
    )
    url: ClassVar[str] = "https://mmact19.github.io/2019/"
    streams: ClassVar[tuple[str, ...]] = ("imu", "video")
    placements: ClassVar[tuple[str, ...]] = ("pocket", "wrist")
    labels: ClassVar[tuple[str, ...]] = ACTIVITIES
    rate_hz: ClassVar[float] = 100.0
    files = "acc_phone_clip/subjectN/sceneN/sessionN/ACTION.csv"

    def __init__(self, *, root: str, camera: str | None = "cam1") -> None:
        self.camera = camera
        super().__init__(root=root)

    def _find(self) -> Iterator[Take]:
        clips: dict[tuple[str, ...], dict[str, Path]] = {}
        pattern = rf"({'|'.join(_SOURCES)})/subject(\d+)/scene(\d+)/session(\d+)/(\w+)\.csv"
        for path, match in files_like(self.root, pattern):
            if path.stat().st_size:
                clips.setdefault(tuple(g.lower() for g in match.groups()[1:]), {})[match[1].lower()] = path
        videos = {}
        if self.camera is not None:
            pattern = rf"subject(\d+)/{re.escape(self.camera)}/scene(\d+)/session(\d+)/(\w+)\.mp4"
            videos = {tuple(g.lower() for g in match.groups()): path for path, match in files_like(self.root, pattern)}
        for key, paths in clips.items():
            subject, scene, session, action = key
            if action not in ACTIVITIES:
                raise RecordingError(f"{next(iter(paths.values()))}: action {action!r} is not an action of MMAct")
            if not any(_SOURCES[source][1] == "acc" for source in paths):
                continue
            person = f"s{int(subject):02d}"
            yield Take(
                subject=person,
                name=f"{person}-scene{scene}-session{session}-{action}",
                paths=(*paths.values(), *([videos[key]] if key in videos else [])),
                session=session,
                label=action,
                tags={"scene": scene},
            )

    def _read(self, take: Take) -> Recording:
        tracks: dict[str, dict[str, Track]] = {}
        faults = 0
        for path in take.paths:
            if path.suffix == ".csv":
                placement, kind = _SOURCES[path.parents[3].name.lower()]
                table = Table(path, _COLUMNS, texts=["time"], header=_COLUMNS)
                values = np.stack([table.numbers(axis) for axis in "xyz"])
                track, count = Track(times=_times(table), values=values, unit=_UNITS[kind]).in_order()
                tracks.setdefault(placement, {})[kind] = track
                faults += count
        zero = min(float(track.times[0]) for kinds in tracks.values() for track in kinds.values())
        imu: list[ImuStream] = []
        for placement, kinds in sorted(tracks.items()):
            moved = {k: Track(times=t.times - zero, values=t.values, unit=t.unit) for k, t in kinds.items()}
            source = f"{take.name}, {placement}"
            imu.append(stream(placement, acc=moved.get("acc"), gyr=moved.get("gyr"), source=source))
        video = next((Mp4Source(path) for path in take.paths if path.suffix.lower() == ".mp4"), None)
        return self._recording(take, imu, video=video, tags=clock_tag(faults))


def _times(table: Table) -> np.ndarray:
    """Seconds from the first column, which contains a date and time, or milliseconds since 1970."""
    first = table.texts("time")[0]
    return table.seconds("time", "ms" if first.replace(".", "", 1).isdigit() else "iso8601")
