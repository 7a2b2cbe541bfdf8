"""Variance of a mean over crossed random factors, by deleting one level at a time; intervals follow in inference.py.

A figure is measured in cells ``v_res``: seed r of the model, episode e (a support set, a gallery), query subject s. All
three are samples of what one wants to generalise to, and they are crossed: every subject is a query of every seed. The
variance of the mean is the sum of one part per factor. An interaction of two factors is contained in the parts of
both, so that the sum is at most too large.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SUBJECT, SUPPORT, EPISODE, SEED = "subject", "support subject", "episode", "seed"


@dataclass(frozen=True)
class Part:
    """Contribution of one factor to the variance of a mean.

    Args:
        factor: ``subject``, ``support subject``, ``episode`` or ``seed``.
        levels: number of levels behind it, at least 2.
        variance: variance of the mean that is due to the factor, >= 0.
    """

    factor: str
    levels: int
    variance: float

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the variance: one less than the number of levels."""
        return self.levels - 1


def mean_of_means(cells: np.ndarray) -> float:
    """Mean over subjects of the mean over each subject's cells. Shapes: (R, E, S), NaN where a cell does not exist."""
    return float(_subject_means(cells).mean())


def variance_parts(cells: np.ndarray, support: np.ndarray | None = None) -> tuple[Part, ...]:
    """Contribution of every factor with two levels or more to the variance of `mean_of_means`.

    Subjects: delete-one jackknife. Without ``support`` it equals the sample variance of the subject means over S. With
    it, a subject is deleted as query and with every episode whose support contains it, because an unusual subject
    shifts all episodes that it supports:

        V = (n - 1) / n sum_s (theta_(-s) - mean_s theta_(-s))^2  -  (n - 1) / n sum_s s_e^2 (1 / E_(-s) - 1 / E)

    The second term is the noise of using E_(-s) of E episodes, with s_e^2 the variance between episodes; V is at least
    the part of the queries alone. (Efron and Stein, "The jackknife estimate of variance", Annals of Statistics 1981.)

    Episodes and seeds: sample variance of their effects over their number. An effect is the mean deviation of its
    cells from the subject means, so that different subjects per episode do not count as a difference of episodes.

    Args:
        cells: values; NaN = the subject is not a query of that episode and seed.
        support: which subjects provide support in which episode: first the S query subjects in the order of
            ``cells``, then subjects that are never a query, which form a factor of their own.

    Shapes:
        cells (R, E, S), support (E, S + X) bool.

    Raises:
        ValueError: other shapes, or no finite cell.

    Example:
        >>> cells = np.random.default_rng(0).normal(size=(3, 4, 8))
        >>> [part.factor for part in variance_parts(cells)]
        ['subject', 'episode', 'seed']
    """
    v = np.asarray(cells, dtype=np.float64)
    if v.ndim != 3:
        raise ValueError(f"cells must be (R, E, S): seeds, episodes, subjects; got shape {v.shape}")
    if support is not None and (support.ndim != 2 or len(support) != v.shape[1] or support.shape[1] < v.shape[2]):
        raise ValueError(f"support must be (E, S + X) with (E, S) = {v.shape[1:]}, got shape {support.shape}")
    exists = np.isfinite(v)
    asked = exists.any(axis=(0, 1))
    if not asked.any():
        raise ValueError("cells contain no finite value")
    subjects = int(asked.sum())
    queries = float(_subject_means(v).var(ddof=1)) / subjects if subjects > 1 else 0.0
    episodes, seeds = _effects(v, axis=1), _effects(v, axis=0)
    parts = {SUBJECT: (subjects, queries)}
    if support is not None and len(episodes) > 1:
        parts |= _with_support(v, np.asarray(support, dtype=bool), float(episodes.var(ddof=1)), queries)
    for factor, found in ((EPISODE, episodes), (SEED, seeds)):
        if len(found) > 1:
            parts[factor] = (len(found), float(found.var(ddof=1)) / len(found))
    return tuple(Part(factor, levels, variance) for factor, (levels, variance) in parts.items() if levels > 1)


def _subject_means(v: np.ndarray) -> np.ndarray:
    """Mean of each subject with a cell over its cells. Shapes: (R, E, S) -> (at most S,)."""
    exists = np.isfinite(v)
    count = exists.sum(axis=(0, 1))
    return np.asarray(np.where(exists, v, 0.0).sum(axis=(0, 1))[count > 0] / count[count > 0])


def _effects(v: np.ndarray, *, axis: int) -> np.ndarray:
    """Mean deviation from the subject means in each level of an axis with a cell. Shapes: (R, E, S) -> (levels,)."""
    exists = np.isfinite(v)
    count = exists.sum(axis=(0, 1))
    mean = np.where(exists, v, 0.0).sum(axis=(0, 1)) / np.maximum(count, 1)
    other = tuple(i for i in range(3) if i != axis)
    number = exists.sum(axis=other)
    total = np.where(exists, v - mean, 0.0).sum(axis=other)
    return np.asarray(total[number > 0] / number[number > 0])


def _with_support(v: np.ndarray, support: np.ndarray, spread: float, queries: float) -> dict[str, tuple[int, float]]:
    """Parts of the subjects, and of subjects that only provide support, when supports are deleted with them."""
    exists = np.isfinite(v)
    total, number = np.where(exists, v, 0.0).sum(axis=0), exists.sum(axis=0).astype(np.float64)  # (E, S)
    used = number.any(axis=1)
    total, number, support = total[used], number[used], support[used]
    asked = number.any(axis=0)
    kept = (~support).T.astype(np.float64)  # (S + X, E): episodes without that subject's support
    sums, counts = kept @ total, kept @ number
    own = np.eye(len(kept), v.shape[2], dtype=bool)
    there = (counts > 0) & ~own
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=there)
    usable = there.any(axis=1)
    theta = np.divide(means.sum(axis=1), there.sum(axis=1), out=np.zeros(len(kept)), where=usable)
    left = kept.sum(axis=1)
    out: dict[str, tuple[int, float]] = {}
    queried = np.concatenate([asked, np.zeros(len(kept) - len(asked), dtype=bool)])
    supporting = support.any(axis=0) & ~queried
    for factor, rows, least in ((SUBJECT, queried, queries), (SUPPORT, supporting, 0.0)):
        n = int(rows.sum())
        # A subject that supports every episode cannot be deleted: it is part of what was measured, not a sample.
        if n > 1 and usable[rows].all():
            deleted = theta[rows]
            noise = spread * (1 / left[rows] - 1 / len(support)).sum()
            found = (n - 1) / n * (float(((deleted - deleted.mean()) ** 2).sum()) - float(noise))
            out[factor] = (n, max(found, least))
        elif factor == SUBJECT:
            out[factor] = (n, least)
    return out
