"""Multiple comparisons and power against the textbook and simulated studies."""

from __future__ import annotations

import math

import numpy as np
import pytest

from imu_video.metrics.inference import estimate
from imu_video.metrics.significance import Spread, compare, detectable, holm, simulated_power


def test_holm_by_steps() -> None:
    p = np.array([0.04, 0.001, 0.5, 0.03])
    expected = [max(3 * 0.03, 2 * 0.04), 0.004, 0.5, 0.09]
    assert holm(p).tolist() == pytest.approx(expected)
    assert holm(np.array([])).tolist() == []
    assert (holm(np.full(40, 0.2)) == 1).all()


def test_holm_keeps_the_family_error() -> None:
    rng = np.random.default_rng(0)
    false = [bool((holm(rng.random(10)) < 0.05).any()) for _ in range(4000)]
    assert np.mean(false) == pytest.approx(0.05, abs=0.012)


def test_equal_methods_with_other_seeds_are_not_told_apart() -> None:
    """A p value that covers subjects and not seeds rejects in a quarter of such families."""
    rng = np.random.default_rng(1)
    rejected = 0
    for _ in range(150):
        # 30 subjects and three seeds: the difference of two runs of one method varies with the seeds alone.
        family = [
            estimate(rng.normal(0, 0.02, (3, 1, 1)) + rng.normal(0, 0.03, (3, 1, 30)), random_seeds=True)
            for _ in range(3)
        ]
        rejected += any(c.p_holm is not None and c.p_holm < 0.05 for c in compare(family))
    # 150 families at 5 %: three standard deviations above are 10.3 %.
    assert rejected / 150 <= 0.103


def test_simultaneous_intervals_contain_every_truth_at_once() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(100):
        found = compare([estimate(rng.normal(0.1, 0.1, (1, 1, 8))) for _ in range(6)])
        hits += all(c.low <= 0.1 <= c.high for c in found)
    assert hits / 100 >= 0.88


def test_a_comparison_without_p_counts_in_the_family() -> None:
    rng = np.random.default_rng(3)
    clear, single = estimate(rng.normal(0.3, 0.1, (1, 1, 6))), estimate(np.full((1, 1, 1), 0.1))
    found = compare([clear, single])
    assert found[1].p_holm is None
    assert clear.p is not None
    assert found[0].p_holm == pytest.approx(2 * clear.p)
    assert [c.comparisons for c in found] == [2, 2]


@pytest.mark.parametrize(("subjects", "comparisons"), [(5, 1), (12, 1), (8, 16)])
def test_the_detectable_difference_is_found_with_its_power_by_the_reported_test(
    subjects: int, comparisons: int
) -> None:
    rng = np.random.default_rng(4)
    d = rng.normal(size=subjects)
    observed = estimate(((d - d.mean()) / d.std(ddof=1) * 0.1)[None, None])
    smallest = detectable(observed, comparisons=comparisons)
    power = simulated_power(
        Spread(subject=0.1), smallest, subjects=subjects, comparisons=comparisons, studies=1200, generator=rng
    )
    assert power == pytest.approx(0.8, abs=0.04)


def test_no_variance_detects_nothing() -> None:
    assert detectable(estimate(np.full((1, 1, 1), 1.0))) == math.inf


def test_more_seeds_give_more_power_where_seeds_vary() -> None:
    rng = np.random.default_rng(5)
    spread = Spread(subject=0.02, seed=0.05)
    few, many = (simulated_power(spread, 0.08, subjects=20, seeds=r, studies=60, generator=rng) for r in (2, 8))
    assert few < 0.5 < many


def test_a_test_with_support_subjects_and_seeds_of_the_reference_keeps_its_level() -> None:
    rng = np.random.default_rng(6)
    few_shot = Spread(subject=0.1, support=0.1, episode=0.02, rest=0.05)
    both = Spread(subject=0.03, pretraining=0.05, reference=0.05, seed=0.02, rest=0.02)
    wrong = [
        simulated_power(few_shot, 0.0, subjects=9, episodes=30, studies=100, generator=rng),
        simulated_power(both, 0.0, subjects=8, seeds=3, pretraining=3, reference=3, studies=60, generator=rng),
    ]
    # 100 studies at 5 %: three standard deviations above are 11.5 %.
    assert max(wrong) <= 0.115


@pytest.mark.parametrize(
    ("spread", "size"),
    [
        (Spread(subject=0.1), {"seeds": 2, "episodes": 2, "reference": 2}),
        (Spread(subject=0.1, support=0.1), {"episodes": 1}),
        (Spread(subject=0.1, support=0.1), {"episodes": 5, "folds": 2}),
    ],
)
def test_designs_that_no_protocol_has_are_not_simulated(spread: Spread, size: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"seeds of the reference: at most two vary|support by subjects needs"):
        simulated_power(spread, 0.1, subjects=6, studies=1, generator=np.random.default_rng(0), **size)
