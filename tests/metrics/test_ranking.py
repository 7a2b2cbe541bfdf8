"""Ranks, R@k and MRR against explicit loops and known permutations (acceptance check A6 of the methods)."""

from __future__ import annotations

import numpy as np
import pytest

from imu_video.metrics.ranking import pair_ranks, retrieval, retrieval_chance


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
