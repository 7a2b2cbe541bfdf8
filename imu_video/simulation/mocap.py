"""Motion capture as a session of the simulated world, with virtual sensors and camera; no files, no subjects.

Motion capture gives positions of joints and orientations of bones, and every rig has bone axes of its own. The devices
of the simulator are fixed to segments whose axes equal those of the world when a person stands upright with hanging
arms. `fit_axes` estimates the relation of both once per rig; `to_session` turns one take into a Session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import CubicSpline

from imu_video.errors import RecordingError
from imu_video.simulation.body import JOINTS, SIDES, Body, Motion, Pose
from imu_video.simulation.person import Person
from imu_video.simulation.rotations import apply, apply_inverse, compose, rot_z
from imu_video.simulation.session import PAD_S, RATE_HZ, PlacedBout, Session

LIMBS: dict[str, tuple[str, str]] = {
    f"{side}_{segment}": (f"{side}_{start}", f"{side}_{end}")
    for side in SIDES
    for segment, start, end in (
        ("upper_arm", "shoulder", "elbow"),
        ("forearm", "elbow", "wrist"),
        ("thigh", "hip", "knee"),
        ("shank", "knee", "ankle"),
    )
}
"""Segment -> the joints at its ends."""
NEEDED: tuple[str, ...] = ("chest", *(j for j in JOINTS if not j.endswith("_hand")))
"""Joints that a take must have: those of `body.JOINTS` but the hands, and ``chest``, which carries the shoulders."""
BONES: dict[str, str] = {
    "pelvis": "pelvis",
    "torso": "chest",
    "head": "head",
    **{segment: start for segment, (start, _) in LIMBS.items()},
    **{f"{side}_hand": f"{side}_wrist" for side in SIDES},
    **{f"{side}_foot": f"{side}_ankle" for side in SIDES},
}
"""Segment -> the joint at which its bone starts."""
# angle of the simulated foot: the direction from ankle to ball points down by this angle
_TOE_DROP = np.arctan2(0.6 * 0.039, 0.100)


@dataclass(frozen=True, kw_only=True, eq=False)
class Take:
    """One captured motion, z up, metres.

    Args:
        joints: name in NEEDED -> (3, T).
        bones: segment in BONES -> (3, 3, T), bone to world.
        rate_hz: frames per second, 10 to 500.
    """

    joints: Mapping[str, np.ndarray]
    bones: Mapping[str, np.ndarray]
    rate_hz: float


def fit_axes(takes: Sequence[Take]) -> dict[str, np.ndarray]:
    """Axes of the segments in the bones of a rig: segment -> (3, 3) constant, segment to bone.

    For pelvis and torso, left is given by hips and shoulders and up by the spine. The z axis of a limb is its long
    axis. Elbows and knees are hinges: the mean normal of the plane in which they bend is the left of upper arm, thigh
    and shank. The left of a forearm is that of the torso in the frames in which it hangs, since no rig records its
    pronation. Head, hands and feet follow the mean of the segment to which they are attached.

    Args:
        takes: several takes of one rig, so that no single action dominates.

    Raises:
        RecordingError: no take.
    """
    if not takes:
        raise RecordingError("no takes, expected at least one to estimate the axes of the rig")
    out: dict[str, np.ndarray] = {}

    def local(segment: str, vectors: Sequence[np.ndarray]) -> np.ndarray:
        """(3,) mean in bone coordinates of world vectors, one (3, T) per take."""
        each = [apply_inverse(t.bones[segment], v) for t, v in zip(takes, vectors, strict=True)]
        return np.asarray(np.concatenate(each, axis=1).sum(axis=1))

    def axis(segment: str, column: int) -> list[np.ndarray]:
        """World direction (3, T) of a segment's axis in every take."""
        return [apply(t.bones[segment], out[segment][:, column]) for t in takes]

    for segment, low, high, pair in (("pelvis", "pelvis", "spine", "hip"), ("torso", "chest", "neck", "shoulder")):
        left = local(segment, [t.joints[f"left_{pair}"] - t.joints[f"right_{pair}"] for t in takes])
        up = local(segment, [t.joints[high] - t.joints[low] for t in takes])
        out[segment] = _frame(y=left, z=up, exact="y")
    out["head"] = _frame(y=local("head", axis("torso", 1)), z=local("head", axis("torso", 2)), exact="y")
    long = {segment: [_unit(t.joints[end] - t.joints[start]) for t in takes] for segment, (start, end) in LIMBS.items()}
    for side in SIDES:
        for upper, lower, bends in (
            (f"{side}_upper_arm", f"{side}_forearm", -1),
            (f"{side}_thigh", f"{side}_shank", 1),
        ):
            near = axis("torso" if bends < 0 else "pelvis", 1)  # only matters for a limb that is never bent
            hinge = [
                bends * np.cross(a, b, axis=0) + 0.01 * left
                for a, b, left in zip(long[upper], long[lower], near, strict=True)
            ]
            out[upper] = _frame(y=local(upper, hinge), z=-local(upper, long[upper]), exact="z")
        shank, fore = f"{side}_shank", f"{side}_forearm"
        out[shank] = _frame(y=local(shank, axis(f"{side}_thigh", 1)), z=-local(shank, long[shank]), exact="z")
        hanging = [
            np.clip(-np.einsum("it,it->t", a, b), 0, None) ** 8
            for a, b in zip(long[fore], axis("torso", 2), strict=True)
        ]
        sideways = [v * w for v, w in zip(axis("torso", 1), hanging, strict=True)]
        out[fore] = _frame(y=local(fore, sideways), z=-local(fore, long[fore]), exact="z")
    for side in SIDES:
        hand, fore = f"{side}_hand", f"{side}_forearm"
        out[hand] = _frame(y=local(hand, axis(fore, 1)), z=local(hand, axis(fore, 2)), exact="z")
        foot, shank = f"{side}_foot", f"{side}_shank"
        toes = local(foot, [t.joints[f"{side}_foot"] - t.joints[f"{side}_ankle"] for t in takes])
        # z lies along the toes, which point down by _TOE_DROP: it is rotated to the horizontal front
        level = _frame(y=local(foot, axis(shank, 1)), z=toes, exact="z")
        forward, left = level[:, 2], level[:, 1]
        up = np.cross(forward, left)
        c, s = np.cos(_TOE_DROP), np.sin(_TOE_DROP)
        out[foot] = np.stack([c * forward + s * up, left, c * up - s * forward], axis=1)
    return out


def _unit(vectors: np.ndarray) -> np.ndarray:
    """(3, T) of length 1."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=0), 1e-9))


def _frame(*, y: np.ndarray, z: np.ndarray, exact: str) -> np.ndarray:
    """(3, 3) right-handed columns x, y, z from two directions; one of them is kept exactly."""
    y, z = y / np.linalg.norm(y), z / np.linalg.norm(z)
    if exact == "y":
        z = z - y * (y @ z)
        z = z / np.linalg.norm(z)
    else:
        y = y - z * (y @ z)
        y = y / np.linalg.norm(y)
    return np.stack([np.cross(y, z), y, z], axis=1)


def stature_of(joints: Mapping[str, np.ndarray]) -> float:
    """Height in metres of a person of average proportions with these legs.

    Args:
        joints: hips, knees and ankles, (3, T) metres each.
    """
    return _limb(joints, "hip", "knee", "ankle") / Body(height=1.0).leg


def _limb(joints: Mapping[str, np.ndarray], *chain: str) -> float:
    """Mean of both sides of the length of a limb of two segments."""

    def length(a: str, b: str) -> float:
        return float(np.median(np.linalg.norm(joints[a] - joints[b], axis=0)))

    top, middle, end = chain
    return sum(length(f"{s}_{top}", f"{s}_{middle}") + length(f"{s}_{middle}", f"{s}_{end}") for s in SIDES) / 2


def body_of(take: Take) -> Body:
    """Stature and proportions from the lengths of legs, arms and hips."""
    arms = _limb(take.joints, "shoulder", "elbow", "wrist")
    hips = float(np.median(np.linalg.norm(take.joints["left_hip"] - take.joints["right_hip"], axis=0)))
    height = stature_of(take.joints)
    norm = Body(height=height)
    return Body(
        height=height,
        arms=arms / (norm.upper_arm + norm.forearm),
        breadth=float(np.clip(hips / (2 * norm.hip_half), 0.8, 1.3)),
    )


def to_session(take: Take, axes: Mapping[str, np.ndarray], *, person: Person, label: str) -> Session:
    """One take as a session of one bout, at the simulator's rate.

    The first and last quarter of a second are the margin that derivatives need and are not part of the session. The
    motion is rotated so that the person faces x on average, and placed on the floor at 0.

    Args:
        take: the motion.
        axes: of its rig, as from `fit_axes`.
        person: looks and habits; the body is measured from the take.
        label: of the bout; may be empty.

    Raises:
        RecordingError: a take shorter than the two margins and two frames.
    """
    frames = next(iter(take.joints.values())).shape[1]
    captured = np.arange(frames) / take.rate_hz - PAD_S
    seconds = float(captured[-1]) - PAD_S
    if seconds < 2 / take.rate_hz:
        raise RecordingError(f"take of {frames / take.rate_hz:.2f} s, expected more than {2 * PAD_S} s")
    times = np.arange(int(np.floor((seconds + 2 * PAD_S) * RATE_HZ)) + 1) / RATE_HZ - PAD_S
    body = body_of(take)
    segments = {
        name: _orthonormal(CubicSpline(captured, compose(bone, axes[name]), axis=-1)(times))
        for name, bone in take.bones.items()
    }
    joints = {name: np.asarray(CubicSpline(captured, at, axis=-1)(times)) for name, at in take.joints.items()}
    joints["head"] = joints["head"] + segments["head"][:, 2] * max(
        0.0, body.neck - float(np.median(np.linalg.norm(take.joints["head"] - take.joints["neck"], axis=0)))
    )
    for side in SIDES:
        joints[f"{side}_hand"] = joints[f"{side}_wrist"] - segments[f"{side}_hand"][:, 2] * body.hand
    ahead = segments["pelvis"][:2, 0].mean(axis=1)
    turn = rot_z(np.full(1, -np.arctan2(ahead[1], ahead[0])))[:, :, 0]
    lowest = np.minimum(joints["left_foot"][2], joints["right_foot"][2])
    origin = turn @ joints["pelvis"][:, 0]
    origin[2] = np.percentile(lowest, 1) - 0.4 * body.ankle_height
    placed = np.stack([turn @ joints[name] - origin[:, None] for name in JOINTS])
    motion = Motion(joints=placed, segments={n: np.einsum("ij,jkt->ikt", turn, r) for n, r in segments.items()})
    pose = Pose.neutral(len(times))  # only the root is needed, which the camera follows; joint angles are not used
    for row, name in enumerate(("x", "y", "z")):
        pose[name] = motion.joint("pelvis")[row]
    bout = PlacedBout(
        label=label, start=0.0, end=seconds, until=seconds + PAD_S, origin=(0.0, 0.0, 0.0), floor=0.0, props=()
    )
    return Session(
        person=replace(person, body=body), seconds=seconds, times=times, pose=pose, motion=motion, bouts=(bout,)
    )


def rescaled(take: Take, *, tempo: float, size: float) -> Take:
    """The take at another tempo and of another size: both scale its speeds, and the tempo its angular rates.

    Args:
        take: the motion.
        tempo: factor on the speed of the motion, 0.5 to 2.
        size: factor on all lengths, 0.5 to 2.

    Raises:
        RecordingError: a factor out of range.
    """
    if not (0.5 <= tempo <= 2 and 0.5 <= size <= 2):
        raise RecordingError(f"tempo {tempo:g} and size {size:g}, expected 0.5 to 2")
    return replace(take, joints={name: at * size for name, at in take.joints.items()}, rate_hz=take.rate_hz * tempo)


def mirrored(session: Session) -> Session:
    """The session with left and right exchanged, as from `to_session`; labels and the person's habits stay."""
    flip = np.diag([1.0, -1.0, 1.0])
    joints = np.stack([flip @ session.motion.joint(_other_side(name)) for name in JOINTS])
    segments = {
        name: np.einsum("ij,jkt,kl->ilt", flip, session.motion.segments[_other_side(name)], flip)
        for name in session.motion.segments
    }
    pose = Pose(session.pose.values.copy())
    pose["y"] = -pose["y"]
    return replace(session, pose=pose, motion=Motion(joints=joints, segments=segments))


def _other_side(name: str) -> str:
    side, _, part = name.partition("_")
    return f"{dict(zip(SIDES, reversed(SIDES), strict=True))[side]}_{part}" if side in SIDES else name


def _orthonormal(matrices: np.ndarray) -> np.ndarray:
    """The nearest rotations to (3, 3, T) matrices that are almost rotations."""
    u, _, vt = np.linalg.svd(matrices.transpose(2, 0, 1))
    return np.asarray((u @ vt).transpose(1, 2, 0))
