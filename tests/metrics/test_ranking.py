"""Ranks, R@k and MRR against explicit loops and known permutations (acceptance check A6 of the methods)."""

from __future__ import annotations

import numpy as np
import pytest

from imu_video.metrics.ranking import class_ranks, pair_ranks, retrieval, retrieval_chance


def naive(similarity: np.ndarray, ks: tuple[int, ...]) -> dict[str, float]:
    ranks = []
    for i, row in enumerate(similarity):
        better = [j for j in range(len(row)) if j != i and row[j] >= row[i]]
        ranks.append(len(better) + 1)
    out = {f"R@{k}": sum(r <= k for r in ranks) / len(ranks) for k in ks}
    out["MRR"] = sum(1 / r for r in ranks) / len(ranks)
    return out


def test_equals_the_naive_loops() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 40):
        s = rng.normal(size=(n, n)).round(1)  # rounding makes ties
        assert retrieval(s, ks=(1, 3, 10)) == pytest.approx(naive(s, (1, 3, 10)))


def test_shifted_identity_has_known_ranks() -> None:
    n = 6
    s = np.array([[-((j - i) % n) for j in range(n)] for i in range(n)], dtype=float)  # own match best
    assert retrieval(s) == {"R@1": 1.0, "R@5": 1.0, "R@10": 1.0, "MRR": 1.0}
    third = np.roll(s, 2, axis=1)  # own match is then 5th of 6
    assert pair_ranks(third).tolist() == [5] * n
    assert retrieval(third, ks=(1, 4, 5)) == {"R@1": 0.0, "R@4": 0.0, "R@5": 1.0, "MRR": pytest.approx(0.2)}


def test_a_collapsed_model_gets_the_last_rank() -> None:
    assert pair_ranks(np.ones((5, 5))).tolist() == [5] * 5
    assert retrieval(np.ones((5, 5)), ks=(1,)) == {"R@1": 0.0, "MRR": pytest.approx(0.2)}


def test_rows_are_queries() -> None:
    s = np.array([[1.0, 0.0], [2.0, 1.5]])
    assert pair_ranks(s).tolist() == [1, 2]
    assert pair_ranks(s.T).tolist() == [2, 1]


def test_random_similarities_score_chance() -> None:
    rng = np.random.default_rng(1)
    scores = [retrieval(rng.normal(size=(20, 20))) for _ in range(400)]
    for name, chance in retrieval_chance(20).items():
        assert np.mean([s[name] for s in scores]) == pytest.approx(chance, abs=0.01)


@pytest.mark.parametrize("bad", [np.ones((2, 3)), np.ones(4), np.zeros((0, 0)), np.array([[1.0, np.nan], [0.0, 1.0]])])
def test_bad_input_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="similarity"):
        retrieval(bad)


def test_bad_cut_off_is_refused() -> None:
    with pytest.raises(ValueError, match="cut-offs"):
        retrieval(np.eye(3), ks=(0, 1))


def naive_accuracy(scores: np.ndarray, truth: np.ndarray, k: int) -> float:
    hits = 0
    for row, t in zip(scores, truth, strict=True):
        better = [m for m in range(len(row)) if m != t and row[m] >= row[t]]
        hits += len(better) < k
    return hits / len(truth)


def test_accuracy_at_k_equals_the_naive_loops() -> None:
    rng = np.random.default_rng(0)
    for digits in (1, 8):  # rounding to one digit makes ties
        scores, truth = rng.normal(size=(200, 7)).round(digits), rng.integers(0, 7, 200)
        ranks = class_ranks(scores, truth)
        for k in (1, 3, 5, 7):
            assert (ranks <= k).mean() == naive_accuracy(scores, truth, k)


def test_accuracy_at_k_equals_that_of_scikit_learn() -> None:
    from sklearn.metrics import top_k_accuracy_score

    rng = np.random.default_rng(1)
    truth = rng.integers(0, 9, 300)
    scores = rng.normal(size=(300, 9)) + np.eye(9)[truth]
    ranks = class_ranks(scores, truth)
    for k in (1, 3, 5):
        assert (ranks <= k).mean() == pytest.approx(top_k_accuracy_score(truth, scores, k=k))


@pytest.mark.slow  # torchmetrics takes five seconds to import
def test_accuracy_at_k_equals_that_of_torchmetrics() -> None:
    oracle = pytest.importorskip("torchmetrics.functional.classification", reason="torchmetrics is not installed")
    import torch

    rng = np.random.default_rng(2)
    truth = rng.integers(0, 9, 300)
    scores = rng.normal(size=(300, 9)) + np.eye(9)[truth]
    for k in (1, 3, 5):
        theirs = oracle.multiclass_accuracy(
            torch.from_numpy(scores), torch.from_numpy(truth), num_classes=9, average="micro", top_k=k
        )
        assert (class_ranks(scores, truth) <= k).mean() == pytest.approx(theirs.item())


def test_equal_scores_rank_nothing() -> None:
    truth = np.arange(4)
    assert class_ranks(np.zeros((4, 4)), truth).tolist() == [4] * 4
    assert class_ranks(np.eye(4)[[0, 0, 2, 3]], truth).tolist() == [1, 4, 1, 1]


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        (np.ones(3), np.zeros(3, int), "scores must be"),
        (np.ones((3, 2)), np.zeros(2, int), "truth"),
        (np.ones((2, 2)), np.array([0, 2]), r"classes 0\.\.2, expected 0\.\.1"),
        (np.array([[1.0, np.nan]]), np.array([0]), "not finite"),
    ],
)
def test_bad_scores_are_refused(scores: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_ranks(scores, truth)
