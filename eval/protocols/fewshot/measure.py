"""Result lines of few-shot counts: figures, calibration and paired differences; episodes are run in run.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from eval.config import EvalConfig
from eval.protocols.fewshot.run import SUPERVISED
from eval.results.counts import Counts, by_seed
from eval.results.intervals import calibration_lines, with_tests
from eval.results.lines import DIFFERENCE, Result
from imu_video.metrics.calibration import overconfidence
from imu_video.metrics.classify import METRICS
from imu_video.metrics.inference import Estimate, estimate
from imu_video.metrics.variance import REFERENCE_SEED, SEED


def measure(
    counts: Sequence[Counts], config: EvalConfig, shared: Mapping[str, Any], *, remarks: Sequence[str] = ()
) -> list[Result]:
    """Figures with intervals of every model, and paired differences of ``pretrained`` from every reference.

    A difference is taken cell by cell (episode and subject) on the episodes that both models have; the supervised
    reference has its own probe (its head) and usually fewer episodes. Seeds are not paired: pretraining seeds of the
    encoder, and of another recipe or of untrained encoders, are two independent samples, also where their numbers are
    the same, so that a difference has one factor for each.

    Args:
        counts: from `run_fewshot`.
        config: metrics and intervals.
        shared: from `provenance`, plus ``cells`` where the counts are stored.
        remarks: sentences stored with every figure.
    """
    out: list[Result] = []
    for c in counts:
        own = {m: estimate(c.cells(METRICS[m]), support=c.support, fraction=True) for m in config.metrics}
        lines = [_line(c, None, m, found, config, shared, remarks) for m, found in own.items()]
        out += lines
        if c.bins is not None:
            details = lines[0].details
            over = by_seed(overconfidence(c.bins), c.pretraining)
            out += calibration_lines(c.bins, over, lines[0], config.intervals, details, c.support)
    for metric in config.metrics:
        pairs = list(_comparisons(counts))
        found = [_difference(c, r, metric) for c, r in pairs]
        lines = [_line(c, r.model, metric, e, config, shared, remarks) for (c, r), e in zip(pairs, found, strict=True)]
        out += with_tests(lines, found, config.intervals)
    return out


def _difference(c: Counts, r: Counts, metric: str) -> Estimate:
    """Estimate of ``c`` minus ``r``: the seeds of both are crossed, and named apart."""
    theirs = r.cells(METRICS[metric])
    if r.pretraining:
        theirs = theirs.swapaxes(0, 1)
    found = estimate(c.cells(METRICS[metric]) - theirs, support=c.support)
    if not r.pretraining:
        return found
    parts = tuple(replace(part, factor=REFERENCE_SEED) if part.factor == SEED else part for part in found.parts)
    return replace(found, parts=parts)


def _comparisons(counts: Sequence[Counts]) -> Iterator[tuple[Counts, Counts]]:
    for c in counts:
        for r in counts if c.model == "pretrained" else ():
            same_place = (r.domain, r.shots) == (c.domain, c.shots)
            if r.model != "pretrained" and same_place and (r.model == SUPERVISED or r.probe == c.probe):
                yield c, r


def _line(
    c: Counts,
    reference: str | None,
    metric: str,
    found: Estimate,
    config: EvalConfig,
    shared: Mapping[str, Any],
    remarks: Sequence[str],
) -> Result:
    common = dict(shared)
    file = common.pop("cells", None)
    seeds: dict[str, Any] = {"episodes": config.episodes.seed}
    if c.pretraining:
        seeds["pretraining"] = list(c.pretraining)
    if c.seeds or reference == "untrained":
        seeds["untrained"] = list(config.references.untrained_seeds)
    return Result.build(
        found,
        config.intervals.level,
        shared=common,
        seeds=seeds,
        kind="fewshot" if reference is None else f"fewshot{DIFFERENCE}",
        metric=metric,
        model=c.model,
        reference=reference,
        probe=c.probe,
        domain=c.domain,
        setting=c.setting,
        shots=c.shots,
        chance=1.0 / len(c.classes) if reference is None else None,
        details={"classes": list(c.classes), "left_out": list(c.left_out), "remarks": list(remarks)},
        cells=f"{file}::{c.key}" if file and reference is None else None,
    )
