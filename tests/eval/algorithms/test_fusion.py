"""FusionActNet's head and training (methods 12.6): L1, L3 on made-up windows, L4, groups given and found."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from eval.algorithms import Algorithm, DomainBatch, algorithms
from eval.algorithms.base import Precomputed
from eval.algorithms.fusion import FusionHead, split_by_movement
from imu_video.errors import ConfigError

GROUPS = torch.tensor([0, 1, 0, 1, 1])


def head(groups: Tensor = GROUPS, parts: dict[str, slice] | None = None) -> FusionHead:
    torch.manual_seed(0)
    made = FusionHead(width=6, classes=len(groups), parts=parts)
    made.set_groups(groups)
    return made


def test_probabilities_sum_to_one_and_equal_a_loop() -> None:
    """L1."""
    parts = {"static": slice(0, 2), "dynamic": slice(2, 4), "gate": slice(4, 6)}
    made, z = head(parts=parts).requires_grad_(False), torch.randn(7, 6, generator=torch.Generator().manual_seed(1))
    p = made(z).exp()
    torch.testing.assert_close(p.sum(1), torch.ones(7))
    for row, probabilities in zip(z, p, strict=True):
        gate = 1 / (1 + math.exp(-(made.gate.weight[0] @ row[4:] + made.gate.bias[0]).item()))
        for number, columns in ((0, row[:2]), (1, row[2:4])):
            scores = made.experts[number].weight @ columns + made.experts[number].bias
            total = sum(math.exp(scores[c]) for c in range(5) if GROUPS[c] == number)
            for c in range(5):
                if GROUPS[c] == number:
                    expected = (gate if number == 0 else 1 - gate) * math.exp(scores[c]) / total
                    assert math.isclose(probabilities[c].item(), expected, rel_tol=1e-5)


def test_the_order_of_classes_does_not_matter() -> None:
    """L1: with labels in another order and the weights moved along, every class keeps its probability."""
    order = torch.tensor([3, 0, 4, 2, 1])
    made, moved = head(), head(GROUPS[order])
    with torch.no_grad():
        for expert, other in zip(made.experts, moved.experts, strict=True):
            other.weight.copy_(expert.weight[order])
            other.bias.copy_(expert.bias[order])
        moved.gate.load_state_dict(made.gate.state_dict())
    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(moved(z), made(z)[:, order])


def test_each_term_trains_its_own_part() -> None:
    """A window of a static class teaches the gate and the static expert, not the dynamic one."""
    made = head()
    F.nll_loss(made(torch.randn(3, 6)), torch.tensor([0, 2, 2])).backward()
    assert made.experts[1].weight.grad is None or not made.experts[1].weight.grad.any()
    assert made.experts[0].weight.grad.any()
    assert made.gate.weight.grad.any()


def test_a_confident_right_answer_has_no_gradient() -> None:
    """L4: unlike cross-entropy on the probabilities, a second softmax, whose loss stays above log(1 + 4/e)."""
    scores = torch.tensor([[60.0, 0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    gate = torch.tensor([[60.0]], requires_grad=True)
    made = head()
    made.experts[0].forward = made.experts[1].forward = lambda z: scores  # type: ignore[method-assign]
    made.gate.forward = lambda z: gate  # type: ignore[method-assign]
    log_p, label = made(torch.zeros(1, 6)), torch.tensor([0])
    loss = F.nll_loss(log_p, label)
    (slope,) = torch.autograd.grad(loss, gate, retain_graph=True)
    assert loss.item() < 1e-6
    assert slope.abs().item() < 1e-6
    twice = F.cross_entropy(log_p.exp(), label)
    assert math.isclose(twice.item(), math.log(1 + 4 / math.e), rel_tol=1e-4)


def make(rows: int, seed: int) -> DomainBatch:
    """Six classes: three postures (directions of gravity, little noise), three movements (frequencies)."""
    g = torch.Generator().manual_seed(seed)
    label = torch.arange(rows) % 6
    time = torch.arange(64) / 32
    posture = torch.eye(6)[label % 3][:, :, None].expand(-1, -1, 64)
    hertz = torch.tensor([1.0, 3.0, 6.0])[label % 3][:, None, None]
    phase = 2 * math.pi * torch.rand(rows, 1, 1, generator=g)
    wave = torch.sin(2 * math.pi * hertz * time + phase).expand(-1, 6, -1)
    imu = torch.where((label < 3)[:, None, None], posture, wave) + 0.05 * torch.randn(rows, 6, 64, generator=g)
    return DomainBatch(imu=imu, mask=torch.ones_like(imu, dtype=torch.bool), label=label)


def start(
    begin: Callable[..., Algorithm], monkeypatch: pytest.MonkeyPatch, config: object, encoder: object
) -> Algorithm:
    monkeypatch.setattr("tests.eval.algorithms.conftest.CLASSES", 6)
    return begin(config, encoder=encoder, domains=1)


@pytest.mark.parametrize(
    "encoder", [{"name": "harood_cnn", "kernel": 5}, {"name": "fusion_actnet", "width": 4}], ids=str
)
def test_groups_are_found_and_the_gate_and_the_classes_are_learned(
    encoder: object, begin: Callable[..., Algorithm], monkeypatch: pytest.MonkeyPatch
) -> None:
    """L3: gate accuracy above 0.98 on windows that were not in training."""
    algorithm = start(begin, monkeypatch, {"name": "fusion", "look": 2}, encoder)
    for step in range(50):
        algorithm.update([make(24, seed=step)])
    head = algorithm.network.classifier
    assert isinstance(head, FusionHead)
    assert head.groups.tolist() == [0, 0, 0, 1, 1, 1]
    algorithm.eval()
    fresh = make(120, seed=999)
    with torch.no_grad():
        log_p = algorithm.predict(fresh.imu, fresh.mask)
    moves = log_p.exp()[:, 3:].sum(1) > 0.5
    assert (moves == (fresh.label > 2)).float().mean() > 0.98
    assert (log_p.argmax(1) == fresh.label).float().mean() > 0.9
    weights = algorithm.snapshot()
    other = start(begin, monkeypatch, "fusion", encoder)
    other.restore(weights)  # the groups are among the weights
    assert torch.equal(other.eval().predict(fresh.imu, fresh.mask), log_p)


def test_the_largest_gap_divides_the_classes() -> None:
    assert split_by_movement(torch.tensor([1.0, 0.0, 0.01, 3.0])).tolist() == [1, 0, 1, 1]
    assert split_by_movement(torch.tensor([0.5, 0.1])).tolist() == [1, 0]


def test_groups_that_do_not_fit_are_refused(begin: Callable[..., Algorithm], monkeypatch: pytest.MonkeyPatch) -> None:
    for groups in ([0, 1], [0, 0, 0]):
        with pytest.raises(ConfigError, match="expected one 0"):
            begin({"name": "fusion", "groups": groups})
    with pytest.raises(ConfigError, match=r"each in \[0, 1\] \(got 2\)"):
        begin({"name": "fusion", "groups": [0, 1, 2]})
    with pytest.raises(ConfigError, match="expected one 0"):
        head(torch.tensor([0, 1, 2]))
    algorithm = algorithms.build("fusion")
    other = begin({"name": "fusion"})
    other.network.encoder = Precomputed(other.network.encoder.feature_dim)  # type: ignore[assignment]
    features = DomainBatch(imu=torch.zeros(2, 4), mask=torch.ones(2, 4, dtype=torch.bool), label=torch.tensor([0, 1]))
    with pytest.raises(ConfigError, match="features were computed in advance"):
        other.update([features] * 3)
    assert "fusion" in type(algorithm).__module__
