"""Intervals, paired tests and calibration lines of results; which figures are measured is up to a protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from eval.results.lines import Result, ends, facts
from imu_video.config import Config
from imu_video.metrics.calibration import expected_calibration_error
from imu_video.metrics.inference import Estimate, estimate
from imu_video.metrics.significance import compare


class Intervals(Config):
    """Confidence intervals and tests.

    Args:
        level: nominal coverage of intervals; 1 - level is the error rate of a table's tests.
        power: power that the minimum detectable difference refers to.
    """

    level: float = Field(default=0.95, gt=0.5, lt=1)
    power: float = Field(default=0.8, gt=0.5, lt=1)


def subject_means(cells: np.ndarray) -> np.ndarray:
    """Mean over each subject's finite cells; NaN for a subject without any. Shapes: (S, E) -> (S,)."""
    exists = np.isfinite(cells)
    count = exists.sum(axis=1)
    return np.divide(np.where(exists, cells, 0.0).sum(axis=1), count, out=np.full(len(cells), np.nan), where=count > 0)


def with_tests(lines: Sequence[Result], differences: Sequence[Estimate], config: Intervals) -> list[Result]:
    """Paired differences with corrected tests in ``details``.

    ``p_holm`` is the p value with Holm's correction over these ``comparisons``; ``simultaneous`` are intervals that
    contain all true differences at the same time with the nominal probability; ``minimum_detectable`` is the smallest
    difference that the corrected test finds with the configured power.

    Args:
        lines: every comparison of one table and metric.
        differences: the estimate behind each line.
        config: error rate and power.
    """
    out = []
    for line, found in zip(lines, compare(differences, level=config.level, power=config.power), strict=True):
        own: dict[str, Any] = {"comparisons": found.comparisons}
        own |= {} if found.p_holm is None else {"p_holm": found.p_holm}
        own |= {"simultaneous": [found.low, found.high]} if math.isfinite(found.low) else {}
        own |= {"minimum_detectable": found.detectable} if math.isfinite(found.detectable) else {}
        out.append(line.model_copy(update={"details": {**line.details, **own}}))
    return out


def calibration_lines(
    bins: np.ndarray,
    cells: np.ndarray,
    line: Result,
    config: Intervals,
    details: Mapping[str, Any],
    support: np.ndarray | None = None,
) -> list[Result]:
    """``ece`` and ``overconfidence`` of predictions whose scores are probabilities.

    Overconfidence is a mean over cells and has an interval like other figures. The calibration error is a sum of
    absolute values, which is biased upwards by the noise of its bins, so it has no interval. Its bins are means over
    subjects of means over episodes of the bins' shares: every subject has equal weight. Errors of several seeds are
    averaged.

    Args:
        bins: (R, E, S, B, 3) for R models and E episodes (or targets), zero where a subject has no query.
        cells: (R, E, S) overconfidence, see `imu_video.metrics.inference.estimate`.
        line: a figure of the same predictions.
        config: settings of the interval.
        details: details of the two lines.
        support: (E, S + X) as for `estimate`.
    """
    found = estimate(cells, support=support)
    error = float(expected_calibration_error(equal_subjects(bins)).mean())
    common = {"low": None, "high": None, "chance": None}
    own = {k: v for k, v in details.items() if k != "inference"}
    over = {**ends(found.interval(config.level)), "details": {**own, "inference": facts(found)}}
    return [
        line.model_copy(update={**common, "metric": "ece", "value": error, "details": own}),
        line.model_copy(update={**common, **over, "metric": "overconfidence", "value": found.value}),
    ]


def kept_bins(bins: np.ndarray) -> list[list[float]]:
    """Reliability bins (R, E, S, B, 3) as stored in ``details``: shares with equal weight per subject, mean over R."""
    mean: list[list[float]] = equal_subjects(bins).mean(axis=0).round(6).tolist()
    return mean


def equal_subjects(bins: np.ndarray) -> np.ndarray:
    """Reliability bins in which every subject and episode has equal weight. Shapes: (R, E, S, B, 3) -> (R, B, 3)."""
    b = np.asarray(bins, dtype=np.float64)
    total = b[..., 0].sum(axis=-1)[..., None, None]
    share = np.divide(b, total, out=np.zeros_like(b), where=total > 0)
    queried = (total > 0).sum(axis=1)  # (R, S, 1, 1)
    per_subject = np.divide(share.sum(axis=1), queried, out=np.zeros_like(share[:, 0]), where=queried > 0)
    return np.asarray(per_subject.sum(axis=1) / (queried > 0).sum(axis=1))
