"""Do skeletons and accelerometers of SmartFallMM belong together? The same trial against another subject's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from imu_video.modalities.base import Curve
from imu_video.modalities.skeleton import SkeletonTrack
from imu_video.recordings.motion import imu_motion
from imu_video.recordings.pairing import PairEstimate, estimate_pair
from imu_video.registry import datasets

FPS = 15.0
"""Frames per second of the skeleton files in the subset that was examined (every second frame was kept)."""

JOINTS = {
    "watch": ("left_wrist", "right_wrist"),
    "meta_wrist": ("left_wrist", "right_wrist"),
    "phone": ("left_hip", "right_hip"),
    "meta_hip": ("left_hip", "right_hip"),
}
"""Joints near each device; on which side it was worn is not stated, so that the better one counts."""

_OFFSET_S = 30.0
_SMOOTH_FRAMES = 1.0  # the noise of the depth camera is larger than slow accelerations


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Estimates of one device's recording with the skeleton of its own trial and with that of another subject."""

    group: str
    device: str
    recording: str
    own: PairEstimate
    other: PairEstimate


def joint_acceleration(track: SkeletonTrack, joint: str) -> Curve:
    """Size of a joint's acceleration in m/s^2: what an accelerometer shows beside gravity."""
    place = gaussian_filter1d(track.joints[:, track.names.index(joint)], _SMOOTH_FRAMES, axis=0)
    step = float(np.median(np.diff(track.times)))
    size = np.linalg.norm(np.diff(place, 2, axis=0), axis=1) / step**2
    return Curve(times=track.times[1:-1], values=size, breaks=3 * step)


def trials(root: Path, *, group: str, device: str, most: int, seed: int) -> Iterator[Trial]:
    """Up to a number of trials in random order, each with a partner of the same activity from another subject."""
    source = datasets.build({"name": "smartfallmm", "root": str(root), "group": group, "devices": [device]})
    source.skeleton_fps = FPS
    rng = np.random.default_rng(seed)
    known = [(take.subject, take.name) for take in source._takes]
    done = 0
    streams: dict[str, Curve | None] = {}
    for place in rng.permutation(len(known)):
        if done >= most:
            return
        subject, name = known[place]
        activity = name.split("_")[1][3:6]
        partners = [other for who, other in known if who != subject and other.split("_")[1][3:6] == activity]
        mine = source.skeleton(name)
        if mine is None or not partners:
            continue
        theirs = source.skeleton(partners[int(rng.integers(len(partners)))])
        if name not in streams:
            for recording in source.recordings([subject]):
                streams[recording.name] = imu_motion(recording.imu[0])
        motion = streams.get(name)
        if motion is None or theirs is None:
            continue
        own, other = (_best(motion, track, device) for track in (mine, theirs))
        done += 1
        yield Trial(group=group, device=device, recording=name, own=own, other=other)


def _best(motion: Curve, track: SkeletonTrack, device: str) -> PairEstimate:
    found = [
        estimate_pair(motion, joint_acceleration(track, joint), max_offset_s=_OFFSET_S) for joint in JOINTS[device]
    ]
    return max(found, key=lambda estimate: (estimate.refused is None, estimate.score))


def summary(rows: list[Trial]) -> list[str]:
    """One line per group and device, the correlations of both kinds of partner, and how many score 0.9."""
    lines = [
        "| group, device | trials | refused | correlation, same trial (10, 50, 90 %) | another subject's trial | "
        "the same trial fits better | score from 0.9: same trial, other |",
        "|---|---|---|---|---|---|---|",
    ]
    for key in dict.fromkeys((row.group, row.device) for row in rows):
        mine = [row for row in rows if (row.group, row.device) == key]
        both = [row for row in mine if row.own.refused is None and row.other.refused is None]
        kept = [sum(one.score >= 0.9 for one in ones) for ones in ([r.own for r in mine], [r.other for r in mine])]
        shown = [
            ", ".join(f"{q:.2f}" for q in np.quantile([one.correlation for one in ones], [0.1, 0.5, 0.9]))
            if both
            else "-"
            for ones in ([row.own for row in both], [row.other for row in both])
        ]
        better = np.mean([row.own.correlation > row.other.correlation for row in both]) if both else float("nan")
        lines.append(
            f"| {key[0]}, {key[1]} | {len(mine)} | {sum(row.own.refused is not None for row in mine)} | {shown[0]} | "
            f"{shown[1]} | {better:.0%} of {len(both)} | {kept[0]}, {kept[1]} |"
        )
    return lines


def _spread(estimates: list[PairEstimate]) -> str:
    """The 10th, 50th and 90th percentile of the correlations."""
    if not estimates:
        return "-"
    found = np.quantile([estimate.correlation for estimate in estimates], [0.1, 0.5, 0.9])
    return ", ".join(f"{q:.2f}" for q in found)
