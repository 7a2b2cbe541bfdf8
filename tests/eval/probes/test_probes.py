"""Probes against naive loops and scikit-learn; every registered probe passes the public contract."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from eval.probes import LinearScores, LogregProbe, PrototypeProbe, RidgeProbe, predict_many, probes
from eval.testing import check_probe
from imu_video.errors import ConfigError


def support(n: int = 15, width: int = 40, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return rng.normal(size=(classes, width))[y] + rng.normal(size=(n, width)) * 2, y


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
            assert np.array_equal(f.scores(query).argmax(axis=1), g)


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


def test_bad_support_is_refused() -> None:
    x, y = support()
    with pytest.raises(ValueError, match=r"every class 0\.\.3"):
        PrototypeProbe().fit(x, y, classes=4)
    with pytest.raises(ValueError, match="not all finite"):
        RidgeProbe().fit(np.full_like(x, np.nan), y, classes=3)
    with pytest.raises(ValueError, match="above 0"):
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
    with pytest.raises(ConfigError, match="penalty must be above 0"):
        probes.build({"name": "logreg", "penalty": 0})
