"""The simulated world as a dataset: virtual subjects, worn devices and a camera; not evidence about real subjects.

Shift axes are arguments: people (seeded subjects), placements, devices (sensor profiles), cameras and populations. Each
recording is one session of one person, a pure function of (seed, subject, session): subsets are the same data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from imu_video.arguments import LATER, Seed
from imu_video.config import Config, validate
from imu_video.datasets.common import chosen
from imu_video.errors import ConfigError, nearest
from imu_video.registry import datasets
from imu_video.simulation.activities import ACTIVITIES
from imu_video.simulation.camera import VIEWS
from imu_video.simulation.person import POPULATIONS, draw_person, stream
from imu_video.simulation.randomise import Randomise, check_names
from imu_video.simulation.sensors import PROFILES
from imu_video.simulation.session import simulate
from imu_video.simulation.world import dress, film
from imu_video.types import Recording


class Group(Config):
    """Subjects who are recorded in the same way.

    Args:
        prefix: subjects are named ``<prefix>00``, ``<prefix>01`` ...; a subject depends on its name, not on the count.
        count: number of subjects.
        population: ``general`` or ``slow_gait`` (slower, shorter and asymmetric steps, tremor).
        devices: sensor profiles, or ``random``; each subject has one session per entry, on different days; names may
            repeat.
        cameras: camera views, one drawn per session; a view that is listed twice is twice as likely.
        seconds_per_activity: mean length of a bout in seconds.
    """

    prefix: str = Field(default="p", pattern="^[A-Za-z]+$")
    count: int = Field(default=8, ge=1, le=9999)
    population: str = "general"
    devices: list[str] = Field(default=["watch"], min_length=1)
    cameras: list[str] = Field(default=["front", "oblique", "side"], min_length=1)
    seconds_per_activity: float = Field(default=20.0, ge=2.0, le=3600.0)

    @property
    def subjects(self) -> list[str]:
        """Names of the group's subjects."""
        return [f"{self.prefix}{i:02d}" for i in range(self.count)]


DEFAULT_GROUPS: tuple[Group, ...] = (
    Group(prefix="p", count=24),
    Group(prefix="q", count=6, devices=["watch", "cheap"]),
    Group(prefix="s", count=6, population="slow_gait"),
)
"""Subjects for pretraining, subjects with two kinds of devices, and subjects of another population."""

DEFAULT_ACTIVITIES: tuple[str, ...] = (
    "cycle",
    "drink",
    "jog",
    "jumping_jacks",
    "lie",
    "sit",
    "stairs_down",
    "stairs_up",
    "stand",
    "type",
    "vacuum",
    "walk",
)
"""Twelve of the activities; brush_teeth, clap, squats and wave exist as well."""


@datasets.register("synthetic")
class SyntheticWorld:
    """Simulated recordings: IMU from the kinematics of an articulated body, clips rendered from the same body.

    Args:
        seed: seed of the world; another seed gives other subjects.
        groups: subjects, durations, devices and cameras; `Group` or a mapping of its fields.
        activities: labels, each performed once per session in random order.
        placements: placements of the devices: fixed ones, or regions of the body's surface such as ``anywhere_1``.
        fps: frames per second of camera and skeleton, 1 to 100.
        image_size: height and width of the camera image in pixels, 16 to 1024; frames are drawn when they are read.
        randomise: domain randomisation of the devices; None for fixed placements on rigid mounts.

    Raises:
        ConfigError: an unknown name, repeated subjects or placements, or a number out of range.

    Example:
        >>> world = SyntheticWorld(groups=[Group(count=2, seconds_per_activity=3.0)], activities=["walk", "sit"])
        >>> world.subjects()
        ['p00', 'p01']
        >>> next(world.recordings(["p01"])).tags
        {'device': 'watch', 'camera': 'oblique', 'population': 'general'}
    """

    name = "synthetic"
    licence: ClassVar[str] = "CC0-1.0"
    citation: ClassVar[str] = "Simulated by imu-video; no person was recorded."
    url: ClassVar[str] = "https://github.com/imu-video/imu-video/blob/main/docs/concepts/world.md"
    streams: ClassVar[tuple[str, ...]] = ("imu", "video", "skeleton")
    tested_on: ClassVar[str] = "itself"

    def __init__(
        self,
        *,
        seed: Seed = 0,
        groups: Sequence[Group] = DEFAULT_GROUPS,
        activities: Sequence[str] = DEFAULT_ACTIVITIES,
        placements: Sequence[str] = ("left_wrist", "right_wrist", "waist", "thigh", "ankle"),
        fps: float = 25.0,
        image_size: int = 144,
        randomise: Annotated[Randomise | None, LATER] = None,
    ) -> None:
        self.seed, self.fps, self.image_size, self.randomise = seed, fps, image_size, randomise
        self.groups = tuple(
            g if isinstance(g, Group) else validate(g, Group, source=f"dataset 'synthetic', group {i}")
            for i, g in enumerate(groups)
        )
        self.activities, self.placements = tuple(activities), tuple(placements)
        _known(self.activities, ACTIVITIES, "activity")
        check_names(self.placements, [d for g in self.groups for d in g.devices], randomise, dataset=self.name)
        _distinct(self.placements, "placement")
        if not 1.0 <= fps <= 100.0:
            raise ConfigError(f"dataset 'synthetic': fps is {fps}, expected 1 to 100")
        if not 16 <= image_size <= 1024:
            raise ConfigError(f"dataset 'synthetic': image_size is {image_size}, expected 16 to 1024")
        self._group_of: dict[str, Group] = {}
        for group in self.groups:
            _known(group.cameras, VIEWS, "camera", repeats=True)
            _known([group.population], POPULATIONS, "population")
            for subject in group.subjects:
                if subject in self._group_of:
                    raise ConfigError(
                        f"dataset 'synthetic': subject {subject!r} is in two groups",
                        hint="give the groups different prefixes",
                    )
                self._group_of[subject] = group
        if not self._group_of:
            raise ConfigError("dataset 'synthetic': groups is empty, expected at least one group")

    @property
    def labels(self) -> tuple[str, ...]:
        """Activities, sorted."""
        return tuple(sorted(self.activities))

    @property
    def rate_hz(self) -> float | None:
        """Nominal rate, None when groups use devices of different rates, or the device ``random``."""
        names = {device for group in self.groups for device in group.devices}
        rates = {PROFILES[name].rate_hz if name in PROFILES else None for name in names}
        return rates.pop() if len(rates) == 1 else None

    def subjects(self) -> list[str]:
        """Sorted subjects, computed without a simulation."""
        return sorted(self._group_of)

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """Sessions of the given subjects (all when None), simulated one at a time.

        Raises:
            ConfigError: unknown subject.
        """
        for subject in sorted(chosen(subjects, self._group_of, dataset=self.name)):
            group = self._group_of[subject]
            for number, device in enumerate(group.devices, start=1):
                yield self._record(subject, group, str(number), device)

    def _record(self, subject: str, group: Group, session: str, device: str) -> Recording:
        person = draw_person(self.seed, subject, group.population)
        motion = simulate(
            person,
            activities=self.activities,
            seconds_per_activity=group.seconds_per_activity,
            seed=self.seed,
            session=session,
        )
        cameras = sorted(group.cameras)
        camera = cameras[int(stream(self.seed, subject, session, "view").integers(len(cameras)))]
        video, skeleton = film(motion, camera=camera, fps=self.fps, size=self.image_size, seed=self.seed, name=session)
        worn = dress(
            motion,
            placements=self.placements,
            device=device,
            seed=self.seed,
            name=session,
            randomise=self.randomise,
        )
        return Recording(
            dataset=self.name,
            subject=subject,
            name=f"{subject}-{session}",
            imu=worn.imu,
            streams={"video": video, "skeleton": skeleton},
            segments=motion.segments,
            session=session,
            tags={"device": device, "camera": camera, "population": group.population, **worn.tags},
            notes=worn.notes,
        )


def _known(names: Sequence[str], table: dict[str, Any], kind: str, *, repeats: bool = False) -> None:
    for name in names:
        if name not in table:
            raise ConfigError(f"dataset 'synthetic': unknown {kind} {name!r}{nearest(name, table)}")
    if not repeats:
        _distinct(names, kind)


def _distinct(names: Sequence[str], kind: str) -> None:
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"dataset 'synthetic': {kind} names must be distinct and at least one, got {list(names)}")
