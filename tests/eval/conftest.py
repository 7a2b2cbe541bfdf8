"""Small made-up labelled windows: people with habits, activities with rhythms, two placements."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from eval.data.windows import LabelledWindows
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


CLASSES = 4


class Student:
    """Reads class and sample number, planted in the first samples of a window, and blurs them with noise.

    ``permuted``: reads them off another window, as a student whose pairs were permuted knows nothing of its own.
    """

    head_columns = slice(None)

    def __init__(self, noise: float = 0.0, lineage: dict[str, Any] | None = None, permuted: bool = False) -> None:
        self.noise, self.permuted = noise, permuted
        self.lineage = lineage or {}
        self.parts: dict[str, slice] = {}
        self.head_columns = slice(None)

    def encode(self, x: np.ndarray, **_: object) -> np.ndarray:
        rng = np.random.default_rng(0)
        x = x[rng.permutation(len(x))] if self.permuted else x
        return (planted(x) + self.noise * rng.normal(size=(len(x), CLASSES + 8))).astype(np.float32)


class Pair:
    """Stands for CrossModalModel: features and teacher features are embeddings already."""

    def __init__(self, **student: Any) -> None:
        self.student = Student(**student)
        self.imu_projector = torch.nn.Identity()
        self.teacher = types.SimpleNamespace(mean=torch.zeros(CLASSES + 8))

    def embed_teacher(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(x, dim=-1)


def planted(x: np.ndarray) -> np.ndarray:
    """One-hot class, and a smaller direction of the sample's own."""
    label, sample = x[:, 0, 0].astype(int), x[:, 0, 1].astype(int)
    own = np.stack([np.random.default_rng(s).normal(size=8) for s in sample]) * 0.25
    return np.concatenate([np.eye(CLASSES)[label], own], axis=1)


@pytest.fixture(scope="session")
def pair() -> type[Pair]:
    return Pair


@pytest.fixture(scope="session")
def paired(make: Callable[..., LabelledWindows]) -> LabelledWindows:
    """Ten people, the last three in `train`; teacher features are exact, two samples lack them."""
    w = make(people=10)
    x = w.x.copy()
    x[:, 0, 0], x[:, 0, 1] = w.labels, w.sample
    teacher = planted(x).astype(np.float32)
    teacher[np.isin(w.sample, [0, 5])] = np.nan
    split = np.where(w.subject >= "s07", "train", "test")
    return replace(w, x=x, teacher=teacher, teacher_name="t", facts={**w.facts, "split": split})
