"""Calibration figures against explicit loops."""

from __future__ import annotations

import numpy as np
import pytest

from imu_video.metrics.calibration import (
    expected_calibration_error,
    grouped_reliability_bins,
    overconfidence,
    reliability_bins,
)


def naive(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    total = 0.0
    for b in range(bins):
        inside = [i for i, p in enumerate(confidence) if b / bins < p <= (b + 1) / bins or (b == 0 and p == 0)]
        if inside:
            hit = sum(bool(correct[i]) for i in inside) / len(inside)
            stated = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(hit - stated)
    return total


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_equals_the_definition(bins: int) -> None:
    rng = np.random.default_rng(bins)
    p = np.concatenate([rng.uniform(0.2, 1, 400), [0.0, 1.0, 0.5]])
    hit = rng.random(len(p)) < p**2
    table = reliability_bins(p, hit, bins=bins)
    assert table[:, 0].sum() == len(p)
    assert float(expected_calibration_error(table)) == pytest.approx(naive(p, hit, bins))
    assert float(overconfidence(table)) == pytest.approx(p.mean() - hit.mean())


def test_bins_add_up_and_stacks_are_taken_whole() -> None:
    rng = np.random.default_rng(0)
    p, hit = rng.random((4, 50)), rng.random((4, 50)) < 0.5
    stack = np.stack([reliability_bins(a, b) for a, b in zip(p, hit, strict=True)])
    whole = reliability_bins(p.ravel(), hit.ravel())
    assert stack.sum(axis=0) == pytest.approx(whole)
    assert expected_calibration_error(stack).shape == (4,)
    empty = np.zeros((2, 15, 3))
    assert np.isnan(expected_calibration_error(empty)).all()
    assert np.isnan(overconfidence(empty)).all()


def test_groups_are_binned_as_if_each_were_alone() -> None:
    rng = np.random.default_rng(2)
    p, hit, group = rng.random(500), rng.random(500) < 0.5, rng.integers(0, 4, 500)
    found = grouped_reliability_bins(p, hit, group, groups=6)
    for g in range(6):
        assert np.array_equal(found[g], reliability_bins(p[group == g], hit[group == g]))
    assert not found[4:].any()


def test_what_is_certain_and_right_is_calibrated() -> None:
    rng = np.random.default_rng(1)
    p = rng.uniform(0.3, 1.0, 200_000)
    assert float(expected_calibration_error(reliability_bins(p, rng.random(len(p)) < p))) < 0.006
    assert float(expected_calibration_error(reliability_bins(np.ones(9), np.zeros(9)))) == 1.0


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \[0, 1\]"):
        reliability_bins(np.array([1.5]), np.array([True]))
    with pytest.raises(ValueError, match="must all be"):
        reliability_bins(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match=r"\(\.\.\., B, 3\)"):
        expected_calibration_error(np.ones((4, 2)))


@pytest.mark.slow  # torchmetrics takes five seconds to import
def test_calibration_error_equals_that_of_torchmetrics() -> None:
    oracle = pytest.importorskip("torchmetrics.functional.classification", reason="torchmetrics is not installed")
    import torch

    rng = np.random.default_rng(0)
    p = torch.softmax(torch.from_numpy(rng.normal(size=(500, 6))), dim=1)
    truth = torch.from_numpy(rng.integers(0, 6, 500))
    theirs = oracle.multiclass_calibration_error(p, truth, num_classes=6, n_bins=15)
    confidence, predicted = p.max(dim=1)
    ours = expected_calibration_error(reliability_bins(confidence.numpy(), (predicted == truth).numpy()))
    assert float(ours) == pytest.approx(theirs.item(), abs=1e-6)
