"""Variance by factor against loops, analysis of variance and simulated few-shot studies."""

from __future__ import annotations

import numpy as np
import pytest

from imu_video.metrics.variance import mean_of_means, variance_parts


def twin_mean(cells: np.ndarray) -> float:
    """Mean over subjects of the mean over their cells, one subject at a time."""
    means = []
    for s in range(cells.shape[2]):
        own = [v for v in cells[:, :, s].ravel() if np.isfinite(v)]
        if own:
            means.append(sum(own) / len(own))
    return sum(means) / len(means)


def twin_subjects(cells: np.ndarray, support: np.ndarray) -> float:
    """Delete one subject as query and as support at a time, and correct for the episodes that are lost."""
    _, episodes, subjects = cells.shape
    deleted, noise = [], 0.0
    subject_means = [np.nanmean(cells[:, :, s]) for s in range(subjects)]
    effects = [np.nanmean(cells[:, e] - np.array(subject_means)) for e in range(episodes)]
    spread = np.var(effects, ddof=1)
    for s in range(subjects):
        kept = [e for e in range(episodes) if not support[e, s]]
        others = [i for i in range(subjects) if i != s]
        deleted.append(twin_mean(cells[:, kept][:, :, others]))
        noise += spread * (1 / len(kept) - 1 / episodes)
    found = (subjects - 1) / subjects * (sum((d - np.mean(deleted)) ** 2 for d in deleted) - noise)
    return float(max(found, np.var(subject_means, ddof=1) / subjects))


def few_shot(rng: np.random.Generator, *, subjects: int, episodes: int, supporting: int) -> tuple[np.ndarray, ...]:
    """A few-shot study: good and bad subjects as queries and as supports."""
    query, quality = rng.normal(0, 0.1, subjects), rng.normal(0, 0.15, subjects)
    support = np.zeros((episodes, subjects), dtype=bool)
    for row in support:
        row[rng.permutation(subjects)[:supporting]] = True
    cells = query + (support @ quality / supporting + rng.normal(0, 0.05, episodes))[:, None]
    cells = cells + rng.normal(0, 0.1, (episodes, subjects))
    cells[support] = np.nan
    return cells[None], support


def test_mean_and_subject_part_equal_their_twins() -> None:
    rng = np.random.default_rng(0)
    cells, support = few_shot(rng, subjects=7, episodes=12, supporting=3)
    cells = np.concatenate([cells, cells + rng.normal(0, 0.02, cells.shape)])
    assert mean_of_means(cells) == pytest.approx(twin_mean(cells), abs=1e-12)
    part = variance_parts(cells, support)[0]
    assert (part.factor, part.levels) == ("subject", 7)
    assert part.variance == pytest.approx(twin_subjects(cells, support), abs=1e-12)


def test_balanced_cells_give_the_mean_squares_of_an_analysis_of_variance() -> None:
    v = np.random.default_rng(1).normal(size=(3, 1, 5))
    rows, columns = v[:, 0].mean(axis=1), v[:, 0].mean(axis=0)
    found = {part.factor: (part.levels, part.gross) for part in variance_parts(v)}
    assert found == {
        "subject": (5, pytest.approx(columns.var(ddof=1) / 5)),
        "seed": (3, pytest.approx(rows.var(ddof=1) / 3)),
    }


def twin_interaction(v: np.ndarray) -> float:
    """Mean square of seeds times subjects over the number of cells, one cell at a time. Shape: (R, S)."""
    levels, subjects = v.shape
    square = 0.0
    for r in range(levels):
        for s in range(subjects):
            square += float(v[r, s] - v[r].mean() - v[:, s].mean() + v.mean()) ** 2
    return square / ((levels - 1) * (subjects - 1)) / (levels * subjects)


def test_what_the_subjects_contain_is_subtracted_from_the_seeds() -> None:
    v = np.random.default_rng(7).normal(size=(3, 5))
    noise = twin_interaction(v)
    for cells in (v[:, None], v[:, None, None]):  # seeds, and pretraining seeds
        part = variance_parts(cells)[1]
        assert part.noise == pytest.approx(noise)
        assert part.variance == pytest.approx(max(0.0, v.mean(axis=1).var(ddof=1) / 3 - noise))
        assert (part.freedom, part.noise_freedom) == (2, 8)
    assert variance_parts(v[:, None, None])[1].factor == "pretraining seed"


def test_two_kinds_of_seeds_are_two_factors() -> None:
    rng = np.random.default_rng(8)
    ours, theirs = rng.normal(size=(4, 1, 1, 1)), rng.normal(size=(1, 3, 1, 1))
    found = {part.factor: part for part in variance_parts(ours - theirs + rng.normal(size=6) + np.zeros((4, 3, 2, 6)))}
    assert found["pretraining seed"].variance == pytest.approx(ours.var(ddof=1) / 4)
    assert found["seed"].variance == pytest.approx(theirs.var(ddof=1) / 3)
    assert found["episode"].variance == pytest.approx(0.0, abs=1e-12)


def twin_folds(values: np.ndarray, fold: list[str]) -> float:
    """Corrected part of equal folds, from the mean squares of a nested analysis of variance, fold by fold."""
    groups = [values[[f == name for f in fold]] for name in sorted(set(fold))]
    folds, size = len(groups), len(groups[0])
    within = sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / (len(values) - folds)
    between = size * sum(float(g.mean() - values.mean()) ** 2 for g in groups) / (folds - 1)
    return (1 / folds + 1 / (folds - 1)) * max(0.0, between - within) / size


def test_subjects_are_nested_in_folds() -> None:
    rng = np.random.default_rng(9)
    fold = [f"fold {s % 3}" for s in range(12)]
    values = rng.normal(size=12) + np.tile([0.0, 2.0, 5.0], 4)
    cells = np.full((3, 1, 12), np.nan)  # seed k tests fold k
    cells[np.arange(12) % 3, 0, np.arange(12)] = values
    found = {part.factor: part for part in variance_parts(cells, folds=fold)}
    assert list(found) == ["subject", "fold"], "seeds and folds are one factor"
    assert found["fold"].variance == pytest.approx(twin_folds(values, fold))
    assert [part.factor for part in variance_parts(cells)] == ["subject", "seed"]
    every = variance_parts(np.stack([values, values + 1])[:, None], folds=fold)
    assert [part.factor for part in every] == ["subject", "fold", "seed"], "every seed tests every fold"


def test_folds_that_do_not_differ_are_pooled_and_folds_of_one_subject_are_subjects() -> None:
    values = np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    assert variance_parts(values[None, None], folds=list("aabbcc"))[1].gross == 0.0
    assert [p.factor for p in variance_parts(values[None, None], folds=list("abcdef"))] == ["subject"]
    with pytest.raises(ValueError, match="folds must name the fold of each of 6 subjects, got 2"):
        variance_parts(values[None, None], folds=["a", "b"])


def test_subjects_that_only_support_are_a_factor_of_their_own() -> None:
    rng = np.random.default_rng(2)
    quality = rng.normal(0, 1, 6)
    support = np.zeros((30, 4 + 6), dtype=bool)
    for row in support:
        row[4 + rng.permutation(6)[:2]] = True
    cells = rng.normal(0, 0.01, 4) + (support[:, 4:] @ quality / 2)[:, None] + rng.normal(0, 0.01, (30, 4))
    found = {part.factor: part for part in variance_parts(cells[None], support)}
    assert list(found) == ["subject", "support subject", "episode"]
    assert found["support subject"].levels == 6
    assert found["support subject"].variance > 10 * found["subject"].variance


def test_a_support_that_never_changes_is_no_sample() -> None:
    cells = np.random.default_rng(3).normal(size=(1, 5, 4))
    fixed = np.zeros((5, 6), dtype=bool)
    fixed[:, 4:] = True
    assert [(p.factor, p.variance) for p in variance_parts(cells, fixed)] == [
        (p.factor, pytest.approx(p.variance)) for p in variance_parts(cells)
    ]


def test_different_subjects_per_episode_are_no_difference_of_episodes() -> None:
    cells = np.full((1, 4, 8), np.nan)
    for e in range(4):
        cells[0, e, 2 * e : 2 * e + 2] = [0.1 * e, 0.3]  # each subject in one episode only
    assert [part.factor for part in variance_parts(cells) if part.variance > 0] == ["subject"]


@pytest.mark.parametrize(("subjects", "supporting"), [(8, 1), (8, 4), (15, 5)])
def test_stated_deviation_of_a_few_shot_study_is_the_true_one(subjects: int, supporting: int) -> None:
    """Supports come from the same few subjects: resampling episodes as if independent states half of the deviation."""
    rng = np.random.default_rng(4)
    values, stated, naive = [], [], []
    for _ in range(200):
        cells, support = few_shot(rng, subjects=subjects, episodes=40, supporting=supporting)
        values.append(mean_of_means(cells))
        stated.append(sum(part.variance for part in variance_parts(cells, support)))
        naive.append(sum(part.variance for part in variance_parts(cells)))
    true = np.std(values)
    assert 0.85 < np.sqrt(np.mean(stated)) / true < 1.2
    assert np.sqrt(np.mean(naive)) / true < 0.8


def test_bad_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(R, E, S\)"):
        variance_parts(np.ones((3, 2)))
    with pytest.raises(ValueError, match="no finite value"):
        variance_parts(np.full((1, 3, 2), np.nan))
    with pytest.raises(ValueError, match="support must be"):
        variance_parts(np.ones((1, 3, 2)), np.ones((2, 2), dtype=bool))
