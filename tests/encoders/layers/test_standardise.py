"""Standardisation: fitted, averaged over batches, following an input that changes, equal on several processes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from imu_video.encoders.layers.standardise import Standardise
from imu_video.runtime.distributed import world
from imu_video.testing import run_on_ranks


def rows(n: int = 24) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = 3 + 2 * torch.randn(n, 4, generator=generator)
    defined = torch.rand(n, 4, generator=generator) > 0.2
    defined[:, 3] = False
    return x, defined


def test_batches_in_training_average_to_the_moments_of_all_rows() -> None:
    x, defined = rows()
    whole, steps = Standardise(width=4), Standardise(width=4)
    whole.fit(x, defined)
    for part, known in zip(x.split((4, 12, 8)), defined.split((4, 12, 8)), strict=True):
        steps(part, known)
    assert torch.allclose(whole.mean, steps.mean, atol=1e-5)
    assert torch.allclose(whole.variance, steps.variance, atol=1e-4)
    z = whole.eval()(x, defined)
    assert not z[~defined].any()
    first = z[defined[:, 0], 0]
    assert first.mean().abs() < 1e-5
    assert first.var(unbiased=False) == pytest.approx(1.0, abs=1e-4)


def test_what_was_fitted_stays_and_what_follows_moves() -> None:
    x, _ = rows()
    for follow in (None, 0.5):
        layer = Standardise(width=4, follow=follow)
        layer.fit(x)
        before = layer.mean.clone()
        layer(x + 10)
        assert torch.allclose(layer.mean, before + (5 if follow else 0), atol=1e-4)
        layer.eval()(x - 10)
        assert torch.allclose(layer.mean, before + (5 if follow else 0), atol=1e-4)


def test_untouched_it_changes_nothing_and_unseen_columns_are_zero() -> None:
    x, defined = rows()
    assert torch.equal(Standardise(width=4).eval()(x), x)
    layer = Standardise(width=4, limit=1.5)
    layer.fit(x, defined)
    z = layer.eval()(x)
    assert not z[:, 3].any()
    assert z.abs().max() == 1.5


def test_rows_do_not_depend_on_each_other_through_the_gradient() -> None:
    x, _ = rows()
    x.requires_grad_()
    Standardise(width=4, follow=0.1)(x)[0].sum().backward()
    assert x.grad is not None
    assert not x.grad[1:].any()


def moments_of_my_rows() -> list[Tensor]:
    x, defined = rows()
    mine = world().rows(len(x))
    layer = Standardise(width=4, follow=0.3)
    for _ in range(2):
        x = 1.5 * x
        layer(x[mine], defined[mine])
    return [layer.mean, layer.variance, layer.count]


@pytest.mark.slow  # starts two processes
def test_two_processes_have_the_moments_of_one() -> None:
    one = moments_of_my_rows()
    for found in run_on_ranks(moments_of_my_rows):
        assert all(torch.allclose(a, b, rtol=1e-5) for a, b in zip(found, one, strict=True))
