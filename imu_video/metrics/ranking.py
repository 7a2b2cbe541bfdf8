"""Ranks of matched pairs in a gallery (R@k, MRR) and of true classes among scores (acc@k); nothing is embedded here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pair_ranks(similarity: np.ndarray) -> np.ndarray:
    """Rank of each query's own match, 1 = best; a tie counts against the query.

    ``rank_i = #{j : s_ij >= s_ii}``. Ties are pessimistic on purpose, so that a collapsed model, whose similarities are
    all equal, gets the last rank and not the first.

    Args:
        similarity: query rows against gallery columns, finite, the match on the diagonal.

    Shapes:
        similarity (N, N) -> ranks (N,) int64.

    Raises:
        ValueError: not square, empty or not finite.

    Example:
        >>> pair_ranks(np.array([[0.9, 0.1], [0.8, 0.3]])).tolist()
        [1, 2]
    """
    s = np.asarray(similarity)
    if s.ndim != 2 or s.shape[0] != s.shape[1] or not len(s):
        raise ValueError(f"similarity must be (N, N) with N >= 1 and matches on the diagonal, got shape {s.shape}")
    if not np.isfinite(s).all():
        raise ValueError(f"similarity contains {int((~np.isfinite(s)).sum())} values that are not finite")
    return class_ranks(s, np.arange(len(s)))


def class_ranks(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Rank of each window's true class among the scores of all classes, 1 = best; a tie counts against the window.

    ``rank_i = #{m : s_im >= s_i,truth_i}``, and accuracy at k (acc@k) is the share of windows with rank <= k. Without
    ties acc@1 is the accuracy of the largest score. With ties it is lower: equal scores rank nothing.

    Args:
        scores: class scores, finite; only their order within a row matters.
        truth: class numbers in [0, M).

    Shapes:
        scores (N, M), truth (N,) -> ranks (N,) int64.

    Raises:
        ValueError: other shapes, a class outside the range, or scores that are not finite.

    Example:
        >>> ranks = class_ranks(np.array([[0.7, 0.2, 0.1], [0.5, 0.1, 0.4]]), np.array([0, 1]))
        >>> ranks.tolist(), [float((ranks <= k).mean()) for k in (1, 2, 3)]
        ([1, 3], [0.5, 0.5, 1.0])
    """
    s, t = np.asarray(scores), np.asarray(truth)
    if s.ndim != 2 or t.shape != (len(s),):
        raise ValueError(f"scores must be (N, M) and truth (N,), got {s.shape} and {t.shape}")
    if len(t) and (t.min() < 0 or t.max() >= s.shape[1]):
        raise ValueError(f"truth contains classes {t.min()}..{t.max()}, expected 0..{s.shape[1] - 1}")
    if not np.isfinite(s).all():
        raise ValueError(f"scores contain {int((~np.isfinite(s)).sum())} values that are not finite")
    return (s >= s[np.arange(len(s)), t][:, None]).sum(axis=1, dtype=np.int64)


def retrieval(similarity: np.ndarray, *, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Recall at k and mean reciprocal rank of matched pairs, as fractions in [0, 1].

    ``R@k = mean_i [rank_i <= k]`` and ``MRR = mean_i 1 / rank_i`` with the ranks of `pair_ranks` (ties pessimistic).
    Both depend on the gallery size N, which must be reported with them. For k >= N the recall is 1. Chance level is
    ``R@k = k / N`` and ``MRR = sum_{r=1..N} 1 / (r N)``.

    Args:
        similarity: query rows against gallery columns, finite, the match on the diagonal.
        ks: cut-offs, each >= 1.

    Shapes:
        similarity (N, N).

    Raises:
        ValueError: not square, empty, not finite, or a cut-off below 1.

    Example:
        >>> retrieval(np.array([[0.9, 0.1], [0.8, 0.3]]), ks=(1, 2))
        {'R@1': 0.5, 'R@2': 1.0, 'MRR': 0.75}
    """
    if any(k < 1 for k in ks):
        raise ValueError(f"cut-offs must be >= 1, got {list(ks)}")
    ranks = pair_ranks(similarity)
    scores = {f"R@{k}": float((ranks <= k).mean()) for k in ks}
    return {**scores, "MRR": float((1.0 / ranks).mean())}


def retrieval_chance(gallery: int, *, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Chance level: the expected scores of random similarities in a gallery of N pairs.

    Args:
        gallery: N, at least 1.
        ks: ranks k of R@k.

    Raises:
        ValueError: an empty gallery.

    Example:
        >>> retrieval_chance(4, ks=(1,))["R@1"]
        0.25
    """
    if gallery < 1:
        raise ValueError(f"gallery size is {gallery}, expected at least 1")
    scores = {f"R@{k}": min(1.0, k / gallery) for k in ks}
    return {**scores, "MRR": float((1.0 / np.arange(1, gallery + 1)).sum() / gallery)}
