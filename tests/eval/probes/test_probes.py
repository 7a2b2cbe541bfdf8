"""Probes against naive loops and scikit-learn; every registered probe passes the public contract."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from eval.probes import (
    EstimatorProbe,
    LinearProbe,
    LinearScores,
    LogregProbe,
    NeighbourProbe,
    PrototypeProbe,
    RidgeProbe,
    fit_supports,
    predict_many,
    probes,
)
from eval.testing import check_probe
from imu_video.errors import ConfigError


def support(n: int = 15, width: int = 40, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return rng.normal(size=(classes, width))[y] + rng.normal(size=(n, width)) * 2, y


def same_away_from_ties(predicted: np.ndarray, scores: np.ndarray, share: float) -> bool:
    """Whether predictions are the classes of the best scores wherever these lead by a share of the scores' spread.

    Two ways to compute the same scores differ by rounding, in another way on each machine, and rounding decides ties.
    """
    first, second = np.sort(scores, axis=1)[:, :-3:-1].T
    clear = first - second >= share * scores.std()
    return bool(clear.any() and np.array_equal(predicted[clear], scores.argmax(axis=1)[clear]))


@pytest.mark.parametrize("name", probes.names())
def test_contract(name: str) -> None:
    check_probe(probes.build(name))


@pytest.mark.parametrize("scaling", ["none", "center", "standard"])
def test_prototype_equals_the_loops(scaling: str) -> None:
    x, y = support()
    query = np.random.default_rng(1).normal(size=(20, x.shape[1]))
    mu = x.mean(axis=0) if scaling != "none" else np.zeros(x.shape[1])
    sigma = x.std(axis=0) if scaling == "standard" else np.ones(x.shape[1])
    means = []
    for c in range(3):
        rows = [(row - mu) / sigma for row, label in zip(x, y, strict=True) if label == c]
        means.append(np.mean([row / np.linalg.norm(row) for row in rows], axis=0))
    expected = []
    for q in query:
        z = (q - mu) / sigma
        expected.append([z @ m / np.linalg.norm(z) / np.linalg.norm(m) for m in means])
    got = PrototypeProbe(scaling=scaling).fit(x, y, classes=3).scores(query)  # type: ignore[arg-type]
    norms = np.linalg.norm((query - mu) / sigma, axis=1, keepdims=True)
    assert np.allclose(got / norms, expected)


@pytest.mark.parametrize("scaling", ["none", "center", "standard"])
def test_ridge_equals_scikit_learn(scaling: str) -> None:
    x, y = support()
    query = np.random.default_rng(1).normal(size=(20, x.shape[1]))
    z = (x - x.mean(axis=0)) / x.std(axis=0) if scaling == "standard" else x
    q = (query - x.mean(axis=0)) / x.std(axis=0) if scaling == "standard" else query
    centred = z - z.mean(axis=0)
    unit = np.trace(centred @ centred.T) / len(x)
    reference = Ridge(alpha=0.3 * unit).fit(z, np.eye(3)[y])
    got = RidgeProbe(scaling=scaling, strengths=[0.3]).fit(x, y, classes=3).scores(query)  # type: ignore[arg-type]
    assert np.allclose(got, reference.predict(q))


def test_ridge_chooses_the_strength_of_explicit_leave_one_out() -> None:
    chosen = set()
    for seed in range(8):
        x, y = support(seed=seed)
        z = (x - x.mean(axis=0)) / x.std(axis=0)
        unit = np.trace(z @ z.T) / len(x)
        strengths = [1e-3, 1e-2, 1e-1, 1.0, 10.0]
        errors = []
        for s in strengths:
            residuals = []
            for i in range(len(x)):
                keep = np.arange(len(x)) != i
                model = Ridge(alpha=s * unit).fit(z[keep], np.eye(3)[y][keep])
                residuals.append(np.eye(3)[y[i]] - model.predict(z[i : i + 1])[0])
            errors.append(np.mean(np.square(residuals)))
        best = strengths[int(np.argmin(errors))]
        chosen.add(best)
        many = RidgeProbe(strengths=strengths).fit(x, y, classes=3)
        one = RidgeProbe(strengths=[best]).fit(x, y, classes=3)
        assert np.allclose(many.weight, one.weight), f"seed {seed}: leave-one-out says {best}"
    assert len(chosen) > 1, "the choice should depend on the data, else this test shows nothing"


def test_ridge_with_one_shot_uses_the_declared_strength() -> None:
    x, _ = support(n=3)
    y = np.arange(3)
    a = RidgeProbe(one_shot_strength=0.5).fit(x, y, classes=3)
    b = RidgeProbe(one_shot_strength=0.5, strengths=[100.0]).fit(x, y, classes=3)
    c = RidgeProbe(one_shot_strength=5.0).fit(x, y, classes=3)
    assert np.allclose(a.weight, b.weight)
    assert not np.allclose(a.weight, c.weight)


@pytest.mark.parametrize("scaling", ["none", "center", "standard"])
def test_ridge_of_many_windows_equals_the_kernel_form(scaling: str) -> None:
    chosen = set()
    for seed in range(6):
        x, y = support(n=60, width=12, seed=seed)
        x[:, 3] = 2.0  # constant: no scale can be estimated
        probe = RidgeProbe(scaling=scaling)  # type: ignore[arg-type]
        (kernel,) = probe.fit_many(x[None].copy(), y[None], classes=3)
        primal = probe.fit(x, y, classes=3)
        assert np.allclose(primal.weight, kernel.weight, atol=1e-8), f"seed {seed}: another strength"
        assert np.allclose(primal.bias, kernel.bias, atol=1e-8)
        chosen.add(round(float(np.abs(primal.weight).sum()), 6))
    assert len(chosen) > 1
    one = RidgeProbe(strengths=[0.3], scaling=scaling)  # type: ignore[arg-type]
    (kernel,) = one.fit_many(x[None].copy(), y[None], classes=3)
    assert np.allclose(one.fit(x, y, classes=3).weight, kernel.weight)


@pytest.mark.parametrize("name", ["ridge", "prototype", "logreg", "knn"])
def test_memory_is_linear_in_the_windows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def kernels(*_: object, **__: object) -> None:
        raise AssertionError("a support of more windows than features needs no kernel")

    monkeypatch.setattr(LinearProbe, "fit_many", kernels)  # tracemalloc does not see the memory of torch
    n = 4000
    y = np.arange(n) % 2
    x = np.random.default_rng(0).normal(size=(n, 3)) + 2 * np.eye(3)[y]
    probe = probes.build(name)
    tracemalloc.start()
    try:
        fitted = probe.fit(x, y, classes=2)
        fitted.scores(x[:100])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < n * n, "an n x n matrix of single bytes would need more"


class _Nearest:
    """A probe that is not linear, as a plugin would bring one."""

    def __init__(self, x: np.ndarray, y: np.ndarray, classes: int) -> None:
        self.x, self.y, self.classes = x, y, classes

    def scores(self, features: np.ndarray) -> np.ndarray:
        d = ((features[:, None] - self.x[None]) ** 2).sum(-1)
        return np.stack([-d[:, self.y == c].min(axis=1) for c in range(self.classes)], axis=1)


def test_many_predictions_equal_single_ones() -> None:
    query = np.random.default_rng(1).normal(size=(50, 40)).astype(np.float32)
    fitted = []
    for seed in range(7):
        x, y = support(seed=seed)
        fitted.append(RidgeProbe().fit(x, y, classes=3) if seed % 3 else _Nearest(x, y, 3))
    for chunk_bytes in (1, 1 << 26):
        got = predict_many(fitted, query, chunk_bytes=chunk_bytes)
        for f, g in zip(fitted, got, strict=True):
            assert same_away_from_ties(g, f.scores(query), 1e-4)


class _Peeks:
    """Breaks the contract: standardises by the queries."""

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> _PeeksFitted:
        return _PeeksFitted(PrototypeProbe().fit(features, labels, classes=classes))


class _PeeksFitted:
    def __init__(self, inner: LinearScores) -> None:
        self.inner = inner

    def scores(self, features: np.ndarray) -> np.ndarray:
        return self.inner.scores(features - features.mean(axis=0))


def test_the_contract_catches_a_probe_that_looks_at_other_queries() -> None:
    with pytest.raises(AssertionError, match=r"depends on the other windows"):
        check_probe(_Peeks())


@pytest.mark.parametrize("penalty", [1e-4, 1e-2, 1.0])
def test_logreg_of_many_equals_scikit_learn(penalty: float) -> None:
    x, y = support(n=30)
    query = np.random.default_rng(1).normal(size=(200, x.shape[1]))
    z, q = ((a - x.mean(axis=0)) / x.std(axis=0) / np.sqrt(x.shape[1]) for a in (x, query))
    reference = LogisticRegression(C=3 / (2 * penalty * 30), tol=1e-10, max_iter=10_000).fit(z, y)
    (got,) = LogregProbe(penalty=penalty, iterations=300).fit_many(x[None], y[None], classes=3)
    expected, scores = reference.decision_function(q), got.scores(query)
    scores, expected = (s - s.mean(axis=1, keepdims=True) for s in (scores, expected))
    assert np.abs(scores - expected).max() < 5e-3 * np.abs(expected).max()
    assert same_away_from_ties(scores.argmax(axis=1), expected, 2e-2)


@pytest.mark.parametrize("name", ["prototype", "ridge", "logreg"])
@pytest.mark.parametrize("scaling", ["none", "center", "standard"])
def test_many_supports_at_once_equal_one_by_one(name: str, scaling: str) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 30)).astype(np.float32)
    supports = []
    for episode in range(12):
        per_class = 1 if episode < 4 else 3  # one shot uses another branch of ridge
        labels = np.repeat(np.arange(4), per_class)
        supports.append((rng.permutation(200)[: len(labels)], labels))
    probe = probes.build({"name": name} if name == "logreg" else {"name": name, "scaling": scaling})
    many = fit_supports(probe, features, supports, classes=4)
    for (rows, labels), got in zip(supports, many, strict=True):
        one = probe.fit(features[rows], labels, classes=4)
        assert isinstance(got, LinearScores)
        assert np.allclose(got.weight, one.weight, atol=5e-3 * np.abs(one.weight).max())  # type: ignore[attr-defined]
        assert same_away_from_ties(got.scores(features).argmax(1), one.scores(features), 2e-2)


def test_a_bad_support_among_many_is_named() -> None:
    features = np.ones((10, 4), np.float32)
    good, bad = (np.array([0, 1]), np.array([0, 1])), (np.array([2, 3]), np.array([1, 1]))
    with pytest.raises(ValueError, match="every class"):
        fit_supports(RidgeProbe(), features, [good, bad, good], classes=2)


def test_neighbours_equal_the_loops() -> None:
    x, y = support()
    query = np.random.default_rng(1).normal(size=(20, x.shape[1]))
    mu, sigma = x.mean(axis=0), x.std(axis=0)
    got = NeighbourProbe(k=4, temperature=0.1).fit(x, y, classes=3).scores(query)
    for q, row in zip(query, got, strict=True):
        z = (q - mu) / sigma
        cosines = [float(z @ s / np.linalg.norm(z) / np.linalg.norm(s)) for s in (x - mu) / sigma]
        near = sorted(range(len(x)), key=lambda i: -cosines[i])[:4]
        votes = [sum(np.exp(cosines[i] / 0.1) for i in near if y[i] == c) for c in range(3)]
        assert np.allclose(row, np.array(votes) / sum(votes))


def test_any_classifier_of_scikit_learn() -> None:
    from sklearn.ensemble import RandomForestClassifier

    x, y = support(n=30)
    query = np.random.default_rng(1).normal(size=(20, x.shape[1]))
    z, q = ((a - x.mean(axis=0)) / x.std(axis=0) for a in (x, query))
    probe = EstimatorProbe(estimator="RandomForestClassifier", arguments={"n_estimators": 5})
    order = np.lexsort((*x.T[::-1], y))
    reference = RandomForestClassifier(n_estimators=5, random_state=0).fit(z[order], y[order])
    assert np.array_equal(probe.fit(x, y, classes=3).scores(query), reference.predict_proba(q))
    with pytest.raises(ConfigError, match="did you mean 'LinearSVC'"):
        EstimatorProbe(estimator="LinearSCV")
    with pytest.raises(ConfigError, match="trees"):
        EstimatorProbe(estimator="RandomForestClassifier", arguments={"trees": 5})


def test_bad_support_is_refused() -> None:
    x, y = support()
    with pytest.raises(ValueError, match=r"every class 0\.\.3"):
        PrototypeProbe().fit(x, y, classes=4)
    with pytest.raises(ValueError, match="not finite"):
        RidgeProbe().fit(np.full_like(x, np.nan), y, classes=3)
    with pytest.raises(ConfigError, match="above 0"):
        RidgeProbe(strengths=[0.0])
    with pytest.raises(ConfigError, match="did you mean 'ridge'"):
        probes.build("rigde")
    with pytest.raises(ConfigError, match="no argument 'scalling'"):
        probes.build({"name": "ridge", "scalling": "none"})


def test_logreg_minimises_what_it_says() -> None:
    x, y = support()
    probe = LogregProbe(penalty=0.05, iterations=500)
    fitted = probe.fit(x, y, classes=3)
    z = (x - x.mean(axis=0)) / x.std(axis=0) / np.sqrt(x.shape[1])
    # scikit-learn: C * sum of losses + 1/2 |W|^2, so C = 1 / (2 n penalty / M).
    other = LogisticRegression(C=3 / (2 * len(x) * 0.05), tol=1e-10, max_iter=5000).fit(z, y)
    mine, theirs = fitted.scores(x), other.decision_function(z)
    assert np.allclose(mine - mine.mean(axis=1, keepdims=True), theirs - theirs.mean(axis=1, keepdims=True), atol=2e-3)
    assert np.array_equal(probe.fit_targets(x, np.eye(3)[y]).weight, fitted.weight)


def test_logreg_soft_labels_pull_half_way() -> None:
    x, _ = support()
    even = LogregProbe().fit_targets(x, np.full((len(x), 3), 1 / 3)).scores(x)
    assert np.allclose(even, even[:, :1], atol=1e-4)
    with pytest.raises(ConfigError, match="argument 'penalty': must be above 0"):
        probes.build({"name": "logreg", "penalty": 0})
