"""Small made-up labelled windows: people with habits, activities with rhythms, two placements."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from eval.datasets import LabelledWindows
from imu_video.types import IMU_CHANNELS


def make_windows(
    *,
    people: int = 6,
    classes: int = 4,
    recordings: int = 2,
    windows: int = 3,
    placements: tuple[str, ...] = ("wrist", "ankle"),
    time: int = 64,
    rate_hz: float = 32.0,
    separable: float = 1.0,
    seed: int = 0,
) -> LabelledWindows:
    """One row a (person, class, recording, window, placement): a gravity vector plus an activity's rhythm."""
    rng = np.random.default_rng(seed)
    t = np.arange(time) / rate_hz
    style = rng.normal(size=(people, 6)) * 0.2
    mount = {p: rng.normal(size=6) for p in placements}
    x, labels, facts, start, sample = [], [], {k: [] for k in _FACTS}, [], []
    number = 0
    for s in range(people):
        for c in range(classes):
            for r in range(recordings):
                for w in range(windows):
                    for p in placements:
                        rhythm = np.sin(2 * np.pi * (1 + 1.5 * c) * t + rng.uniform(0, 6))
                        signal = separable * (1 + c) * rhythm * (1 + mount[p])[:, None] + style[s][:, None]
                        signal = signal + rng.normal(size=(6, time)) * 0.5
                        signal[2] += 9.8
                        x.append(signal)
                        labels.append(c)
                        facts["subject"].append(f"s{s:02d}")
                        facts["placement"].append(p)
                        facts["recording"].append(f"s{s:02d}_c{c}_r{r}")
                        facts["session"].append("1")
                        facts["split"].append("test")
                        facts["device"].append("cheap" if r else "good")
                        start.append(w * time / rate_hz / 2)
                        sample.append(number)
                    number += 1
    return LabelledWindows(
        x=np.array(x, dtype=np.float32),
        labels=np.array(labels),
        classes=tuple(f"activity{c}" for c in range(classes)),
        facts={k: np.array(v) for k, v in facts.items()},
        start=np.array(start),
        sample=np.array(sample),
        dataset="made",
        digest="0" * 12,
        rate_hz=rate_hz,
        window_s=time / rate_hz,
        channels=IMU_CHANNELS,
    )


_FACTS = ("subject", "placement", "recording", "session", "split", "device")


@pytest.fixture(scope="session")
def windows() -> LabelledWindows:
    return make_windows()


@pytest.fixture(scope="session")
def make() -> Callable[..., LabelledWindows]:
    return make_windows
