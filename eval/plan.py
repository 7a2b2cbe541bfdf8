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
from imu_video.metrics.variance import EPISODE, FOLD, PRETRAINING, SEED, SUBJECT

_LARGEST = 1e6
"""Largest difference and standard deviation, whatever the metric; squares of larger ones are not exact."""


def measured_spread(results: Sequence[Path], metric: str | None = None) -> Spread:
    """Standard deviations of the paired differences in earlier result files: the median over their comparisons.

    Args:
        results: result files.
        metric: restrict to one metric; None = that of the first difference.

    Raises:
        DataError: no difference with an interval over two subjects or more.
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

    def deviation(r: Result, factor: str) -> float:
        facts: dict[str, Any] = r.details["inference"]
        variance = float(facts["shares"].get(factor, 0.0)) * float(facts["se"]) ** 2
        levels = int(facts["levels"].get(factor, 1))
        # The variance of folds is stated with the correction for training sets that overlap.
        overlap = 1 + levels / (levels - 1) if factor == FOLD and levels > 1 else 1.0
        return math.sqrt(variance * levels / overlap)

    named = {"subject": SUBJECT, "seed": SEED, "episode": EPISODE, "pretraining": PRETRAINING, "fold": FOLD}
    found = {name: float(np.median([deviation(r, factor) for r in usable])) for name, factor in named.items()}
    return Spread(**found)


class Size(NamedTuple):
    """Size of a study and its power.

    Args:
        subjects, seeds, pretraining, episodes, folds: numbers of levels; 0 folds are none.
        power: share of simulated studies that find the difference; None where a factor that varies has one level: a
            test that cannot see that variation has no valid p value.
    """

    subjects: int
    seeds: int
    pretraining: int
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
        subjects, seeds, pretraining, episodes, folds: numbers to try; every combination is simulated.
        comparisons: number of comparisons in the table.
        level: 1 - level is the error rate of the table.
        studies: simulated studies per size.
        seed: of the simulation.

    Returns:
        The sizes in order. Folds need two subjects in one of them; other combinations are left out.

    Raises:
        ConfigError: a difference that is not a number in -1e6 .. 1e6, standard deviations that are all 0 or above 1e6,
            or no combination with more subjects than folds.

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
    out: list[Size] = []
    for number, (s, r, p, e, k) in enumerate(itertools.product(subjects, seeds, pretraining, episodes, folds)):
        if k >= s:
            continue
        # With folds the seeds of a fold's runs vary between folds, so that one seed suffices.
        unseen = [(r, spread.seed if k < 2 else 0.0), (p, spread.pretraining), (e, spread.episode), (k, spread.fold)]
        if any(levels < 2 and deviation > 0 for levels, deviation in unseen):
            out.append(Size(s, r, p, e, k, None))
            continue
        power = simulated_power(
            spread,
            difference,
            subjects=s,
            seeds=r,
            pretraining=p,
            episodes=e,
            folds=k,
            comparisons=comparisons,
            level=level,
            studies=studies,
            generator=np.random.default_rng([seed, number]),
        )
        out.append(Size(s, r, p, e, k, power))
    if not out:
        raise ConfigError(
            f"{max(subjects)} subjects in {min(folds)} folds: expected more subjects than folds",
            hint=f"--subjects {2 * min(folds)}",
        )
    return out
