"""What each algorithm must equal in a limit (methods 4.8, D1), and naive twins of its equations."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from eval.algorithms import Algorithm, DomainBatch
from eval.algorithms.alignment import BANDWIDTHS, coral_distance, mmd_distance, pairwise_penalty
from eval.algorithms.base import domain_losses, join
from eval.algorithms.dann import reverse_gradient
from eval.algorithms.ddlearn import supervised_contrastive
from eval.algorithms.fishr import gradient_variance
from eval.algorithms.lag import patches_of
from eval.algorithms.rsc import at_percentile

Begin = Callable[..., Algorithm]


def state(algorithm: Algorithm) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in algorithm.network.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor], *, tolerance: float = 0.0) -> bool:
    return all(torch.allclose(a[k].double(), b[k].double(), rtol=0, atol=tolerance) for k in a)


def erm_gradient(algorithm: Algorithm, batches: list[DomainBatch]) -> list[Tensor]:
    twin = copy.deepcopy(algorithm.network)
    batch = join(batches)
    F.cross_entropy(twin(batch.imu, batch.mask), batch.label).backward()
    return [p.grad for p in twin.parameters() if p.grad is not None]


def gradients(algorithm: Algorithm) -> list[Tensor]:
    return [p.grad for p in algorithm.network.parameters() if p.grad is not None]


def close(a: list[Tensor], b: list[Tensor], tolerance: float) -> bool:
    assert len(a) == len(b)
    return all(torch.allclose(x, y, atol=tolerance, rtol=0) for x, y in zip(a, b, strict=True))


def test_the_discriminator_of_urm_may_have_betas_of_its_own(begin: Begin, batches: list[DomainBatch]) -> None:
    """As in the published code; with the betas of the network nothing changes."""
    plain, same_betas, released = (
        begin({"name": "urm", "adversary_betas": betas}) for betas in (None, [0.5, 0.9], [0.9, 0.999])
    )
    assert released._adversary.param_groups[0]["betas"] == (0.9, 0.999)
    assert released.optimizer.param_groups[0]["betas"] == (0.5, 0.9)
    found = []
    for algorithm in (plain, same_betas, released):
        # The first step of Adam does not depend on the betas.
        losses = [algorithm.update(batches)["discriminator_loss"] for _ in range(4)]
        found.append(losses)
    assert found[0] == found[1]
    assert found[0][:2] == found[2][:2]
    assert found[0][3] != found[2][3]


# ------------------------------------------------------------------------------------------------------ limits


@pytest.mark.parametrize("name", ["coral", "mmd"])
def test_gamma_zero_is_an_erm_step_bit_for_bit(name: str, begin: Begin, batches: list[DomainBatch]) -> None:
    erm, other = begin("erm"), begin({"name": name, "gamma": 0.0})
    for _ in range(3):
        erm.update(batches)
        other.update(batches)
    assert same(state(erm), state(other))


def test_lag_without_alignment_ignores_domains(begin: Begin, batches: list[DomainBatch]) -> None:
    plain = begin({"name": "lag", "gamma_global": 0.0, "gamma_local": 0.0})
    before = copy.deepcopy(plain.bottlenecks.state_dict())
    plain.update(batches)
    after = plain.bottlenecks.state_dict()
    assert any(not torch.equal(before[k], after[k]) for k in before)  # bottlenecks are trained
    aligned = begin("lag")
    aligned.update(batches)
    assert not same(state(plain), state(aligned))


@pytest.mark.parametrize("name", ["coral", "mmd"])
def test_penalties_vanish_on_identical_domains(name: str, begin: Begin, batches: list[DomainBatch]) -> None:
    algorithm = begin({"name": name, "gamma": 5.0})
    numbers = algorithm.update([batches[0]] * 3)
    assert numbers["penalty"] == pytest.approx(0.0, abs=1e-6)


def test_vrex_variance_vanishes_on_identical_domains(begin: Begin, batches: list[DomainBatch]) -> None:
    assert begin("vrex").update([batches[1]] * 3)["variance"] == pytest.approx(0.0, abs=1e-10)


def test_vrex_changes_weight_and_starts_its_optimiser_anew(begin: Begin, batches: list[DomainBatch]) -> None:
    algorithm = begin({"name": "vrex", "penalty": 7.0, "anneal": 2})
    first = algorithm.optimizer
    for _ in range(2):
        algorithm.update(batches)
    assert algorithm.optimizer is first
    before = state(algorithm)
    risks = domain_losses(copy.deepcopy(algorithm.network)(join(batches).imu), join(batches).label, 3)
    numbers = algorithm.update(batches)
    assert algorithm.optimizer is not first
    assert numbers["variance"] == pytest.approx(float(risks.detach().var(correction=0)), rel=1e-4)
    assert not same(before, state(algorithm))


def test_groupdro_with_eta_zero_is_the_mean_over_domains(begin: Begin, batches: list[DomainBatch]) -> None:
    algorithm = begin({"name": "groupdro", "eta": 0.0})
    expected = erm_gradient(algorithm, batches)
    numbers = algorithm.update(batches)
    assert close(gradients(algorithm), expected, 1e-6)
    assert numbers["largest_weight"] == pytest.approx(1 / 3)


def test_groupdro_weights_follow_the_equation(begin: Begin, batches: list[DomainBatch]) -> None:
    algorithm = begin({"name": "groupdro", "eta": 0.5})
    batch = join(batches)
    risks = domain_losses(copy.deepcopy(algorithm.network)(batch.imu, batch.mask), batch.label, 3).detach()
    algorithm.update(batches)
    q = (risks * 0.5).exp() / 3
    assert torch.allclose(algorithm.q, q / q.sum(), atol=1e-5)


def test_andmask_with_identical_domains_is_the_erm_gradient(begin: Begin, batches: list[DomainBatch]) -> None:
    algorithm = begin("andmask")
    same_domain = [batches[0]] * 3
    expected = erm_gradient(algorithm, same_domain)
    algorithm.update(same_domain)
    for got, want in zip(gradients(algorithm), expected, strict=True):
        # Where a gradient is zero up to rounding, the three copies may disagree in its sign.
        real = want.abs() > 1e-6
        assert torch.allclose(got[real], want[real], rtol=0.02, atol=1e-6)


def test_andmask_keeps_what_agrees(begin: Begin, batches: list[DomainBatch]) -> None:
    algorithm = begin("andmask")
    batch = join(batches)
    twin = copy.deepcopy(algorithm.network)
    risks = domain_losses(twin(batch.imu, batch.mask), batch.label, 3)
    each = [torch.autograd.grad(r, list(twin.classifier.parameters()), retain_graph=True) for r in risks]
    algorithm.update(batches)
    for got, g in zip(algorithm.network.classifier.parameters(), zip(*each, strict=True), strict=True):
        stack = torch.stack(g)
        agree = (stack.sign().sum(0).abs() == 3).float()
        assert torch.allclose(got.grad, agree * stack.mean(0) / (1e-10 + agree.mean()), atol=1e-6)


def test_mixup_with_lambda_one_is_erm(begin: Begin, batches: list[DomainBatch]) -> None:
    algorithm = begin("mixup")
    batch = join(batches)
    partner = torch.randperm(len(batch))
    twin = copy.deepcopy(algorithm.network)
    expected = F.cross_entropy(twin(batch.imu, batch.mask), batch.label)
    assert torch.equal(algorithm.loss(batch, partner, 1.0), expected)
    mixed = algorithm.loss(batch, partner, 0.3)
    imu = 0.3 * batch.imu + 0.7 * batch.imu[partner]
    logits = copy.deepcopy(algorithm.network)(imu)
    naive = torch.stack(
        [
            -0.3 * logits[i].log_softmax(0)[batch.label[i]] - 0.7 * logits[i].log_softmax(0)[batch.label[partner[i]]]
            for i in range(len(batch))
        ]
    ).mean()
    assert float(mixed.detach()) == pytest.approx(float(naive.detach()), rel=1e-4)


def test_mixup_draws_from_the_beta_distribution(begin: Begin) -> None:
    algorithm = begin({"name": "mixup", "alpha": 0.5})
    draws = np.array([algorithm.draw() for _ in range(4000)])
    assert draws.mean() == pytest.approx(0.5, abs=0.02)
    assert draws.var() == pytest.approx(0.25 / 2, rel=0.05)  # alpha beta / ((alpha + beta)^2 (alpha + beta + 1))


def test_dann_with_alpha_zero_sends_no_gradient_to_the_encoder(begin: Begin, batches: list[DomainBatch]) -> None:
    erm, dann = begin("erm"), begin({"name": "dann", "alpha": 0.0})
    erm.update(batches)
    dann.update(batches)
    assert close(gradients(dann), gradients(erm), 1e-7)
    assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in dann.discriminator.parameters())


def test_gradient_reversal() -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    (reverse_gradient(x, 0.5) * torch.tensor([3.0, 4.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [-1.5, -2.0]


def test_mldg_with_beta_zero_is_the_erm_gradient(begin: Begin, batches: list[DomainBatch]) -> None:
    algorithm = begin({"name": "mldg", "beta": 0.0})
    expected = erm_gradient(algorithm, batches)
    algorithm.update(batches)
    assert close(gradients(algorithm), expected, 1e-6)


def test_mldg_second_term_is_the_gradient_after_a_fresh_adam_step(begin: Begin, batches: list[DomainBatch]) -> None:
    one = begin({"name": "mldg", "beta": 1.0}, domains=1)
    expected = erm_gradient(one, batches[:1])
    twin = copy.deepcopy(one.network)
    adam = torch.optim.Adam(twin.parameters(), lr=1e-2)
    F.cross_entropy(twin(batches[0].imu, batches[0].mask), batches[0].label).backward()
    adam.step()
    adam.zero_grad()
    F.cross_entropy(twin(batches[0].imu, batches[0].mask), batches[0].label).backward()
    total = [a + p.grad for a, p in zip(expected, (p for p in twin.parameters() if p.grad is not None), strict=True)]
    one.update(batches[:1])
    assert close(gradients(one), total, 2e-4)


def test_fish_with_one_domain_and_meta_lr_one_is_an_adam_step(begin: Begin, batches: list[DomainBatch]) -> None:
    erm, fish = begin("erm", domains=1), begin({"name": "fish", "meta_lr": 1.0}, domains=1)
    for _ in range(3):
        erm.update(batches[:1])
        fish.update(batches[:1])
    a, b = state(erm), state(fish)
    floats = {k: v for k, v in a.items() if v.is_floating_point()}
    assert same(floats, b, tolerance=1e-6)


def test_fish_goes_part_of_the_way(begin: Begin, batches: list[DomainBatch]) -> None:
    whole, part = begin({"name": "fish", "meta_lr": 1.0}), begin({"name": "fish", "meta_lr": 0.1})
    before = state(part)
    whole.update(batches)
    part.update(batches)
    for name, value in state(part).items():
        if value.is_floating_point():
            expected = before[name] + 0.1 * (state(whole)[name] - before[name])
            assert torch.allclose(value, expected, atol=1e-6), name
        else:
            assert torch.equal(value, before[name])  # counters stay


def test_ermpp_before_averaging_predicts_with_the_plain_weights(begin: Begin, batches: list[DomainBatch]) -> None:
    algorithm = begin({"name": "ermpp", "linear_steps": 2, "average_from": 4})
    encoder = {k: v.clone() for k, v in algorithm.network.encoder.encoder.named_parameters()}
    for step in range(7):
        algorithm.update(batches)
        moved = any(not torch.equal(encoder[k], v) for k, v in algorithm.network.encoder.encoder.named_parameters())
        assert moved == (step > 2)  # the classifier first, for one update more than linear_steps
        if step < 2:
            plain = copy.deepcopy(algorithm.network).eval()(batches[0].imu)
            assert torch.equal(algorithm.eval().predict(batches[0].imu), plain)
            algorithm.train()
    averaged = begin({"name": "ermpp", "linear_steps": 2, "average_from": 4})
    held = []
    for step in range(7):
        averaged.update(batches)
        if step >= 2:  # the weights after update 3 = average_from - 1
            held.append(state(averaged))
    mean = {k: torch.stack([h[k].double() for h in held]).mean(0) for k in held[0] if held[0][k].is_floating_point()}
    got = averaged._average[0].state_dict()
    assert all(torch.allclose(got[k].double(), mean[k], atol=1e-6) for k in mean)


def test_rsc_mutes_exact_shares_even_with_ties(begin: Begin, batches: list[DomainBatch]) -> None:
    algorithm = begin({"name": "rsc", "features": 0.25, "batch": 0.5})
    torch.nn.init.ones_(algorithm.network.classifier.weight)  # all gradients equal
    features = torch.rand(8, algorithm.network.encoder.feature_dim)
    keep = algorithm.mask(features, torch.arange(8) % 3)
    muted = (keep == 0).sum(1)
    number = features.shape[1]
    distinct = np.arange(number)
    assert at_percentile(number, 0.25) == int((distinct >= np.percentile(distinct, 75)).sum())
    assert sorted(muted.tolist()) == [0] * 4 + [at_percentile(number, 0.25)] * 4
    none = begin({"name": "rsc", "features": 0.0, "batch": 1.0})
    erm = begin("erm")
    erm.update(batches)
    none.update(batches)
    assert same(state(erm), state(none))


def test_rsc_mutes_the_features_that_decide(begin: Begin) -> None:
    algorithm = begin({"name": "rsc", "features": 0.1, "batch": 1.0})
    features = torch.rand(6, algorithm.network.encoder.feature_dim)
    labels = torch.arange(6) % 3
    keep = algorithm.mask(features, labels)
    weight = algorithm.network.classifier.weight
    for row, label in zip(keep, labels, strict=True):
        number = int((row == 0).sum())
        top = weight[label].topk(number).indices
        assert set(torch.nonzero(row == 0)[:, 0].tolist()) == set(top.tolist())


def test_urm_discriminator_has_an_optimiser_of_its_own(begin: Begin, batches: list[DomainBatch]) -> None:
    algorithm = begin("urm")
    mine = {id(p) for group in algorithm.optimizer.param_groups for p in group["params"]}
    theirs = {id(p) for p in algorithm._discriminator[0].parameters()}
    assert not mine & theirs
    before = copy.deepcopy(algorithm._discriminator[0].state_dict())
    algorithm.update(batches)
    assert any(not torch.equal(before[k], v) for k, v in algorithm._discriminator[0].state_dict().items())
    off = begin({"name": "urm", "penalty": 0.0})
    twin, batch = copy.deepcopy(off.network), join(batches)
    F.cross_entropy(twin.classifier(torch.tanh(twin.features(batch.imu, batch.mask))), batch.label).backward()
    off.update(batches)
    assert close(gradients(off), [p.grad for p in twin.parameters() if p.grad is not None], 1e-7)
    assert torch.allclose(
        begin("urm").eval().predict(batches[0].imu),
        begin("erm").eval().network.classifier(torch.tanh(begin("erm").eval().network.features(batches[0].imu))),
    )


# ------------------------------------------------------------------------------------------- equations, naively


@pytest.mark.parametrize("width", [4, 40])  # fewer and more features than windows: two ways to the same number
def test_coral_distance_by_loops(width: int) -> None:
    x, y = (torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(n)) for n in (7, 9))

    def moments(z: Tensor) -> tuple[np.ndarray, np.ndarray]:
        a = z.numpy()
        mean = sum(a) / len(a)
        return mean, sum(np.outer(r - mean, r - mean) for r in a) / (len(a) - 1)

    (mx, cx), (my, cy) = moments(x), moments(y)
    assert float(coral_distance(x, y)) == pytest.approx(((mx - my) ** 2).mean() + ((cx - cy) ** 2).mean(), rel=1e-10)


def test_mmd_distance_by_loops() -> None:
    x, y = (torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(n)) for n in (5, 6))

    def k(a: Tensor, b: Tensor) -> float:
        return float(
            np.mean([[sum(np.exp(-g * float(((u - v) ** 2).sum())) for g in BANDWIDTHS) for v in b] for u in a])
        )

    assert float(mmd_distance(x, y)) == pytest.approx(k(x, x) + k(y, y) - 2 * k(x, y), rel=1e-8)
    three = [x, y, x + 1]
    pairs = [mmd_distance(a, b) for a, b in ((x, y), (x, x + 1), (y, x + 1))]
    assert float(pairwise_penalty(three, mmd_distance)) == pytest.approx(float(sum(pairs)) / 3)
    assert float(pairwise_penalty([x], mmd_distance)) == 0


def test_fishr_variance_is_that_of_per_sample_gradients() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(5, 3).double()
    features, labels = torch.randn(9, 5, dtype=torch.float64), torch.arange(9) % 3
    each = []
    for f, y in zip(features, labels, strict=True):
        g = torch.autograd.grad(F.cross_entropy(head(f[None]), y[None], reduction="sum"), list(head.parameters()))
        each.append(torch.cat([g[0].flatten(), g[1]]))
    expected = torch.stack(each).var(dim=0, unbiased=False)
    got = gradient_variance(features, head(features), labels)
    assert torch.allclose(got, expected, atol=1e-12)


def test_fishr_waits_and_then_penalises(begin: Begin, batches: list[DomainBatch]) -> None:
    waiting, erm = begin({"name": "fishr", "penalty": 1000.0, "start": 3}), begin("erm")
    for _ in range(3):
        waiting.update(batches)
        erm.update(batches)
    assert same(state(waiting), state(erm))
    waiting.update(batches)
    erm.update(batches)
    assert not same(state(waiting), state(erm))
    assert not waiting.average.requires_grad
    identical = begin({"name": "fishr", "start": 0})
    assert identical.update([batches[0]] * 3)["penalty"] == pytest.approx(0.0, abs=1e-12)


def test_supervised_contrastive_by_loops() -> None:
    z = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 0, 1, 1, 1, 2, 0])  # class 2 has no partner
    unit = F.normalize(z, dim=1).numpy()
    total = []
    for i in range(7):
        positives = [p for p in range(7) if p != i and y[p] == y[i]]
        if positives:
            below = sum(np.exp(unit[i] @ unit[a] / 0.07) for a in range(7) if a != i)
            total.append(-np.mean([np.log(np.exp(unit[i] @ unit[p] / 0.07) / below) for p in positives]))
    assert float(supervised_contrastive(z, y, 0.07)) == pytest.approx(np.mean(total), rel=1e-9)
    assert float(supervised_contrastive(z, torch.arange(7), 0.07)) == 0


def test_ddlearn_augments_every_kind_with_the_right_number(begin: Begin, batches: list[DomainBatch]) -> None:
    algorithm = begin("ddlearn")
    big = DomainBatch(**{k: torch.cat([v] * 8) for k, v in vars(join(batches)).items()})
    changed, kinds = algorithm.augmented(big)
    assert set(kinds.tolist()) == set(range(1, 8))
    moved = (changed.imu != big.imu).flatten(1).any(1)
    assert bool(moved[kinds != 6].all())  # a permutation may give the old order back
    assert torch.equal(changed.label, big.label)


def test_lag_patches() -> None:
    assert [patches_of(t) for t in (125, 50, 128, 81, 100, 200, 500, 151)] == [5, 5, 8, 9, 10, 10, 10, 10]


def test_wrong_batches_are_refused(begin: Begin, batches: list[DomainBatch]) -> None:
    algorithm: Any = begin("erm")
    with pytest.raises(ValueError, match="3 domain batches of one size"):
        algorithm.update(batches[:2])
    short = DomainBatch(**{k: v[:5] for k, v in vars(batches[0]).items()})
    with pytest.raises(ValueError, match="sizes"):
        algorithm.update([*batches[:2], short])
