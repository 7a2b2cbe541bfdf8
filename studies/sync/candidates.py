"""Candidate pairs with known answers: true pairs whose offset and stretch were scrambled, and wrong partners.

A candidate is two curves of motion. Of a true pair the reference was moved by a random offset (-30 .. 30 s) and
stretched by a random factor; of a wrong partner it comes from another subject who does the same, or from other trials
of the same subject. Half of the candidates of every source are true.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imu_video.modalities.base import Curve
from imu_video.modalities.skeleton import SkeletonTrack, skeleton_motion
from imu_video.recordings.motion import imu_motion
from imu_video.recordings.pairing import PairEstimate
from imu_video.registry import datasets
from imu_video.types import ImuStream, Recording

STRETCH = 1.08
"""Largest factor by which a time base is scrambled."""

OFFSET_S = 30.0
"""Largest offset in seconds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """Two curves, and the answer.

    Args:
        source: ``simulated``, ``utd_mhad`` or ``xsens_vicon``.
        subject: whose IMU it is; calibration and test have different ones.
        kind: ``true``, ``other subject``, ``other trials`` or ``reversed``.
        motion, reference: the curves.
        offset_s, stretch: of the reference; only of a true pair.
    """

    source: str
    subject: str
    kind: str
    motion: Curve
    reference: Curve
    offset_s: float = 0.0
    stretch: float = 1.0

    def error_s(self, estimate: PairEstimate) -> float:
        """Root mean square distance in seconds of the estimated times of the reference from the true ones."""
        since = self.reference.times - self.reference.times[0]
        wrong = (estimate.stretch - self.stretch) * since + estimate.offset_s - self.offset_s
        return float(np.sqrt(np.mean(wrong**2)))


def scrambled(reference: Curve, rng: np.random.Generator) -> tuple[Curve, float, float]:
    """A reference on a time base of its own, and the offset and stretch that undo it."""
    stretch = float(np.exp(rng.uniform(-1, 1) * np.log(STRETCH)))
    offset = float(rng.uniform(-OFFSET_S, OFFSET_S))
    first = float(reference.times[0])
    times = first - offset + (reference.times - first) / stretch
    return replace(reference, times=times, breaks=reference.breaks / stretch), offset, stretch


def part(curve: Curve, start: float, end: float) -> Curve:
    """The curve between two times."""
    inside = (curve.times >= start) & (curve.times < end)
    return replace(curve, times=curve.times[inside], values=curve.values[inside])


def joined(curves: list[tuple[Curve, float]]) -> Curve:
    """Curves one after another, each with its duration in seconds."""
    start, times, values = 0.0, [], []
    for curve, seconds in curves:
        times.append(curve.times - curve.times[0] + start)
        values.append(curve.values)
        start += seconds
    return Curve(
        times=np.concatenate(times), values=np.concatenate(values), breaks=max(curve.breaks for curve, _ in curves)
    )


def motion_of(stream: ImuStream) -> Curve:
    """Motion of a device that has enough samples."""
    curve = imu_motion(stream)
    if curve is None:
        raise ValueError(f"{stream.placement}: no motion")
    return curve


# ------------------------------------------------------------------------------------------------------ simulated


def simulated(*, subjects: int, per_subject: int, seed: int) -> Iterator[Candidate]:
    """Simulated subjects with a watch on either wrist: 20 to 40 s of skeleton in 30 to 80 s of IMU."""
    group = {"prefix": "p", "count": subjects, "devices": ["watch"], "seconds_per_activity": 20}
    placements = ["left_wrist", "right_wrist"]
    world = datasets.build(
        {"name": "synthetic", "groups": [group], "placements": placements, "image_size": 32, "seed": seed}
    )
    people = [_curves(recording) for recording in world.recordings()]
    rng = np.random.default_rng(seed)
    for number, (name, devices) in enumerate(people):
        other = people[(number + 1) % len(people)][1]
        for _ in range(per_subject):
            placement = placements[int(rng.integers(len(placements)))]
            motion, reference = devices[placement]
            length = float(rng.uniform(20, 40))
            start = float(rng.uniform(0, motion.times[-1] - length))
            before, after = rng.uniform(0, 0.9 * length, 2)
            heard = part(motion, start - before, start + length + after)
            own, offset, stretch = scrambled(part(reference, start, start + length), rng)
            yield Candidate(
                source="simulated",
                subject=name,
                kind="true",
                motion=heard,
                reference=own,
                offset_s=offset,
                stretch=stretch,
            )
            if rng.random() < 0.5:
                wrong, kind = part(other[placement][1], start, start + length), "other subject"
            else:
                away = (start + motion.times[-1] / 2) % (motion.times[-1] - length)
                wrong, kind = part(reference, away, away + length), "other trials"
                wrong = replace(wrong, times=wrong.times - away + start)
                if not (away + length < start - before or away > start + length + after):
                    wrong, kind = part(other[placement][1], start, start + length), "other subject"
            yield Candidate(
                source="simulated", subject=name, kind=kind, motion=heard, reference=scrambled(wrong, rng)[0]
            )


def _curves(recording: Recording) -> tuple[str, dict[str, tuple[Curve, Curve]]]:
    track = recording.streams["skeleton"]
    return recording.subject, {
        device.placement: (motion_of(device), skeleton_motion(track, device.placement)) for device in recording.imu
    }


# ------------------------------------------------------------------------------------------------------- UTD-MHAD


def utd_mhad(root: Path, *, per_subject: int, seed: int) -> Iterator[Candidate]:
    """UTD-MHAD: four to seven trials of a subject in a row, the IMU with further trials before and after."""
    source = datasets.build({"name": "utd_mhad", "root": str(root)})
    trials: dict[tuple[str, str], list[tuple[str, Curve, Curve, float]]] = {}
    for recording in source.recordings():
        track = recording.streams.get("skeleton")
        (device,) = recording.imu
        if track is None or len(track.times) < 16:
            continue
        motion, reference = motion_of(device), skeleton_motion(track, device.placement)
        seconds = float(motion.times[-1] - motion.times[0]) + 0.02
        shifted = replace(reference, times=reference.times - float(device.times[0]))
        key = (recording.subject, device.placement)
        trials.setdefault(key, []).append((recording.segments[0].label, motion, shifted, seconds))
    rng = np.random.default_rng(seed)
    subjects = sorted({subject for subject, _ in trials})
    for number, subject in enumerate(subjects):
        stranger = subjects[(number + 1) % len(subjects)]
        for _ in range(per_subject):
            placement = "right_wrist" if rng.random() < 0.8 else "right_thigh"
            mine, theirs = trials[subject, placement], trials[stranger, placement]
            count = int(rng.integers(4, 8))
            order = rng.permutation(len(mine))
            shown, rest = order[:count], order[count:]
            before, after = rest[: int(rng.integers(0, count))], rest[count : count + int(rng.integers(0, count))]
            limit = 2.9 * sum(mine[k][3] for k in shown)
            while sum(mine[k][3] for k in (*before, *shown, *after)) > limit:
                before, after = before[1:], after[:-1]
            heard = joined([(mine[k][1], mine[k][3]) for k in (*before, *shown, *after)])
            lead = sum(mine[k][3] for k in before)
            seen = joined([(mine[k][2], mine[k][3]) for k in shown])
            seen = replace(seen, times=seen.times + lead)
            own, offset, stretch = scrambled(seen, rng)
            yield Candidate(
                source="utd_mhad",
                subject=subject,
                kind="true",
                motion=heard,
                reference=own,
                offset_s=offset,
                stretch=stretch,
            )
            # The wrong partner does the same actions in the same order: another subject, or other trials of this one.
            pool, kind = (theirs, "other subject") if rng.random() < 0.5 else (mine, "other trials")
            wrong = []
            for k in shown:
                alike = [j for j, trial in enumerate(pool) if trial[0] == mine[k][0] and trial is not mine[k]]
                chosen = pool[int(rng.choice(alike))] if alike else pool[int(rng.integers(len(pool)))]
                wrong.append((chosen[2], chosen[3]))
            yield Candidate(
                source="utd_mhad", subject=subject, kind=kind, motion=heard, reference=scrambled(joined(wrong), rng)[0]
            )


# ------------------------------------------------------------------------------------------------- Xsens and Vicon

_BONES = {"UpLeg": ("FEP", "FEO"), "LowLeg": ("FEO", "TIO"), "LowLeg2": ("FEO", "TIO"), "Foot": ("TIO", "TOE")}


def xsens_vicon(root: Path, *, per_sensor: int, seed: int) -> Iterator[Candidate]:
    """One walk: sensors of 25 s and the bones of an optical capture of 9.55 s; wrong partners run backwards."""
    vicon_file = root / "vicon" / "S02-Trial-Walk-1.csv"
    lines = vicon_file.read_text(encoding="utf-8").splitlines()
    header = next(k for k, line in enumerate(lines) if not line.startswith("//"))
    names = lines[header].split(",")
    table = np.array([[float(value) for value in line.split(",")] for line in lines[header + 1 :]])
    times = np.arange(len(table)) / 100.0

    def joint(name: str) -> np.ndarray:
        return table[:, [names.index(f"{name}_{axis}") for axis in (1, 2, 3)]]

    raw = [_raw(path) for path in sorted((root / "rawimu").glob("*.txt"))]
    rng = np.random.default_rng(seed)
    for path in sorted((root / "imu").glob("*.csv")):
        side, _, bone = path.stem.split("-")[-1].partition("_")
        if bone not in _BONES:
            continue
        cut = _columns(path, ("acc_1", "acc_2", "acc_3"))
        whole, at = next((one, k) for one in raw if (k := _found(one[:, :3], cut)) is not None)
        device = ImuStream(
            placement=f"{side}_{bone}".lower(), times=np.arange(len(whole)) / 100.0, values=np.array(whole.T)
        )
        ends = [joint(side + name) for name in _BONES[bone]]
        track = SkeletonTrack(
            times=times + at / 100.0, joints=np.stack(ends, axis=1), names=("right_elbow", "right_wrist")
        )
        reference = skeleton_motion(track, "right_wrist")
        backwards = replace(reference, values=reference.values[::-1])
        for _ in range(per_sensor):
            own, offset, stretch = scrambled(reference, rng)
            yield Candidate(
                source="xsens_vicon",
                subject="S02",
                kind="true",
                motion=motion_of(device),
                reference=own,
                offset_s=offset,
                stretch=stretch,
            )
            yield Candidate(
                source="xsens_vicon",
                subject="S02",
                kind="reversed",
                motion=motion_of(device),
                reference=scrambled(backwards, rng)[0],
            )


def _raw(path: Path) -> np.ndarray:
    """(T, 6) acceleration and angular rate of a text file of the MTw recorder."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("//")]
    names = lines[0].split(",")
    wanted = [names.index(name) for name in ("Acc_X", "Acc_Y", "Acc_Z", "Gyr_X", "Gyr_Y", "Gyr_Z")]
    return np.array([[float(line.split(",")[k]) for k in wanted] for line in lines[1:] if line])


def _columns(path: Path, wanted: tuple[str, ...]) -> np.ndarray:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("//")]
    names = lines[0].split(",")
    return np.array([[float(line.split(",")[names.index(name)]) for name in wanted] for line in lines[1:]])


def _found(whole: np.ndarray, cut: np.ndarray) -> int | None:
    """Row of ``whole`` from which on it equals ``cut``."""
    for at in np.flatnonzero(np.abs(whole - cut[0]).max(axis=1) < 1e-4):
        if at + len(cut) <= len(whole) and np.abs(whole[at : at + len(cut)] - cut).max() < 1e-3:
            return int(at)
    return None
