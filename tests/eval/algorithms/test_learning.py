"""Every algorithm learns on both backbones (methods 4.8, D5), with the same result for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from eval.algorithms import Algorithm, algorithms
from tests.eval.algorithms.conftest import CLASSES, make_domain

BACKBONES: dict[str, dict[str, Any]] = {
    "cnn": {"name": "harood_cnn", "norm": "batch", "kernel": 5},
    "transformer": {"name": "harood_transformer", "ffn": 128},
}
SHORT: dict[str, dict[str, Any]] = {
    "ermpp": {"linear_steps": 5, "average_from": 40},
    "fishr": {"start": 20},
    "fish": {"meta_lr": 0.5},
}
NAMES = [
    "andmask", "coral", "dann", "ddlearn", "erm", "ermpp", "fish", "fishr",
    "groupdro", "lag", "mixup", "mldg", "mmd", "rsc", "urm", "vrex",
]  # fmt: skip


def test_the_sixteen_and_fusion_are_registered() -> None:
    assert [n for n in algorithms.names() if not n.startswith("test_")] == sorted([*NAMES, "fusion"])


def run(algorithm: Algorithm, steps: int) -> float:
    """Accuracy on fresh windows of the source domains after some updates."""
    for step in range(steps):
        algorithm.update([make_domain(d, 12, seed=step) for d in range(3)])
    algorithm.eval()
    hits = []
    with torch.no_grad():
        for d in range(3):
            fresh = make_domain(d, 60, seed=10_000)
            hits.append((algorithm.predict(fresh.imu, fresh.mask).argmax(1) == fresh.label).float().mean())
    return float(torch.stack(hits).mean())


@pytest.mark.parametrize("backbone", ["cnn", pytest.param("transformer", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_learns(name: str, backbone: str, begin: Callable[..., Algorithm]) -> None:
    algorithm = begin({"name": name, **SHORT.get(name, {})}, encoder=BACKBONES[backbone])
    accuracy = run(algorithm, 60)
    assert accuracy > 1 / CLASSES + 0.2
    if name == "erm":
        assert accuracy > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_weights(name: str, begin: Callable[..., Algorithm]) -> None:
    outcomes = []
    for _ in range(2):
        algorithm = begin({"name": name, **SHORT.get(name, {})})
        for step in range(3):
            algorithm.update([make_domain(d, 12, seed=step) for d in range(3)])
        outcomes.append({k: v.clone() for k, v in algorithm.network.state_dict().items()})
    assert all(torch.equal(outcomes[0][k], outcomes[1][k]) for k in outcomes[0])
