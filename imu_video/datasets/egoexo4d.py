"""Ego-Exo4D: the IMU of Aria glasses from VRS files and their aligned video; exocentric cameras are not read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from imu_video.datasets.ego4d import uid_and_label
from imu_video.datasets.layout import SingleLayout, Take, TimedVideo, Track, clock_tag, read_json, stream
from imu_video.datasets.splitlists import SplitName, log_absent, need_lists, read_lists
from imu_video.errors import RecordingError
from imu_video.readers.tables import Table
from imu_video.readers.vrs import aria_provider, imu_tracks, open_vrs
from imu_video.registry import datasets
from imu_video.types import Recording

COMODO = {"train": 3495, "val": 501, "test": 998}
PARENT_TASKS = (
    "Basketball",
    "Bike Repair",
    "Cooking",
    "Dance",
    "Health",
    "Music",
    "Rock Climbing",
    "Soccer",
)
RATES_HZ = {"right": 1000.0, "left": 800.0}
"""Nominal rate of the IMU in each temple of the glasses."""


@datasets.register("egoexo4d")
class EgoExo4d(SingleLayout):
    """Ego-Exo4D (Grauman et al., CVPR 2024): skilled activities filmed from the head, with the glasses' IMU.

    One recording per take. The IMU is read from the take's VRS file with projectaria-tools, cut to the take, in the
    glasses' device time; samples that the glasses mark as invalid are left out and counted in the tag ``clock``. Frame
    i of the aligned video was taken at row ``timesync_start_idx + 1 + i`` of the capture's ``timesync.csv``; time 0 is
    its first frame.

    Args:
        root: the folder that contains ``takes.json``, ``takes/`` and ``captures/``.
        imu: which temple.
        video: offer the glasses' RGB video where it exists.
        small: use the videos that are downscaled to 448 pixels.
        label: field of ``takes.json`` that becomes the label.
        lists: folder of the COMODO lists; takes outside them are left out, and the label is theirs.
        split: one part of the lists only.

    Raises:
        RecordingError: missing or damaged files, or lists with other counts than published.
        ConfigError: the extra ``aria`` is not installed (when a recording is read).

    Example:
        >>> next(EgoExo4d(root="egoexo", video=False).recordings()).imu[0].placement
        'head'
    """

    name = "egoexo4d"
    licence: ClassVar[str] = "Ego-Exo4D licence agreement, to be signed"
    citation: ClassVar[str] = (
        "K. Grauman, A. Westbury, L. Torresani, et al. Ego-Exo4D: Understanding skilled human activity from first- and "
        "third-person perspectives. CVPR 2024."
    )
    url: ClassVar[str] = "https://ego-exo4d-data.org"
    streams: ClassVar[tuple[str, ...]] = ("imu", "video")
    placements: ClassVar[tuple[str, ...]] = ("head",)
    labels: tuple[str, ...] = PARENT_TASKS
    rate_hz: ClassVar[float] = 0.0
    """0: 1000 Hz on the right, 800 Hz on the left, see `RATES_HZ`."""
    files = "takes/TAKE/aria*.vrs for a take of takes.json"

    def __init__(
        self,
        *,
        root: str,
        imu: Literal["right", "left"] = "right",
        video: bool = True,
        small: bool = False,
        label: Literal["parent_task_name", "task_name"] = "parent_task_name",
        lists: str | None = None,
        split: SplitName | None = None,
    ) -> None:
        need_lists(lists, split, self.name)
        self.imu, self.video, self.small, self.label, self.split = imu, video, small, label, split
        self.listed = (
            None
            if lists is None
            else read_lists(lists, dataset=self.name, protocol="COMODO", counts=COMODO, parse=uid_and_label)
        )
        self._facts: dict[str, Mapping[str, Any]] = {}
        super().__init__(root=root)
        log_absent(self.listed, split, self._facts, dataset=self.name)
        self.labels = tuple(sorted({take.label for take in self._takes if take.label}))

    def _find(self) -> Iterator[Take]:
        path = self.root / "takes.json"
        content = read_json(path, hint="download it (it contains the subjects): `egoexo --parts metadata`")
        if not isinstance(content, list):
            raise RecordingError(f"{path}: expected a list of takes, got {type(content).__name__}")
        for facts in content:
            try:
                name, person, folder = facts["take_name"], facts["participant_uid"], self.root / facts["root_dir"]
                first, label = int(facts["timesync_start_idx"]), str(facts[self.label])
            except (KeyError, TypeError, ValueError) as error:
                raise RecordingError(f"{path}: a take without a usable {error}") from error
            files = sorted(folder.glob("aria*_noimagestreams.vrs")) or sorted(folder.glob("aria*.vrs"))
            if not files or facts.get("is_dropped"):
                continue
            tags = {"university": str(facts.get("university_name") or "unknown")}
            if self.listed is not None:
                entry = self.listed.get(name)
                if entry is None or self.split not in (None, entry.split):
                    continue
                label, tags["split"] = entry.label or label, entry.split
            self._facts[name] = {**facts, "first": first}
            yield Take(subject=f"p{person}", name=_plain(name), paths=(folder, files[0]), label=label, tags=tags)

    def _read(self, take: Take) -> Recording:
        folder, vrs = take.paths
        facts = next(f for n, f in self._facts.items() if _plain(n) == take.name)
        camera = vrs.name.removesuffix(".vrs").removesuffix("_noimagestreams")
        frames = self._frame_times(facts, camera)
        acc, gyr, invalid = read_imu(vrs, f"imu-{self.imu}", frames[0], frames[-1])
        tracks = [Track(times=t.times - frames[0], values=t.values, unit=t.unit).in_order() for t in (acc, gyr)]
        device = stream("head", acc=tracks[0][0], gyr=tracks[1][0], source=str(vrs))
        aligned = folder / "frame_aligned_videos" / ("downscaled/448" if self.small else ".") / f"{camera}_214-1.mp4"
        video = TimedVideo(aligned, frames - frames[0]) if self.video and aligned.is_file() else None
        return self._recording(take, (device,), video=video, tags=clock_tag(invalid + tracks[0][1] + tracks[1][1]))

    def _frame_times(self, facts: Mapping[str, Any], camera: str) -> np.ndarray:
        """(F,) seconds in device time of the frames of the aligned video; a frame that was lost lies between its
        neighbours."""
        capture = str(
            (facts.get("capture") or {}).get("root_dir") or f"captures/{facts['take_name'].rsplit('_', 1)[0]}"
        )
        path = self.root / capture / "timesync.csv"
        column = f"{camera}_214-1_capture_timestamp_ns"
        table = Table(path, [column])
        first, last = int(facts["first"]) + 1, int(facts["timesync_end_idx"])
        every, there = np.full(last, np.nan), table.rows() < last
        every[table.rows()[there]] = table.numbers(column)[there]
        stamps = every[first:] / 1e9
        known = np.flatnonzero(np.isfinite(stamps))
        if len(known) < 2:
            raise RecordingError(f"{path}: {column} has fewer than two times in rows {first} .. {last} of the take")
        rows = np.arange(known[0], known[-1] + 1)
        return np.interp(rows, known, stamps[known])


def read_imu(path: Path, label: str, start: float, end: float) -> tuple[Track, Track, int]:
    """Acceleration and angular rate of one IMU of a VRS file within an interval of device time.

    Args:
        path: the VRS file.
        label: stream, ``imu-right`` or ``imu-left``.
        start, end: seconds of device time.

    Returns:
        Both sensors in device time, and how many samples in the interval were marked invalid.

    Raises:
        ConfigError: projectaria-tools is not installed.
        RecordingError: not a VRS file, no such stream, or no samples in the interval.
    """
    provider = open_vrs(aria_provider(), path)
    if provider.get_stream_id_from_label(label) is None:
        raise RecordingError(f"{path}: has no stream {label!r}", hint="set dataset.imu to right or left")
    tracks, invalid = imu_tracks(provider, label, start=start, end=end)
    if len(tracks) < 2:
        raise RecordingError(f"{path}: {label} has no samples between {start:.3f} and {end:.3f} s of device time")
    return tracks["acc"], tracks["gyr"], invalid


def _plain(name: str) -> str:
    """A take's name in letters, digits, ``-`` and ``_``."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in name)
