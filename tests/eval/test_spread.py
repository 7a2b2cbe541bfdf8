"""Spreading labels: the closed form against iterated loops, balance, labelled windows, and who is out of reach."""

from __future__ import annotations

import numpy as np
import pytest

from eval.spread import side_by_side, spread_labels


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
