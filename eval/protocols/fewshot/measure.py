"""Result lines of few-shot counts: figures, calibration and paired differences; episodes are run in run.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.config import EvalConfig
from eval.protocols.fewshot.run import SUPERVISED
from eval.results.bootstrap import bootstrap
from eval.results.counts import Counts
from eval.results.intervals import calibration_lines, subject_means, with_tests
from eval.results.lines import DIFFERENCE, Result
from imu_video.metrics.calibration import overconfidence
from imu_video.metrics.classify import METRICS
from imu_video.metrics.stats import Interval


@dataclass(frozen=True, kw_only=True, eq=False)
class _Job:
    """Figures of one model, or its differences from a reference: (metrics, S, E) cells behind as many lines."""

    counts: Counts
    reference: str | None
    cells: np.ndarray


def measure(
    counts: Sequence[Counts], config: EvalConfig, shared: Mapping[str, Any], *, remarks: Sequence[str] = ()
) -> list[Result]:
    """Figures with intervals of every model, and paired differences of ``pretrained`` from every reference.

    A difference is taken cell by cell (subject and episode) on the episodes that both models have; the supervised
    reference has its own probe (its head) and usually fewer episodes.

    Args:
        counts: from `run_fewshot`.
        config: metrics and bootstrap.
        shared: from `provenance`, plus ``cells`` where the counts are stored.
        remarks: sentences stored with every figure.
    """
    jobs = [*_figures(counts, config), *_differences(counts, config)]
    out: list[Result] = []
    differences: dict[str, list[tuple[Result, np.ndarray]]] = {}
    for job, intervals in zip(jobs, _intervals(jobs, config), strict=True):
        lines = _lines(job, intervals, config, shared, remarks)
        if job.reference is None:
            out += lines
            bins = job.counts.bins
            if bins is not None:
                over = overconfidence(bins).mean(axis=0).T
                out += calibration_lines(bins, over, lines[0], config.bootstrap, lines[0].details)
        else:
            for line, cells in zip(lines, job.cells, strict=True):
                differences.setdefault(line.metric, []).append((line, subject_means(cells)))
    for pairs in differences.values():
        lines, subjects = [line for line, _ in pairs], [means for _, means in pairs]
        out += with_tests(lines, subjects, level=config.bootstrap.level)
    return out


def _figures(counts: Sequence[Counts], config: EvalConfig) -> list[_Job]:
    return [
        _Job(counts=c, reference=None, cells=np.stack([c.cells(METRICS[m]) for m in config.metrics])) for c in counts
    ]


def _differences(counts: Sequence[Counts], config: EvalConfig) -> list[_Job]:
    out = []
    for c in counts:
        for r in counts if c.model == "pretrained" else ():
            same_place = (r.domain, r.shots) == (c.domain, c.shots)
            if r.model == "pretrained" or not same_place or (r.model != SUPERVISED and r.probe != c.probe):
                continue
            cells = np.stack([c.cells(METRICS[m]) - r.cells(METRICS[m]) for m in config.metrics])
            out.append(_Job(counts=c, reference=r.model, cells=cells))
    return out


def _intervals(jobs: Sequence[_Job], config: EvalConfig) -> list[list[Interval]]:
    """Intervals of every job's metrics."""
    # Jobs with the same finite cells share their resamples, because resampling takes most of the time.
    alike: dict[tuple[Any, ...], list[int]] = {}
    for i, job in enumerate(jobs):
        alike.setdefault((job.cells.shape, np.isfinite(job.cells[0]).tobytes()), []).append(i)
    out: list[list[Interval]] = [[] for _ in jobs]
    metrics = len(config.metrics)
    for members in alike.values():
        many = bootstrap(np.concatenate([jobs[i].cells for i in members]), config.bootstrap)
        for place, i in enumerate(members):
            out[i] = many[place * metrics : (place + 1) * metrics]
    return out


def _lines(
    job: _Job, intervals: Sequence[Interval], config: EvalConfig, shared: Mapping[str, Any], remarks: Sequence[str]
) -> list[Result]:
    c, figure = job.counts, job.reference is None
    common = dict(shared)
    file = common.pop("cells", None)
    seeds: dict[str, Any] = {"episodes": config.episodes.seed}
    if c.seeds or job.reference == "untrained":
        seeds["untrained"] = list(config.references.untrained_seeds)
    return [
        Result.build(
            interval,
            config.bootstrap,
            shared=common,
            seeds=seeds,
            kind="fewshot" if figure else f"fewshot{DIFFERENCE}",
            metric=metric,
            model=c.model,
            reference=job.reference,
            probe=c.probe,
            domain=c.domain,
            setting=c.setting,
            shots=c.shots,
            chance=1.0 / len(c.classes) if figure else None,
            details={"classes": list(c.classes), "left_out": list(c.left_out), "remarks": list(remarks)},
            cells=f"{file}::{c.key}" if file and figure else None,
        )
        for metric, interval in zip(config.metrics, intervals, strict=True)
    ]
