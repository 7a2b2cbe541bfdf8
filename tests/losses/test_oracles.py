"""Against other people's implementations, where they are installed and define the same number."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from imu_video.losses import BarlowTwins, InfoNCE, NTXent, SigmoidPair, VICReg
from imu_video.types import PairEmbeddings


def leaf(seed: int, n: int = 8, d: int = 6) -> Tensor:
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x.requires_grad_()


def agree(ours: Tensor, theirs: Tensor, *leaves: Tensor, tolerance: float = 1e-6) -> None:
    """Value, and gradient before normalisation: some of them normalise once more."""
    assert ours.item() == pytest.approx(theirs.item(), rel=tolerance)
    sides = [torch.autograd.grad(total, leaves, retain_graph=True) for total in (ours, theirs)]
    for a, b in zip(*sides, strict=True):
        assert torch.allclose(a, b, rtol=100 * tolerance, atol=tolerance)


def test_nt_xent_of_pytorch_metric_learning() -> None:
    oracle = pytest.importorskip("pytorch_metric_learning.losses")
    one, two = leaf(0), leaf(1)
    z, y = normalize(one, dim=1), normalize(two, dim=1)
    theirs = oracle.NTXentLoss(temperature=0.2)(torch.cat([z, y]), torch.arange(8).repeat(2))
    agree(NTXent(temperature=0.2)(PairEmbeddings(imu=z, imu_two=y)).total, theirs, one, two)


def test_vicreg_of_pytorch_metric_learning() -> None:
    """Its invariance is the mean square; its variance term is a mean of both sides, ours (as published) their sum."""
    oracle = pytest.importorskip("pytorch_metric_learning.losses")
    one, two = leaf(0), leaf(1)
    z, y = normalize(one, dim=1), normalize(two, dim=1)
    x = [math.sqrt(6) * side for side in (z, y)]
    theirs = oracle.VICRegLoss(invariance_lambda=25, variance_mu=50, covariance_v=1)(x[0], ref_emb=x[1])
    agree(VICReg()(PairEmbeddings(imu=z, imu_two=y)).total, theirs, one, two)


@pytest.mark.slow  # lightly imports pytorch-lightning: three seconds
def test_two_view_losses_of_lightly() -> None:
    oracle = pytest.importorskip("lightly.loss")
    one, two = leaf(0), leaf(1)
    z, y = normalize(one, dim=1), normalize(two, dim=1)
    p = PairEmbeddings(imu=z, imu_two=y)
    agree(NTXent(temperature=0.2)(p).total, oracle.NTXentLoss(temperature=0.2)(z, y), one, two)
    x = [math.sqrt(6) * side for side in (z, y)]
    # Its variance term is the mean of both sides: twice the weight gives the published sum.
    agree(VICReg()(p).total, oracle.VICRegLoss(mu_param=50.0)(*x), one, two)
    agree(
        BarlowTwins()(p).total, oracle.BarlowTwinsLoss()(z, y), one, two, tolerance=1e-3
    )  # its variance has another eps


def test_clip_loss_of_transformers() -> None:
    oracle = pytest.importorskip("transformers.models.clip.modeling_clip")
    clip_loss = getattr(oracle, "clip_loss", None) or oracle.image_text_contrastive_loss  # renamed in version 5
    one, two = leaf(0), leaf(1)
    z, v = normalize(one, dim=1), normalize(two, dim=1)
    agree(
        InfoNCE(temperature=0.1, learned=False)(PairEmbeddings(imu=z, sides={"video": v})).total,
        clip_loss(z @ v.T / 0.1),
        one,
        two,
    )


def test_losses_of_open_clip() -> None:
    oracle = pytest.importorskip("open_clip.loss")
    one, two = leaf(0), leaf(1)
    z, v = normalize(one, dim=1), normalize(two, dim=1)
    p = PairEmbeddings(imu=z, sides={"video": v})
    scale, bias = torch.tensor([10.0, -10.0], dtype=torch.float64)
    agree(InfoNCE(temperature=0.1, learned=False)(p).total, oracle.ClipLoss()(z, v, scale), one, two)
    agree(SigmoidPair(learned=False)(p).total, oracle.SigLipLoss()(z, v, scale, bias), one, two)
