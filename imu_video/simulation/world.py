"""From a session to its recording: worn sensors, the clip of a camera, the skeleton; not the choice of subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from imu_video.modalities.skeleton import SkeletonTrack
from imu_video.simulation.body import JOINTS
from imu_video.simulation.camera import VIEWS, draw_camera
from imu_video.simulation.impacts import shock
from imu_video.simulation.person import stream
from imu_video.simulation.randomise import Randomise, put_on
from imu_video.simulation.render import RenderedVideo
from imu_video.simulation.rotations import apply_inverse
from imu_video.simulation.sensors import PLACEMENTS, look_up, measure, mounted, specific_force_and_rate
from imu_video.simulation.session import RATE_HZ, Session
from imu_video.simulation.strap import carried, loose_force_and_rate
from imu_video.types import ImuStream

FOLLOW_S = 0.6
"""Standard deviation in seconds of the smoothing with which the camera follows the person."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Worn:
    """Signals of the devices of one recording, and what was drawn for them.

    Args:
        imu: one stream per placement.
        tags: ``segment_<placement>``: the segment of every device at a drawn place other than the fixed ones.
        notes: one text per device for which anything was drawn: place, strap, profile.
    """

    imu: tuple[ImuStream, ...]
    tags: Mapping[str, str]
    notes: tuple[str, ...]


def wear(session: Session, *, placements: Sequence[str], device: str, seed: int, name: str) -> tuple[ImuStream, ...]:
    """Signals of devices of one kind at several placements; `dress` without randomisation.

    Args:
        session: the motion.
        placements: names in PLACEMENTS, or of regions of the surface.
        device: name in PROFILES.
        seed: the world's seed.
        name: name of the session.
    """
    return dress(session, placements=placements, device=device, seed=seed, name=name).imu


def dress(
    session: Session,
    *,
    placements: Sequence[str],
    device: str,
    seed: int,
    name: str,
    randomise: Randomise | None = None,
) -> Worn:
    """Devices at several placements and their signals; a pure function of its arguments.

    What is drawn for a device depends on its placement, never on which other placements are simulated.

    Args:
        session: the motion.
        placements: names in PLACEMENTS, or of regions of the surface.
        device: name in PROFILES, or ``random``.
        seed: the world's seed.
        name: name of the session.
        randomise: None for the fixed placements, on rigid mounts.
    """
    subject = session.person.name
    worn = [
        put_on(session.person, placement, device=device, seed=seed, name=name, randomise=randomise)
        for placement in placements
    ]
    streams = []
    for one in worn:
        rng = stream(seed, subject, name, "sensor", one.placement, device)
        position, rotation = mounted(session.motion, one.mount, session.times, rng)
        if one.strap is None:
            force, rate = specific_force_and_rate(position, rotation, RATE_HZ)
        else:
            force, rate = loose_force_and_rate(position, rotation, one.out, one.strap, RATE_HZ)
        if one.impact is not None:
            jolt, turn = shock(session.motion, one.mount.segment, one.impact, RATE_HZ)
            # The strap is linear in world axes, so that its response to the shock adds to that to the motion.
            force = force + apply_inverse(rotation, jolt if one.strap is None else carried(jolt, one.strap, RATE_HZ))
            rate = rate + apply_inverse(rotation, turn if one.strap is None else carried(turn, one.strap, RATE_HZ))
        streams.append(
            measure(
                force,
                rate,
                session.times,
                placement=one.placement,
                profile=one.profile,
                seconds=session.seconds,
                rng=rng,
            )
        )
    return Worn(
        imu=tuple(streams),
        tags={f"segment_{one.placement}": one.mount.segment for one in worn if one.placement not in PLACEMENTS},
        notes=tuple(one.note for one in worn if one.note),
    )


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
