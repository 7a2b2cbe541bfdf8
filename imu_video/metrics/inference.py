"""Confidence intervals and p values of means over subjects, episodes and seeds, from one procedure; no resampling.

Every factor f adds V_f to the variance of the mean, estimated with nu_f degrees of freedom (variance.py). The deviation
of a mean from its true value has, given the estimates, one of two distributions:

- Student's t with the standard error sqrt(sum_f V_f) and Satterthwaite's degrees of freedom (Satterthwaite, "An
  approximate distribution of estimates of variance components", Biometrics Bulletin 1946),

      nu = (sum_f V_f)^2 / sum_f (G_f^2 / nu_f + N_f^2 / nu_Nf),    V_f = max(0, G_f - N_f)

  with G_f the gross estimate of a factor and N_f the noise that is subtracted from it; at least min_f nu_f;
- the generalised pivotal quantity (Weerahandi, "Generalized confidence intervals", JASA 1993; Hannig, Iyer and
  Patterson, "Fiducial generalized confidence intervals", JASA 2006)

      T = Z sqrt(sum_f max(0, G_f nu_f / X_f - N_f)),    Z standard normal, X_f chi-square with nu_f degrees of freedom.

With one factor both are Student's t with nu_f degrees of freedom. With several, the first one is too short where a
factor with few levels contributes much: with two levels 95 % intervals cover down to 86 %, with three 92 %, and far in
the tail, where Holm's correction looks, tables of 15 comparisons without a difference mark one in 20 to 30 % with three
levels and in 10 % with five. The second is too long where such a factor contributes little (up to 99 %). The mixture
of both has the second with the weight `WEIGHTS`, by the fewest levels of a factor; studies/inference measures it. The
interval is value -+ the quantile of the absolute deviation, and p is the probability that it exceeds abs(value): a
difference has p < 1 - level exactly where its interval excludes zero.

Figures that are fractions get their interval on the logit scale, because the mean of scores near the ceiling is
skewed: with Student's t on the plain scale and eight subjects, intervals of such scores cover 90 to 92 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from imu_video.metrics import coverage
from imu_video.metrics.variance import FOLD, Part, mean_of_means, variance_parts

_STRETCH, _NODES = 22.0, (64, 48, 16)
"""Quadrature: range of the quantiles in logits; nodes for the factor with the fewest levels, the next, the rest."""
WEIGHTS = {1: 1.0, 2: 0.75, 3: 0.75, 4: 0.5, 5: 0.5, 6: 0.25, 7: 0.25, 8: 0.25}
"""Weight of the generalised pivotal quantity by the smallest degrees of freedom of a factor; 0 for more."""
FEW_SUBJECTS = 4


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with the variance of its factors, from which intervals of any level and a p value follow.

    Args:
        value: the mean.
        parts: contribution of every factor to its variance.
        subjects, episodes, seeds, pretraining, folds: number of levels; ``pretraining`` counts pretraining seeds, and
            0 folds are none.
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
    pretraining: int = 1
    folds: int = 0
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
    cells: np.ndarray,
    *,
    support: np.ndarray | None = None,
    folds: Sequence[str] | None = None,
    fraction: bool = False,
    random_seeds: bool = False,
) -> Estimate:
    """Mean over subjects of the mean over their cells, with the variance due to subjects, episodes and seeds.

    For a paired difference pass the difference of two models' cells. Two axes of seeds are two factors: of encoders
    with pretraining seeds p and a reference with seeds r, pass the differences of all pairs, cells (P, R, E, S).

    Args:
        cells: values per pretraining seed, seed, episode and subject; NaN = does not exist.
        support: subjects that provide support in each episode, see `variance.variance_parts`.
        folds: the fold that each subject is tested in, see `variance.variance_parts`.
        fraction: the values are fractions in [0, 1], not differences.
        random_seeds: the model depends on a seed, so that a single seed leaves a part of the variance unknown.

    Shapes:
        cells (R, E, S) or (P, R, E, S), support (E, S + X) bool, folds (S,).

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
    parts = variance_parts(v, support, folds=folds)
    exists = np.isfinite(v if v.ndim == 4 else v[None])
    levels = [int(exists.any(axis=tuple(i for i in range(4) if i != axis)).sum()) for axis in range(4)]
    tested = exists.any(axis=(0, 1, 2))
    found = Estimate(
        value=mean_of_means(v),
        parts=tuple(part for part in parts if part.gross > 0),
        subjects=levels[3],
        episodes=levels[2],
        seeds=levels[1],
        pretraining=levels[0],
        folds=0 if folds is None else len(set(np.asarray(folds)[tested].tolist())),
        fraction=fraction,
    )
    return replace(found, remarks=tuple(_remarks(found, random_seeds=random_seeds, supports=support is not None)))


def _remarks(found: Estimate, *, random_seeds: bool, supports: bool) -> Iterator[str]:
    """The conditions under which simulated intervals miss their nominal coverage."""
    # A skewed distribution over subjects is not among them: in simulations, samples that look skewed are those whose
    # intervals do cover, because they contain the tail.
    if 1 < found.subjects < FEW_SUBJECTS:
        yield f"{found.subjects} subjects: the interval assumes that their values are normally distributed"
    if found.subjects > 1 and not found.known:
        yield "every subject has the same value: no interval"
    if random_seeds and found.seeds == 1 and found.folds < 2:
        yield "one seed: variation over seeds is not included"
    if found.folds > 1:
        kind = "" if found.subjects > found.folds else ", with one subject each"
        yield (
            f"subjects are tested in {found.folds} folds{kind}: their training sets overlap, and no estimate of the "
            "variance is unbiased"
        )
    if found.known:
        yield from coverage.remarks(
            subjects=found.subjects,
            seeds=found.seeds,
            pretraining=found.pretraining,
            folds=found.folds if found.folds < found.subjects else 0,
            fraction=found.value if found.fraction else None,
            supports=supports,
        )


# ------------------------------------------------------------------------------------- distribution of |T|


def tail(parts: Sequence[Part], distance: float) -> float:
    """Probability that the deviation of a mean from its true value exceeds a distance.

    Args:
        parts: factors with a variance above zero in sum.
        distance: >= 0, in the unit of the value.

    Example:
        >>> round(tail([Part("subject", 9, 0.25)], 1.153), 4)  # t = 2.306 with 8 degrees of freedom
        0.05
    """
    return _deviation(parts)(distance)


def quantile(parts: Sequence[Part], level: float) -> float:
    """Distance that the deviation of a mean exceeds with probability 1 - level.

    Example:
        >>> round(quantile([Part("subject", 9, 0.25)], 0.95), 3)
        1.153
    """
    scale = math.sqrt(sum(part.variance for part in parts))
    if _weight(parts) == 0:
        from scipy.special import stdtrit

        return float(stdtrit(_satterthwaite(parts), (1 + level) / 2)) * scale
    from scipy.optimize import brentq

    beyond = _deviation(parts)

    def excess(log_distance: float) -> float:
        return math.log(beyond(scale * math.exp(log_distance)) / (1 - level))

    # In logarithms both the body and the tail, which is a power of the distance, are nearly straight: few steps.
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return scale * math.exp(float(brentq(excess, -12.0, high, xtol=1e-9)))


def _deviation(parts: Sequence[Part]) -> Callable[[float], float]:
    """Probability of a larger deviation, as a function of the distance."""
    from scipy.special import stdtr

    share = _weight(parts)
    scale, freedom = math.sqrt(sum(part.variance for part in parts)), _satterthwaite(parts)
    if share == 0:
        return lambda distance: float(2 * stdtr(freedom, -distance / scale))
    weight, variance = _mixture(parts)
    # Nodes without variance have no tail.
    weight, deviation = weight[variance > 0], np.sqrt(variance[variance > 0])

    def beyond(distance: float) -> float:
        own = float(weight @ _normal_tail(distance / deviation))
        return own if share == 1 else share * own + (1 - share) * float(2 * stdtr(freedom, -distance / scale))

    return beyond


def _weight(parts: Sequence[Part]) -> float:
    """Weight of the generalised pivotal quantity; one factor has the same distribution under both."""
    # Folds are left out: their noise is as large as the part of the subjects, and integrating over it covers 99 %.
    freedom = [part.freedom for part in parts if part.factor != FOLD]
    return WEIGHTS.get(min(freedom), 0.0) if len(freedom) > 1 else 0.0


def _satterthwaite(parts: Sequence[Part]) -> float:
    """Degrees of freedom of the sum of the variances, at least those of the factor with the fewest levels."""
    total = sum(part.variance for part in parts)
    spread = sum(part.gross**2 / part.freedom + part.noise**2 / part.noise_freedom for part in parts)
    return max(total**2 / spread, min(part.freedom for part in parts if part.variance > 0))


def _merged(parts: Sequence[Part]) -> list[Part]:
    """At most three factors, those with the fewest degrees of freedom first; the others are one factor.

    Satterthwaite's formula, which merges them, is accurate for factors with many levels. Those with few levels, whose
    variance is known least, are integrated over.
    """
    ordered = sorted(parts, key=lambda part: part.freedom)
    while len(ordered) > 3:
        *ordered, one, two = ordered
        variance = one.variance + two.variance
        merged = Part("merged", 1 + int(_satterthwaite([one, two])) if variance else 2, variance)
        ordered = sorted([*ordered, merged], key=lambda part: part.freedom)
    return ordered


def _mixture(parts: Sequence[Part]) -> tuple[np.ndarray, np.ndarray]:
    """Weights and variances of the scale mixture of normals that T is. Shapes: two (product of nodes,)."""
    weight, variance = np.ones(1), np.zeros(1)
    for part, nodes in zip(_merged(parts), _NODES, strict=False):
        own, scale = _inverse_chi_square(part.freedom, nodes)
        weight = np.outer(weight, own).ravel()
        variance = np.add.outer(variance, np.maximum(0.0, part.gross * scale - part.noise)).ravel()
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
