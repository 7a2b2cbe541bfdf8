"""Losses against twins that follow the equations with explicit loops, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from imu_video.losses import InfoNCE, PairLoss, SigmoidPair, functional
from imu_video.types import PairEmbeddings


def naive_info_nce(z: np.ndarray, v: np.ndarray, temperature: float) -> float:
    n = len(z)
    total = 0.0
    for a, b in ((z, v), (v, z)):
        for i in range(n):
            similarities = [math.exp(sum(a[i] * b[j]) / temperature) for j in range(n)]
            total -= 0.5 * math.log(similarities[i] / sum(similarities)) / n
    return total


def naive_sigmoid_pair(z: np.ndarray, v: np.ndarray, scale: float, bias: float) -> float:
    n = len(z)
    total = 0.0
    for i in range(n):
        for j in range(n):
            s = scale * sum(z[i] * v[j]) + bias
            y = 1.0 if i == j else -1.0
            total -= math.log(1 / (1 + math.exp(-y * s))) / n
    return total


def embeddings(n: int = 8, d: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z, v = (torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(2))
    return torch.nn.functional.normalize(z, dim=1), torch.nn.functional.normalize(v, dim=1)


@pytest.mark.parametrize("n", [1, 2, 8])
@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
def test_info_nce_equals_the_double_loop(n: int, temperature: float) -> None:
    z, v = embeddings(n)
    loss = InfoNCE(temperature=temperature, learned=False)(PairEmbeddings(imu=z, sides={"video": v})).total
    assert loss.item() == pytest.approx(naive_info_nce(z.numpy(), v.numpy(), temperature), abs=1e-6)


@pytest.mark.parametrize("n", [1, 2, 8])
@pytest.mark.parametrize(("scale", "bias"), [(10.0, -10.0), (3.0, 1.0)])
def test_sigmoid_pair_equals_the_double_loop(n: int, scale: float, bias: float) -> None:
    z, v = embeddings(n)
    module = SigmoidPair(initial_scale=scale, initial_bias=bias)
    loss = module(PairEmbeddings(imu=z, sides={"video": v})).total
    assert loss.item() == pytest.approx(naive_sigmoid_pair(z.numpy(), v.numpy(), scale, bias), rel=1e-6)


def test_sigmoid_pair_gradient_equals_the_analytic_one() -> None:
    """A1: dL/ds_ij = -(1/n) y_ij sigmoid(-y_ij s_ij); dL/db its sum; dL/dt = exp(t) sum dL/ds_ij cos_ij."""
    z, v = embeddings(8)
    t = torch.tensor(math.log(10.0), dtype=torch.float64, requires_grad=True)
    b = torch.tensor(-10.0, dtype=torch.float64, requires_grad=True)
    z.requires_grad_()
    cosines = z @ v.T
    s = t.exp() * cosines + b
    s.retain_grad()
    functional.sigmoid_pair(s, torch.arange(8)).backward()

    y = 2 * torch.eye(8, dtype=torch.float64) - 1
    ds = -y * torch.sigmoid(-y * s.detach()) / 8
    expected = {"s": ds, "b": ds.sum(), "t": 10 * (ds * cosines.detach()).sum(), "z": 10 * ds @ v}
    for name, tensor in {"s": s, "b": b, "t": t, "z": z}.items():
        assert tensor.grad is not None
        assert (tensor.grad - expected[name]).abs().max() < 1e-12, name


def test_info_nce_gradient_equals_the_analytic_one() -> None:
    """d/ds of one direction's mean cross-entropy is (softmax - identity) / n."""
    z, v = embeddings(6, seed=1)
    s = (z @ v.T / 0.1).requires_grad_()
    functional.info_nce(s, s.T, torch.arange(6)).backward()
    eye = torch.eye(6, dtype=torch.float64)
    rows, columns = torch.softmax(s.detach(), 1) - eye, torch.softmax(s.detach(), 0) - eye
    assert s.grad is not None
    assert (s.grad - 0.5 * (rows + columns) / 6).abs().max() < 1e-12


@pytest.mark.parametrize("name", ["info_nce", "sigmoid_pair"])
def test_modules_pass_the_gradient_of_the_equation_to_both_sides(name: str) -> None:
    z, v = (x.requires_grad_() for x in embeddings(6, seed=3))
    y = 2 * torch.eye(6, dtype=torch.float64) - 1
    if name == "info_nce":
        logits = z @ v.T / 0.1
        picked = torch.log_softmax(logits, 1).diagonal() + torch.log_softmax(logits, 0).diagonal()
        expected = torch.autograd.grad(-picked.mean() / 2, [z, v])
        module: PairLoss = InfoNCE(temperature=0.1, learned=False)
    else:
        expected = torch.autograd.grad(torch.log1p(torch.exp(-y * (10 * z @ v.T - 10))).sum() / 6, [z, v])
        module = SigmoidPair(learned=False)
    got = torch.autograd.grad(module(PairEmbeddings(imu=z, sides={"video": v})).total, [z, v])
    for ours, theirs in zip(got, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("ranks", [2, 4])
def test_rows_split_over_ranks_average_to_the_whole(ranks: int) -> None:
    """A2 in one process: each rank holds rows, all columns; the mean over ranks is the loss of the batch."""
    z, v = embeddings(8, seed=2)
    s = 10 * z @ v.T
    whole = functional.sigmoid_pair(s - 10, torch.arange(8)), functional.info_nce(s, s.T, torch.arange(8))
    parts = torch.arange(8).chunk(ranks)
    split = (
        torch.stack([functional.sigmoid_pair(s[p] - 10, p) for p in parts]).mean(),
        torch.stack([functional.info_nce(s[p], s.T[p], p) for p in parts]).mean(),
    )
    assert [x.item() for x in split] == pytest.approx([x.item() for x in whole], abs=1e-12)
