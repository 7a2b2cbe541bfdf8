"""A plugin that adds a modality in one file: insole pressure, a dataset that has it, a network that learns from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from imu_video.modalities import Modality, StreamSpec
from imu_video.registry import datasets, modalities, towers
from imu_video.runtime.distributed import GlobalDraws
from imu_video.types import GRAVITY, ImuStream, Recording, Segment


@dataclass(frozen=True, kw_only=True)
class Insole:
    """Pressure under one foot: ``times`` (N,) seconds, ``values`` (N, P) kPa."""

    times: np.ndarray
    values: np.ndarray


class PressureSpec(StreamSpec):
    """Pressure windows of the folder: rate, frames F, number of cells P."""

    provisional: ClassVar[Mapping[str, Any]] = {"cells": 1}
    cells: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(F, P)."""
        return (self.frames, self.cells)

    @property
    def context(self) -> dict[str, Any]:
        return {"cells": self.cells}


@modalities.register("pressure")
class Pressure(Modality):
    """Insole pressure, interpolated linearly. Shapes: (F, P) float32 in kPa."""

    name: ClassVar[str] = "pressure"
    axes: ClassVar[str] = "F P"
    unit: ClassVar[str] = "kPa"
    noun: ClassVar[str] = "pressure"
    spec: ClassVar[type[StreamSpec]] = PressureSpec

    def sample(self, stream: Insole, times: np.ndarray) -> np.ndarray:
        cells = [np.interp(times, stream.times, cell) for cell in stream.values.T]
        return np.stack(cells, axis=1).astype(np.float32)

    def describe(self, stream: Insole, values: np.ndarray) -> PressureSpec:
        assert self.fps is not None
        return PressureSpec(fps=self.fps, frames=len(values), cells=values.shape[1])


@datasets.register("insole_people")
class InsolePeople:
    """People with an ankle IMU and an insole of six cells; the last half of every second recording has no insole.

    Args:
        people: how many, named p0, p1, ...
        first: number of the first one.
    """

    name = "insole_people"
    licence: ClassVar[str] = "CC0-1.0"
    citation: ClassVar[str] = "Nobody, 2024"
    url: ClassVar[str] = "https://example.org"
    placements: ClassVar[tuple[str, ...]] = ("ankle",)
    labels: ClassVar[tuple[str, ...]] = ("stand", "walk")
    rate_hz: ClassVar[float] = 50.0
    streams: ClassVar[tuple[str, ...]] = ("imu", "pressure")

    def __init__(self, *, people: int = 4, first: int = 0) -> None:
        self.people, self.first = people, first

    def subjects(self) -> list[str]:
        return [f"p{self.first + i}" for i in range(self.people)]

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        for subject in self.subjects() if subjects is None else subjects:
            for number, label in enumerate(self.labels):
                yield self._recording(subject, number, label)

    def _recording(self, subject: str, number: int, label: str) -> Recording:
        rng = np.random.default_rng([int(subject[1:]), number])
        times = np.arange(400) / 50
        step = np.sin(2 * np.pi * (0.7 + 0.2 * number) * times)
        values = rng.normal(size=(6, 400)) + step
        values[2] += GRAVITY
        imu = ImuStream(placement="ankle", times=times, values=values)
        worn = times if number == 0 else times[:200]
        pressure = 100 + 50 * step[: len(worn), None] * np.arange(1, 7) + rng.normal(size=(len(worn), 6))
        return Recording(
            dataset=self.name,
            subject=subject,
            name=f"{label}_{subject}",
            imu=(imu,),
            streams={"pressure": Insole(times=worn, values=pressure)},
            segments=(Segment(start=0, end=8, label=label),),
        )


@towers.register("pressure_mlp")
class PressureTower(nn.Module):
    """Features over time of insole pressure by one convolution.

    Args:
        cells: P, from the data.
        width: features, 4 or more.
    """

    modality: ClassVar[str] = "pressure"

    def __init__(self, *, cells: int, width: int = 8) -> None:
        super().__init__()
        self.network = nn.Conv1d(cells, width, 3, padding=1)
        self.token_dim = self.feature_dim = width

    def fit(self, values: Tensor) -> None:
        """Nothing is fitted."""

    def tokens(self, values: Tensor, draws: GlobalDraws | None = None) -> Tensor:
        out: Tensor = torch.relu(self.network(values.transpose(1, 2) / 100)).transpose(1, 2)
        return out

    def pool(self, tokens: Tensor) -> Tensor:
        return tokens.mean(dim=1)

    def forward(self, values: Tensor, draws: GlobalDraws | None = None) -> Tensor:
        return self.pool(self.tokens(values, draws))
