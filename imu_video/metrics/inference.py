"""Confidence intervals and p values of means over subjects, episodes and seeds, from one procedure; no resampling.

Every factor f adds V_f to the variance of the mean, estimated with n_f - 1 degrees of freedom (variance.py). The
deviation of a mean from its true value is distributed as

    T = Z sqrt(sum_f V_f (n_f - 1) / X_f),    Z standard normal, X_f chi-square with n_f - 1 degrees of freedom

(generalised pivotal quantity: Weerahandi, "Generalized confidence intervals", JASA 1993; Hannig, Iyer and Patterson,
"Fiducial generalized confidence intervals", JASA 2006). With one factor this is Student's t. With several it expands
the interval for a factor with few levels, such as three seeds, by as much as that factor contributes. The interval is
value -+ the quantile of abs(T), and p is the probability that abs(T) exceeds abs(value): a difference has p < 1 - level
exactly where its interval excludes zero.

Figures that are fractions get their interval on the logit scale, because the mean of scores near the ceiling is
skewed: with Student's t on the plain scale and eight subjects, intervals of such scores cover 90 to 92 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from imu_video.metrics.variance import SEED, Part, mean_of_means, variance_parts

_STRETCH, _NODES = 22.0, (64, 48, 16)
"""Quadrature: range of the quantiles in logits; nodes for the factor with the fewest levels, the next, the rest."""
FEW_SUBJECTS, FEW_SEEDS = 4, 3


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with the variance of its factors, from which intervals of any level and a p value follow.

    Args:
        value: the mean.
        parts: contribution of every factor to its variance.
        subjects, episodes, seeds: number of levels.
        fraction: whether the value is a mean of fractions in [0, 1]; its interval then stays in that range.
        remarks: reasons why the interval may not have its nominal coverage.

    Example:
        >>> scores = np.array([0.71, 0.80, 0.64, 0.77, 0.83, 0.69])
        >>> [round(end, 3) for end in estimate(scores[None, None], fraction=True).interval(0.95)]
        [0.658, 0.808]
    """

    value: float
    parts: tuple[Part, ...]
    subjects: int
    episodes: int = 1
    seeds: int = 1
    fraction: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def se(self) -> float:
        """Standard error of the value; infinite with one subject."""
        if self.subjects < 2:
            return math.inf
        return math.sqrt(sum(part.variance for part in self.parts))

    @property
    def known(self) -> bool:
        """Whether the data determine an interval: two subjects or more, whose values differ."""
        return self.subjects > 1 and self.se > 0

    @property
    def shares(self) -> dict[str, float]:
        """Share of each factor in the variance."""
        total = sum(part.variance for part in self.parts)
        return {part.factor: part.variance / total for part in self.parts} if total else {}

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Ends of the confidence interval; infinite where the data determine none.

        Args:
            level: nominal coverage, in (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be in (0, 1), got {level}")
        if not self.known or (self.fraction and not 0 < self.value < 1):
            return -math.inf, math.inf
        half = quantile(self.parts, level)
        if not self.fraction:
            return self.value - half, self.value + half
        centre, width = math.log(self.value / (1 - self.value)), half / (self.value * (1 - self.value))
        low, high = (_expit(centre + sign * width) for sign in (-1, 1))
        return low, high

    @property
    def p(self) -> float | None:
        """Two-sided p value of a true value of zero; None where the data determine none."""
        if self.fraction or not self.known:
            return 1.0 if self.value == 0 and self.subjects > 1 else None
        return tail(self.parts, abs(self.value))


def estimate(
    cells: np.ndarray, *, support: np.ndarray | None = None, fraction: bool = False, random_seeds: bool = False
) -> Estimate:
    """Mean over subjects of the mean over their cells, with the variance due to subjects, episodes and seeds.

    For a paired difference pass the difference of two models' cells.

    Args:
        cells: values per seed, episode and subject; NaN = does not exist.
        support: subjects that provide support in each episode, see `variance.variance_parts`.
        fraction: the values are fractions in [0, 1], not differences.
        random_seeds: the model depends on a seed, so that a single seed leaves a part of the variance unknown.

    Shapes:
        cells (R, E, S), support (E, S + X) bool.

    Raises:
        ValueError: other shapes, or no finite cell.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> cells = 0.1 + rng.normal(0, 0.1, (1, 1, 12)) + rng.normal(0, 0.05, (3, 1, 1))
        >>> e = estimate(cells)
        >>> (e.subjects, e.seeds), bool(e.interval(0.95)[0] > 0) == bool(e.p < 0.05)
        ((12, 3), True)
    """
    v = np.asarray(cells, dtype=np.float64)
    parts = variance_parts(v, support)
    exists = np.isfinite(v)
    numbers = {axis: int(exists.any(axis=tuple(i for i in range(3) if i != axis)).sum()) for axis in range(3)}
    found = Estimate(
        value=mean_of_means(v),
        parts=tuple(part for part in parts if part.variance > 0),
        subjects=numbers[2],
        episodes=numbers[1],
        seeds=numbers[0],
        fraction=fraction,
    )
    return _with_remarks(found, random_seeds=random_seeds)


def _with_remarks(found: Estimate, *, random_seeds: bool) -> Estimate:
    """The estimate with the conditions under which simulated intervals miss their nominal coverage."""
    # A skewed distribution over subjects is not among them: in simulations, samples that look skewed are those whose
    # intervals do cover, because they contain the tail.
    remarks = []
    if 1 < found.subjects < FEW_SUBJECTS:
        remarks.append(f"{found.subjects} subjects: the interval assumes that their values are normally distributed")
    if found.subjects > 1 and not found.known:
        remarks.append("every subject has the same value: no interval")
    if random_seeds and found.seeds == 1:
        remarks.append("one seed: variation over seeds is not included")
    elif random_seeds and found.seeds < FEW_SEEDS and found.shares.get(SEED, 0.0) > 0.25:
        remarks.append(f"{found.seeds} seeds, which contribute much of the variance: the interval is unreliable")
    return replace(found, remarks=tuple(remarks))


# ------------------------------------------------------------------------------------- distribution of |T|


def tail(parts: Sequence[Part], distance: float) -> float:
    """Probability that the deviation of a mean from its true value exceeds a distance.

    Args:
        parts: factors with a variance above zero.
        distance: >= 0, in the unit of the value.

    Example:
        >>> round(tail([Part("subject", 9, 0.25)], 1.153), 4)  # t = 2.306 with 8 degrees of freedom
        0.05
    """
    if len(parts) == 1:
        from scipy.special import stdtr

        return float(2 * stdtr(parts[0].freedom, -distance / math.sqrt(parts[0].variance)))
    weight, variance = _mixture(_merged(parts))
    return float(weight @ _normal_tail(distance / np.sqrt(variance)))


def quantile(parts: Sequence[Part], level: float) -> float:
    """Distance that the deviation of a mean exceeds with probability 1 - level.

    Example:
        >>> round(quantile([Part("subject", 9, 0.25)], 0.95), 3)
        1.153
    """
    if len(parts) == 1:
        from scipy.special import stdtrit

        return float(stdtrit(parts[0].freedom, (1 + level) / 2)) * math.sqrt(parts[0].variance)
    from scipy.optimize import brentq

    weight, variance = _mixture(_merged(parts))
    deviation = np.sqrt(variance)
    scale = math.sqrt(sum(part.variance for part in parts))

    def excess(log_distance: float) -> float:
        return math.log(float(weight @ _normal_tail(scale * math.exp(log_distance) / deviation)) / (1 - level))

    # In logarithms both the body and the tail, which is a power of the distance, are nearly straight: few steps.
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return scale * math.exp(float(brentq(excess, -12.0, high, xtol=1e-9)))


def _merged(parts: Sequence[Part]) -> list[Part]:
    """At most three factors, those with the fewest levels first; the others are merged by Satterthwaite's formula.

    The formula is accurate for factors with many levels. Those with few levels, whose variance is known least, are
    integrated over.
    """
    ordered = sorted(parts, key=lambda part: part.levels)
    while len(ordered) > 3:
        *ordered, one, two = ordered
        total = one.variance + two.variance
        freedom = total**2 / (one.variance**2 / one.freedom + two.variance**2 / two.freedom)
        ordered = sorted([*ordered, Part("merged", 1 + int(freedom), total)], key=lambda part: part.levels)
    return ordered


def _mixture(parts: Sequence[Part]) -> tuple[np.ndarray, np.ndarray]:
    """Weights and variances of the scale mixture of normals that T is. Shapes: two (product of nodes,)."""
    weight, variance = np.ones(1), np.zeros(1)
    for part, nodes in zip(parts, _NODES, strict=False):
        own, scale = _inverse_chi_square(part.freedom, nodes)
        weight = np.outer(weight, own).ravel()
        variance = np.add.outer(variance, part.variance * scale).ravel()
    return weight, variance


@lru_cache(maxsize=256)
def _inverse_chi_square(freedom: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Quadrature of freedom / X over its quantiles. Nodes are dense in both tails, because small X make heavy tails."""
    from scipy.special import chdtri, expit

    x, w = np.polynomial.legendre.leggauss(nodes)
    stretch = _STRETCH * min(1.0, nodes / 64)
    u = expit(stretch * x)
    weight = w * u * (1 - u)
    return weight / weight.sum(), freedom / chdtri(freedom, expit(-stretch * x))


def _normal_tail(z: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr

    return np.asarray(2 * ndtr(-z))


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0
