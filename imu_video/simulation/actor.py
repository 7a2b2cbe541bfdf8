"""Building blocks of activities: smooth noise, rhythms, episodes and body placement; no activities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

from imu_video.simulation.body import SIDES, Body, Motion, Pose, plant_leg, reach_arm, trunk
from imu_video.simulation.person import Person

TAU = 2 * np.pi


def smoothstep(t: np.ndarray, start: float, end: float) -> np.ndarray:
    """Quintic step from 0 at ``start`` to 1 at ``end`` with zero velocity and acceleration at both (minimum jerk)."""
    u = np.clip((t - start) / max(end - start, 1e-9), 0.0, 1.0)
    return u**3 * (10 - 15 * u + 6 * u**2)


@dataclass(frozen=True, kw_only=True)
class Prop:
    """An object in the scene, in the bout's coordinates.

    Args:
        kind: ``box`` (``at`` is its centre, ``size`` its edges), ``rod`` (``at`` to ``to``, radius ``size[0]``) or
            ``held`` (an object in the hand ``held_in``, named by ``name``).
        colour: RGB in 0..1.
    """

    kind: str
    at: tuple[float, float, float] = (0.0, 0.0, 0.0)
    to: tuple[float, float, float] = (0.0, 0.0, 0.0)
    size: tuple[float, float, float] = (0.0, 0.0, 0.0)
    colour: tuple[float, float, float] = (0.5, 0.5, 0.5)
    name: str = ""
    held_in: str = ""


@dataclass(kw_only=True, eq=False)
class Bout:
    """One bout of an activity: the pose over time and the objects around the person, in the bout's own coordinates.

    Args:
        pose: joint angles and root motion; the bout starts near the origin, heading 0.
        props: objects in the scene.
        floor: height of the lowest ground in metres.
    """

    pose: Pose
    props: list[Prop] = field(default_factory=list)
    floor: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Actor:
    """A person during one bout of an activity.

    Args:
        person: the virtual person.
        t: (T,) seconds; the labelled bout lasts from 0 to ``seconds``, samples outside are for the transitions.
        seconds: length of the labelled bout.
        rng: the bout's own generator.
    """

    person: Person
    t: np.ndarray
    seconds: float
    rng: np.random.Generator

    @property
    def body(self) -> Body:
        return self.person.body

    def wander(self, sd: float, scale: float) -> np.ndarray:
        """Smooth stationary noise (T,) with standard deviation ``sd`` and correlation time ``scale`` seconds."""
        return self.wanders(1, sd, scale)[0]

    def wanders(self, count: int, sd: float, scale: float) -> np.ndarray:
        """``count`` independent `wander` rows (count, T)."""
        knots = np.arange(self.t[0] - 2 * scale, self.t[-1] + 3 * scale, scale)
        values = self.rng.normal(0.0, sd * 1.15, (len(knots), count))
        out: np.ndarray = CubicSpline(knots, values)(self.t).T
        return out

    def rhythm(self, hz: float, jitter: float, active: np.ndarray | None = None) -> np.ndarray:
        """Phase (T,) rad of a rhythm whose rate varies by ``jitter`` (relative) and pauses where ``active`` is 0."""
        rate = hz * np.clip(1 + self.wander(jitter * self.person["unsteadiness"], 1.6), 0.3, 2.0)
        if active is not None:
            rate = rate * active
        step = float(self.t[1] - self.t[0])
        return TAU * (np.cumsum(rate) * step + self.rng.random())

    def episodes(
        self, gap: tuple[float, float], hold: tuple[float, float], ramp: tuple[float, float], first: float | None = None
    ) -> np.ndarray:
        """Weight (T,) that rises to 1 at random times; ``gap``, ``hold`` and ``ramp`` are ranges in seconds.

        ``first`` is the time of the first rise; drawn when None.
        """
        out = np.zeros(len(self.t))
        u = self.rng.uniform
        now = self.t[0] + u(-0.5, 1) * gap[1] if first is None else first
        while now < self.t[-1]:
            rise, stay, fall = u(*ramp), u(*hold), u(*ramp)
            out += smoothstep(self.t, now, now + rise) - smoothstep(self.t, now + rise + stay, now + rise + stay + fall)
            now += rise + stay + fall + u(*gap)
        return out

    def choose(self, style: str) -> str:
        """Draw the person's style of an action in this bout."""
        return self.person.choose(style, self.rng)

    def start(self) -> Pose:
        """A neutral pose with posture, breathing and small involuntary motions."""
        p, pose = self.person, Pose.neutral(len(self.t))
        small = self.wanders(13, 0.012 * p["unsteadiness"], 0.9)
        breath = np.sin(self.rhythm(0.26 * p["tempo"], 0.12))
        pose["bend"] = 0.05 + p["lean"] + 0.3 * p["slouch"] + 0.009 * breath + small[0]
        pose["side"], pose["twist"] = small[1], small[2] * 1.5
        pose["nod"] = -0.2 * p["slouch"] + small[3] * 1.5 + self.wander(0.06, 2.5)
        pose["turn"], pose["tilt"] = self.wander(0.16 * p["restless"], 2.2), small[4] * 1.5
        for i, side in enumerate(SIDES):
            pose[f"{side}_shoulder_flex"] = 0.03 + small[5 + 4 * i]
            pose[f"{side}_shoulder_abd"] = 0.13 + 0.06 * p["girth"] + small[6 + 4 * i]
            pose[f"{side}_elbow"] = 0.22 + small[7 + 4 * i]
            pose[f"{side}_pronation"] = 0.25 + 2 * small[8 + 4 * i]
            pose[f"{side}_wrist_flex"] = 0.1 + self.wander(0.03, 0.7)
        return pose

    def arm(self, pose: Pose, side: str, style: str, weight: np.ndarray | float = 1.0) -> None:
        """Blend one arm into a named posture (ARM_POSTURES) with ``weight`` 0..1, keeping its small motions."""
        for name, value in ARM_POSTURES[style].items():
            dof = f"{side}_{name}"
            pose[dof] = pose[dof] * (1 - 0.8 * np.asarray(weight)) + weight * value

    def fidget(self, pose: Pose) -> None:
        """Fidgeting: a hand to the face or hip, a shifted arm, a look around; more often for restless persons."""
        rate = self.person["restless"]
        for side in SIDES:
            shift = self.wanders(4, 0.05 * rate, 3.0)
            for row, dof in zip(shift, ("shoulder_flex", "shoulder_rot", "elbow", "pronation"), strict=True):
                pose[f"{side}_{dof}"] = pose[f"{side}_{dof}"] + row
        side = self.person.hand if self.rng.random() < 0.7 else self.person.other_hand
        weight = self.episodes((6 / rate, 22 / rate), (0.4, 2.0), (0.5, 0.9))
        self.arm(pose, side, str(self.rng.choice(["face", "scratch", "hips"], p=[0.5, 0.35, 0.15])), weight)
        glance = self.episodes((4 / rate, 14 / rate), (0.5, 2.0), (0.35, 0.7))
        pose["turn"] = pose["turn"] + glance * self.rng.choice([-0.7, 0.7])

    def frames(self, pose: Pose) -> Motion:
        """Trunk kinematics of the current pose; compute it again after changing root or trunk."""
        return trunk(pose, self.body)

    def legs(
        self,
        pose: Pose,
        feet: dict[str, np.ndarray],
        pitch: dict[str, np.ndarray] | float,
        toe_out: float | None = None,
    ) -> None:
        """Plant both ankles at ``feet`` (side -> (3, T) bout coordinates, metres)."""
        frames = self.frames(pose)
        out = self.person["toe_out"] if toe_out is None else toe_out
        for side in SIDES:
            up = pitch[side] if isinstance(pitch, dict) else pitch
            plant_leg(pose, self.body, frames, side, feet[side], up, out)

    def hand(self, pose: Pose, side: str, wrist: np.ndarray, elbow_out: np.ndarray | float = 0.4) -> None:
        """Place one wrist at (3, T) bout coordinates."""
        reach_arm(pose, self.body, self.frames(pose), side, wrist, elbow_out)

    def mouth(self, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """Position (3, T) of the mouth and orientation (3, 3, T) of the head."""
        frames = self.frames(pose)
        head = frames.segments["head"]
        return frames.joint("head") + head[:, 0] * 0.10 - head[:, 2] * 0.05, head

    def fixed(self, x: np.ndarray | float, y: np.ndarray | float, z: np.ndarray | float) -> np.ndarray:
        """A (3, T) path from constants or (T,) arrays."""
        return np.stack([np.broadcast_to(np.asarray(v, dtype=np.float64), self.t.shape) for v in (x, y, z)])

    def colour(self, low: float, high: float) -> tuple[float, float, float]:
        """A random RGB colour with components between ``low`` and ``high``."""
        r, g, b = self.rng.uniform(low, high, 3).tolist()
        return r, g, b

    def soften(self, values: np.ndarray, seconds: float) -> np.ndarray:
        """Gaussian smoothing (T,), for contacts that would otherwise be infinitely hard."""
        out: np.ndarray = gaussian_filter1d(values, seconds / float(self.t[1] - self.t[0]), mode="nearest")
        return out

    def mix(self, *paths: tuple[np.ndarray, np.ndarray | float]) -> np.ndarray:
        """Weighted sum of (3, T) paths."""
        out = np.zeros((3, len(self.t)))
        for path, weight in paths:
            out += path * weight
        return out


Activity = Callable[[Actor], Bout]
"""An activity: a function from an actor to a bout."""

ARM_POSTURES: dict[str, dict[str, float]] = {
    "hang": {"shoulder_flex": 0.03, "shoulder_abd": 0.15, "shoulder_rot": 0.1, "elbow": 0.25, "pronation": 0.3},
    "pocket": {"shoulder_flex": -0.12, "shoulder_abd": 0.28, "shoulder_rot": 0.15, "elbow": 0.75, "pronation": 0.5},
    "hips": {"shoulder_flex": -0.35, "shoulder_abd": 0.75, "shoulder_rot": 0.9, "elbow": 1.55, "pronation": 0.9},
    "behind": {"shoulder_flex": -0.55, "shoulder_abd": 0.25, "shoulder_rot": 1.3, "elbow": 0.8, "pronation": -0.3},
    "folded": {"shoulder_flex": 0.45, "shoulder_abd": 0.15, "shoulder_rot": 1.05, "elbow": 1.75, "pronation": 0.6},
    "phone": {"shoulder_flex": 0.45, "shoulder_abd": 0.12, "shoulder_rot": 0.45, "elbow": 1.75, "pronation": -0.9},
    "lap": {"shoulder_flex": 0.35, "shoulder_abd": 0.12, "shoulder_rot": 0.35, "elbow": 0.95, "pronation": 1.0},
    "rests": {"shoulder_flex": 0.25, "shoulder_abd": 0.3, "shoulder_rot": 0.05, "elbow": 1.35, "pronation": 0.9},
    "clasped": {"shoulder_flex": 0.35, "shoulder_abd": 0.1, "shoulder_rot": 0.75, "elbow": 1.2, "pronation": 0.5},
    "bag": {"shoulder_flex": 0.0, "shoulder_abd": 0.2, "shoulder_rot": 0.0, "elbow": 0.1, "pronation": 0.1},
    "face": {"shoulder_flex": 0.75, "shoulder_abd": 0.1, "shoulder_rot": 0.55, "elbow": 2.35, "pronation": -0.3},
    "scratch": {"shoulder_flex": 0.4, "shoulder_abd": 0.1, "shoulder_rot": 1.1, "elbow": 1.5, "pronation": 0.7},
    "belly": {"shoulder_flex": 0.1, "shoulder_abd": 0.3, "shoulder_rot": 0.95, "elbow": 1.5, "pronation": 0.6},
    "head": {"shoulder_flex": 0.3, "shoulder_abd": 2.0, "shoulder_rot": -1.3, "elbow": 2.2, "pronation": 0.0},
    "raised_phone": {"shoulder_flex": 0.9, "shoulder_abd": 0.15, "shoulder_rot": 0.4, "elbow": 1.3, "pronation": -0.6},
    "raised": {"shoulder_flex": 0.35, "shoulder_abd": 0.75, "shoulder_rot": -1.2, "elbow": 1.7, "pronation": 0.2},
}
"""Arm postures by name, joint angles in rad."""
