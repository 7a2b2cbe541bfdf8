"""Hard negatives: the identities C1 to C7 of the methods, metadata rules, mining, queue and guard, one at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from imu_video.errors import ConfigError
from imu_video.losses import HardNegative, InfoNCE
from imu_video.losses.functional import hard_negative_nce, hardest, log_importance, same_recording
from imu_video.types import PairEmbeddings, PairMeta


def unit(*shape: int, seed: int = 0) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def pair(n: int = 8, d: int = 6, seed: int = 0) -> PairEmbeddings:
    return PairEmbeddings(imu=unit(n, d, seed=seed), sides={"video": unit(n, d, seed=seed + 1)})


def meta(recording: list[int], time: list[float]) -> PairMeta:
    rows = torch.arange(len(recording))
    return PairMeta(
        sample=rows,
        recording=torch.tensor(recording),
        time=torch.tensor(time, dtype=torch.float64),
        device=torch.zeros_like(rows),
        subject=torch.zeros_like(rows),
    )


def negative_mass(cosines: Tensor, allowed: Tensor, *, scale: float, beta: float) -> Tensor:
    """R_i of the methods."""
    weights = log_importance(cosines, allowed, scale=scale, beta=beta)
    return (scale * cosines + weights).logsumexp(1).exp()


OTHERS = ~torch.eye(8, dtype=torch.bool)


def test_c1_beta_0_without_prior_is_info_nce_in_both_directions() -> None:
    p = pair()
    for way in (p, PairEmbeddings(imu=p.side, sides={"video": p.imu})):
        way.imu.requires_grad_()
        ours, plain = (
            HardNegative(beta=0.0, temperature=0.1)(way).total,
            InfoNCE(temperature=0.1, learned=False)(way).total,
        )
        assert ours.item() == pytest.approx(plain.item(), abs=1e-6)
        gradients = [torch.autograd.grad(t, way.imu)[0] for t in (ours, plain)]
        assert torch.allclose(*gradients, atol=1e-6)
    c, own = p.imu.detach() @ p.side.T, torch.arange(8)
    for s in (c, c.T):  # each direction alone
        one = hard_negative_nce(s, own, OTHERS, scale=10.0, beta=0.0, tau_plus=0.0)
        assert one.item() == pytest.approx(nn.functional.cross_entropy(10 * s, own).item(), abs=1e-12)


def test_c2_the_negative_mass_rises_with_beta_up_to_the_hardest() -> None:
    p = pair()
    c = p.imu @ p.side.T
    masses = torch.stack([negative_mass(c, OTHERS, scale=10.0, beta=b) for b in (0, 0.25, 0.5, 1, 2, 5, 50)])
    assert (masses.diff(dim=0) >= -1e-9).all()
    limit = 7 * (10 * c).masked_fill(~OTHERS, -math.inf).max(1).values.exp()
    assert torch.allclose(masses[-1], limit, rtol=0.01)


@pytest.mark.parametrize("tau_plus", [0.0, 0.1])
def test_c3_log_space_equals_the_direct_formula(tau_plus: float) -> None:
    p = pair()
    c, own = p.imu @ p.side.T, torch.arange(8)
    s = 10 * c
    powered = (s * 1.5).exp().masked_fill(~OTHERS, 0)
    mass = (powered / (powered.sum(1, keepdim=True) / 7) * s.exp()).sum(1)
    kept = torch.maximum((mass - tau_plus * 7 * s.diagonal().exp()) / (1 - tau_plus), torch.tensor(7 * math.exp(-10.0)))
    direct = -(s.diagonal().exp() / (s.diagonal().exp() + kept)).log().mean()
    ours = hard_negative_nce(c, own, OTHERS, scale=10.0, beta=1.5, tau_plus=tau_plus)
    assert ours.item() == pytest.approx(direct.item(), rel=1e-12)


def test_c4_a_clamped_row_is_finite_and_leaves_its_negatives_alone() -> None:
    """Positives at cosine 1 and a large prior: the correction takes away more than there is."""
    z = normalize(torch.eye(8, dtype=torch.float64)[:, :6] + 0.01, dim=1)
    c = (z @ z.T).requires_grad_()
    loss = hard_negative_nce(c, torch.arange(8), OTHERS, scale=10.0, beta=1.0, tau_plus=0.5)
    (grad,) = torch.autograd.grad(loss, c)
    assert loss.isfinite()
    assert grad.isfinite().all()
    clamped = grad.masked_fill(~OTHERS, 0).abs().sum(1) == 0
    assert clamped[:6].all()
    assert (grad.diagonal()[:6] < 0).all()  # the pair is still drawn together
    expected = torch.log1p(7 * torch.exp(torch.tensor(-10.0) - 10 * c.detach().diagonal()))
    each = [
        hard_negative_nce(c[i : i + 1], torch.tensor([i]), OTHERS[i : i + 1], scale=10.0, beta=1.0, tau_plus=0.5).item()
        for i in range(6)
    ]
    assert each == pytest.approx(expected[:6].tolist(), rel=1e-9)


@pytest.mark.parametrize("beta_on", ["logit", "cosine"])
def test_c5_weights_have_mean_1_on_every_row(beta_on: str) -> None:
    p = pair()
    allowed = OTHERS & (torch.arange(64).reshape(8, 8) % 5 != 0)
    prior = torch.rand(8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = log_importance(
        p.imu @ p.side.T,
        allowed,
        scale=10.0,
        beta=0.7,
        beta_on=beta_on,
        log_prior=prior,  # type: ignore[arg-type]
    ).exp()
    assert torch.allclose(weights.sum(1) / allowed.sum(1), torch.ones(8, dtype=torch.float64))
    assert (weights[~allowed] == 0).all()


def test_c6_a_negative_seen_k_times_counts_k_times_in_numerator_and_denominator() -> None:
    """Every negative twice: the weighted mean of exp(s) stays, so with N fixed the loss stays."""
    p = pair()
    c = p.imu @ p.side.T
    once = negative_mass(c, OTHERS, scale=10.0, beta=1.0) / 7
    twice = negative_mass(torch.cat([c, c], 1), torch.cat([OTHERS, OTHERS], 1), scale=10.0, beta=1.0) / 14
    assert torch.allclose(once, twice)


@pytest.mark.slow  # trains ten small networks
def test_c7_beta_widens_the_margin_to_the_hardest_negative() -> None:
    """10 classes, 3 of them alike; S_ii - max_j S_ij after 200 steps, beta 1 against 0, all of 5 seeds (p = 1/32).

    At temperature 0.5, that of the cited method. At 0.2 the softmax itself looks at the hardest only, and beta decides
    nothing (2 of 5).
    """
    wins = [margin(seed, beta=1.0) > margin(seed, beta=0.0) for seed in range(5)]
    assert all(wins)


def margin(seed: int, *, beta: float) -> float:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(10, 8, generator=generator)
    centres[1:3] = centres[0] + 0.3 * torch.randn(2, 8, generator=generator)
    mixing = [torch.randn(8, 16, generator=generator) for _ in range(2)]
    torch.manual_seed(seed)
    towers = nn.ModuleList(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8)) for _ in range(2))
    loss = HardNegative(beta=beta, temperature=0.5)
    optimiser = torch.optim.Adam(towers.parameters(), lr=5e-3)

    def embed(noise: torch.Generator) -> PairEmbeddings:
        views = [torch.tanh(centres @ m) + 0.3 * torch.randn(10, 16, generator=noise) for m in mixing]
        imu, video = (normalize(t(x), dim=1) for t, x in zip(towers, views, strict=True))
        return PairEmbeddings(imu=imu, sides={"video": video})

    for _ in range(200):
        optimiser.zero_grad()
        loss(embed(generator)).total.backward()
        optimiser.step()
    fresh, margins = torch.Generator().manual_seed(99), []
    with torch.no_grad():
        for _ in range(20):
            seen = embed(fresh)
            s = seen.imu @ seen.side.T
            others = s.masked_fill(torch.eye(10, dtype=torch.bool), -math.inf)
            margins.append((s.diagonal() - others.max(1).values).mean())
    return float(torch.stack(margins).mean())


def test_beta_on_cosine_is_beta_on_logit_times_the_temperature() -> None:
    p = pair()
    on_logit = HardNegative(beta=0.5, temperature=0.1)(p).total
    on_cosine = HardNegative(beta=5.0, temperature=0.1, beta_on="cosine")(p).total
    assert on_logit.item() == pytest.approx(on_cosine.item(), rel=1e-6)


def test_detached_weights_change_the_gradient_alone() -> None:
    p = pair()
    p.imu.requires_grad_()
    totals = [HardNegative(beta=1.0, detach_weights=flag)(p).total for flag in (False, True)]
    assert totals[0].item() == totals[1].item()
    grads = [torch.autograd.grad(t, p.imu)[0] for t in totals]
    assert not torch.allclose(*grads)


def test_extreme_logits_stay_finite_in_float32() -> None:
    z = torch.eye(4)
    p = PairEmbeddings(imu=z.clone().requires_grad_(), sides={"video": z.roll(1, 0)})
    total = HardNegative(beta=50.0, tau_plus=0.3, temperature=0.01)(p).total
    total.backward()
    assert total.isfinite()
    assert p.imu.grad is not None
    assert p.imu.grad.isfinite().all()


def test_same_recording_within_the_gap_is_no_negative_and_farther_away_weighs_more() -> None:
    where = (torch.tensor([0, 0, 0, 1]), torch.tensor([0.0, 4.0, 9.0, 0.0]))
    near, far = same_recording(*where, *where, gap_s=5.0)
    assert near.int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    assert far.int().tolist() == [[0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    unknown, _ = same_recording(*where, torch.tensor([-1]), torch.tensor([0.0]), gap_s=5.0)
    assert not unknown.any()

    p = PairEmbeddings(imu=unit(4, 6), sides={"video": unit(4, 6, seed=1)}, meta=meta([0, 0, 0, 1], [0, 4, 9, 0]))
    without = PairEmbeddings(imu=p.imu, sides={"video": p.side}, meta=meta([0, 1, 2, 3], [0, 0, 0, 0]))
    loss = HardNegative(beta=0.0, gap_s=5.0)
    p.imu.requires_grad_()
    (grad,) = torch.autograd.grad(loss(p).total, p.imu, retain_graph=True)
    moved = PairEmbeddings(imu=p.imu, sides={"video": p.side.clone()}, meta=p.meta)
    assert loss(p).total < loss(without).total
    # Row 1 has one negative (row 3): what the videos of 0 and 2 are does not matter to it.
    assert loss(p).stats["negatives"].item() == (2 + 1 + 2 + 3) / 4
    assert grad.isfinite().all()
    heavier = HardNegative(beta=0.0, gap_s=5.0, recording_weight=100.0)
    expected = []
    for i, row in enumerate(loss_rows(p, heavy=100.0)):
        expected.append(row)
        assert math.isfinite(row), i
    assert heavier(moved).total.item() == pytest.approx(sum(expected) / 4, rel=1e-6)


def loss_rows(p: PairEmbeddings, heavy: float) -> list[float]:
    """By hand for the four rows above: allowed negatives and their weights written out."""
    allowed = [{2: heavy, 3: 1.0}, {3: 1.0}, {0: heavy, 3: 1.0}, {0: 1.0, 1: 1.0, 2: 1.0}]
    rows = []
    for i, weights in enumerate(allowed):
        mean = sum(weights.values()) / len(weights)
        both = 0.0
        for s in (p.imu.detach() @ p.side.T, p.side @ p.imu.detach().T):
            mass = sum(w / mean * math.exp(10 * s[i, j].item()) for j, w in weights.items())
            both += 0.5 * math.log1p(mass / math.exp(10 * s[i, i].item()))
        rows.append(both)
    return rows


def test_a_row_without_negatives_costs_nothing() -> None:
    p = PairEmbeddings(
        imu=unit(3, 4).requires_grad_(), sides={"video": unit(3, 4, seed=1)}, meta=meta([0, 0, 0], [0, 1, 2])
    )
    total = HardNegative(gap_s=10.0, tau_plus=0.1)(p).total
    total.backward()
    assert total.item() == 0
    assert p.imu.grad is not None
    assert (p.imu.grad == 0).all()


def test_the_hardest_are_kept() -> None:
    s = torch.tensor([[9.0, 1.0, 3.0, 2.0], [1.0, 9.0, 1.0, 1.0]])
    allowed = torch.tensor([[False, True, True, True], [False, False, False, True]])
    assert hardest(s, allowed, 2).tolist() == [[False, False, True, True], [False, False, False, True]]
    assert torch.equal(hardest(s, allowed, 99), allowed)


def test_the_guard_drops_what_the_teacher_finds_alike() -> None:
    p = pair(4)
    teacher = torch.eye(4)[[0, 1, 0, 3]]  # windows 0 and 2 show the same thing
    guarded = PairEmbeddings(imu=p.imu, sides={"video": p.side}, teacher=5 * teacher)
    by_metadata = PairEmbeddings(imu=p.imu, sides={"video": p.side}, meta=meta([0, 1, 0, 3], [0, 0, 0, 0]))
    expected = HardNegative(gap_s=1.0)(by_metadata).total.item()
    assert HardNegative(guard=0.9)(guarded).total.item() == pytest.approx(expected, rel=1e-9)
    assert HardNegative(guard=0.9).needs == {"side", "teacher"}
    with pytest.raises(ConfigError, match="teacher"):
        HardNegative(guard=0.9)(p)


def test_queued_rows_are_further_negatives() -> None:
    """C1 with a queue: beta 0 is cross-entropy over batch and queue; N = K + B - 1."""
    p, earlier = pair(), pair(5, seed=7)
    loss = HardNegative(beta=0.0, queue=16, dim=6, temperature=0.1)
    assert loss(p).stats["negatives"] == 7
    loss.observe(earlier)
    own = torch.arange(8)
    forth = torch.cat([p.imu @ p.side.T, p.imu @ earlier.side.float().double().T], 1)
    back = torch.cat([p.side @ p.imu.T, p.side @ earlier.imu.float().double().T], 1)
    expected = sum(nn.functional.cross_entropy(10 * s, own).item() for s in (forth, back)) / 2
    assert loss(p).total.item() == pytest.approx(expected, rel=1e-6)
    assert loss(p).stats["negatives"] == 12


def test_the_same_moment_of_an_earlier_epoch_is_no_negative() -> None:
    p = PairEmbeddings(imu=unit(4, 6), sides={"video": unit(4, 6, seed=1)}, meta=meta([0, 0, 1, 1], [0, 9, 0, 9]))
    loss = HardNegative(queue=8, dim=6)
    loss.observe(p)
    assert loss(p).stats["negatives"] == 3 + 3


@pytest.mark.parametrize(
    "options",
    [
        {"beta": -1.0},
        {"beta": math.inf},
        {"tau_plus": 1.0},
        {"gap_s": -1.0},
        {"recording_weight": 0.0},
        {"recording_weight": 2.0},
        {"top_k": 0},
        {"guard": 1.0},
        {"queue": -1},
        {"temperature": 0.0},
    ],
    ids=str,
)
def test_bad_arguments_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="hard_negative"):
        HardNegative(**options)  # type: ignore[arg-type]


def test_rules_on_metadata_need_metadata() -> None:
    with pytest.raises(ConfigError, match="metadata"):
        HardNegative(gap_s=1.0)(pair())
