"""The hierarchical bootstrap against a slow twin, and its coverage on simulated people."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from imu_video.metrics.stats import hierarchical_bootstrap, hierarchical_bootstrap_many


def twin(cells: np.ndarray, generator: np.random.Generator, resamples: int) -> tuple[float, float, float]:
    """Draw subjects, then episodes, as lists, and take the mean of means one resample at a time."""
    s, e = cells.shape

    def mean_of_means(subjects: list[int], episodes: list[int]) -> float:
        means = []
        for i in subjects:
            own = [cells[i, j] for j in episodes if np.isfinite(cells[i, j])]
            if own:
                means.append(np.mean(own))
        return float(np.mean(means)) if means else np.nan

    draws = [
        mean_of_means(list(generator.integers(0, s, s)), list(generator.integers(0, e, e))) for _ in range(resamples)
    ]
    tail = stats.norm.cdf(-np.sqrt(s / (s - 1)) * stats.t.ppf(0.975, s - 1))
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return mean_of_means(list(range(s)), list(range(e))), low, high


def test_agrees_with_the_slow_twin() -> None:
    rng = np.random.default_rng(0)
    cells = rng.normal(0.6, 0.1, (6, 1)) + rng.normal(0, 0.05, (1, 12)) + rng.normal(0, 0.03, (6, 12))
    cells[rng.random(cells.shape) < 0.3] = np.nan
    fast = hierarchical_bootstrap(cells, generator=np.random.default_rng(1), resamples=20000)
    value, low, high = twin(cells, np.random.default_rng(2), 3000)
    assert fast.value == pytest.approx(value, abs=1e-12)
    width = high - low
    assert fast.low == pytest.approx(low, abs=0.12 * width)
    assert fast.high == pytest.approx(high, abs=0.12 * width)
    assert (fast.subjects, fast.episodes) == (6, 12)


@pytest.mark.parametrize(
    ("subjects", "episodes", "expand", "at_least", "at_most"),
    [(5, 20, True, 0.91, 1.0), (5, 20, False, 0.6, 0.90), (8, 4, True, 0.91, 1.0), (20, 20, True, 0.91, 0.99)],
)
def test_coverage(subjects: int, episodes: int, expand: bool, at_least: float, at_most: float) -> None:
    """Of 400 simulated studies about 95 % contain the truth; plain percentiles with five people do not."""
    rng = np.random.default_rng(3)
    hit = 0
    for _ in range(400):
        person, luck = rng.normal(0.5, 0.1, (subjects, 1)), rng.normal(0, 0.05, (1, episodes))
        cells = person + luck + rng.normal(0, 0.05, (subjects, episodes))
        i = hierarchical_bootstrap(cells, generator=rng, resamples=800, expand=expand)
        hit += i.low <= 0.5 <= i.high
    assert at_least <= hit / 400 <= at_most


def test_spread_between_episodes_is_not_hidden() -> None:
    """All people share an episode's luck: with few episodes the interval must be as wide as that luck."""
    rng = np.random.default_rng(4)
    luck = np.array([[0.2, 0.4, 0.6, 0.8]])
    shared = hierarchical_bootstrap(np.repeat(luck, 30, axis=0), generator=rng)
    assert shared.high - shared.low > 0.3


def test_same_state_same_interval() -> None:
    cells = np.random.default_rng(0).random((5, 9))
    one = hierarchical_bootstrap(cells, generator=np.random.default_rng(7))
    two = hierarchical_bootstrap(cells, generator=np.random.default_rng(7))
    assert one == two


def test_a_stack_shares_its_draws_and_equals_single_figures() -> None:
    cells = np.random.default_rng(0).random((3, 5, 9))
    cells[:, 1, :4] = np.nan
    many = hierarchical_bootstrap_many(cells, generator=np.random.default_rng(7))
    for figure, interval in zip(cells, many, strict=True):
        assert hierarchical_bootstrap(figure, generator=np.random.default_rng(7)) == interval
    cells[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="same cells"):
        hierarchical_bootstrap_many(cells, generator=np.random.default_rng(7))


def test_subjects_count_equally_whatever_their_number_of_cells() -> None:
    cells = np.full((2, 10), np.nan)
    cells[0] = 1.0
    cells[1, 0] = 0.0
    assert hierarchical_bootstrap(cells, generator=np.random.default_rng(0)).value == pytest.approx(0.5)


def test_one_person_has_no_interval_over_people() -> None:
    i = hierarchical_bootstrap(np.ones((1, 5)), generator=np.random.default_rng(0))
    assert (i.value, i.low, i.high) == (1.0, -np.inf, np.inf)
    assert not i.excludes_zero


def test_bad_input_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no finite value"):
        hierarchical_bootstrap(np.full((3, 2), np.nan), generator=rng)
    with pytest.raises(ValueError, match=r"\(S, E\)"):
        hierarchical_bootstrap(np.ones(3), generator=rng)
    with pytest.raises(ValueError, match="level"):
        hierarchical_bootstrap(np.ones((3, 2)), generator=rng, level=1.0)
