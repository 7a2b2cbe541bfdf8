"""The articulated body: bone lengths, joint angles (a Pose), forward kinematics, two-bone reaching; no activities.

World axes: x forwards at heading 0, y to the person's left, z up, metres. In the neutral pose the person stands upright
with hanging arms, and every segment's axes are parallel to the world's; limbs point along -z, feet along +x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imu_video.simulation.rotations import apply, apply_inverse, compose, rot_x, rot_y, rot_yxz, rot_z

SIDES = ("left", "right")
JOINTS: tuple[str, ...] = (
    "pelvis",
    "spine",
    "neck",
    "head",
    *(f"left_{j}" for j in ("shoulder", "elbow", "wrist", "hand")),
    *(f"right_{j}" for j in ("shoulder", "elbow", "wrist", "hand")),
    *(f"left_{j}" for j in ("hip", "knee", "ankle", "foot")),
    *(f"right_{j}" for j in ("hip", "knee", "ankle", "foot")),
)
"""The 20 joints of a SkeletonTrack, in order (the layout of common depth-camera skeletons)."""

BONES: tuple[tuple[str, str], ...] = (
    ("pelvis", "spine"),
    ("spine", "neck"),
    ("neck", "head"),
    *(
        (f"{s}_{a}", f"{s}_{b}")
        for s in SIDES
        for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "hand"))
    ),
    *((f"{s}_{a}", f"{s}_{b}") for s in SIDES for a, b in (("hip", "knee"), ("knee", "ankle"), ("ankle", "foot"))),
    ("neck", "left_shoulder"),
    ("neck", "right_shoulder"),
    ("pelvis", "left_hip"),
    ("pelvis", "right_hip"),
)
"""Pairs of joints at a constant distance."""

SEGMENTS: tuple[str, ...] = (
    "pelvis",
    "torso",
    "head",
    *(f"{s}_{p}" for s in SIDES for p in ("upper_arm", "forearm", "hand", "thigh", "shank", "foot")),
)
"""Rigid parts, each with an orientation."""

_ARM = ("shoulder_flex", "shoulder_abd", "shoulder_rot", "elbow", "pronation", "wrist_flex", "wrist_dev")
_LEG = ("hip_flex", "hip_abd", "hip_rot", "knee", "ankle")
DOFS: tuple[str, ...] = (
    *("x", "y", "z", "yaw", "pitch", "roll", "spin"),
    *("bend", "side", "twist", "nod", "tilt", "turn"),
    *(f"{s}_{d}" for s in SIDES for d in (*_ARM, *_LEG)),
    "level",
)
"""Degrees of freedom of a Pose: root position (m) and orientation, joint angles (rad), height of the ground (m).

Positive angles: flexion raises a limb forwards, abduction sideways, rotation turns it inwards; the knee bends the shank
backwards; ``spin`` turns the body about its own long axis (lying on a side).
"""
_INDEX = {name: i for i, name in enumerate(DOFS)}


class Pose:
    """Joint angles and root motion over time: ``values`` (D, T) float64 with one row a name of DOFS.

    Example:
        >>> pose = Pose.neutral(3)
        >>> pose["left_elbow"] = 0.5
        >>> pose["left_elbow"].tolist()
        [0.5, 0.5, 0.5]
    """

    def __init__(self, values: np.ndarray) -> None:
        if values.ndim != 2 or values.shape[0] != len(DOFS):
            raise ValueError(f"pose values must be (D, T) with D={len(DOFS)}, got {values.shape}")
        self.values = values

    @classmethod
    def neutral(cls, samples: int) -> Pose:
        """All angles zero, root at the origin."""
        return cls(np.zeros((len(DOFS), samples)))

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[_INDEX[name]]

    def __setitem__(self, name: str, value: np.ndarray | float) -> None:
        self.values[_INDEX[name]] = value

    @property
    def samples(self) -> int:
        """T."""
        return self.values.shape[1]


@dataclass(frozen=True, kw_only=True)
class Body:
    """Bone lengths in metres and a girth factor.

    Proportions follow Drillis and Contini (1966) as tabulated in Winter, *Biomechanics and Motor Control of Human
    Movement*: hip at 0.530 of stature, shoulder at 0.818, upper arm 0.186, forearm 0.146, thigh 0.245, shank 0.246.

    Args:
        height: stature in metres, 1.4 to 2.1.
        legs: leg length relative to the norm for the stature, 0.9 to 1.1; the trunk makes up the difference.
        arms: arm length relative to the norm, 0.9 to 1.1.
        breadth: shoulder and hip width relative to the norm, 0.8 to 1.3.

    Example:
        >>> round(Body(height=1.8).leg, 3)
        0.884
    """

    height: float
    legs: float = 1.0
    arms: float = 1.0
    breadth: float = 1.0

    @property
    def thigh(self) -> float:
        return 0.245 * self.height * self.legs

    @property
    def shank(self) -> float:
        return 0.246 * self.height * self.legs

    @property
    def leg(self) -> float:
        """Hip to ankle, straight."""
        return self.thigh + self.shank

    @property
    def ankle_height(self) -> float:
        return 0.039 * self.height

    @property
    def foot(self) -> float:
        """Ankle to the ball of the foot, forwards."""
        return 0.100 * self.height

    @property
    def upper_arm(self) -> float:
        return 0.186 * self.height * self.arms

    @property
    def forearm(self) -> float:
        return 0.146 * self.height * self.arms

    @property
    def hand(self) -> float:
        """Wrist to the knuckles."""
        return 0.055 * self.height * self.arms

    @property
    def hip_half(self) -> float:
        return 0.054 * self.height * self.breadth

    @property
    def shoulder_half(self) -> float:
        return 0.115 * self.height * self.breadth

    @property
    def lumbar(self) -> float:
        """Pelvis to the spine joint."""
        return 0.075 * self.height

    @property
    def trunk(self) -> float:
        """Spine joint to the neck."""
        return 0.830 * self.height - self.lumbar - self.leg - self.ankle_height

    @property
    def neck(self) -> float:
        """Neck to the middle of the head."""
        return 0.104 * self.height

    @property
    def stand_height(self) -> float:
        """Height of the pelvis in relaxed standing, knees barely bent."""
        return 0.993 * self.leg + self.ankle_height


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """The body in space: ``joints`` (J, 3, T) metres in the order of JOINTS, ``segments`` name -> (3, 3, T)."""

    joints: np.ndarray
    segments: dict[str, np.ndarray]

    def joint(self, name: str) -> np.ndarray:
        """Positions (3, T) of one joint."""
        return self.joints[JOINTS.index(name)]


def _mirror(side: str) -> float:
    return 1.0 if side == "left" else -1.0


def trunk(pose: Pose, body: Body) -> Motion:
    """Forward kinematics of pelvis, torso, head, hips and shoulders only (the joints of the limbs stay zero)."""
    joints = np.zeros((len(JOINTS), 3, pose.samples))
    pelvis = compose(
        rot_z(pose["yaw"]), compose(rot_y(pose["pitch"]), compose(rot_x(pose["roll"]), rot_z(pose["spin"])))
    )
    torso = compose(pelvis, rot_yxz(pose["bend"], pose["side"], pose["twist"]))
    head = compose(torso, rot_yxz(pose["nod"], pose["tilt"], pose["turn"]))
    at = {name: i for i, name in enumerate(JOINTS)}
    joints[at["pelvis"]] = root = np.stack([pose["x"], pose["y"], pose["z"]])
    joints[at["spine"]] = spine = root + pelvis[:, 2] * body.lumbar
    joints[at["neck"]] = neck = spine + torso[:, 2] * body.trunk
    joints[at["head"]] = neck + head[:, 2] * body.neck
    for side in SIDES:
        s = _mirror(side)
        joints[at[f"{side}_hip"]] = root + pelvis[:, 1] * (s * body.hip_half)
        joints[at[f"{side}_shoulder"]] = neck + apply(
            torso, np.array([0.0, s * body.shoulder_half, -0.012 * body.height])
        )
    return Motion(joints=joints, segments={"pelvis": pelvis, "torso": torso, "head": head})


def forward(pose: Pose, body: Body) -> Motion:
    """Forward kinematics: joint angles and root motion to joint positions and segment orientations.

    Shapes: pose (D, T) -> joints (J, 3, T), segments (3, 3, T) each.

    Example:
        >>> motion = forward(Pose.neutral(1), Body(height=1.75))
        >>> round(float(motion.joint("left_knee")[2, 0]), 3)
        -0.429
    """
    motion = trunk(pose, body)
    joints, segments = motion.joints, motion.segments
    at = {name: i for i, name in enumerate(JOINTS)}
    for side in SIDES:
        s = _mirror(side)
        get = {d: pose[f"{side}_{d}"] for d in (*_ARM, *_LEG)}
        upper = compose(
            segments["torso"], rot_yxz(-get["shoulder_flex"], s * get["shoulder_abd"], -s * get["shoulder_rot"])
        )
        zero = np.zeros(pose.samples)
        fore = compose(upper, rot_yxz(-get["elbow"], zero, -s * get["pronation"]))
        hand = compose(fore, rot_yxz(-get["wrist_dev"], -s * get["wrist_flex"], zero))
        joints[at[f"{side}_elbow"]] = elbow = joints[at[f"{side}_shoulder"]] - upper[:, 2] * body.upper_arm
        joints[at[f"{side}_wrist"]] = wrist = elbow - fore[:, 2] * body.forearm
        joints[at[f"{side}_hand"]] = wrist - hand[:, 2] * body.hand
        thigh = compose(segments["pelvis"], rot_yxz(-get["hip_flex"], s * get["hip_abd"], -s * get["hip_rot"]))
        shank = compose(thigh, rot_y(get["knee"]))
        foot = compose(shank, rot_y(-get["ankle"]))
        joints[at[f"{side}_knee"]] = knee = joints[at[f"{side}_hip"]] - thigh[:, 2] * body.thigh
        joints[at[f"{side}_ankle"]] = ankle = knee - shank[:, 2] * body.shank
        joints[at[f"{side}_foot"]] = ankle + apply(foot, np.array([body.foot, 0.0, -0.6 * body.ankle_height]))
        for name, rotation in (
            ("upper_arm", upper),
            ("forearm", fore),
            ("hand", hand),
            ("thigh", thigh),
            ("shank", shank),
            ("foot", foot),
        ):
            segments[f"{side}_{name}"] = rotation
    return motion


def two_bone(
    target: np.ndarray, upper: float, lower: float, twist: np.ndarray | float, *, backwards: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angles that place the end of a two-bone limb at a target, in closed form.

    The limb is ``Ry(-flex) Rx(abd) Rz(-twist)`` followed by one hinge. Targets out of reach are moved closer smoothly,
    so that the angles stay differentiable. A folded limb with a given twist cannot reach straight sideways and ends as
    close as abduction allows.

    Args:
        target: (3, T) metres from the limb's root, in the coordinates of the parent segment, mirrored to the left side.
        upper: length of the first bone in metres.
        lower: length of the second bone in metres.
        twist: inward rotation of the limb about its long axis in rad: the direction of knee or elbow.
        backwards: True for a knee (shank bends back), False for an elbow (forearm bends forwards).

    Returns:
        Flexion, abduction and hinge angle, (T,) rad each.
    """
    length = np.sqrt(np.einsum("it,it->t", target, target)) + 1e-9
    longest, shortest, soft = 0.9985 * (upper + lower), abs(upper - lower) + 0.06, 0.008
    reach = longest - soft * np.logaddexp(0.0, (longest - length) / soft)
    reach = shortest + soft * np.logaddexp(0.0, (reach - shortest) / soft)
    tx, ty, tz = target * (reach / length)
    hinge = np.arccos(np.clip((reach**2 - upper**2 - lower**2) / (2 * upper * lower), -1.0, 1.0))
    vx = (-1.0 if backwards else 1.0) * lower * np.sin(hinge)
    vz = -upper - lower * np.cos(hinge)
    vy = -vx * np.sin(twist)
    vx = vx * np.cos(twist)
    span = np.hypot(vy, vz)
    abd = np.arcsin(np.clip(ty / span, -1.0, 1.0)) - np.arctan2(vy, -vz)
    depth = vy * np.sin(abd) + vz * np.cos(abd)
    flex = np.arctan2(tz, tx) - np.arctan2(depth, vx)
    return (flex + np.pi / 2) % (2 * np.pi) - np.pi / 2, abd, hinge


def plant_leg(
    pose: Pose, body: Body, frames: Motion, side: str, ankle: np.ndarray, pitch: np.ndarray | float, toe_out: float
) -> None:
    """Set hip, knee and ankle angles so that the ankle is at ``ankle`` and the foot pitched by ``pitch``.

    Args:
        pose: changed in place.
        body: bone lengths.
        frames: `trunk` of the same pose.
        side: ``left`` or ``right``.
        ankle: (3, T) target in world metres.
        pitch: toes up against the ground in rad.
        toe_out: outward rotation of the leg in rad.
    """
    local = apply_inverse(frames.segments["pelvis"], ankle - frames.joint(f"{side}_hip"))
    local[1] *= _mirror(side)
    flex, abd, knee = two_bone(local, body.thigh, body.shank, -toe_out, backwards=True)
    pose[f"{side}_hip_flex"], pose[f"{side}_hip_abd"], pose[f"{side}_knee"] = flex, abd, knee
    pose[f"{side}_hip_rot"] = -toe_out
    pose[f"{side}_ankle"] = 0.75 * np.tanh((pitch - flex + knee + pose["pitch"]) / 0.75)


def reach_arm(
    pose: Pose, body: Body, frames: Motion, side: str, wrist: np.ndarray, elbow_out: np.ndarray | float
) -> None:
    """Set shoulder and elbow angles so that the wrist is at ``wrist``.

    Args:
        pose: changed in place.
        body: bone lengths.
        frames: `trunk` of the same pose.
        side: ``left`` or ``right``.
        wrist: (3, T) target in world metres.
        elbow_out: inward rotation of the upper arm in rad; larger values lift the elbow sideways.
    """
    local = apply_inverse(frames.segments["torso"], wrist - frames.joint(f"{side}_shoulder"))
    local[1] *= _mirror(side)
    flex, abd, elbow = two_bone(local, body.upper_arm, body.forearm, elbow_out, backwards=False)
    pose[f"{side}_shoulder_flex"], pose[f"{side}_shoulder_abd"], pose[f"{side}_elbow"] = flex, abd, elbow
    pose[f"{side}_shoulder_rot"] = elbow_out
