"""Confidence intervals of means over subjects and episodes by resampling both; no significance tests, no models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval, and the numbers of subjects and episodes behind it."""

    value: float
    low: float
    high: float
    subjects: int
    episodes: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def hierarchical_bootstrap(
    cells: np.ndarray,
    *,
    generator: np.random.Generator,
    resamples: int = 4000,
    level: float = 0.95,
    expand: bool = True,
) -> Interval:
    """Mean over subjects of the mean over episodes, with an interval from resampling subjects, then episodes.

    The cell ``v_se`` is the value of subject s in episode e (NaN if s is not among the queries of e). The estimate is

        theta = mean_s  mean_{e : v_se exists} v_se

    One resample draws S subjects with replacement, then E episodes with replacement, and computes the same mean of
    means with the drawn multiplicities w_s and u_e:

        theta* = sum_s w_s m_s / sum_s w_s,    m_s = sum_e u_e v_se / sum_e u_e   (over existing cells)

    All subjects share the drawn episodes, because an episode is one support set for all its queries: the two factors
    are crossed, and drawing episodes per subject would hide the variation between support sets (Owen, "The
    pigeonhole bootstrap", Annals of Applied Statistics 2007; slightly conservative). The ends are percentiles. With
    few subjects percentiles are too narrow; ``expand`` moves them outwards to ``Phi(-sqrt(S / (S - 1)) t_{S-1})``
    (Hesterberg, "What teachers should know about the bootstrap", The American Statistician 2015, expanded percentile
    interval).

    With one subject the variation between subjects is unknown, and the interval is unbounded.
    For a paired difference pass the difference of two models' cells of the same episodes.

    Args:
        cells: values per subject and episode; NaN = does not exist. Subjects or episodes without a cell are ignored.
        generator: random state; the same state gives the same interval.
        resamples: number of resamples, at least 100.
        level: nominal coverage, in (0, 1).
        expand: widen the interval for few subjects, as above.

    Shapes:
        cells (S, E), S subjects by E episodes.

    Raises:
        ValueError: not (S, E), no cell, or a bad level or number of resamples.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> i = hierarchical_bootstrap(rng.normal(0.5, 0.1, (8, 20)), generator=rng)
        >>> bool(i.low < i.value < i.high)
        True
    """
    v = np.asarray(cells, dtype=np.float64)
    if v.ndim != 2:
        raise ValueError(f"cells must be (S, E), subjects by episodes, got shape {v.shape}")
    return hierarchical_bootstrap_many(v[None], generator=generator, resamples=resamples, level=level, expand=expand)[0]


def hierarchical_bootstrap_many(
    stack: np.ndarray,
    *,
    generator: np.random.Generator,
    resamples: int = 4000,
    level: float = 0.95,
    expand: bool = True,
) -> list[Interval]:
    """`hierarchical_bootstrap` of several statistics of the same cells, which share the drawn subjects and episodes.

    Shapes:
        stack (K, S, E) -> K intervals.

    Raises:
        ValueError: as `hierarchical_bootstrap`, or statistics that exist in different cells.
    """
    v = np.asarray(stack, dtype=np.float64)
    if v.ndim != 3 or not len(v):
        raise ValueError(f"the stack must be (K, S, E), got shape {v.shape}")
    if not 0 < level < 1 or resamples < 100:
        raise ValueError(f"need 0 < level < 1 and resamples >= 100, got level={level}, resamples={resamples}")
    exists = np.isfinite(v[0])
    if not np.array_equal(np.isfinite(v), np.broadcast_to(exists, v.shape)):
        raise ValueError("all statistics of the stack must exist in the same cells, but their NaN differ")
    people, draws = exists.any(axis=1), exists.any(axis=0)
    v, exists = v[:, people][:, :, draws], exists[people][:, draws]
    subjects, episodes = exists.shape
    if not subjects:
        raise ValueError("cells contain no finite value")
    filled, there = np.where(exists, v, 0.0), exists.astype(np.float64)
    values = (filled.sum(axis=2) / there.sum(axis=1)).mean(axis=1)
    if subjects == 1:
        return [Interval(float(value), -math.inf, math.inf, 1, episodes) for value in values]

    # Counts of drawn subjects and episodes turn all resamples into matrix products, without an index array for each.
    w = _multiplicities(subjects, resamples, generator)
    u = _multiplicities(episodes, resamples, generator)
    number = u @ there.T
    drawn = number > 0  # a subject without a cell among the drawn episodes has no weight in this resample
    weight = w * drawn
    total = weight.sum(axis=1)
    # With few cells a resample can draw subjects and episodes without a common cell; it has no mean and is dropped.
    usable = total > 0
    tail = _tail(level, subjects) if expand else (1 - level) / 2
    out = []
    for value, figure in zip(values, filled, strict=True):
        means = np.divide(u @ figure.T, number, out=np.zeros_like(number), where=drawn)
        theta = (weight * means).sum(axis=1)[usable] / total[usable]
        low, high = np.quantile(theta, [tail, 1 - tail])
        out.append(Interval(float(value), float(low), float(high), subjects, episodes))
    return out


def _multiplicities(items: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Number of times that each item is drawn in each resample. Shape: (resamples, items)."""
    return generator.multinomial(items, np.full(items, 1.0 / items), size=resamples).astype(np.float64)


def _tail(level: float, subjects: int) -> float:
    """Tail probability of the expanded percentile interval."""
    from scipy.special import stdtrit

    t = float(stdtrit(subjects - 1, (1 + level) / 2))
    return NormalDist().cdf(-math.sqrt(subjects / (subjects - 1)) * t)
