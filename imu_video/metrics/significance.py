"""Multiple comparisons and power of the tests of inference.py: Holm, simultaneous intervals, detectable differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imu_video.metrics.inference import Estimate, estimate, quantile


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction of p values for multiple tests (Holm 1979).

    Sorted ascending, p_(i) becomes max over j <= i of (m - j + 1) p_(j), at most 1.

    Shapes: (m,) -> (m,).

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    out = np.empty_like(values)
    out[order] = stepped
    return out


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A difference as one of a family of comparisons.

    Args:
        p_holm: p value with Holm's correction over the family; None where the data determine none.
        low, high: interval that contains the true difference of every comparison of the family at the same time with
            the nominal probability (Bonferroni).
        detectable: smallest true difference that the corrected test finds with the given power, see `detectable`.
        comparisons: size of the family.
    """

    p_holm: float | None
    low: float
    high: float
    detectable: float
    comparisons: int


def compare(family: Sequence[Estimate], *, level: float = 0.95, power: float = 0.8) -> list[Comparison]:
    """Corrected tests and simultaneous intervals of all comparisons of one table.

    A comparison without a p value (one subject) counts in the family: it was made.

    Args:
        family: every difference of the table, not a selection.
        level: 1 - level is the probability of one false finding or more in the family.
        power: for ``detectable``.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> family = [estimate(rng.normal(m, 0.1, (1, 1, 10))) for m in (0.3, 0.0)]
        >>> [c.p_holm < 0.05 for c in compare(family)]
        [True, False]
    """
    m = len(family)
    known = [e.p for e in family]
    corrected = holm(np.array([1.0 if p is None else p for p in known]))
    out = []
    for e, p, own in zip(family, known, corrected, strict=True):
        low, high = e.interval(1 - (1 - level) / m)
        out.append(
            Comparison(
                p_holm=None if p is None else float(own),
                low=low,
                high=high,
                detectable=detectable(e, comparisons=m, level=level, power=power),
                comparisons=m,
            )
        )
    return out


def detectable(e: Estimate, *, comparisons: int = 1, level: float = 0.95, power: float = 0.8) -> float:
    """Smallest true difference that the test of this comparison finds with the given power.

    The test rejects where the p value is below (1 - level) / comparisons, the first step of Holm's correction. Its
    critical value in standard errors defines the degrees of freedom of an equal Student's t, and the power is that of
    the noncentral t with these degrees of freedom.

    Args:
        e: the observed difference, whose variance is taken as the true one.
        comparisons: size of its family.
        level: 1 - level is the error rate of the family.
        power: probability of finding the difference, in (0.5, 1).

    Returns:
        The difference, infinite where the data determine no variance.

    Example:
        >>> round(detectable(estimate(np.array([[[0.0, 0.1, 0.2, 0.1, 0.15]]]))), 3)
        0.125
    """
    from scipy.optimize import brentq
    from scipy.special import stdtrit
    from scipy.stats import nct

    if not e.known:
        return math.inf
    alpha = (1 - level) / comparisons
    critical = quantile(e.parts, 1 - alpha) / e.se
    widest, narrowest = float(stdtrit(1, 1 - alpha / 2)), float(stdtrit(1e6, 1 - alpha / 2))
    if critical >= widest:
        freedom = 1.0
    elif critical <= narrowest:
        freedom = 1e6
    else:
        freedom = float(brentq(lambda nu: float(stdtrit(nu, 1 - alpha / 2)) - critical, 1.0, 1e6))
    found = brentq(lambda shift: float(nct.sf(critical, freedom, shift)) - power, 0.0, 20 * critical + 20)
    return float(found) * e.se


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Standard deviations of a paired difference by source, as planned or measured in an earlier study.

    Args:
        subject: between subjects.
        seed: between seeds, common to all subjects.
        episode: between episodes, common to all subjects of an episode.
        rest: between cells beyond these.
        pretraining: between pretraining seeds, common to all subjects.
        fold: between folds, that is between training sets and their runs, common to all subjects of a fold.
        reference: between pretraining seeds of the reference, common to all subjects.
        support: between subjects as providers of support. An episode, common to all of its queries, has the mean of
            the subjects that provide its support.
    """

    subject: float
    seed: float = 0.0
    episode: float = 0.0
    rest: float = 0.0
    pretraining: float = 0.0
    fold: float = 0.0
    reference: float = 0.0
    support: float = 0.0


def simulated_power(
    spread: Spread,
    difference: float,
    *,
    subjects: int,
    seeds: int = 1,
    pretraining: int = 1,
    episodes: int = 1,
    folds: int = 0,
    reference: int = 1,
    comparisons: int = 1,
    level: float = 0.95,
    studies: int = 400,
    generator: np.random.Generator,
) -> float:
    """Share of simulated studies in which the corrected test finds a difference.

    Where subjects vary as providers of support, a random third of the subjects provides the support of an episode, and
    the others are its queries.

    Args:
        spread: standard deviations.
        difference: true difference.
        subjects, seeds, pretraining, episodes: size of the study.
        reference: number of pretraining seeds of the reference, which are not paired with those of the encoder.
        folds: number of folds of subjects, with one training set each; 0 for one training set for all subjects.
        comparisons: size of the family of comparisons.
        level: 1 - level is the error rate of the family.
        studies: number of simulated studies.
        generator: random state.

    Raises:
        ValueError: several seeds, episodes and pretraining seeds of the reference in one study, which no protocol has;
            or support by subjects in folds or of fewer than two episodes.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> simulated_power(Spread(subject=0.05), 0.05, subjects=16, studies=50, generator=rng) > 0.8
        True
    """
    if min(seeds, episodes, reference) > 1:
        raise ValueError(f"{seeds} seeds, {episodes} episodes and {reference} seeds of the reference: at most two vary")
    if spread.support > 0 and (folds or episodes < 2):
        raise ValueError(f"support by subjects needs two episodes or more and no folds, got {episodes} and {folds}")
    # The reference has the axis of seeds, and seeds that of episodes, as in the lines of the protocols.
    crossed = seeds > 1 and reference > 1
    axes = (reference, seeds) if crossed else (seeds * reference, episodes)
    runs = (1, seeds) if crossed else (seeds, 1)
    found = 0
    fold = np.arange(subjects) % folds if folds else None
    for _ in range(studies):
        cells = (
            difference
            + generator.normal(0, spread.subject, (1, 1, 1, subjects))
            + generator.normal(0, spread.seed, (1, *runs, 1 if fold is None else folds))[..., _of(fold)]
            + generator.normal(0, spread.pretraining, (pretraining, 1, 1, 1))
            + generator.normal(0, spread.reference, (1, reference, 1, 1))
            + generator.normal(0, spread.episode, (1, 1, episodes, 1))
            + generator.normal(0, spread.rest, (pretraining, *axes, subjects))
        )
        if fold is not None:
            cells = cells + generator.normal(0, spread.fold, folds)[fold]
        support = None
        if spread.support > 0:
            supporting = max(1, subjects // 3)
            support = np.argsort(generator.random((episodes, subjects)), axis=1) < supporting
            shift = support @ generator.normal(0, spread.support, subjects) / supporting
            cells = np.where(support, np.nan, cells + shift[:, None])
        p = estimate(cells, support=support, folds=None if fold is None else [str(f) for f in fold]).p
        found += p is not None and p < (1 - level) / comparisons
    return found / studies


def _of(fold: np.ndarray | None) -> np.ndarray | slice:
    """Index of each subject's fold; all of them where there is one training set."""
    return slice(None) if fold is None else fold
