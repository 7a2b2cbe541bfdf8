"""Intervals and p values against Student's t, Monte Carlo and simulated studies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from imu_video.metrics.inference import Estimate, estimate, quantile, tail
from imu_video.metrics.variance import Part


def test_one_factor_is_students_t() -> None:
    d = np.random.default_rng(0).normal(0.1, 0.2, 9)
    found = estimate(d[None, None])
    t = stats.ttest_1samp(d, 0)
    low, high = t.confidence_interval(0.9)
    assert found.interval(0.9) == pytest.approx((low, high))
    assert found.p == pytest.approx(t.pvalue)


@pytest.mark.parametrize("levels", [(3, 9), (2, 30), (5, 9, 50), (3, 4, 9, 50), (6, 12), (4, 6)])
def test_several_factors_agree_with_monte_carlo(levels: tuple[int, ...]) -> None:
    """The pivotal quantity and Student's t with Satterthwaite's degrees of freedom, in their documented shares."""
    rng = np.random.default_rng(1)
    parts = [Part(f"f{i}", n, 1.0 / (i + 1), noise=0.1 * i, noise_freedom=20) for i, n in enumerate(levels)]
    scale = sum(np.maximum(0, p.gross * p.freedom / rng.chisquare(p.freedom, 400_000) - p.noise) for p in parts)
    pivotal = np.abs(rng.normal(size=400_000) * np.sqrt(scale))
    total = sum(p.variance for p in parts)
    freedom = total**2 / sum(p.gross**2 / p.freedom + p.noise**2 / 20 for p in parts)
    student = np.abs(rng.standard_t(max(freedom, min(levels) - 1), 400_000)) * math.sqrt(total)
    share = {2: 1.0, 3: 0.75, 4: 0.75, 5: 0.5, 6: 0.5}[min(levels)]
    deviation = np.where(np.arange(400_000) < share * 400_000, pivotal, student)
    for level in (0.5, 0.95, 0.99):
        assert tail(parts, float(np.quantile(deviation, level))) == pytest.approx(1 - level, rel=0.06)
        assert tail(parts, quantile(parts, level)) == pytest.approx(1 - level, rel=1e-5)


@pytest.mark.parametrize("freedom", [1, 2, 7, 29])
def test_the_quadrature_equals_students_t_far_into_the_tail(freedom: int) -> None:
    """A second factor that contributes nothing must not change anything."""
    parts = [Part("subject", freedom + 1, 1.0), Part("seed", 4, 1e-14)]
    for distance in (0.5, 2.0, 5.0, 12.0):
        assert tail(parts, distance) == pytest.approx(2 * stats.t.sf(distance, freedom), rel=0.02, abs=1e-9)


def test_interval_excludes_zero_exactly_where_p_is_small() -> None:
    rng = np.random.default_rng(2)
    for _ in range(40):
        cells = rng.normal(0.06, 0.1, (1, 1, 8)) + rng.normal(0, 0.03, (3, 1, 1)) + rng.normal(0, 0.02, (3, 4, 8))
        found = estimate(cells)
        low, high = found.interval(0.95)
        assert found.p is not None
        assert (low > 0 or high < 0) == (found.p < 0.05)


def test_fractions_stay_in_their_range_and_reach_further_down_near_the_ceiling() -> None:
    found = estimate(np.array([[[0.99, 0.97, 1.0, 0.82, 0.98]]]), fraction=True)
    low, high = found.interval(0.95)
    assert 0 < low < found.value < high < 1
    assert found.value - low > 2 * (high - found.value)


def studies(case: str, rng: np.random.Generator, subjects: int, seeds: int) -> tuple[np.ndarray, float, bool]:
    """One simulated study: cells, true value, and whether they are fractions."""
    if case == "ceiling":
        return rng.beta(6, 1, (1, 1, subjects)), 6 / 7, True
    draw = {"normal": rng.normal, "t3": lambda s: rng.standard_t(3, s) / math.sqrt(3)}.get(case, rng.normal)
    cells = 0.1 * draw(size=(1, 1, subjects)) if case != "t3" else 0.1 * draw((1, 1, subjects))
    shared = {"seeds": 0.1, "normal": 0.03, "t3": 0.03}[case] * rng.normal(size=(seeds, 1, 1))
    return 0.02 + cells + shared + 0.05 * rng.normal(size=(seeds, 1, subjects)), 0.02, False


@pytest.mark.parametrize(
    ("case", "subjects", "seeds"),
    [("normal", 8, 3), ("seeds", 8, 3), ("seeds", 30, 3), ("t3", 8, 3), ("ceiling", 4, 1)],
)
def test_coverage(case: str, subjects: int, seeds: int) -> None:
    """About 95 % of simulated studies contain the truth; studies/inference has the whole grid with more studies."""
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        cells, truth, fraction = studies(case, rng, subjects, seeds)
        low, high = estimate(cells, fraction=fraction).interval(0.95)
        hits += low <= truth <= high
    # 200 studies at 95 %: three standard deviations below are 90.4 %.
    assert hits / 200 >= 0.904


def test_remarks_name_what_makes_an_interval_unreliable() -> None:
    rng = np.random.default_rng(5)
    assert estimate(rng.normal(size=(1, 1, 3))).remarks[0].startswith("3 subjects")
    assert estimate(rng.normal(size=(1, 1, 9)), random_seeds=True).remarks[0].startswith("one seed")
    assert estimate(rng.normal(size=(5, 1, 15)), random_seeds=True).remarks == ()
    [folds] = estimate(rng.normal(size=(1, 1, 6)), folds=list("abcdef"), random_seeds=True).remarks
    assert folds.startswith("subjects are tested in 6 folds, with one subject each: their training sets overlap")


def test_without_information_there_is_no_interval_and_no_p() -> None:
    one = estimate(np.full((1, 5, 1), 0.3))
    assert (one.value, one.interval(0.95), one.p, one.se) == (0.3, (-math.inf, math.inf), None, math.inf)
    same = estimate(np.full((1, 1, 4), 0.25))
    assert (same.interval(0.95), same.p) == ((-math.inf, math.inf), None)
    assert same.remarks == ("every subject has the same value: no interval",)
    assert estimate(np.zeros((1, 1, 4))).p == 1.0
    perfect = estimate(np.ones((1, 1, 4)), fraction=True)
    assert perfect.interval(0.95) == (-math.inf, math.inf)


def test_bad_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="level"):
        Estimate(value=0.0, parts=(), subjects=3).interval(1.0)
