"""A plugin file for tests of imu-eval: eight people, four activities, two devices, a clip whose hue is the activity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from imu_video.registry import datasets
from imu_video.types import GRAVITY, ImuStream, Recording, Segment

ACTIVITIES = ("jump", "run", "sit", "walk")
RATE, SECONDS = 32, 8


class Hue:
    """Video at 5 Hz of one colour, slightly different in each frame."""

    def __init__(self, activity: int) -> None:
        self.activity = activity

    @property
    def times(self) -> np.ndarray:
        return np.arange(5 * SECONDS) / 5

    def read(self, indices: Sequence[int]) -> np.ndarray:
        frames = np.zeros((len(indices), 32, 32, 3), np.uint8)
        frames[..., self.activity % 3] = 80 + 50 * (self.activity // 3)
        frames[..., 2] += np.array(indices, np.uint8)[:, None, None]
        return frames


@datasets.register("eval_people")
class EvalPeople:
    """Each activity is a rhythm with an amplitude; the wrist shakes more than the ankle; `s1` lost the gyroscope."""

    name = "eval_people"
    licence: ClassVar[str] = "CC0-1.0"
    citation: ClassVar[str] = "Nobody, 2024"
    url: ClassVar[str] = "https://example.org"
    placements: ClassVar[tuple[str, ...]] = ("ankle", "wrist")
    labels: ClassVar[tuple[str, ...]] = ACTIVITIES
    rate_hz: ClassVar[float] = float(RATE)

    def __init__(self, *, people: int = 8) -> None:
        self.people = people

    def subjects(self) -> list[str]:
        return [f"s{i}" for i in range(self.people)]

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        for subject in self.subjects() if subjects is None else subjects:
            for number, activity in enumerate(ACTIVITIES):
                yield self._recording(subject, number, activity)

    def _recording(self, subject: str, number: int, activity: str) -> Recording:
        who = int(subject[1:])
        rng = np.random.default_rng([who, number])
        times = np.arange(RATE * SECONDS) / RATE
        streams = []
        for p, placement in enumerate(self.placements):
            pace = (1 + number) * (1 + 0.03 * who)
            beat = np.sin(2 * np.pi * pace * times + rng.uniform(0, 6, (6, 1)))
            values = (0.5 + number * (1 + p)) * beat + rng.normal(size=(6, len(times))) * 0.3
            values[2] += GRAVITY
            if who == 1:
                values[3:] = np.nan
            streams.append(ImuStream(placement=placement, times=times, values=values))
        return Recording(
            dataset=self.name,
            subject=subject,
            name=f"{activity}_{subject}",
            imu=tuple(streams),
            streams={"video": Hue(number)},
            segments=(Segment(start=0, end=SECONDS, label=activity),),
            tags={"device": "cheap" if who % 2 else "good"},
        )
