"""Size of a study for a difference that it should find, by simulating the test that reports it; measures nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.results.lines import Result
from eval.results.store import read_results
from imu_video.errors import DataError
from imu_video.metrics.significance import Spread, simulated_power
from imu_video.metrics.variance import EPISODE, SEED, SUBJECT


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
        return math.sqrt(variance * int(facts["levels"].get(factor, 1)))

    subject, seed, episode = (
        float(np.median([deviation(r, factor) for r in usable])) for factor in (SUBJECT, SEED, EPISODE)
    )
    return Spread(subject=subject, seed=seed, episode=episode)


def plan(
    spread: Spread,
    difference: float,
    *,
    subjects: Sequence[int],
    seeds: Sequence[int],
    episodes: int = 1,
    comparisons: int = 1,
    level: float = 0.95,
    studies: int = 400,
    seed: int = 0,
) -> list[tuple[int, int, float | None]]:
    """Power of every size of a study.

    Args:
        spread: standard deviations of the paired difference.
        difference: true difference.
        subjects, seeds: numbers to try; every pair is simulated.
        episodes: number of episodes.
        comparisons: number of comparisons in the table.
        level: 1 - level is the error rate of the table.
        studies: simulated studies per size.
        seed: of the simulation.

    Returns:
        (subjects, seeds, power) of every pair, in order. The power is None for one seed where seeds vary: a test that
        cannot see that variation has no valid p value.

    Example:
        >>> [(s, r) for s, r, power in plan(Spread(subject=0.05), 0.05, subjects=[4, 16], seeds=[1], studies=40)]
        [(4, 1), (16, 1)]
    """
    out: list[tuple[int, int, float | None]] = []
    for number, (s, r) in enumerate(itertools.product(subjects, seeds)):
        if r == 1 and spread.seed > 0:
            out.append((s, r, None))
            continue
        power = simulated_power(
            spread,
            difference,
            subjects=s,
            seeds=r,
            episodes=episodes,
            comparisons=comparisons,
            level=level,
            studies=studies,
            generator=np.random.default_rng([seed, number]),
        )
        out.append((s, r, power))
    return out
