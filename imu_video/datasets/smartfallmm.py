"""SmartFallMM: phone, watch, wrist and hip accelerometers and Kinect skeletons of young and older adults; no pairing.

The devices of a trial and its skeleton were cut by different people, on clocks that are not related: the skeletons have
no clock at all. Each device of a trial is therefore a recording of its own, and a skeleton is attached only if a
table of synchronisations gives its position on the clock of that device.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np

from imu_video.datasets.layout import Layout, Take, clock_tag, files_like
from imu_video.datasets.repeated import Repeated, without_false_labels
from imu_video.errors import ConfigError, RecordingError, nearest
from imu_video.modalities.skeleton import SkeletonTrack
from imu_video.readers.tables import Table, iso_seconds, number_table
from imu_video.recordings.clock import sample_times
from imu_video.recordings.signal import convert
from imu_video.registry import datasets
from imu_video.types import GRAVITY, IMU_CHANNELS, ImuStream, Recording

Group = Literal["young", "old"]
ACTIVITIES = {
    1: "drinking",
    2: "picking_up",
    3: "jacket_on_off",
    4: "stepping_up",
    5: "sweeping",
    6: "washing_hands",
    7: "waving",
    8: "walking",
    9: "sit_stand",
    10: "fall_backward",
    11: "fall_forward",
    12: "fall_left",
    13: "fall_right",
    14: "fall_rotate",
}
"""Activity number -> label; 8 is a timed up and go of the older adults and walking of the young."""
PLACEMENTS = {"phone": "pocket", "watch": "wrist", "meta_wrist": "wrist_meta", "meta_hip": "hip"}
UNITS = {"phone": "m/s^2", "watch": "m/s^2", "meta_wrist": "g", "meta_hip": "g"}
_PHONE = ("time", "x", "y", "z")
_META = ("epoch", "time", "elapsed", "x", "y", "z")
JOINTS = (
    "pelvis",
    "spine_navel",
    "spine_chest",
    "neck",
    *(f"left_{j}" for j in ("clavicle", "shoulder", "elbow", "wrist", "hand", "handtip", "thumb")),
    *(f"right_{j}" for j in ("clavicle", "shoulder", "elbow", "wrist", "hand", "handtip", "thumb")),
    *(f"left_{j}" for j in ("hip", "knee", "ankle", "foot")),
    *(f"right_{j}" for j in ("hip", "knee", "ankle", "foot")),
    "head",
    "nose",
    "left_eye",
    "left_ear",
    "right_eye",
    "right_ear",
)
"""The 32 joints of the Azure Kinect body tracking SDK, in its order."""
_TOLERANCE = 0.05  # of a device's rate against its estimate
_LARGEST_G = 4.0  # median of a trial: vigorous waving reaches 2.4 g; files of another sensor begin at 6
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Where a skeleton lies on the clock of a device: frame ``k`` at ``offset_s + stretch * k / skeleton_fps``.

    Args:
        offset_s: seconds from the first sample of the device.
        stretch: factor on the nominal duration of the skeleton, > 0.
        score: of the estimate, 0 to 1.
    """

    offset_s: float
    stretch: float
    score: float


@datasets.register("smartfallmm")
class SmartFallMM(Layout):
    """SmartFallMM of Texas State University: daily activities of young and older adults, falls of the young only.

    One recording per device and trial, named ``young_S29A01T01_phone``; subjects are ``young_S29`` and ``old_S02``,
    and the group is a tag. A file often contains more than the trial, so that the label of its whole length is coarse.
    Rows are sorted by time and copies of rows left out; the bunched stamps of phone and watch are spread out.

    Args:
        root: the folder that contains ``young/`` and ``old/``.
        group: one group only.
        devices: the devices to read: ``phone``, ``watch``, ``meta_wrist``, ``meta_hip``.
        skeleton: attach skeletons; needs ``pairs``.
        pairs: table with the columns ``recording, offset_s, stretch, score``: see `Pairing`.
        min_score: rows of ``pairs`` below this score are not used, 0 to 1.
        skeleton_fps: frames per second of the skeleton files: 30 as published.
        repeated: what to do with files that repeat another one: ``keep`` or ``drop``. Copies under different labels
            get no label.
        unreadable: ``skip`` files that cannot be read, with a line in the log, or ``raise``.

    Raises:
        RecordingError: missing files, or a damaged one with ``unreadable=raise``.
        ConfigError: ``skeleton`` without ``pairs``, or an unknown device or recording in ``pairs``.

    Example:
        >>> source = SmartFallMM(root="smartfallmm", group="old", devices=["watch"])
        >>> next(source.recordings()).tags["group"]
        'old'
    """

    name = "smartfallmm"
    licence: ClassVar[str] = "none stated (public, citation asked for): research use, no redistribution"
    citation: ClassVar[str] = (
        "SmartFallMM: a multimodal dataset for enhanced human activity recognition. Texas State University, 2024. "
        "https://github.com/txst-cs-smartfall/SmartFallMM-Dataset"
    )
    url: ClassVar[str] = "https://github.com/txst-cs-smartfall/SmartFallMM-Dataset"
    tested_on: ClassVar[str] = "real files"
    streams: ClassVar[tuple[str, ...]] = ("imu", "skeleton")
    placements: ClassVar[tuple[str, ...]] = tuple(PLACEMENTS.values())
    labels: ClassVar[tuple[str, ...]] = tuple(ACTIVITIES.values())
    files = "young/accelerometer/phone/SxxAyyTzz.csv"

    def __init__(
        self,
        *,
        root: str,
        group: Group | None = None,
        devices: Sequence[str] = tuple(PLACEMENTS),
        skeleton: bool = False,
        pairs: str | None = None,
        min_score: float = 0.9,
        skeleton_fps: float = 30.0,
        repeated: Repeated = "keep",
        unreadable: Literal["skip", "raise"] = "skip",
    ) -> None:
        for device in devices:
            if device not in PLACEMENTS:
                raise ConfigError(f"{self.name}: unknown device {device!r}{nearest(device, PLACEMENTS)}")
        if not 0 < skeleton_fps <= 240 or not 0 <= min_score <= 1:
            raise ConfigError(
                f"{self.name}: skeleton_fps {skeleton_fps}, min_score {min_score}",
                hint="expected frames per second above 0 and at most 240, and a score from 0 to 1",
            )
        if skeleton and pairs is None:
            raise ConfigError(
                f"{self.name}: the skeletons have no clock and cannot be paired with the accelerometers",
                hint="leave dataset.skeleton out, or give a synchronisation that does not come from motion alone, "
                "which pairs none of them (studies/sync): dataset.pairs=PAIRS.csv",
            )
        self.group, self.devices, self.repeated, self.unreadable = group, tuple(devices), repeated, unreadable
        self.skeleton_fps, self.min_score = skeleton_fps, min_score
        super().__init__(root=root)
        self._skeletons = {
            f"{match[1].lower()}_{match[2]}": path
            for path, match in files_like(self.root, rf"({'|'.join(get_args(Group))})/skeleton/({_TRIAL})\.csv")
        }
        self._pairs = _read_pairs(Path(pairs), self._known()) if pairs is not None and skeleton else {}

    def _known(self) -> set[str]:
        return {take.name for take in self._takes}

    def _find(self) -> list[Take]:
        return without_false_labels(self._takes_of_files(), dataset=self.name, repeated=self.repeated)

    def _takes_of_files(self) -> Iterator[Take]:
        groups = "|".join(get_args(Group) if self.group is None else (self.group,))
        for path, match in files_like(
            self.root, rf"({groups})/accelerometer/({'|'.join(self.devices)})/({_TRIAL})\.csv"
        ):
            group, device, trial = match[1].lower(), match[2].lower(), match[3]
            subject, activity = match["subject"], int(match["activity"])
            if activity not in ACTIVITIES:
                raise RecordingError(f"{path}: activity {activity}, expected 1 .. {len(ACTIVITIES)}")
            yield Take(
                subject=f"{group}_{subject}",
                name=f"{group}_{trial}_{device}",
                paths=(path,),
                label=ACTIVITIES[activity],
                tags={"group": group, "device": device, "trial": match["trial"]},
            )

    def skeleton(self, recording: str) -> SkeletonTrack | None:
        """The skeleton of a recording's trial on its own nominal clock from 0, or None if it has no file.

        Args:
            recording: name of a recording, or of a trial (``young_S29A01T01``).

        Raises:
            RecordingError: a file that does not contain 32 joints in millimetres.
        """
        path = self._skeletons.get("_".join(recording.split("_")[:2]))
        if path is None:
            return None
        joints = number_table(path, 3 * len(JOINTS), separator=",").reshape(-1, len(JOINTS), 3) / 1000
        return SkeletonTrack(times=np.arange(len(joints)) / self.skeleton_fps, joints=joints, names=JOINTS)

    def _read_all(self, take: Take) -> Iterator[Recording]:
        try:
            yield self._read(take)
        except RecordingError as error:
            if self.unreadable == "raise":
                raise
            _log.warning("%s: skipped: %s", self.name, error.message)

    def _read(self, take: Take) -> Recording:
        device = take.tags["device"]
        imu, faults = _stream(take.paths[0], device)
        found = self._recording(take, (imu,), tags=clock_tag(faults))
        pair = self._pairs.get(take.name)
        skeleton = self.skeleton(take.name) if pair is not None and pair.score >= self.min_score else None
        if skeleton is None or pair is None:
            return found
        placed = replace(skeleton, times=pair.offset_s + pair.stretch * skeleton.times)
        return replace(found, streams={"skeleton": placed}, tags={**found.tags, "sync": f"score {pair.score:.2f}"})


_TRIAL = r"(?P<subject>S\d+)A(?P<activity>\d+)T(?P<trial>\d+)"


def _stream(path: Path, device: str) -> tuple[ImuStream, int]:
    """The device of a file with times from 0, and the number of stamps that had to be repaired."""
    columns = _META if device.startswith("meta") else _PHONE
    with path.open("rb") as file:
        headed = file.readline()[:5].lower() == b"epoch"
    table = Table(path, ["time", "x", "y", "z"], header=columns, skip_rows=int(headed))
    texts = table.texts("time")
    if texts and len(texts[0].split(" ")) == 1 and ":" in texts[0] and "T" not in texts[0]:
        texts = [f"1970-01-01 {text}" for text in texts]  # some files of the phone have the time of day only
    stamps = iso_seconds(texts)
    wrong = np.flatnonzero(~np.isfinite(stamps))
    if len(wrong):
        seen = table.texts("time")[wrong[0]]
        raise RecordingError(f"{table.where(int(wrong[0]))}: time is {seen!r}, expected date and time of day")
    values = np.stack([table.numbers(axis) for axis in "xyz"])
    if len(stamps) < 2:
        raise RecordingError(f"{path}: number of rows with samples is {len(stamps)}, expected at least 2")
    steps = np.diff(stamps)
    faults = int(np.count_nonzero(steps <= 0))
    # Rows of several passages were pasted one after the other: their stamps are true, so sorting restores the order.
    order = np.argsort(stamps, kind="stable")
    stamps, values = stamps[order], values[:, order]
    # The meta sensors stamp each sample: rows of one stamp are copies, one of them perhaps edited.
    copies = (np.diff(values, axis=1) == 0).all(axis=0) | device.startswith("meta")
    again = np.concatenate([[False], (np.diff(stamps) == 0) & copies])
    stamps, values = stamps[~again], values[:, ~again]
    if not device.startswith("meta"):
        stamps = sample_times(stamps, rate_hz=_rate_of(stamps), tolerance=_TOLERANCE)
    values = convert(values, UNITS[device], "acc")
    median_g = float(np.median(np.linalg.norm(values, axis=0))) / GRAVITY
    if not 0.5 <= median_g <= _LARGEST_G:
        raise RecordingError(
            f"{path}: the median acceleration is {median_g:.3g} g, expected 0.5 .. {_LARGEST_G:g} g",
            hint="the file may contain the values of another sensor: remove it from the folder",
        )
    times = stamps - stamps[0]
    return ImuStream(placement=PLACEMENTS[device], times=times, values=values, channels=IMU_CHANNELS[:3]), faults


def _rate_of(stamps: np.ndarray) -> float:
    """Samples per second of a radio link that delivers late, in bunches and not at all.

    The upper quartile over the seconds that begin with a sample: the median would include seconds with losses, and a
    rate that is too low pulls all samples before a bunch forward.
    """
    counts = np.searchsorted(stamps, stamps + 1.0) - np.arange(len(stamps))
    complete = counts[stamps <= stamps[-1] - 1.0]
    if not len(complete):
        return max(1.0, (len(stamps) - 1) / max(float(stamps[-1] - stamps[0]), 1e-3))
    return float(np.percentile(complete, 75))


def _read_pairs(path: Path, known: set[str]) -> dict[str, Pairing]:
    """Synchronisations by recording."""
    table = Table(path, ["recording", "offset_s", "stretch", "score"])
    numbers = [table.numbers(column) for column in ("offset_s", "stretch", "score")]
    found: dict[str, Pairing] = {}
    for row, (name, offset_s, stretch, score) in enumerate(zip(table.texts("recording"), *numbers, strict=True)):
        if name not in known:
            raise ConfigError(f"{table.where(row)}: no recording {name!r}{nearest(name, known)}")
        if name in found:
            raise ConfigError(f"{table.where(row)}: recording {name!r} is in the table twice")
        if not (np.isfinite(offset_s) and stretch > 0 and 0 <= score <= 1):
            raise ConfigError(
                f"{table.where(row)}: offset_s {offset_s}, stretch {stretch}, score {score}, expected a finite offset, "
                "a stretch above 0 and a score from 0 to 1"
            )
        found[name] = Pairing(offset_s=float(offset_s), stretch=float(stretch), score=float(score))
    return found
