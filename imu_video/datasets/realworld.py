"""RealWorld: seven devices at once, eight activities of 15 subjects; light, sound and position are not read."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from imu_video.datasets.layout import Layout, Take, Track, clock_tag, files_like, stream
from imu_video.errors import RecordingError
from imu_video.readers.members import Members
from imu_video.readers.tables import Table
from imu_video.registry import datasets
from imu_video.types import Recording

ACTIVITIES = {
    "climbingdown": "climbing_down",
    "climbingup": "climbing_up",
    "jumping": "jumping",
    "lying": "lying",
    "running": "running",
    "sitting": "sitting",
    "standing": "standing",
    "walking": "walking",
}
PLACEMENTS = {
    "chest": "chest",
    "forearm": "forearm",
    "head": "head",
    "shin": "shin",
    "thigh": "thigh",
    "upperarm": "upper_arm",
    "waist": "waist",
}
_MEMBER = re.compile(
    r"(?:.*_(?P<outer>\d+)_csv\.zip/)?(?:acc|gyroscope|gyr)_[a-z]+(?:_(?P<inner>\d+))?_(?P<place>[a-z]+)\.csv",
    re.IGNORECASE,
)
_UNITS = {"acc": "m/s^2", "gyr": "rad/s"}


@datasets.register("realworld")
class RealWorld(Layout):
    """RealWorld HAR (Sztyler and Stuckenschmidt, PerCom 2016).

    One recording per activity and part (climbing and jumping were recorded in several parts for some subjects), all
    devices on one clock in milliseconds. ZIP files, including nested ones, are read without extraction; for an
    extracted archive the folder of the same name is read.

    Args:
        root: the folder that contains ``proband1/`` .. ``proband15/``.

    Raises:
        RecordingError: missing files, a damaged archive, or a table without its columns.

    Example:
        >>> RealWorld(root="realworld2016_dataset").subjects()[:2]
        ['p01', 'p02']
    """

    name = "realworld"
    licence: ClassVar[str] = "free for research; cite the paper (no formal licence text)"
    citation: ClassVar[str] = (
        "T. Sztyler, H. Stuckenschmidt. On-body localization of wearable devices: An investigation of position-aware "
        "activity recognition. PerCom 2016."
    )
    url: ClassVar[str] = (
        "https://www.uni-mannheim.de/dws/research/projects/activity-recognition/dataset/dataset-realworld/"
    )
    placements: ClassVar[tuple[str, ...]] = tuple(PLACEMENTS.values())
    labels: ClassVar[tuple[str, ...]] = tuple(ACTIVITIES.values())
    rate_hz: ClassVar[float] = 50.0
    files = "probandN/data/acc_walking_csv.zip"

    def _find(self) -> Iterator[Take]:
        folders: dict[tuple[str, str], Path] = {}
        pattern = rf"proband(\d+)/data/acc_({'|'.join(ACTIVITIES)})_csv(?:\.zip|/[^/]+\.csv)"
        for path, match in files_like(self.root, pattern):
            source = path if path.suffix.lower() == ".zip" else path.parent
            folders.setdefault((f"p{int(match[1]):02d}", match[2].lower()), source)
        for (person, activity), path in folders.items():
            gyr = [
                p
                for p in (path.with_name(f"gyr_{activity}_csv"), path.with_name(f"gyr_{activity}_csv.zip"))
                if p.exists()
            ]
            yield Take(subject=person, name=f"{person}-{activity}", paths=(path, *gyr[:1]), label=ACTIVITIES[activity])

    def _read_all(self, take: Take) -> Iterator[Recording]:
        found: dict[str, dict[str, dict[str, tuple[Track, int]]]] = defaultdict(lambda: defaultdict(dict))
        for kind, path in zip(_UNITS, take.paths, strict=False):
            for member, content in _members(path):
                match = _MEMBER.fullmatch(member)
                if not match or match["place"].lower() not in PLACEMENTS:
                    raise RecordingError(f"{path}: member {member!r}, expected {kind}_ACTIVITY_PLACEMENT.csv")
                devices = found[match["inner"] or match["outer"] or "1"]
                placement = PLACEMENTS[match["place"].lower()]
                if kind in devices[placement]:
                    raise RecordingError(f"{path}: member {member!r} is a second one of {placement} in the same part")
                devices[placement][kind] = _track(path / member, content, _UNITS[kind])
        for part, devices in sorted(found.items()):
            zero = min(float(track.times[0]) for kinds in devices.values() for track, _ in kinds.values())
            imu, faults = [], 0
            for placement, kinds in sorted(devices.items()):
                tracks = {k: Track(times=t.times - zero, values=t.values, unit=t.unit) for k, (t, _) in kinds.items()}
                faults += sum(count for _, count in kinds.values())
                source = f"{take.paths[0]}, {placement}"
                imu.append(stream(placement, acc=tracks.get("acc"), gyr=tracks.get("gyr"), source=source))
            named = Take(subject=take.subject, name=f"{take.name}-{part}", paths=take.paths, label=take.label)
            yield self._recording(named, imu, tags=clock_tag(faults))


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        return ((file.name, file.read_bytes()) for file in sorted(path.glob("*.csv")))
    return Members(path).flat(".csv")


def _track(path: Path, content: bytes, unit: str) -> tuple[Track, int]:
    table = Table(path, ["attr_time", "attr_x", "attr_y", "attr_z"], content=content)
    values = np.stack([table.numbers(f"attr_{axis}") for axis in "xyz"])
    return Track(times=table.seconds("attr_time", "ms"), values=values, unit=unit).in_order()
