"""From a session to its recording: worn sensors, the clip of a camera, the skeleton; not the choice of subjects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter1d

from imu_video.modalities.skeleton import SkeletonTrack
from imu_video.simulation.body import JOINTS
from imu_video.simulation.camera import VIEWS, draw_camera
from imu_video.simulation.person import stream
from imu_video.simulation.render import RenderedVideo
from imu_video.simulation.sensors import (
    PROFILES,
    draw_mount,
    look_up,
    measure,
    mounted,
    specific_force_and_rate,
)
from imu_video.simulation.session import RATE_HZ, Session
from imu_video.types import ImuStream

FOLLOW_S = 0.6
"""Standard deviation in seconds of the smoothing with which the camera follows the person."""


def wear(session: Session, *, placements: Sequence[str], device: str, seed: int, name: str) -> tuple[ImuStream, ...]:
    """Signals of devices of one kind at several placements; a pure function of its arguments.

    The errors of a device depend on its placement, never on which other placements are simulated.

    Args:
        session: the motion.
        placements: names in PLACEMENTS.
        device: name in PROFILES.
        seed: the world's seed.
        name: name of the session.
    """
    profile = look_up(PROFILES, device, "device")
    subject = session.person.name
    streams = []
    for placement in placements:
        mount = draw_mount(
            session.person,
            placement,
            profile,
            stream(seed, subject, "mount", placement, device),
            stream(seed, subject, name, "mount", placement, device),
        )
        rng = stream(seed, subject, name, "sensor", placement, device)
        position, rotation = mounted(session.motion, mount, session.times, rng)
        force, rate = specific_force_and_rate(position, rotation, RATE_HZ)
        streams.append(
            measure(
                force,
                rate,
                session.times,
                placement=placement,
                profile=profile,
                seconds=session.seconds,
                rng=rng,
            )
        )
    return tuple(streams)


def film(
    session: Session, *, camera: str, fps: float, size: int, seed: int, name: str
) -> tuple[RenderedVideo, SkeletonTrack]:
    """The clip of a camera, rendered when it is read, and the joints at its frames.

    Args:
        session: the motion.
        camera: name in VIEWS.
        fps: frames per second.
        size: height and width in pixels.
        seed: the world's seed.
        name: name of the session.
    """
    look_up(VIEWS, camera, "camera")
    subject = session.person.name
    rng = stream(seed, subject, name, "camera", camera)
    placed = draw_camera(camera, size, rng)
    times = np.arange(int(np.floor((session.seconds - 1e-9) * fps))) / fps + rng.uniform(0.1, 0.9) / fps
    times = times[times < session.seconds]
    near = np.clip(np.round((times - session.times[0]) * RATE_HZ).astype(np.int64), 0, len(session.times) - 1)
    joints = session.motion.joints[:, :, near].transpose(2, 0, 1)
    gaze = session.motion.segments["head"][:, 0, near].T
    pose = session.pose
    aim = np.stack([pose["x"], pose["y"], pose["level"] + 0.5 * session.person.body.height + rng.normal(0, 0.03)])
    aim = gaussian_filter1d(aim, FOLLOW_S * RATE_HZ, axis=1, mode="nearest", truncate=3.0)[:, near].T
    aim = aim + 0.03 * rng.normal(size=3)
    video = RenderedVideo(
        times=times,
        joints=joints.astype(np.float32),
        gaze=gaze.astype(np.float32),
        aim=aim,
        bouts=session.bouts,
        person=session.person,
        camera=placed,
        seed=f"{seed}/{subject}/{name}/video",
    )
    return video, SkeletonTrack(times=times, joints=joints.astype(np.float32), names=JOINTS)
