"""Every loss module against its slow twin: value and gradient, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from imu_video.losses import (
    BarlowTwins,
    ColloSSL,
    CrossModalMining,
    FeatureRegression,
    HardNegative,
    InfoNCE,
    NearestNeighbour,
    NTXent,
    PairLoss,
    QueueDistill,
    Relational,
    SegmentAlignment,
    SoftTarget,
    VICReg,
    functional,
)
from imu_video.types import PairEmbeddings, PairMeta
from tests.reference import naive_losses as naive

N, D = 6, 5


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(n: int = N) -> PairEmbeddings:
    """Everything a loss may need, with gradient where a trained encoder gives it; two recordings, 2 s apart."""
    rows = torch.arange(n)
    meta = PairMeta(
        sample=rows + 100,
        recording=rows // 3,
        time=2.0 * (rows % 3).double(),
        device=torch.zeros_like(rows),
        subject=rows // 3,
    )
    leaves = {
        "imu": normalize(draw(n, D, seed=1), dim=-1),
        "imu_two": normalize(draw(n, D, seed=3), dim=-1),
        "devices": normalize(draw(n, 4, D, seed=4), dim=-1),
        "imu_segments": normalize(draw(n, 4, D, seed=5), dim=-1),
    }
    gains = torch.tensor([1.0, 1.5, 4.0, 2.0])[:, None, None]
    return PairEmbeddings(
        **{name: x.requires_grad_() for name, x in leaves.items()},
        sides={"other": normalize(draw(n, D, seed=2), dim=-1).requires_grad_()},
        side_segments={"other": normalize(draw(n, 4, D, seed=6), dim=-1).requires_grad_()},
        meta=meta,
        teacher=draw(n, 7, seed=7),
        devices_imu=gains * draw(n, 4, 6, 8, seed=8),
    )


def agree(loss: PairLoss, pair: PairEmbeddings, twin: Tensor) -> None:
    """Value and the gradient of every leaf, where both are in float64 (a queue or scale of float32 allows 1e-6)."""
    leaves = [x for name in LEAVES if (x := getattr(pair, name)) is not None]
    total = loss(pair).total
    assert total.dtype == torch.float64
    assert total.item() == pytest.approx(twin.item(), rel=1e-6, abs=1e-9)
    ours = torch.autograd.grad(total, leaves, allow_unused=True)
    theirs = torch.autograd.grad(twin, leaves, allow_unused=True)
    assert any(g is not None and g.abs().max() > 1e-6 for g in ours)
    for name, a, b in zip(LEAVES, ours, theirs, strict=True):
        a, b = (torch.zeros(1, dtype=torch.float64) if g is None else g for g in (a, b))
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-7), name


LEAVES = ("imu", "side", "imu_two", "devices", "imu_segments", "segments")


def negatives(pair: PairEmbeddings, keep: Callable[[int, int], bool], columns: int = N) -> list[list[int]]:
    return [[j for j in range(columns) if j != i and keep(i, j)] for i in range(len(pair.imu))]


def test_info_nce() -> None:
    p = made()
    agree(InfoNCE(temperature=0.2, learned=False), p, naive.info_nce(p.imu, p.side, 0.2))


@pytest.mark.parametrize(("multiply", "scale"), [(False, 1 / 0.3), (True, 0.3)])
def test_soft_target(multiply: bool, scale: float) -> None:
    p = made()
    loss = SoftTarget(temperature=0.2, learned=False, target_temperature=0.3, multiply_targets=multiply)
    agree(loss, p, naive.soft_target(p.imu, p.side, 0.2, scale))


@pytest.mark.parametrize("multiply", [False, True])
@pytest.mark.parametrize("trained", ["log_scale", "temperature"])
def test_soft_target_with_a_learned_temperature_inside_its_targets(multiply: bool, trained: Any) -> None:
    p = made()
    loss = SoftTarget(temperature=0.2, target_temperature=None, multiply_targets=multiply, trained=trained).double()
    temperature = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    twin = naive.soft_target(p.imu, p.side, temperature, temperature if multiply else 1 / temperature)  # type: ignore[arg-type]
    (slope,) = torch.autograd.grad(twin, temperature, retain_graph=True)
    (ours,) = torch.autograd.grad(loss(p).total, list(loss.parameters()))
    # d / d log(1 / T) = -T d / d T
    agree(loss, p, twin)
    assert torch.allclose(ours, slope if trained == "temperature" else -0.2 * slope, rtol=1e-5)


def test_soft_target_without_gradient_through_the_targets() -> None:
    p = made()
    fixed = SoftTarget(temperature=0.2, learned=False, target_temperature=0.3, detach_targets=True)
    flowing = SoftTarget(temperature=0.2, learned=False, target_temperature=0.3)
    totals = [loss(p).total for loss in (fixed, flowing)]
    assert totals[0].item() == totals[1].item()
    grads = [torch.autograd.grad(t, p.imu)[0] for t in totals]
    assert not torch.allclose(*grads)
    # By hand: with targets P fixed, d/ds of one direction is (softmax - P) / n.
    z, v = p.imu.detach(), p.side.detach()
    target = (0.5 * (z @ z.T + v @ v.T) / 0.3).softmax(1)
    s = z @ v.T / 0.2
    forth = (s.softmax(1) - target) / N
    back = (s.T.softmax(1) * target.T.sum(1, keepdim=True) - target.T).T / N
    assert torch.allclose(grads[0], 0.5 * (forth + back) @ v / 0.2, atol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("tau_plus", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("options", [{}, {"beta_on": "cosine"}, {"detach_weights": True}, {"top_k": 2}], ids=str)
def test_hard_negative(beta: float, tau_plus: float, options: dict[str, object]) -> None:
    p = made()
    loss = HardNegative(beta=beta, tau_plus=tau_plus, temperature=0.2, **options)  # type: ignore[arg-type]
    twin = naive.hard_negative(
        p.imu,
        p.side,
        temperature=0.2,
        beta=beta,
        tau_plus=tau_plus,
        on_cosine=options.get("beta_on") == "cosine",
        detach=bool(options.get("detach_weights")),
        top_k=2 if "top_k" in options else None,
    )
    agree(loss, p, twin)


@pytest.mark.parametrize("between", ["side", "augmented_pair"])
@pytest.mark.parametrize("options", [{}, {"beta_on": "cosine", "detach_weights": True}, {"top_k": 4}], ids=str)
def test_hard_negative_with_negatives_of_both_sides(between: Any, options: dict[str, Any]) -> None:
    p = made()
    loss = HardNegative(beta=1.0, tau_plus=0.1, temperature=0.5, between=between, intra=True, **options)
    twin = naive.hard_negative(
        p.imu,
        p.imu_two if between == "augmented_pair" else p.side,  # type: ignore[arg-type]
        temperature=0.5,
        beta=1.0,
        tau_plus=0.1,
        intra=True,
        on_cosine="beta_on" in options,
        detach="detach_weights" in options,
        top_k=options.get("top_k"),
    )
    agree(loss, p, twin)
    assert loss(p).stats["negatives"] == 2 * N - 2


def test_the_released_form_of_hard_negatives_joins_both_views() -> None:
    """Robinson et al. 2021: 2 B anchors in one list, the partner as positive, all other rows of other windows."""
    p = made()
    assert p.imu_two is not None
    out, temperature, beta, tau_plus = torch.cat([p.imu, p.imu_two]), 0.5, 1.0, 0.1
    count = 2 * N - 2
    costs = []
    for i in range(2 * N):
        others = [j for j in range(2 * N) if j % N != i % N]
        negative = (out[others] @ out[i] / temperature).exp()
        importance = (beta * negative.log()).exp()
        positive = (out[(i + N) % (2 * N)] @ out[i] / temperature).exp()
        mass = (importance * negative).sum() / importance.mean()
        rest = ((mass - tau_plus * count * positive) / (1 - tau_plus)).clamp(min=count * math.exp(-1 / temperature))
        costs.append(-(positive / (positive + rest)).log())
    loss = HardNegative(beta=beta, tau_plus=tau_plus, temperature=temperature, between="augmented_pair", intra=True)
    agree(loss, p, torch.stack(costs).mean())


@pytest.mark.parametrize("top_k", [0, 2])
@pytest.mark.parametrize("intra_weight", [0.0, 1.0])
@pytest.mark.parametrize("guide", ["anchor", "other", "teacher"])
def test_mining_in_its_released_form(top_k: int, intra_weight: float, guide: Any) -> None:
    p = made()
    loss = CrossModalMining(
        temperature=0.2, top_k=top_k, intra_weight=intra_weight, prune=0.0, guide=guide, form="released"
    )
    z, v = p.imu.detach(), p.side.detach()  # type: ignore[union-attr]
    own = (z @ z.T, v @ v.T)
    if guide == "teacher":
        teacher = normalize(p.teacher, dim=-1)  # type: ignore[arg-type]
        own = (teacher @ teacher.T, teacher @ teacher.T)
    guides = own[::-1] if guide == "anchor" else own
    twin = naive.released_mining(
        p.imu,
        p.side,
        guides,
        temperature=0.2,
        top_k=top_k,
        intra_weight=intra_weight,  # type: ignore[arg-type]
    )
    agree(loss, p, twin)


def test_hard_negative_with_metadata_guard_and_queue() -> None:
    """All rules at once: own recording within 2 s and clips that the teacher finds alike are out, 4 s weigh triple."""
    p = made()
    earlier = made(4)
    assert p.meta is not None
    assert earlier.meta is not None
    # Moments seen before: the second half belongs to a recording of the batch.
    old = PairMeta(**{**vars(earlier.meta), "recording": torch.tensor([7, 7, 1, 1]), "time": 2.0 * torch.arange(4)})
    turned = earlier.detach().apply(lambda x: x.flip(0))
    seen = PairEmbeddings(imu=turned.imu, sides={"video": turned.side}, teacher=turned.teacher, meta=old)
    options = {"gap_s": 2.0, "recording_weight": 3.0, "guard": 0.3, "queue": 8}
    loss = HardNegative(beta=1.0, tau_plus=0.05, temperature=0.2, dim=D, teacher_dim=7, **options)  # type: ignore[arg-type]
    loss.observe(seen)
    teacher = torch.cat([normalize(p.teacher, dim=1), normalize(seen.teacher, dim=1).float().double()])
    alike = teacher[:N] @ teacher.T
    recording = [*p.meta.recording.tolist(), *old.recording.tolist()]
    time = [*p.meta.time.tolist(), *old.time.tolist()]

    def keep(i: int, j: int) -> bool:
        near = recording[i] == recording[j] and abs(time[i] - time[j]) <= 2.0
        return not near and alike[i, j].item() <= 0.3

    prior = torch.ones(N, N + 4)
    for i in range(N):
        for j in range(N + 4):
            if recording[i] == recording[j] and abs(time[i] - time[j]) > 2.0:
                prior[i, j] = 3.0
    rows = negatives(p, keep, N + 4)
    assert 0 < sum(map(len, rows)) < N * (N + 3)
    assert any(prior[i, j] == 3 for i in range(N) for j in rows[i])
    twin = naive.hard_negative(
        p.imu,
        p.side,
        temperature=0.2,
        beta=1.0,
        tau_plus=0.05,
        negatives=rows,
        prior=prior,
        queue=(seen.imu.float().double(), seen.side.float().double()),
    )
    agree(loss, p, twin)


@pytest.mark.parametrize("own_keys", ["in", "out"])
@pytest.mark.parametrize("target", ["video", "teacher"])
def test_queue_distill(own_keys: str, target: str) -> None:
    """B2: value and gradient of the explicit loop; nothing reaches the video, the teacher or the queue."""
    p = made()
    old = made(4).detach().apply(lambda x: x.flip(0))
    loss = QueueDistill(size=9, own_keys=own_keys, target=target, dim=D, teacher_dim=7)  # type: ignore[arg-type]
    loss.observe(old)
    keys, teacher = old.side.float().double(), normalize(old.teacher, dim=1).float().double()
    own = normalize(p.teacher, dim=1)
    if own_keys == "in":
        keys, teacher = torch.cat([keys, p.side.detach()]), torch.cat([teacher, own])
    if target == "video":
        twin = naive.queue_distill(p.imu, keys, p.side, keys, 0.05, 0.1)
    else:
        twin = naive.queue_distill(p.imu, keys, own, teacher, 0.05, 0.1)
    agree(loss, p, twin)
    assert torch.autograd.grad(loss(p).total, p.side, allow_unused=True) == (None,)


@pytest.mark.parametrize("measure", ["mse", "cosine"])
def test_feature_regression(measure: str) -> None:
    p = made()
    z, v = p.imu, p.side.detach()
    if measure == "mse":
        twin = sum(((z[i, k] - v[i, k]) ** 2 for i in range(N) for k in range(D)), naive.ZERO) / (N * D)
    else:
        twin = sum((1 - naive.dot(z[i], v[i]) for i in range(N)), naive.ZERO) / N
    agree(FeatureRegression(measure=measure), p, twin)  # type: ignore[arg-type]


@pytest.mark.parametrize("measure", ["kl", "mse"])
def test_relational(measure: str) -> None:
    p = made()
    loss = Relational(measure=measure, student_temperature=0.3, teacher_temperature=0.2)  # type: ignore[arg-type]
    agree(loss, p, naive.relational(p.imu, p.teacher, 0.3, 0.2, measure == "mse"))


@pytest.mark.parametrize("look_by", ["video", "imu"])
@pytest.mark.parametrize("take", ["video", "imu"])
def test_nearest_neighbour(look_by: str, take: str) -> None:
    p = made()
    old = made(4).detach().apply(lambda x: x.flip(0))  # rows 0 to 3 of the batch, seen before
    loss = NearestNeighbour(size=9, temperature=0.2, look_by=look_by, take=take, dim=D)  # type: ignore[arg-type]
    loss.observe(old)
    queue = {"video": old.side.float().double(), "imu": old.imu.float().double()}
    rows = {"video": p.side.detach(), "imu": p.imu.detach()}
    positives = []
    for i in range(N):
        free = [k for k in range(4) if 3 - k != i]  # the same moment is no neighbour of itself
        best = max(free, key=lambda k: float(rows[look_by][i] @ queue[look_by][k]))
        positives.append(queue[take][best])
    agree(loss, p, naive.info_nce(p.imu, torch.stack(positives), 0.2))


@pytest.mark.parametrize("guide", ["anchor", "other", "teacher"])
@pytest.mark.parametrize(
    ("top_k", "prune", "intra_weight", "connectivity_scale"),
    [(0, 0.0, 0.7, 0.0), (1, 0.2, 0.5, 2.0), (3, 0.4, 0.0, -1.0)],
)
def test_mining(guide: str, top_k: int, prune: float, intra_weight: float, connectivity_scale: float) -> None:
    p = made()
    settings = {
        "top_k": top_k,
        "prune": prune,
        "intra_weight": intra_weight,
        "connectivity_scale": connectivity_scale,
    }
    imu, video = (x.detach() @ x.detach().T for x in (p.imu, p.side))
    known = normalize(p.teacher, dim=1) @ normalize(p.teacher, dim=1).T
    guides = {"anchor": (imu, video), "other": (video, imu), "teacher": (known, known)}[guide]
    twin = naive.mining(p.imu, p.side, guides, temperature=0.2, **settings)  # type: ignore[arg-type]
    agree(CrossModalMining(temperature=0.2, guide=guide, **settings), p, twin)  # type: ignore[arg-type]


def test_nt_xent() -> None:
    p = made()
    agree(NTXent(temperature=0.2), p, naive.nt_xent(p.imu, p.imu_two, 0.2))


@pytest.mark.parametrize("between", ["augmented_pair", "side"])
def test_vicreg_and_barlow_twins(between: str) -> None:
    p = made()
    other = p.imu_two if between == "augmented_pair" else p.side
    agree(VICReg(between=between), p, naive.vicreg(p.imu, other, (25.0, 25.0, 1.0)))  # type: ignore[arg-type]
    agree(BarlowTwins(between=between), p, naive.barlow_twins(p.imu, other, 0.005))  # type: ignore[arg-type]


@pytest.mark.parametrize("max_shift", [0, 1])
@pytest.mark.parametrize("dilations", [(1.0,), (0.5, 1.0, 1.5)], ids=str)
def test_segment_alignment(max_shift: int, dilations: tuple[float, ...]) -> None:
    p = made()
    settings = {"max_shift": max_shift, "dilations": dilations, "sharpness": 0.2}
    twin = naive.segment_alignment(p.imu_segments, p.segments, temperature=0.3, **settings)  # type: ignore[arg-type]
    agree(SegmentAlignment(temperature=0.3, **settings), p, twin)  # type: ignore[arg-type]


@pytest.mark.parametrize("weights", ["max", "mean1", "none"])
def test_collossl(weights: str) -> None:
    p = made()
    loss = ColloSSL(anchor=1, temperature=0.3, weights=weights, negatives_per_device=2, anchor_negative=True, seed=3)  # type: ignore[arg-type]
    norms = p.devices_imu[:, :, :3].div(30).square().sum(2).sqrt()
    distance = {v: max(naive.mmd(norms[:, 1], norms[:, v]), 1e-4) for v in (0, 2, 3)}
    nearest = sorted(distance, key=distance.__getitem__)
    chosen = [*((v, 1 / distance[v]) for v in nearest), (1, 2 / min(distance.values()))]
    scale = {"none": 1.0, "max": max(1.0, *(w for _, w in chosen)), "mean1": (1 + sum(w for _, w in chosen)) / 5}[
        weights
    ]
    other = []
    for number, (device, weight) in enumerate(chosen):
        for turn in range(2):
            keys = functional.scramble(p.meta.sample, 3, 1, 4 + 2 * number + turn, 0)
            other.append((device, weight, functional.derangement(keys).tolist()))
    agree(loss, p, naive.collossl(p.devices, 1, nearest[:1], other, 0.3, scale))
