"""A session of one person: bouts of activities joined by transitions, as motion on one clock; no sensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imu_video.errors import ConfigError, nearest
from imu_video.simulation.activities import ACTIVITIES
from imu_video.simulation.actor import Actor, Prop, smoothstep
from imu_video.simulation.body import DOFS, SIDES, Motion, Pose, forward
from imu_video.simulation.person import Person, stream
from imu_video.types import Segment

RATE_HZ = 200.0
"""Rate of the kinematics in Hz; sensors sample it through their own low-pass."""
PAD_S = 0.25
"""Seconds of motion before and after the session, so that derivatives and filters have no edges inside it."""


@dataclass(frozen=True, kw_only=True)
class PlacedBout:
    """A bout of the session: its label and time, and where its coordinates lie in the world.

    Args:
        label: activity.
        start: first second of the labelled bout.
        end: end of the labelled bout.
        until: when the next bout takes over in the middle of the transition.
        origin: (x, y, level) of the bout's coordinates in world metres.
        floor: lowest ground in the bout's coordinates.
        props: things in the scene, in the bout's coordinates.
    """

    label: str
    start: float
    end: float
    until: float
    origin: tuple[float, float, float]
    floor: float
    props: tuple[Prop, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Session:
    """A person's motion in a session.

    Args:
        person: the person in this session.
        seconds: length; the clock runs from 0 to ``seconds``.
        times: (T,) at RATE_HZ, padded by PAD_S at both ends.
        pose: joint angles and root motion (D, T).
        motion: joints (J, 3, T) and segment orientations.
        bouts: in order of time.
    """

    person: Person
    seconds: float
    times: np.ndarray
    pose: Pose
    motion: Motion
    bouts: tuple[PlacedBout, ...]

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The labelled segments; transitions have no label."""
        return tuple(Segment(start=b.start, end=b.end, label=b.label) for b in self.bouts)


def simulate(
    person: Person, *, activities: Sequence[str], seconds_per_activity: float, seed: int, session: str
) -> Session:
    """Let a person perform each activity once, in random order.

    A bout lasts ``seconds_per_activity`` +- 15 %, a transition 1.6 to 3.2 s. A pure function of its arguments.

    Args:
        person: as drawn by `draw_person`.
        activities: names in ACTIVITIES; the order is shuffled.
        seconds_per_activity: mean length of a bout, 2 or more seconds.
        seed: the world's seed.
        session: name of the session; another session models another day.

    Raises:
        ConfigError: an unknown activity, no activity, or bouts that are too short.
    """
    for name in activities:
        if name not in ACTIVITIES:
            raise ConfigError(f"unknown activity {name!r}{nearest(name, ACTIVITIES)}")
    if not activities or len(set(activities)) != len(activities):
        raise ConfigError(f"activities is {list(activities)}, expected at least one and no duplicates")
    if not seconds_per_activity >= 2.0:
        raise ConfigError(f"seconds_per_activity is {seconds_per_activity}, expected 2 or more")
    rng = stream(seed, person.name, session, "timeline")
    today = person.on_day(rng)
    order = [activities[i] for i in rng.permutation(len(activities))]
    length = seconds_per_activity * rng.uniform(0.85, 1.15, len(order))
    blend = rng.uniform(1.6, 2.4, len(order))
    blend += [0.8 * ("lie" in order[i : i + 2]) for i in range(len(order))]
    start = np.concatenate([[0.0], np.cumsum(length[:-1] + blend[:-1])])
    end = start + length
    total = float(end[-1])
    times = np.arange(int(np.ceil((total + 2 * PAD_S) * RATE_HZ)) + 1) / RATE_HZ - PAD_S

    values = np.zeros((len(DOFS), len(times)))
    moving = [DOFS.index(n) for n in ("x", "y", "level")]
    speed = np.zeros((3, len(times)))
    spans, bouts = [], []
    for k, name in enumerate(order):
        before = blend[k - 1] if k else 2 * PAD_S
        after = blend[k] if k + 1 < len(order) else 2 * PAD_S
        lo, hi = np.searchsorted(times, [start[k] - before, end[k] + after])
        actor = Actor(
            person=today,
            t=times[lo:hi] - start[k],
            seconds=float(length[k]),
            rng=stream(seed, person.name, session, "bout", name),
        )
        bout = ACTIVITIES[name](actor)
        weight = np.ones(hi - lo)
        if k:
            weight *= smoothstep(times[lo:hi], start[k] - before, start[k])
        if k + 1 < len(order):
            weight *= 1 - smoothstep(times[lo:hi], end[k], end[k] + after)
        local = bout.pose.values
        path = local[moving]
        bout.pose["z"] -= bout.pose["level"]
        values[:, lo:hi] += local * weight
        # Progress is blended as speed, so that a walk comes to a stop instead of being pulled to the next position.
        speed[:, lo:hi] += np.diff(path, axis=1, prepend=path[:, :1]) * weight
        spans.append((lo, path))
        bouts.append(bout)
    place = np.cumsum(speed, axis=1)
    values[moving] = place
    pose = Pose(values)
    pose["z"] += pose["level"]
    _tremble(today, pose, times, stream(seed, person.name, session, "tremor"))

    placed = []
    for k, (name, bout) in enumerate(zip(order, bouts, strict=True)):
        lo, path = spans[k]
        at = int(np.searchsorted(times, start[k] + 0.5 * length[k]))
        x, y, level = (place[:, at] - path[:, at - lo]).tolist()
        until = float(end[k] + blend[k] / 2) if k + 1 < len(order) else total + PAD_S
        placed.append(
            PlacedBout(
                label=name,
                start=float(start[k]),
                end=float(end[k]),
                until=until,
                origin=(x, y, level),
                floor=bout.floor,
                props=tuple(bout.props),
            )
        )
    return Session(
        person=today,
        seconds=total,
        times=times,
        pose=pose,
        motion=forward(pose, today.body),
        bouts=tuple(placed),
    )


def _tremble(person: Person, pose: Pose, times: np.ndarray, rng: np.random.Generator) -> None:
    """Tremor of forearms and hands at the person's frequency, with varying amplitude, stronger on the weaker side."""
    if person["tremor"] <= 0:
        return
    for side in SIDES:
        size = person["tremor"] * (1.0 if side == person.weak else 0.35)
        slow = 2 * np.pi / 11.0 * times  # the amplitude varies over about 11 s
        envelope = np.clip(0.7 + 0.6 * np.sin(slow * rng.uniform(0.5, 1.5) + rng.uniform(0, 6.28)), 0, None)
        angle = 2 * np.pi * person["tremor_hz"] * times + 0.8 * np.sin(slow * 3.1 + rng.uniform(0, 6.28))
        shake = size * envelope * np.sin(angle)
        pose[f"{side}_pronation"] += shake
        pose[f"{side}_wrist_flex"] += 0.6 * shake
        pose[f"{side}_elbow"] += 0.25 * size * envelope * np.sin(angle + 0.7)
