"""The scene at one moment: the dressed body and the props as capsules and faces; no pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from imu_video.simulation.actor import Prop
from imu_video.simulation.body import JOINTS, SIDES, Body

_AT = {name: i for i, name in enumerate(JOINTS)}


@dataclass(kw_only=True, eq=False)
class Shapes:
    """Capsules (rounded cones between two points) and flat convex faces, world metres, colours RGB in 0..1."""

    starts: list[np.ndarray] = field(default_factory=list)
    ends: list[np.ndarray] = field(default_factory=list)
    radii: list[tuple[float, float]] = field(default_factory=list)
    colours: list[np.ndarray] = field(default_factory=list)
    nearer: list[float] = field(default_factory=list)
    widths: list[tuple[np.ndarray, np.ndarray] | None] = field(default_factory=list)
    faces: list[np.ndarray] = field(default_factory=list)
    normals: list[np.ndarray] = field(default_factory=list)
    face_colours: list[np.ndarray] = field(default_factory=list)

    def capsule(
        self,
        start: np.ndarray,
        end: np.ndarray,
        radii: tuple[float, float],
        colour: Sequence[float] | np.ndarray,
        nearer: float = 0.0,
        widths: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        """Add a capsule, or a slab with half-width vectors ``widths`` (m); ``nearer`` (m) draws it later."""
        self.starts.append(start)
        self.ends.append(end)
        self.radii.append(radii)
        self.colours.append(np.asarray(colour))
        self.nearer.append(nearer)
        self.widths.append(widths)

    def box(self, centre: np.ndarray, size: np.ndarray, colour: Sequence[float], eye: np.ndarray) -> None:
        """Add the faces of an upright box that are turned towards ``eye``."""
        half = size / 2
        for axis in range(3):
            sign = 1.0 if eye[axis] > centre[axis] else -1.0
            if (eye[axis] - centre[axis]) * sign <= half[axis]:
                continue
            a, b = (axis + 1) % 3, (axis + 2) % 3
            corners = np.repeat(centre[None], 4, axis=0)
            corners[:, axis] += sign * half[axis]
            corners[:, a] += half[a] * np.array([-1, 1, 1, -1])
            corners[:, b] += half[b] * np.array([-1, -1, 1, 1])
            normal = np.zeros(3)
            normal[axis] = sign
            self.faces.append(corners)
            self.normals.append(normal)
            self.face_colours.append(np.asarray(colour))


def add_body(
    shapes: Shapes, joints: np.ndarray, gaze: np.ndarray, body: Body, girth: float, look: Mapping[str, Sequence[float]]
) -> None:
    """Add a dressed person: ``joints`` (J, 3) metres, ``gaze`` (3,) unit vector out of the face."""
    h = body.height * (0.55 + 0.45 * girth) / 1.7
    at = {name: joints[i] for name, i in _AT.items()}
    hips = (at["left_hip"] + at["right_hip"]) / 2
    across = at["left_hip"] - at["right_hip"]
    up = at["neck"] - at["spine"]
    up = up / np.linalg.norm(up)
    shirt, trousers, skin = look["shirt"], look["trousers"], look["skin"]
    for side in SIDES:
        hip, knee, ankle, foot = (at[f"{side}_{j}"] for j in ("hip", "knee", "ankle", "foot"))
        shapes.capsule(hip + 0.02 * up, knee, (0.088 * h, 0.058 * h), trousers)
        shapes.capsule(knee, ankle, (0.056 * h, 0.042 * h), trousers)
        forth = foot - ankle
        heel = ankle - 0.22 * forth
        heel = heel + np.array([0.0, 0.0, -0.4 * abs(forth[2])])
        shapes.capsule(heel, foot + 0.1 * forth, (0.040 * h, 0.034 * h), look["shoes"])
        shoulder, elbow, wrist, hand = (at[f"{side}_{j}"] for j in ("shoulder", "elbow", "wrist", "hand"))
        shapes.capsule(shoulder - 0.012 * up, elbow, (0.050 * h, 0.041 * h), shirt)
        shapes.capsule(elbow, wrist, (0.039 * h, 0.028 * h), look["sleeve"])
        shapes.capsule(wrist, hand, (0.027 * h, 0.031 * h), skin)
        top = at["neck"] + 0.7 * (shoulder - at["neck"]) - 0.035 * up
        shapes.capsule(top, shoulder - 0.012 * up, (0.058 * h, 0.050 * h), shirt)
    broad = (at["left_shoulder"] - at["right_shoulder"]) / 2
    shapes.capsule(
        at["spine"] - 0.03 * up,
        at["neck"] - 0.115 * up,
        (0.085 * h, 0.095 * h),
        shirt,
        widths=(0.33 * across, 0.62 * broad),
    )
    shapes.capsule(
        hips - 0.01 * up,
        at["spine"] - 0.02 * up,
        (0.092 * h, 0.084 * h),
        trousers,
        widths=(0.45 * across, 0.36 * across),
    )
    size = body.height / 1.7
    crown = at["head"] - at["neck"]
    crown = crown / np.linalg.norm(crown)
    shapes.capsule(at["neck"] + 0.01 * up, at["neck"] + 0.06 * crown, (0.056 * h, 0.05 * h), skin, -0.01)
    shapes.capsule(
        at["head"] - 0.062 * crown + 0.015 * gaze, at["head"] + 0.03 * crown, (0.062 * size, 0.090 * size), skin
    )
    shapes.capsule(
        at["head"] + 0.058 * crown + 0.004 * gaze,
        at["head"] - 0.01 * crown - 0.040 * gaze,
        (0.083 * size, 0.082 * size),
        look["hair"],
        0.012,
    )
    face = at["head"] - 0.03 * crown
    shapes.capsule(face, face + 0.03 * gaze - 0.02 * crown, (0.072 * size, 0.062 * size), skin, 0.024)
    nose = at["head"] - 0.012 * crown + 0.088 * gaze
    dark = [0.86 * c for c in skin]
    shapes.capsule(nose, nose + 0.012 * gaze - 0.012 * crown, (0.014 * size, 0.017 * size), dark, 0.0)


def add_props(
    shapes: Shapes,
    props: Sequence[Prop],
    origin: np.ndarray,
    joints: np.ndarray,
    gaze: np.ndarray,
    eye: np.ndarray,
    reach: float,
) -> None:
    """Add the props of a bout whose coordinates start at ``origin`` (3,), as far as ``reach`` metres around."""
    pelvis = joints[_AT["pelvis"]]
    for prop in props:
        at = np.array(prop.at) + origin
        if prop.kind == "held":
            _add_held(shapes, prop, joints, gaze)
        elif abs(at[0] - pelvis[0]) > reach:
            continue
        elif prop.kind == "box":
            shapes.box(at, np.array(prop.size), prop.colour, eye)
        else:
            shapes.capsule(at, np.array(prop.to) + origin, (prop.size[0], prop.size[0]), prop.colour)


def _add_held(shapes: Shapes, prop: Prop, joints: np.ndarray, gaze: np.ndarray) -> None:
    hand, wrist = joints[_AT[f"{prop.held_in}_hand"]], joints[_AT[f"{prop.held_in}_wrist"]]
    along = (hand - wrist) / max(float(np.linalg.norm(hand - wrist)), 1e-6)
    if prop.name == "cup":
        base, up = hand + 0.02 * along, np.array([0.0, 0.0, 0.05])
        shapes.capsule(base - 0.6 * up, base + up, (0.036, 0.04), prop.colour, 0.03)
    elif prop.name == "phone":
        shapes.capsule(hand - 0.02 * along, hand + 0.08 * along, (0.03, 0.03), prop.colour, 0.03)
    elif prop.name == "brush":
        mouth = joints[_AT["head"]] + 0.09 * gaze - [0, 0, 0.05]
        shapes.capsule(hand, mouth, (0.011, 0.011), prop.colour, 0.03)
    elif prop.name == "stick":
        level = gaze * [1.0, 1.0, 0.0]
        level = level / max(float(np.linalg.norm(level)), 1e-6)
        ground = float(min(joints[_AT["left_foot"], 2], joints[_AT["right_foot"], 2]))
        nozzle = hand + 0.62 * level
        nozzle[2] = ground
        side = np.array([-level[1], level[0], 0.0]) * 0.14
        shapes.capsule(hand - 0.12 * (nozzle - hand), nozzle, (0.018, 0.018), prop.colour)
        shapes.capsule(nozzle - side, nozzle + side, (0.035, 0.035), (0.15, 0.15, 0.17))
    else:
        raise ValueError(f"no drawing for a held {prop.name!r}")
