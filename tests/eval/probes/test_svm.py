"""The support vector machine against scikit-learn's grid search, its sample of large supports, and its memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.svm import SVC

from eval.probes import SvmProbe, svm
from eval.probes.svm import stratified_sample
from imu_video.errors import ConfigError

GRID = {"C": [10.0**e for e in range(-4, 5)]}


def support(n: int = 30, width: int = 40, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return rng.normal(size=(classes, width))[y] + rng.normal(size=(n, width)) * 2, y


def unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


@pytest.mark.parametrize("shuffle", [True, False])
def test_follows_the_published_protocol(shuffle: bool) -> None:
    x, y = support()
    query = np.random.default_rng(1).normal(size=(20, x.shape[1]))
    z = (unit(x) - unit(x).mean(axis=0)) / unit(x).std(axis=0)
    q = (unit(query) - unit(x).mean(axis=0)) / unit(x).std(axis=0)
    order = np.lexsort((y, *x.T[::-1])) if shuffle else np.arange(len(x))
    folds = StratifiedKFold(5, shuffle=shuffle, random_state=0 if shuffle else None)
    reference = GridSearchCV(SVC(), GRID, cv=folds).fit(z[order], y[order])
    got = SvmProbe(shuffle=shuffle).fit(x, y, classes=3)
    assert got.chosen == reference.best_params_
    assert np.allclose(got.scores(query), reference.decision_function(q))


def test_folds_are_drawn_at_random() -> None:
    """Consecutive folds of a support that is sorted within classes leave a whole stretch of a class out of training."""
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(0, 1, 40))[:, None] * [1.0, 0.0] + [0.0, 1.0]
    y = (np.arange(40) >= 20).astype(int)
    shares = {}
    for shuffle in (True, False):
        probe = SvmProbe(shuffle=shuffle, folds=2)
        order = np.lexsort((y, *x.T[::-1])) if shuffle else np.arange(40)
        sides = [np.flatnonzero(y[order][test] == 0) for _, test in probe._folds(y[order])]
        first = order[probe._folds(y[order])[0][1]]
        shares[shuffle] = (x[first][y[first] == 0, 0] < np.median(x[y == 0, 0])).mean()
        assert all(len(side) == 10 for side in sides)
    assert shares[False] == 1.0
    assert shares[True] < 1.0


def test_the_sample_of_a_large_support_has_the_shares_of_its_classes() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [6000, 2500, 1400, 96, 4]))
    kept = stratified_sample(labels, 1000, np.random.default_rng(0))
    assert len(np.unique(kept)) == 1000
    assert np.bincount(labels[kept]).tolist() == [600, 250, 140, 9, 1], "the rarest class is kept"
    # Within a class every window is as likely as another: neither the ends of the order nor a stride is preferred.
    drawn = np.zeros(60)
    for seed in range(400):
        some = stratified_sample(np.repeat([0, 1], [30, 30]), 20, np.random.default_rng(seed))
        drawn[some] += 1
    assert drawn.sum() == 400 * 20
    spread = np.sqrt(400 * (1 / 3) * (2 / 3))
    assert np.abs(drawn - 400 / 3).max() < 4.5 * spread
    with pytest.raises(ConfigError, match="most=2 windows cannot contain 3 classes"):
        stratified_sample(np.arange(3), 2, np.random.default_rng(0))


@pytest.mark.parametrize(("counts", "number"), [([1, 1, 1, 97], 5), ([50, 30, 20], 100), ([7, 3], 2), ([1, 9, 90], 12)])
def test_the_sample_has_the_requested_size(counts: list[int], number: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    kept = np.bincount(labels[stratified_sample(labels, number, np.random.default_rng(0))], minlength=len(counts))
    assert kept.sum() == number
    assert (kept >= 1).all()
    assert (kept <= counts).all()


def test_neither_the_order_of_a_large_support_nor_the_numbers_of_its_classes_matter() -> None:
    x, y = support(n=120)
    query = np.random.default_rng(1).normal(size=(20, x.shape[1]))
    probe = SvmProbe(most=40, strengths=[1.0, 10.0])
    expected = probe.fit(x, y, classes=3).scores(query)
    mixed = np.random.default_rng(2).permutation(120)
    assert np.allclose(probe.fit(x[mixed], y[mixed], classes=3).scores(query), expected, atol=1e-3)
    renamed = np.array([2, 0, 1])
    assert np.allclose(probe.fit(x, renamed[y], classes=3).scores(query)[:, renamed], expected, atol=1e-3)
    whole = SvmProbe(strengths=[1.0, 10.0]).fit(x, y, classes=3)
    assert len(whole.model.shape_fit_) == 2
    assert whole.model.shape_fit_[0] == 120
    assert probe.fit(x, y, classes=3).model.shape_fit_[0] == 40
    assert np.allclose(probe.fit(x, y, classes=3).centre, whole.centre), "columns are scaled by the whole support"


def test_a_class_with_one_window_leaves_the_search_on() -> None:
    x, y = support()
    y = np.where(np.arange(30) == 4, 3, y)
    assert SvmProbe(strengths=[1e-4, 1.0, 1e4]).fit(x, y, classes=4).scores(x).shape == (30, 4)
    assert len(SvmProbe()._folds(y)) == 5
    assert SvmProbe(strengths=[0.5, 3.0]).fit(x[:3], y[:3], classes=3).chosen == {"C": 3.0}, "one window of each class"
    two = SvmProbe(folds=5)._folds(np.array([0, *[1] * 9]))
    assert len(two) == 4, "the fold whose training part has one class is left out"


def test_few_windows_have_a_fixed_c_as_in_the_released_code() -> None:
    x, y = support()
    assert SvmProbe(few_strength=1e5).fit(x, y, classes=3).chosen == {"C": 1e5}
    x, y = support(n=60)
    assert SvmProbe(few_strength=1e5).fit(x, y, classes=3).chosen["C"] in GRID["C"]


def test_a_long_search_shows_its_progress(logged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = support()
    SvmProbe().fit(x, y, classes=3)
    assert not logged.progress, "a short one does not"
    monkeypatch.setattr(svm, "_SHOWN", 30)
    SvmProbe(strengths=[0.1, 1.0]).fit(x, y, classes=3)
    assert [(done, total) for done, total, _ in logged.progress] == [(i, 10) for i in range(1, 11)]
    assert logged.progress[3][2].startswith("fold 2, C=1")


def test_the_time_left_is_that_of_the_same_c_in_earlier_folds() -> None:
    seconds = np.array([[4.0, 6.0, np.nan], [1.0, np.nan, np.nan]])
    assert svm._seconds_left(seconds) == pytest.approx(5 + 2 * 1)
    seconds = np.array([[4.0, np.nan], [np.nan, np.nan]])
    assert svm._seconds_left(seconds) == pytest.approx(3 * 4), "the mean where this C was never fitted"


def test_memory_is_linear_in_the_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 4000
    y = np.arange(n) % 2
    x = np.random.default_rng(0).normal(size=(n, 2)) * 0.1 + np.eye(2)[y]
    tracemalloc.start()
    try:
        fitted = SvmProbe(strengths=[1.0]).fit(x, y, classes=2)
        scores = fitted.scores(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < n * n, "an n x n matrix of single bytes would need more"
    monkeypatch.setattr(svm, "_ROWS", 7)
    assert np.allclose(fitted.scores(x[:20]), scores[:20])
