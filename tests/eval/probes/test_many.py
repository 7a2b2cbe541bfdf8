"""Supports solved as one batch in float32 against scikit-learn in float64, on easy and on awkward supports."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, RidgeClassifier, RidgeClassifierCV
from sklearn.preprocessing import StandardScaler

from eval.probes import LogregProbe, Probe, RidgeProbe, fit_supports, predict_many, score_blocks
from eval.probes.base import working_dtype
from eval.probes.descent import minimise, typical_margin
from eval.probes.ridge import STRENGTHS

CASES = (
    "random", "separable", "equal rows", "one shot", "constant", "collinear", "large", "small", "mixed scales",
    "offset", "unbalanced", "two classes", "more windows than features",
)  # fmt: skip
Support = tuple[np.ndarray, np.ndarray]


def case(name: str, episodes: int = 12) -> tuple[np.ndarray, list[Support], int]:
    """Features (N, E), supports and the number of classes."""
    rng = np.random.default_rng(CASES.index(name))
    classes = 2 if name == "two classes" else 5
    width = 8 if name == "more windows than features" else 48
    y = np.arange(150) % classes
    strength = 4.0 if name == "separable" else 0.5
    x = strength * rng.normal(size=(classes, width))[y] + rng.normal(size=(150, width))
    if name == "equal rows":
        x[20:40] = x[:20]
    elif name == "constant":
        x[:, ::3] = 7.0
    elif name == "collinear":
        x = x[:, :3] @ rng.normal(size=(3, width))
    elif name == "mixed scales":
        x *= np.logspace(-1, 1.2, width)
    elif name == "offset":
        x += 1e4
    x *= {"large": 1e18, "small": 1e-3}.get(name, 1.0)
    supports = []
    for _ in range(episodes):
        counts = (
            rng.integers(1, 7, classes) if name == "unbalanced" else np.full(classes, 1 if name == "one shot" else 4)
        )
        rows = np.concatenate([rng.choice(np.flatnonzero(y == c), k, replace=False) for c, k in enumerate(counts)])
        if name == "equal rows":
            rows[:: classes - 1] = rows[0]  # the same window under several labels
        supports.append((rows, np.repeat(np.arange(classes), counts)))
    return x.astype(np.float32), supports, classes


def logreg(z: np.ndarray, y: np.ndarray, classes: int) -> list[LogisticRegression]:
    c = classes / (2 * 1e-3 * len(y)) / z.shape[1]  # the features are not divided by the root of their number here
    c *= 2 if classes == 2 else 1  # of two classes scikit-learn penalises the difference of the weights, half as much
    return [LogisticRegression(C=c, tol=1e-8, max_iter=20_000)]


def ridge(strength: float) -> Callable[[np.ndarray, np.ndarray, int], list[RidgeClassifier]]:
    return lambda z, y, classes: [RidgeClassifier(alpha=strength * (z**2).sum() / len(z))]


def one_shot_or_chosen(z: np.ndarray, y: np.ndarray, classes: int) -> list[RidgeClassifier]:
    """One shot has a fixed strength; else the strengths whose leave-one-out error is the smallest up to rounding."""
    unit = (z**2).sum() / len(z)
    if np.bincount(y).min() < 2:
        return [RidgeClassifier(alpha=unit)]
    alphas = unit * np.array(STRENGTHS)
    stored = next(name for name in signature(RidgeClassifierCV).parameters if name.startswith("store_cv"))
    chosen = RidgeClassifierCV(alphas=alphas, **{stored: True}).fit(z, y)  # `store_cv_values` before scikit-learn 1.5
    errors = getattr(chosen, stored.removeprefix("store_") + "_")
    error = errors.reshape(-1, len(alphas)).mean(axis=0)
    return [RidgeClassifier(alpha=alpha) for alpha in alphas[error <= (1 + 1e-3) * error.min()]]


def tie(reference: RidgeClassifier | LogisticRegression, z: np.ndarray, x: np.ndarray, rows: np.ndarray) -> float:
    """Score difference, over the spread of the scores, up to which rounding decides between two classes.

    A linear system of condition number k, solved with unit roundoff u, has a relative error of a small multiple of
    k u, on every machine; which prediction flips within that error depends on the order in which a BLAS adds. The
    minimiser of the logistic loss stops at its own tolerance, which is coarser.
    """
    if isinstance(reference, LogisticRegression):
        return 2e-2
    values = np.linalg.eigvalsh(z @ z.T).clip(min=0)
    condition = (values[-1] + reference.alpha) / (values[0] + reference.alpha)
    support = x[rows].astype(np.float64)
    alive = z.any(axis=0)
    cancelled = np.abs(support.mean(axis=0))[alive] / support.std(axis=0)[alive]  # digits lost by centring
    return float(16 * np.finfo(working_dtype(x)).eps * condition * max(1.0, cancelled.max()))


def differences(
    reference: RidgeClassifier | LogisticRegression, predicted: np.ndarray, every: np.ndarray, allowed: float
) -> int:
    """Predictions that differ from a fitted reference although its two best scores are further apart than allowed."""
    scores = reference.decision_function(every)
    scores = np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores
    first, second = np.sort(scores, axis=1)[:, :-3:-1].T
    return int(((predicted != scores.argmax(axis=1)) & (first - second >= allowed * scores.std())).sum())


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    ("probe", "references"),
    [
        (RidgeProbe(strengths=[1.0]), ridge(1.0)),
        (RidgeProbe(strengths=[1e-3], one_shot_strength=1e-3), ridge(1e-3)),
        (RidgeProbe(), one_shot_or_chosen),
        (LogregProbe(), logreg),
    ],
    ids=["ridge", "weak ridge", "chosen ridge", "logreg"],
)
def test_predictions_equal_scikit_learns(name: str, probe: Probe, references: Callable[..., list[Any]]) -> None:
    x, supports, classes = case(name)
    for (rows, y), predicted in zip(
        supports, predict_many(fit_supports(probe, x, supports, classes=classes), x), strict=True
    ):
        z = x[rows].astype(np.float64)
        scaler = StandardScaler().fit(z)
        flat = z.std(axis=0) <= 1e-6 * np.maximum(1.0, np.abs(z.mean(axis=0)))
        z, every = (np.where(flat, 0.0, scaler.transform(a)) for a in (z, x.astype(np.float64)))
        counts = [
            differences(other.fit(z, y), predicted, every, tie(other, z, x, rows))
            for other in references(z, y, classes)
        ]
        assert min(counts) == 0, f"of {len(x)} predictions these differ, per reference, and not at ties: {counts}"


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(
    "c", [pytest.param(0.1, marks=pytest.mark.slow), 10.0, pytest.param(1000.0, marks=pytest.mark.slow)]
)
def test_the_minimiser_equals_a_naive_one_and_never_climbs(c: float, soft: bool) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(3, 9, 20)) / np.sqrt(20)
    z -= z.mean(axis=1, keepdims=True)
    q = (
        rng.dirichlet(np.full(4, 0.5), size=(3, 9))
        if soft
        else np.eye(4)[rng.permuted(np.arange(27) % 4).reshape(3, 9)]
    )

    def objective(w: np.ndarray, b: np.ndarray, i: int) -> float:
        s = z[i] @ w + b
        log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
        return float(0.5 * (w**2).sum() - c * (q[i] * log_p).sum())

    def naive(i: int) -> tuple[np.ndarray, np.ndarray]:
        """Gradient descent with steps of one over the largest curvature, over and over."""
        w, b = np.zeros((20, 4)), np.zeros(4)
        inputs = np.concatenate([z[i], np.ones((9, 1))], axis=1)
        rate = 1.0 / (1.0 + 0.5 * c * np.linalg.norm(inputs, 2) ** 2)
        before_w, before_b = w, b
        for step in range(1, 20_000):  # Nesterov's momentum
            ahead_w, ahead_b = (v + step / (step + 3) * (v - u) for v, u in ((w, before_w), (b, before_b)))
            p = np.exp(z[i] @ ahead_w + ahead_b)
            rest = p / p.sum(axis=1, keepdims=True) - q[i]
            before_w, before_b = w, b
            w = ahead_w - rate * (ahead_w + c * z[i].T @ rest)
            b = ahead_b - rate * c * rest.sum(axis=0)
        return w, b

    kernel, targets = torch.from_numpy(z @ z.transpose(0, 2, 1)), torch.from_numpy(q.transpose(0, 2, 1).copy())
    paths = []
    for steps in (*range(1, 12), 200):
        dual, bias = minimise(kernel, targets, c=c, tolerance=1e-7, steps=steps)
        weight = torch.from_numpy(z).transpose(1, 2) @ dual.transpose(1, 2)
        paths.append([objective(weight[i].numpy(), bias[i].numpy(), i) for i in range(3)])
    fell = np.diff(np.array(paths), axis=0)
    assert fell.max() <= 1e-9 * np.abs(paths).max(), "a step raised the objective"
    for i in range(3):
        w, b = naive(i)
        assert paths[-1][i] == pytest.approx(objective(w, b, i), rel=1e-6)
        assert np.allclose(weight[i].numpy(), w, atol=1e-3 * np.abs(w).max())


@pytest.mark.parametrize("classes", [2, 12])
@pytest.mark.parametrize("gain", [1e-3, 1.0, 100.0, 1e6])
def test_typical_margin_solves_its_equation(gain: float, classes: int) -> None:
    margin, miss = typical_margin(gain, classes)
    assert miss == pytest.approx((classes - 1) / (np.exp(margin) + classes - 1))
    assert margin == pytest.approx(gain * miss * classes / (classes - 1), rel=1e-6)


def test_a_support_without_information_gives_the_class_shares() -> None:
    features = np.full((6, 3), 5.0, np.float32)
    supports = [(np.arange(6), np.array([0, 0, 0, 0, 1, 2]))]
    ((_, blocks),) = score_blocks(fit_supports(LogregProbe(), features, supports, classes=3), features)
    scores = blocks[0].T
    assert np.allclose(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), [4 / 6, 1 / 6, 1 / 6], atol=2e-3)


def test_ties_go_to_the_first_class() -> None:
    x, supports, classes = case("random")
    fitted = fit_supports(RidgeProbe(), x, supports, classes=classes)
    coarse = np.round(x)
    for f in fitted:
        f.weight[:] = np.round(f.weight * 10)  # type: ignore[attr-defined]
        f.bias[:] = 0  # type: ignore[attr-defined]
    scores = {
        i: own.T for numbers, block in score_blocks(fitted, coarse) for i, own in zip(numbers, block, strict=True)
    }
    ties = 0
    for i, predicted in enumerate(predict_many(fitted, coarse)):
        assert np.array_equal(predicted, scores[i].argmax(axis=1))
        ties += int((np.sort(scores[i], axis=1)[:, -1] == np.sort(scores[i], axis=1)[:, -2]).sum())
    assert ties, "no tie was met: this test shows nothing"


def test_float32_only_where_it_is_enough() -> None:
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    assert working_dtype(x) is np.float32
    assert working_dtype(x.astype(np.float64)) is np.float64
    assert working_dtype(x * np.float32(1e20)) is np.float64
    assert working_dtype(x + np.float32(1e4)) is np.float64
    assert working_dtype(np.where(np.arange(4) == 1, np.float32(1e4), x)) is np.float32, "a constant column"


def test_inputs_are_left_as_they_are() -> None:
    x, supports, classes = case("random")
    before = x.copy()
    fit_supports(LogregProbe(), x, supports, classes=classes)
    x64 = x[supports[0][0]].astype(np.float64)
    kept = x64.copy()
    RidgeProbe().fit(x64, supports[0][1], classes=classes)
    assert np.array_equal(x, before)
    assert np.array_equal(x64, kept)
