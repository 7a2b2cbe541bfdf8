"""Ego4D: videos of head cameras with their canonical IMU files; redacted intervals and narrations are not read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from imu_video.datasets.layout import SingleLayout, Take, Track, clock_tag, files_like, read_json, stream
from imu_video.datasets.splitlists import SplitName, log_absent, need_lists, read_lists
from imu_video.errors import ConfigError, RecordingError
from imu_video.modalities.mp4 import Mp4Source
from imu_video.readers.tables import Table
from imu_video.registry import datasets
from imu_video.types import Recording

COMODO = {"train": 1110, "val": 162, "test": 316}
_ACC, _GYR = ("accl_x", "accl_y", "accl_z"), ("gyro_x", "gyro_y", "gyro_z")
_UID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


@datasets.register("ego4d")
class Ego4d(SingleLayout):
    """Ego4D (Grauman et al., CVPR 2022): head camera and its accelerometer and gyroscope, daily life.

    One recording per video that has an IMU file. Times are the canonical ones, the video's own clock. Known faults of
    these files (rows without a canonical time, repeated and backward times) are repaired and recorded in the tag
    ``clock``. An accelerometer with two identical axes, or one that does not measure gravity, is dropped and recorded
    in the tag ``acc``. Video and IMU may still be half a second to a second apart: ``offsets_s`` corrects videos whose
    offset was measured, nothing is corrected by default, and the tag ``sync`` records which videos were corrected.

    The label is the scenario of videos with exactly one scenario. Subjects are identified by ``fb_participant_id``;
    without it, the videos of one original recording count as one separate subject.

    Args:
        root: the folder that contains ``ego4d.json`` and, at any depth, ``imu/`` and videos.
        videos: folder name of the videos (``full_scale``, ``video_540ss``); None for none.
        offsets_s: seconds that are added to the frame times of a video, by video uid.
        lists: folder of the COMODO lists; videos outside them are left out, and the label is theirs.
        split: one part of the lists only.

    Raises:
        RecordingError: missing or damaged files, or lists with other counts than published.
        ConfigError: an offset for a video that does not exist.

    Example:
        >>> next(Ego4d(root="ego4d_data/v2", videos=None).recordings()).tags["clock"]
        'in order'
    """

    name = "ego4d"
    licence: ClassVar[str] = "Ego4D licence agreement, to be signed"
    citation: ClassVar[str] = (
        "K. Grauman, A. Westbury, E. Byrne, et al. Ego4D: Around the world in 3,000 hours of egocentric video. "
        "CVPR 2022."
    )
    url: ClassVar[str] = "https://ego4d-data.org"
    streams: ClassVar[tuple[str, ...]] = ("imu", "video")
    placements: ClassVar[tuple[str, ...]] = ("head",)
    labels: ClassVar[tuple[str, ...]] = ()
    rate_hz: ClassVar[float] = 0.0
    """0: the rate depends on the camera; about 200 Hz for most."""
    files = "imu/VIDEO_UID.csv"

    def __init__(
        self,
        *,
        root: str,
        videos: str | None = "full_scale",
        offsets_s: dict[str, float] | None = None,
        lists: str | None = None,
        split: SplitName | None = None,
    ) -> None:
        need_lists(lists, split, self.name)
        self.videos, self.split, self.offsets_s = videos, split, dict(offsets_s or {})
        self.listed = (
            None
            if lists is None
            else read_lists(lists, dataset=self.name, protocol="COMODO", counts=COMODO, parse=uid_and_label)
        )
        super().__init__(root=root)
        log_absent(self.listed, split, (take.name for take in self._takes), dataset=self.name)
        strange = sorted(set(self.offsets_s) - {take.name for take in self._takes})
        if strange:
            raise ConfigError(f"{self.name}: offsets_s names {strange[0]!r}, which has no IMU file in {self.root}")

    def _find(self) -> Iterator[Take]:
        known = self._metadata()
        clips = {}
        if self.videos is not None:
            clips = {m[1].lower(): p for p, m in files_like(self.root, rf"{re.escape(self.videos)}/({_UID})\.mp4")}
        for path, match in files_like(self.root, rf"imu/({_UID})\.csv"):
            uid = match[1].lower()
            if uid not in known:
                raise RecordingError(
                    f"{path}: ego4d.json has no video {uid}", hint="obtain the metadata of this version"
                )
            facts = known[uid]
            scenarios = facts.get("scenarios") or []
            label, tags = (
                (scenarios[0] if len(scenarios) == 1 else None),
                {"device": str(facts.get("device") or "unknown")},
            )
            if self.listed is not None:
                entry = self.listed.get(uid)
                if entry is None or self.split not in (None, entry.split):
                    continue
                label, tags["split"] = entry.label, entry.split
            yield Take(
                subject=_person(facts, uid),
                name=uid,
                paths=(path, clips[uid]) if uid in clips else (path,),
                label=label,
                tags=tags,
            )

    def _metadata(self) -> dict[str, Mapping[str, Any]]:
        path = next((p for p, _ in files_like(self.root, r"ego4d\.json")), self.root / "ego4d.json")
        content = read_json(path, hint="download it (it contains the subjects): `ego4d --datasets metadata`")
        try:
            return {str(video["video_uid"]).lower(): video for video in content["videos"]}
        except (KeyError, TypeError) as error:
            raise RecordingError(f"{path}: no list 'videos' with a 'video_uid' each") from error

    def _read(self, take: Take) -> Recording:
        path = take.paths[0]
        table = Table(path, ["canonical_timestamp_ms", *_GYR, *_ACC])
        times = table.numbers("canonical_timestamp_ms") / 1e3
        acc, acc_faults = self._track(table, times, _ACC, "m/s^2")
        gyr, gyr_faults = self._track(table, times, _GYR, "rad/s")
        why = "no samples" if acc is None else _acc_fault(acc)
        imu = stream("head", acc=acc if why is None else None, gyr=gyr, source=str(path))
        tags = {**clock_tag(max(acc_faults, gyr_faults)), "acc": "measured" if why is None else f"left out: {why}"}
        video = None
        if len(take.paths) > 1:
            offset = self.offsets_s.get(take.name)
            tags["sync"] = "as distributed" if offset is None else "offset given"
            video = Mp4Source(take.paths[1], offset_s=offset or 0.0)
        return self._recording(take, (imu,), video=video, tags=tags)

    @staticmethod
    def _track(table: Table, times: np.ndarray, columns: tuple[str, ...], unit: str) -> tuple[Track | None, int]:
        """A sensor's own rows in order; accelerometer and gyroscope of some cameras alternate."""
        values = np.stack([table.numbers(c) for c in columns])
        measured = np.isfinite(values).any(axis=0)
        track, faults = Track(times=times[measured], values=values[:, measured], unit=unit).in_order()
        return (track if len(track.times) > 1 else None), faults


def _acc_fault(acc: Track) -> str | None:
    """The reason why an accelerometer is not valid, or None if it is."""
    x, y, z = acc.values
    if any(np.array_equal(a, b, equal_nan=True) for a, b in ((x, y), (y, z), (x, z))):
        return "two axes repeat each other"
    try:
        stream("head", acc=acc, source="")
    except RecordingError:
        return "no gravity"
    return None


def _person(facts: Mapping[str, Any], uid: str) -> str:
    if (person := facts.get("fb_participant_id")) is not None:
        return f"p{int(person)}"
    return f"unknown-{facts.get('origin_video_id') or uid}"


def uid_and_label(line: str) -> tuple[str, str]:
    """A line ``KEY<tab>LABEL`` of the COMODO lists."""
    key, label = line.split("\t")
    return key.strip(), label.strip()
