"""Size of a study for a difference that it should find, by simulating the test that reports it; measures nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eval.results.lines import Result
from eval.results.store import read_results
from imu_video.errors import ConfigError, DataError
from imu_video.metrics.significance import Spread, simulated_power
from imu_video.metrics.variance import EPISODE, FOLD, PRETRAINING, REFERENCE_SEED, SEED, SUBJECT, SUPPORT

_LARGEST = 1e6
"""Largest difference and standard deviation, whatever the metric; squares of larger ones are not exact."""


def measured_spread(results: Sequence[Path], metric: str | None = None) -> Spread:
    """Standard deviations of the paired differences in earlier result files: of each factor the median.

    The median is that over the comparisons that have the factor. Where the same subjects are queries and provide
    support, their deviation contains both.

    Args:
        results: result files.
        metric: restrict to one metric; None = that of the first difference.

    Raises:
        DataError: no difference with an interval over two subjects or more, or one with a factor that is unknown.
    """
    lines, _ = read_results(list(results))
    usable = [r for r in lines if r.is_difference and r.details.get("inference", {}).get("se")]
    usable = [r for r in usable if r.metric == (metric or usable[0].metric)]
    if not usable:
        raise DataError(
            f"{', '.join(map(str, results))}: no paired difference with an interval"
            + (f" in {metric!r}" if metric else ""),
            hint="give the standard deviations: --subject-sd 0.08 --seed-sd 0.02",
        )

    named = {"subject": SUBJECT, "seed": SEED, "episode": EPISODE, "pretraining": PRETRAINING, "fold": FOLD}
    named |= {"reference": REFERENCE_SEED, "support": SUPPORT}
    if unknown := {f for r in usable for f in r.details["inference"]["shares"]} - set(named.values()):
        raise DataError(
            f"{', '.join(map(str, results))}: factor {min(unknown)!r} of the variance cannot be planned, expected one "
            f"of {', '.join(named.values())}",
            hint="give the standard deviations: --subject-sd 0.08 --seed-sd 0.02",
        )

    def deviation(r: Result, factor: str) -> float | None:
        facts: dict[str, Any] = r.details["inference"]
        if factor not in facts["levels"] and not (factor == FOLD and "folds" in facts):
            return None
        variance = float(facts["shares"].get(factor, 0.0)) * float(facts["se"]) ** 2
        levels = int(facts["levels"].get(factor, 1))
        # The variance of folds is stated with the correction for training sets that overlap.
        overlap = 1 + levels / (levels - 1) if factor == FOLD and levels > 1 else 1.0
        return math.sqrt(variance * levels / overlap)

    # Comparisons differ in their factors: a reference without encoders has no pretraining seeds.
    found = {name: [d for r in usable if (d := deviation(r, factor)) is not None] for name, factor in named.items()}
    return Spread(**{"subject": 0.0, **{name: float(np.median(own)) for name, own in found.items() if own}})


class Size(NamedTuple):
    """Size of a study and its power.

    Args:
        subjects, seeds, pretraining, reference, episodes, folds: numbers of levels; ``reference`` counts pretraining
            seeds of the reference, and 0 folds are none.
        power: share of simulated studies that find the difference; None where a factor that varies has one level: a
            test that cannot see that variation has no valid p value.
    """

    subjects: int
    seeds: int
    pretraining: int
    reference: int
    episodes: int
    folds: int
    power: float | None


def plan(
    spread: Spread,
    difference: float,
    *,
    subjects: Sequence[int],
    seeds: Sequence[int] = (1,),
    pretraining: Sequence[int] = (1,),
    reference: Sequence[int] = (1,),
    episodes: Sequence[int] = (1,),
    folds: Sequence[int] = (0,),
    comparisons: int = 1,
    level: float = 0.95,
    studies: int = 400,
    seed: int = 0,
) -> list[Size]:
    """Power of every size of a study.

    Args:
        spread: standard deviations of the paired difference.
        difference: true difference.
        subjects, seeds, pretraining, reference, episodes, folds: numbers to try; every combination is simulated.
        comparisons: number of comparisons in the table.
        level: 1 - level is the error rate of the table.
        studies: simulated studies per size.
        seed: of the simulation.

    Returns:
        The sizes in order. Folds need two subjects in one of them; other combinations are left out.

    Raises:
        ConfigError: a difference that is not a number in -1e6 .. 1e6, standard deviations that are all 0 or above 1e6,
            no combination with more subjects than folds, support by subjects in folds, or a combination with several
            seeds, episodes and pretraining seeds of the reference.

    Example:
        >>> [size[:2] for size in plan(Spread(subject=0.05), 0.05, subjects=[4, 16], studies=40)]
        [(4, 1), (16, 1)]
    """
    deviations = {f"standard deviation ({name})": value for name, value in vars(spread).items()}
    for name, value in {"difference": difference, **deviations}.items():
        if not abs(value) <= _LARGEST:  # written so that NaN fails, too
            raise ConfigError(
                f"{name} {value:g}: expected a number of at most {_LARGEST:g}",
                hint="in units of the metric: 0.05 are five percentage points of an accuracy",
            )
    if not any(deviations.values()):
        raise ConfigError(
            "all standard deviations are 0: every study would measure the same difference",
            hint="--subject-sd 0.08, or --from results.jsonl of an earlier study",
        )
    if spread.support > 0 and max(folds) > 0:
        raise ConfigError(
            f"{max(folds)} folds with a standard deviation of support subjects: no protocol has both",
            hint="leave out --folds and --fold-sd, or --support-sd",
        )
    if min(max(seeds), max(reference), max(episodes)) > 1:
        raise ConfigError(
            f"{max(seeds)} seeds, {max(reference)} pretraining seeds of the reference and {max(episodes)} episodes: no "
            "protocol has several of all three",
            hint="--seeds 1 for few-shot episodes, --episodes 1 for the benchmark of domain shift",
        )
    out: list[Size] = []
    sizes = itertools.product(subjects, seeds, pretraining, reference, episodes, folds)
    for number, (s, r, p, q, e, k) in enumerate(sizes):
        if k >= s:
            continue
        # With folds the seeds of a fold's runs vary between folds, so that one seed suffices.
        unseen = [(r, spread.seed if k < 2 else 0.0), (p, spread.pretraining), (e, spread.episode), (k, spread.fold)]
        unseen += [(q, spread.reference), (e, spread.support)]
        if any(levels < 2 and deviation > 0 for levels, deviation in unseen):
            out.append(Size(s, r, p, q, e, k, None))
            continue
        power = simulated_power(
            spread,
            difference,
            subjects=s,
            seeds=r,
            pretraining=p,
            reference=q,
            episodes=e,
            folds=k,
            comparisons=comparisons,
            level=level,
            studies=studies,
            generator=np.random.default_rng([seed, number]),
        )
        out.append(Size(s, r, p, q, e, k, power))
    if not out:
        raise ConfigError(
            f"{max(subjects)} subjects in {min(folds)} folds: expected more subjects than folds",
            hint=f"--subjects {2 * min(folds)}",
        )
    return out
