"""The surface of the body, and regions of it on which a device can be worn; no devices, no motion.

Every segment is an elliptic cone along its long axis. A point of it has three coordinates: the segment, the height (0
at the segment's first joint, 1 at its end; the foot starts at the ankle, torso, pelvis and head point upwards) and the
azimuth (0 to the front, 90 degrees to the outside of a limb and to the left of the trunk, 180 to the back).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from imu_video.config import Config
from imu_video.errors import ConfigError, nearest
from imu_video.simulation.body import SEGMENTS, SIDES, Body

POCKET = "pocket_thigh"
"""Stands for the thigh on the side of the person's pocket."""

Attachment = Literal["strap", "belt", "pocket"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Surface of a segment; half-axes in metres for a stature of 1.7 m.

    Args:
        length: of the segment, from the body.
        knots: (height, half-axis to the front, half-axis to the side) by rising height; linear in between.
        axes: (3, 3) columns front, left and along (from height 0 to 1) in the segment's axes.
        centre: offset of the axis to the front in metres for a stature of 1.7 m.
    """

    length: Callable[[Body], float]
    knots: tuple[tuple[float, float, float], ...]
    axes: np.ndarray
    centre: float = 0.0


_UP, _DOWN = np.eye(3), np.diag([1.0, 1.0, -1.0])
# the foot points forwards: its upper side is the front of a cylinder along x
_AHEAD = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])

# Half-axes from circumferences, breadths and depths of adults, women and men together, rounded to the range of surveys
# such as ANSUR II (Gordon et al. 2014): thigh 0.62 m around, knee 0.38, calf 0.38, ankle 0.22, upper arm 0.33, elbow
# 0.27, forearm 0.29, wrist 0.165; chest 0.25 deep and 0.29 broad, waist 0.225 and 0.31, hips 0.24 and 0.35; head 0.19
# long and 0.15 broad.
_SHAPES: dict[str, Shape] = {
    "pelvis": Shape(
        length=lambda b: b.lumbar, knots=((-0.8, 0.120, 0.175), (0.2, 0.120, 0.172), (1.0, 0.112, 0.155)), axes=_UP
    ),
    "torso": Shape(
        length=lambda b: b.trunk, knots=((0.0, 0.112, 0.155), (0.6, 0.125, 0.145), (1.0, 0.080, 0.120)), axes=_UP
    ),
    "head": Shape(
        length=lambda b: b.neck, knots=((0.5, 0.060, 0.060), (0.9, 0.095, 0.075), (1.5, 0.060, 0.050)), axes=_UP
    ),
    "upper_arm": Shape(
        length=lambda b: b.upper_arm, knots=((0.0, 0.055, 0.055), (0.5, 0.053, 0.051), (1.0, 0.045, 0.041)), axes=_DOWN
    ),
    "forearm": Shape(
        length=lambda b: b.forearm, knots=((0.0, 0.045, 0.043), (0.25, 0.047, 0.045), (1.0, 0.029, 0.022)), axes=_DOWN
    ),
    "hand": Shape(length=lambda b: b.hand, knots=((0.0, 0.030, 0.020), (1.0, 0.043, 0.014)), axes=_DOWN),
    "thigh": Shape(length=lambda b: b.thigh, knots=((0.0, 0.100, 0.098), (1.0, 0.060, 0.058)), axes=_DOWN),
    "shank": Shape(
        length=lambda b: b.shank, knots=((0.0, 0.060, 0.056), (0.3, 0.060, 0.060), (1.0, 0.038, 0.033)), axes=_DOWN
    ),
    "foot": Shape(length=lambda b: b.foot, knots=((0.0, 0.045, 0.036), (1.0, 0.025, 0.048)), axes=_AHEAD, centre=-0.02),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class SurfacePoint:
    """A point of the body's surface in the axes of its segment.

    Args:
        offset: (3,) metres from the segment's first joint.
        axes: (3, 3) device to segment: z out of the body, y towards the person's head, x = y cross z.
    """

    offset: np.ndarray
    axes: np.ndarray


def surface_point(body: Body, segment: str, height: float, azimuth: float, *, girth: float = 1.0) -> SurfacePoint:
    """The point of a segment's surface at a height and an azimuth, and the axes of a device that lies on it.

    Args:
        body: bone lengths.
        segment: name in `body.SEGMENTS`.
        height: along the segment, -1 to 2; the cone ends at 0 and 1 on limbs.
        azimuth: degrees from the front to the outside (left on the trunk).
        girth: of the person relative to the norm, as in the rendered body.

    Raises:
        ConfigError: an unknown segment.

    Example:
        >>> point = surface_point(Body(height=1.7), "right_shank", 0.9, 90.0)
        >>> point.axes[:, 2].round(2).tolist()
        [0.0, -1.0, -0.09]
    """
    if segment not in SEGMENTS:
        raise ConfigError(f"unknown segment {segment!r}{nearest(segment, SEGMENTS)}")
    shape = _SHAPES[segment.removeprefix("left_").removeprefix("right_")]
    turn = np.deg2rad(-azimuth if segment.startswith("right_") else azimuth)
    scale = body.height / 1.7 * (0.55 + 0.45 * girth)
    heights = [k[0] for k in shape.knots]
    front, side = (float(np.interp(height, heights, [k[i] for k in shape.knots])) * scale for i in (1, 2))
    length = shape.length(body)
    step = 1e-3
    slopes = [
        float(np.diff(np.interp([height - step, height + step], heights, [k[i] for k in shape.knots]))[0]) * scale
        for i in (1, 2)
    ]
    c, s = np.cos(turn), np.sin(turn)
    # The gradient of (x/front)^2 + (y/side)^2 = 1 with half-axes that change along the segment.
    widening = (c**2 * slopes[0] / front + s**2 * slopes[1] / side) / (2 * step * length)
    normal = shape.axes @ np.array([c / front, s / side, -widening])
    normal = normal / np.linalg.norm(normal)
    offset = shape.axes @ np.array([front * c, side * s, height * length])
    offset = offset + shape.axes[:, 0] * shape.centre * scale
    # Up on the surface; on the foot, whose upper side has no up, towards the shank.
    up = shape.axes[:, 2] if shape.axes[2, 2] > 0 else -shape.axes[:, 2]
    y = up - normal * (up @ normal)
    y = y / np.linalg.norm(y)
    return SurfacePoint(offset=offset, axes=np.stack([np.cross(y, normal), y, normal], axis=1))


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] <= pair[1]:
        raise ValueError(f"expected [lowest, highest], got {list(pair)}")
    return pair


Rising = AfterValidator(_rising)
"""For a pair of numbers: the second is not below the first."""


def _known(names: list[str]) -> list[str]:
    for name in names:
        if name not in SEGMENTS and name != POCKET:
            raise ValueError(f"unknown segment {name!r}{nearest(name, (*SEGMENTS, POCKET))}")
    return names


class Region(Config):
    """A region of the body's surface from which places of devices are drawn, uniformly in every coordinate.

    Args:
        segments: one of them is drawn; ``pocket_thigh`` is the thigh on the side of the person's pocket. A name twice
            is twice as likely.
        height: range along the segment, from its first joint (0) to its end (1).
        azimuth_deg: range around the segment, 0 to the front, 90 to the outside of a limb and the left of the trunk.
        turn_deg: range of the rotation about the outward normal; 0: the device's y axis points to the person's head.
        attachment: ``strap``, ``belt`` or ``pocket``, one of them is drawn: it determines the frequency of the strap
            and, for a pocket, further turns by 90 degrees and the side that faces outwards.

    Example:
        >>> Region(segments=["left_shank"], height=[0.2, 0.5]).azimuth_deg
        (-180.0, 180.0)
    """

    segments: Annotated[list[str], Field(min_length=1), AfterValidator(_known)]
    height: Annotated[tuple[Annotated[float, Field(ge=-1, le=2)], Annotated[float, Field(ge=-1, le=2)]], Rising] = (
        0.05,
        0.95,
    )
    azimuth_deg: Annotated[
        tuple[Annotated[float, Field(ge=-360, le=360)], Annotated[float, Field(ge=-360, le=360)]], Rising
    ] = (-180.0, 180.0)
    turn_deg: Annotated[
        tuple[Annotated[float, Field(ge=-360, le=360)], Annotated[float, Field(ge=-360, le=360)]], Rising
    ] = (-180.0, 180.0)
    attachment: Annotated[list[Attachment], Field(min_length=1)] = ["strap"]


def _both(*parts: str) -> list[str]:
    return [f"{side}_{part}" for part in parts for side in SIDES]


REGIONS: dict[str, Region] = {
    "anywhere": Region(segments=list(SEGMENTS), attachment=["strap", "pocket"]),
    "arm": Region(segments=_both("upper_arm", "forearm", "hand")),
    "upper_arm": Region(segments=_both("upper_arm")),
    "forearm": Region(segments=_both("forearm")),
    "wrist": Region(segments=_both("forearm"), height=(0.82, 0.96)),
    "hand": Region(segments=_both("hand")),
    "leg": Region(segments=_both("thigh", "shank", "foot")),
    "upper_leg": Region(segments=_both("thigh"), attachment=["strap", "pocket"]),
    "lower_leg": Region(segments=_both("shank")),
    "foot": Region(segments=_both("foot"), azimuth_deg=(-110.0, 110.0)),
    "trunk": Region(segments=["torso", "pelvis"], attachment=["strap", "belt"]),
    "torso": Region(segments=["torso"], height=(0.05, 0.85)),
    "pelvis": Region(segments=["pelvis"], height=(-0.3, 1.0), attachment=["belt"]),
    "pocket": Region(
        segments=[POCKET], height=(0.05, 0.4), azimuth_deg=(-20.0, 200.0), turn_deg=(-25.0, 25.0), attachment=["pocket"]
    ),
    # The places at which subjects wear the devices of `sensors.PLACEMENTS`.
    "left_wrist": Region(
        segments=["left_forearm"], height=(0.82, 0.96), azimuth_deg=(50.0, 130.0), turn_deg=(-110.0, -70.0)
    ),
    "right_wrist": Region(
        segments=["right_forearm"], height=(0.82, 0.96), azimuth_deg=(50.0, 130.0), turn_deg=(70.0, 110.0)
    ),
    "chest": Region(segments=["torso"], height=(0.45, 0.75), azimuth_deg=(-35.0, 35.0), turn_deg=(-15.0, 15.0)),
    "waist": Region(
        segments=["pelvis"], height=(0.2, 1.0), azimuth_deg=(-100.0, 100.0), turn_deg=(-15.0, 15.0), attachment=["belt"]
    ),
    "thigh": Region(
        segments=[POCKET], height=(0.1, 0.45), azimuth_deg=(-20.0, 80.0), turn_deg=(-20.0, 20.0), attachment=["pocket"]
    ),
    "ankle": Region(segments=["right_shank"], height=(0.78, 0.96), azimuth_deg=(45.0, 135.0), turn_deg=(-20.0, 20.0)),
    "head": Region(segments=["head"], height=(0.7, 1.2), azimuth_deg=(-135.0, 135.0), turn_deg=(-20.0, 20.0)),
}
"""Regions by name; those with the name of a fixed placement are where subjects wear such a device."""


def region_of(placement: str, own: dict[str, Region] | None = None) -> Region | None:
    """The region that a placement names, with or without a number: ``forearm``, ``anywhere_2``; None if there is none.

    Args:
        placement: name of a placement.
        own: regions of the config, which go before the named ones.

    Example:
        >>> region_of("anywhere_2") is REGIONS["anywhere"], region_of("nose") is None
        (True, True)
    """
    table = {**REGIONS, **(own or {})}
    stem, _, number = placement.rpartition("_")
    return table.get(placement) or (table.get(stem) if number.isdigit() else None)
