"""Spreading labels: graph and prototypes against slow loops, balance, labelled windows, and who is out of reach."""

from __future__ import annotations

import numpy as np
import pytest

from eval.finetune.config import SpreadConfig
from eval.finetune.spread import balanced_prototypes, side_by_side, soft_labels, spread_labels


def blobs(seed: int = 0, each: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(3), each)
    centres = np.eye(3, 5) * 4
    return centres[truth] + rng.normal(size=(len(truth), 5)) * 0.6, truth


def test_equals_the_iteration_it_solves() -> None:
    x, truth = blobs()
    known = np.full(len(x), -1)
    known[[0, 6, 7, 12]] = truth[[0, 6, 7, 12]]
    n, alpha, temperature, neighbours = len(x), 0.8, 0.2, 3
    cosine = [[float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for b in x] for a in x]
    near = [sorted((j for j in range(n) if j != i), key=lambda j: -cosine[i][j])[:neighbours] for i in range(n)]
    weight = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if j in near[i] or i in near[j]:
                weight[i, j] = np.exp((cosine[i][j] - 1) / temperature)
    degree = weight.sum(axis=1)
    start = np.zeros((n, 3))
    for i in range(n):
        if known[i] >= 0:
            start[i, known[i]] = 1
    flow = start.copy()
    for _ in range(600):
        flow = alpha * (weight / np.sqrt(degree[:, None] * degree[None])) @ flow + start
    flow = flow / flow.sum(axis=0)
    flow = flow / flow.sum(axis=1, keepdims=True)
    flow[known >= 0] = start[known >= 0]
    got = spread_labels(x, known, classes=3, neighbours=neighbours, alpha=alpha, temperature=temperature)
    assert np.allclose(got, flow, atol=1e-8)


def test_one_label_a_blob_names_the_blob() -> None:
    x, truth = blobs()
    known = np.full(len(x), -1)
    known[[0, 6, 12]] = [0, 1, 2]
    soft = spread_labels(x, known, classes=3)
    assert np.allclose(soft.sum(axis=1), 1)
    assert (soft.argmax(axis=1) == truth).all()
    assert soft[0].tolist() == [1, 0, 0]
    assert 0.34 < soft[1].max() < 1, "what was not labelled stays unsure"


def test_without_travel_and_out_of_reach_nothing_is_claimed() -> None:
    x, _ = blobs()
    known = np.full(len(x), -1)
    known[[0, 6, 12]] = [0, 1, 2]
    assert np.allclose(spread_labels(x, known, classes=3, alpha=0.0)[1], 1 / 3)


def test_every_class_needs_a_label() -> None:
    x, _ = blobs()
    known = np.full(len(x), -1)
    known[0] = 0
    with pytest.raises(ValueError, match=r"every class 0\.\.2 needs a label, got \[0\]"):
        spread_labels(x, known, classes=3)
    with pytest.raises(ValueError, match="features must be"):
        spread_labels(x, known[:3], classes=3)


def test_blocks_are_scaled_on_the_reference_alone() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(3, 2, (20, 4)), rng.normal(0, 100, (20, 8))
    reference = np.arange(10)
    joined = side_by_side(a, b, reference=reference)
    assert joined.shape == (20, 12)
    for block in (joined[:, :4], joined[:, 4:]):
        assert np.allclose(block[reference].mean(axis=0), 0)
        assert (block[reference] ** 2).sum(axis=1).mean() == pytest.approx(1)
    other = a.copy()
    other[15] += 1e6
    assert np.allclose(side_by_side(other, b, reference=reference)[:10], joined[:10]), "queries set no scale"


def test_prototypes_equal_slow_rounds() -> None:
    x, truth = blobs(each=5)
    labels = np.full(len(x), -1)
    labels[[0, 5, 10]] = truth[[0, 5, 10]]
    soft = np.random.default_rng(1).dirichlet(np.ones(3), size=len(x))
    n, t = len(x), 0.3
    unit = [row / np.sqrt(sum(v * v for v in row)) for row in x]
    q = soft.tolist()
    for _ in range(2):
        means = []
        for m in range(3):
            u = sum(q[i][m] * unit[i] for i in range(n))
            means.append(u / np.sqrt(u @ u))
        kernel = np.array([[np.exp(unit[i] @ means[m] / t) for m in range(3)] for i in range(n)])
        a, b = np.ones(n), np.ones(3)
        for _ in range(30):  # scaling factors of rows and columns in place of scaled matrices
            b = np.array([n / 3 / sum(a[i] * kernel[i, m] for i in range(n)) for m in range(3)])
            a = np.array([1 / sum(b[m] * kernel[i, m] for m in range(3)) for i in range(n)])
        q = [
            [1.0 * (m == labels[i]) if labels[i] >= 0 else a[i] * b[m] * kernel[i, m] for m in range(3)]
            for i in range(n)
        ]
    got = balanced_prototypes(x, soft, labels, rounds=2, temperature=t)
    assert np.allclose(got, q, atol=1e-8)


def test_prototypes_mend_what_the_graph_confuses() -> None:
    truth = np.repeat(np.arange(3), 20)
    labels = np.full(60, -1)
    labels[[0, 20, 40]] = [0, 1, 2]
    right = []
    for seed in range(10):
        x = np.eye(3, 5)[truth] * 4 + np.random.default_rng(seed).normal(size=(60, 5)) * 1.6
        graph, both = (soft_labels(x, labels, SpreadConfig(rounds=r), classes=3) for r in (0, 10))
        assert np.array_equal(graph, spread_labels(x, labels, classes=3))
        assert np.allclose(both.sum(axis=1), 1)
        assert both[[0, 20, 40]].tolist() == np.eye(3).tolist(), "labels that are known stay"
        free = balanced_prototypes(x, graph, np.full(60, -1))
        assert np.allclose(free.sum(axis=0), 20, atol=1.5), "shares are equal, up to 30 iterations"
        right.append([(soft.argmax(axis=1) == truth).mean() for soft in (graph, both)])
    graph_mean, both_mean = np.mean(right, axis=0)
    assert both_mean > graph_mean + 0.02
