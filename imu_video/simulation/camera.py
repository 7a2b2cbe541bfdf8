"""The camera of the scene: position and projection; drawing is in render.py."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class View:
    """Ranges of camera placements, in degrees and relative to a person who fills the image.

    Args:
        azimuth: centre and spread around the person; 0 films the front, 90 the left side.
        mirrored: whether the other side is equally likely.
        elevation: lowest and highest angle above the horizon.
        zoom: lowest and highest share of the image's height that a 1.7 m person fills.
    """

    azimuth: tuple[float, float]
    mirrored: bool
    elevation: tuple[float, float]
    zoom: tuple[float, float]


VIEWS: dict[str, View] = {
    "front": View((0.0, 12.0), False, (2.0, 14.0), (0.62, 0.76)),
    "oblique": View((42.0, 12.0), True, (4.0, 18.0), (0.62, 0.76)),
    "side": View((88.0, 10.0), True, (2.0, 14.0), (0.62, 0.76)),
    "rear": View((180.0, 20.0), False, (4.0, 18.0), (0.62, 0.76)),
    "high": View((20.0, 60.0), True, (34.0, 50.0), (0.78, 0.92)),
}
"""Views by name; ``high`` looks down like a ceiling camera."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Camera:
    """A pinhole camera that keeps its direction and follows the person.

    Args:
        view: name in VIEWS.
        azimuth: rad around the vertical, 0 in front of a person with heading 0.
        elevation: rad above the horizon.
        distance: metres from the point at the image centre.
        focal: focal length in pixels.
        size: height and width of the image in pixels.
        light: (3,) unit vector towards the light in world axes.
        ambient: fraction of ambient light, 0..1.
        wall: colour above the horizon, RGB in 0..1.
        ground: colour of the floor.
        pattern: ``tiles``, ``planks`` or ``plain``.
        pattern_size: metres.
        noise: standard deviation of pixel noise in grey levels of 255.
        gain: exposure.
    """

    view: str
    azimuth: float
    elevation: float
    distance: float
    focal: float
    size: tuple[int, int]
    light: np.ndarray
    ambient: float
    wall: np.ndarray
    ground: np.ndarray
    pattern: str
    pattern_size: float
    noise: float
    gain: float

    @cached_property
    def axes(self) -> np.ndarray:
        """(3, 3) rows right, down, forward in world axes."""
        ca, sa = np.cos(self.azimuth), np.sin(self.azimuth)
        ce, se = np.cos(self.elevation), np.sin(self.elevation)
        forward = np.array([-ca * ce, -sa * ce, -se])
        right = np.array([-sa, ca, 0.0])
        return np.stack([right, np.cross(forward, right), forward])

    def position(self, aim: np.ndarray) -> np.ndarray:
        """(3,) position of the camera when it is directed at ``aim``."""
        return aim - self.distance * self.axes[2]

    def project(self, points: np.ndarray, aim: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (n, 2) as (column, row) and depths (n,) in metres of world points (n, 3).

        Example:
            >>> from imu_video.simulation.person import stream
            >>> camera = draw_camera("front", 128, stream(0))
            >>> pixels, _ = camera.project(np.array([[0.0, 0.0, 1.0]]), np.array([0.0, 0.0, 1.0]))
            >>> pixels.tolist()
            [[63.5, 63.5]]
        """
        local = (points - self.position(aim)) @ self.axes.T
        depth = local[:, 2]
        centre = np.array([(self.size[1] - 1) / 2, (self.size[0] - 1) / 2])
        return centre + self.focal * local[:, :2] / np.maximum(depth, 1e-3)[:, None], depth


def draw_camera(view: str, size: int, rng: np.random.Generator) -> Camera:
    """Set up a camera for one session: place, lens, light and room.

    Args:
        view: name in VIEWS.
        size: height and width of the image in pixels.
        rng: generator of this session's camera.
    """
    v, u = VIEWS[view], rng.uniform
    azimuth = np.deg2rad(v.azimuth[0] + v.azimuth[1] * np.clip(rng.normal(), -2, 2))
    if v.mirrored and rng.random() < 0.5:
        azimuth = -azimuth
    focal = size * u(1.1, 1.7)
    light_azimuth, light_height = azimuth + u(-1.6, 1.6), u(0.5, 1.2)
    light = np.array(
        [
            np.cos(light_azimuth) * np.cos(light_height),
            np.sin(light_azimuth) * np.cos(light_height),
            np.sin(light_height),
        ]
    )
    return Camera(
        view=view,
        azimuth=float(azimuth),
        elevation=float(np.deg2rad(u(*v.elevation))),
        distance=float(focal * 1.7 / (u(*v.zoom) * size)),
        focal=float(focal),
        size=(size, size),
        light=light,
        ambient=float(u(0.38, 0.55)),
        wall=np.clip(u(0.45, 0.9) + rng.normal(0, 0.05, 3), 0, 1),
        ground=np.clip(u(0.3, 0.7) + rng.normal(0, 0.07, 3), 0, 1),
        pattern=str(rng.choice(["tiles", "planks", "plain"], p=[0.45, 0.35, 0.2])),
        pattern_size=float(u(0.3, 0.7)),
        noise=float(u(1.0, 4.0)),
        gain=float(u(0.85, 1.12)),
    )
