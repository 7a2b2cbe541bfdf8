"""Means over subjects, paired tests and calibration lines; which figures are measured is up to a protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.results.bootstrap import Bootstrap, bootstrap
from eval.results.lines import Result, ends
from imu_video.metrics.calibration import expected_calibration_error
from imu_video.metrics.significance import holm, minimum_detectable, signed_rank_p


def subject_means(cells: np.ndarray) -> np.ndarray:
    """Mean over each subject's finite cells; NaN for a subject without any. Shapes: (S, E) -> (S,)."""
    exists = np.isfinite(cells)
    count = exists.sum(axis=1)
    return np.divide(np.where(exists, cells, 0.0).sum(axis=1), count, out=np.full(len(cells), np.nan), where=count > 0)


def with_tests(lines: Sequence[Result], subjects: Sequence[np.ndarray], *, level: float = 0.95) -> list[Result]:
    """Paired differences with a test and a power statement added to ``details``.

    ``p_holm`` is the p value of a signed-rank test over subjects, Holm-corrected over these ``comparisons``;
    ``minimum_detectable`` is the smallest difference that the comparison would have detected with 80 % power.

    Args:
        lines: every comparison of one table and metric.
        subjects: for each line, one difference per subject.
        level: 1 - level is the error rate that ``minimum_detectable`` refers to.
    """
    corrected = holm(np.array([signed_rank_p(d) for d in subjects]))
    out = []
    for line, p, d in zip(lines, corrected, subjects, strict=True):
        smallest = minimum_detectable(d, level=level)
        facts: dict[str, Any] = {"p_holm": float(p), "comparisons": len(lines)}
        facts |= {"minimum_detectable": smallest} if math.isfinite(smallest) else {}
        out.append(line.model_copy(update={"details": {**line.details, **facts}}))
    return out


def calibration_lines(
    bins: np.ndarray, cells: np.ndarray, line: Result, config: Bootstrap, details: Mapping[str, Any]
) -> list[Result]:
    """``ece`` and ``overconfidence`` of predictions whose scores are probabilities.

    Overconfidence is a mean over cells and has an interval like other figures. The calibration error is a sum of
    absolute values, whose resamples are biased upwards, so it has no interval. Its bins are means over subjects of
    means over episodes of the bins' shares: every subject has equal weight. Errors of several seeds are averaged.

    Args:
        bins: (R, E, S, B, 3) for R models and E episodes (or targets), zero where a subject has no query.
        cells: (S, E) overconfidence of each subject, resampled like the figures.
        line: a figure of the same predictions.
        config: settings of the interval.
        details: details of the two lines.
    """
    [interval] = bootstrap(cells[None], config)
    error = float(expected_calibration_error(equal_subjects(bins)).mean())
    common = {"low": None, "high": None, "chance": None, "details": dict(details)}
    return [
        line.model_copy(update={**common, "metric": "ece", "value": error}),
        line.model_copy(update={**common, **ends(interval), "metric": "overconfidence", "value": interval.value}),
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
