"""Distillation without a memory and mining: identities and what each option does."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from imu_video.errors import ConfigError
from imu_video.losses import CrossModalMining, FeatureRegression, InfoNCE, PairLoss, Relational, SoftTarget
from imu_video.types import PairEmbeddings


def unit(*shape: int, seed: int = 0) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def pair(n: int = 8, d: int = 6) -> PairEmbeddings:
    return PairEmbeddings(
        imu=unit(n, d).requires_grad_(), sides={"video": unit(n, d, seed=1)}, teacher=unit(n, 9, seed=2)
    )


def test_regression_measures_agree_on_unit_vectors() -> None:
    p = pair()
    mse, cosine = FeatureRegression()(p).total, FeatureRegression(measure="cosine")(p).total
    assert cosine.item() == pytest.approx(mse.item() * 6 / 2)
    assert FeatureRegression().fixed_target


def test_relations_do_not_care_about_a_rotation_or_the_width() -> None:
    z = unit(8, 6)
    turned = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)).Q
    teacher = torch.cat([4 * z @ turned, torch.zeros(8, 5)], 1)
    for measure in ("kl", "mse"):
        loss = Relational(measure=measure)  # type: ignore[arg-type]
        assert loss(PairEmbeddings(imu=z, teacher=teacher)).total.item() == pytest.approx(0, abs=1e-12)
        assert loss(PairEmbeddings(imu=z.roll(1, 0), teacher=teacher)).total > 0.01
        assert loss.needs == {"teacher"}


def test_relations_of_one_window_are_nothing() -> None:
    p = PairEmbeddings(imu=unit(1, 4).requires_grad_(), teacher=unit(1, 3))
    for measure in ("kl", "mse"):
        total = Relational(measure=measure)(p).total  # type: ignore[arg-type]
        assert total.item() == 0
        assert torch.autograd.grad(total, p.imu)[0].isfinite().all()


def test_without_mining_it_is_info_nce() -> None:
    p = pair()
    off = CrossModalMining(top_k=0, prune=0.0, intra_weight=0.0, connectivity_scale=0.0, guide="anchor")
    plain = InfoNCE(temperature=0.1, learned=False)
    totals = [loss(p).total for loss in (off, plain)]
    assert totals[0].item() == pytest.approx(totals[1].item(), rel=1e-9)
    assert torch.allclose(*(torch.autograd.grad(t, p.imu)[0] for t in totals), atol=1e-9)


def test_mined_positives_are_drawn_together() -> None:
    """Two windows whose clips the teacher finds alike: each other's video is a positive, not a negative."""
    z, v = unit(6, 8), unit(6, 8, seed=1)
    teacher = torch.eye(6)[[0, 0, 2, 3, 4, 5]] + 0.01
    cross = z @ v.T

    def gradient(top_k: int) -> Tensor:
        leaf = v.clone().requires_grad_()
        loss = CrossModalMining(top_k=top_k, prune=0.0, intra_weight=0.0, temperature=0.5)
        return torch.autograd.grad(loss(PairEmbeddings(imu=z, sides={"video": leaf}, teacher=teacher)).total, leaf)[0]

    before, after = gradient(0), gradient(1)
    # A step down the gradient moves video 1 towards IMU 0 when mined, away from it when not.
    assert (-(before[1]) @ z[0]) < (-(after[1]) @ z[0])
    assert cross.shape == (6, 6)


def test_pruned_windows_are_nobodys_negatives() -> None:
    """The best connected window's video gets no push from other rows."""
    z, v = unit(5, 6), unit(5, 6, seed=1).requires_grad_()
    teacher = torch.eye(5, dtype=torch.float64) + 0.6 * torch.ones(5, 1) * torch.eye(5, dtype=torch.float64)[2]
    p = PairEmbeddings(imu=z, sides={"video": v}, teacher=teacher)
    settings = {"top_k": 0, "intra_weight": 0.0, "connectivity_scale": 0.0}
    pruned = CrossModalMining(prune=0.2, **settings)(p).total  # type: ignore[arg-type]
    # By hand: column 2 is left out of every row but its own, in both directions.
    c = (z @ v.T / 0.1).detach()
    rows = []
    for s in (c, c.T):
        for i in range(5):
            kept = [j for j in range(5) if j in (i,) or j != 2]
            rows.append(math.log(sum(math.exp(s[i, j]) for j in kept)) - s[i, i].item())
    assert pruned.item() == pytest.approx(sum(rows) / 10, rel=1e-9)


def test_connectivity_weighs_rows_and_keeps_their_mean() -> None:
    z = unit(4, 5)
    same = PairEmbeddings(imu=z, sides={"video": z}, teacher=torch.ones(4, 3))
    settings = {"top_k": 0, "prune": 0.0, "intra_weight": 0.0}
    flat = [CrossModalMining(connectivity_scale=g, **settings)(same).total.item() for g in (0.0, 5.0)]  # type: ignore[arg-type]
    assert flat[0] == pytest.approx(flat[1], rel=1e-6)  # all connected alike: weights 1


def test_sharp_targets_make_soft_targets_info_nce_and_the_oddity_makes_them_flat() -> None:
    p = pair()
    sharp = SoftTarget(temperature=0.1, learned=False, target_temperature=1e-3)(p)
    assert sharp.total.item() == pytest.approx(InfoNCE(temperature=0.1, learned=False)(p).total.item(), rel=1e-5)
    assert sharp.stats["own_target"].item() == pytest.approx(1.0)
    odd = SoftTarget(temperature=0.1, target_temperature=0.1, multiply_targets=True)(p)
    assert odd.stats["own_target"].item() == pytest.approx(1 / 8, rel=0.15)  # of 8 windows: nearly uniform


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (CrossModalMining, {"top_k": -1}),
        (CrossModalMining, {"prune": 1.0}),
        (CrossModalMining, {"intra_weight": -0.1}),
        (Relational, {"student_temperature": 0.0}),
        (SoftTarget, {"target_temperature": 0.0}),
        (SoftTarget, {"temperature": 0.001}),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(build: type[PairLoss], options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        build(**options)
