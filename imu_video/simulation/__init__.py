"""Simulated subjects with worn sensors and a camera: data for tests and demos, not evidence about real subjects.

Read in this order: body (skeleton), person (habits), actor and the activities (gait, postures, exercise), session (one
recording session), sensors (virtual IMU), surface, strap, impacts and randomise (how devices are worn), camera, scene
and render (the clip), world (the complete recording).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.simulation.body import Body, Motion, Pose
    from imu_video.simulation.camera import Camera, draw_camera
    from imu_video.simulation.person import Person, Population, draw_person
    from imu_video.simulation.randomise import Randomise
    from imu_video.simulation.render import RenderedVideo
    from imu_video.simulation.sensors import Mount, Placement, SensorProfile, draw_mount, measure, mounted
    from imu_video.simulation.session import Session, simulate
    from imu_video.simulation.strap import Strap
    from imu_video.simulation.surface import Region, surface_point
    from imu_video.simulation.world import dress, film, wear

__all__ = [
    "Body",
    "Camera",
    "Motion",
    "Mount",
    "Person",
    "Placement",
    "Population",
    "Pose",
    "Randomise",
    "Region",
    "RenderedVideo",
    "SensorProfile",
    "Session",
    "Strap",
    "draw_camera",
    "draw_mount",
    "draw_person",
    "dress",
    "film",
    "measure",
    "mounted",
    "simulate",
    "surface_point",
    "wear",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "body": ["Body", "Motion", "Pose"],
        "camera": ["Camera", "draw_camera"],
        "person": ["Person", "Population", "draw_person"],
        "randomise": ["Randomise"],
        "render": ["RenderedVideo"],
        "sensors": ["Mount", "Placement", "SensorProfile", "draw_mount", "measure", "mounted"],
        "session": ["Session", "simulate"],
        "strap": ["Strap"],
        "surface": ["Region", "surface_point"],
        "world": ["dress", "film", "wear"],
    },
)
