"""Three made-up domains: the class is a frequency, the domain a gain and a turn of the axes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from eval.algorithms import AdamSettings, Algorithm, DomainBatch, Network, algorithms
from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.input_spec import InputSpec

SAMPLES, RATE, CLASSES = 64, 32, 3
HERTZ = (1.0, 3.0, 6.0)


def spec() -> InputSpec:
    return InputSpec(rate_hz=RATE, window_s=SAMPLES / RATE, mean=(0,) * 6, std=(1,) * 6)


def make_domain(number: int, rows: int, seed: int) -> DomainBatch:
    """Rows of one domain, classes in turn."""
    g = torch.Generator().manual_seed(1000 * seed + number)
    label = torch.arange(rows) % CLASSES
    time = torch.arange(SAMPLES) / RATE
    hertz = torch.tensor(HERTZ)[label][:, None]
    phase = 2 * math.pi * torch.rand(rows, 1, generator=g)
    wave = torch.sin(2 * math.pi * hertz * time + phase)
    direction = torch.nn.functional.normalize(torch.randn(6, generator=torch.Generator().manual_seed(number)), dim=0)
    gain = (0.7, 1.0, 1.4, 2.0)[number]
    imu = gain * wave[:, None] * direction[:, None] * 2 + 0.3 * torch.randn(rows, 6, SAMPLES, generator=g)
    return DomainBatch(imu=imu, mask=torch.ones_like(imu, dtype=torch.bool), label=label)


@pytest.fixture
def batches() -> list[DomainBatch]:
    return [make_domain(d, 12, seed=1) for d in range(3)]


@pytest.fixture
def begin() -> Callable[..., Algorithm]:
    """Start an algorithm on a fresh network, the same weights for the same seed."""

    def start(config: str | dict[str, object], *, encoder: object = None, domains: int = 3, seed: int = 0) -> Algorithm:
        torch.manual_seed(seed)
        bundle = EncoderBundle(spec=spec(), encoder=encoder or {"name": "harood_cnn", "norm": "batch", "kernel": 5})
        network = Network(bundle, CLASSES)
        algorithm = algorithms.build(config)
        algorithm.begin(
            network, domains=domains, adam=AdamSettings(lr=1e-2), generator=torch.Generator().manual_seed(seed)
        )
        return algorithm.train()

    return start


def weights(algorithm: Algorithm) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in algorithm.network.state_dict().items()}
