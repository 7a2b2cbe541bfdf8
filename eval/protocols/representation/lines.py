"""Result lines of frozen representations: figures, calibration, paired differences; predictions come from run.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from eval.protocols.representation.config import RepresentationConfig
from eval.protocols.representation.parts import Parts
from eval.protocols.representation.run import Outcome
from eval.results.intervals import calibration_lines, kept_bins, with_tests
from eval.results.lines import DIFFERENCE, Result
from imu_video.metrics.calibration import overconfidence
from imu_video.metrics.classify import METRICS
from imu_video.metrics.inference import Estimate, estimate


def measure(
    outcomes: Sequence[Outcome],
    parts: Parts,
    config: RepresentationConfig,
    shared: Mapping[str, Any],
    *,
    remarks: Sequence[str] = (),
) -> list[Result]:
    """Figures with intervals over subjects and seeds, and paired differences of ``pretrained`` from every reference.

    Args:
        outcomes: of every model and probe.
        parts: training and test windows.
        config: figures and intervals.
        shared: from `eval.results.lines.provenance`.
        remarks: sentences stored with every figure.
    """
    build = _Builder(parts, config, shared, remarks)
    out: list[Result] = []
    for o in outcomes:
        lines = [build.line(o, None, m, estimate(values[:, None], fraction=True)) for m, values in build.figures(o)]
        # One matrix is enough: it is the same for every figure.
        details = {"confusion": o.counts.sum(axis=(0, 1)).tolist()}
        lines[0] = lines[0].model_copy(update={"details": {**lines[0].details, **details}})
        out += lines
        if o.bins is not None:
            bins = o.bins[:, None]
            own = {"remarks": list(remarks), "bins": kept_bins(bins)}
            out += calibration_lines(bins, overconfidence(bins), lines[0], config.intervals, own)
    differences: dict[str, list[tuple[Result, Estimate]]] = {}
    for o, r in _comparisons(outcomes):
        for (metric, ours), (_, theirs) in zip(build.figures(o), build.figures(r), strict=True):
            found = estimate((ours - theirs)[:, None])
            differences.setdefault(metric, []).append((build.line(o, r, metric, found), found))
    for pairs in differences.values():
        out += with_tests([line for line, _ in pairs], [found for _, found in pairs], config.intervals)
    return out


def _comparisons(outcomes: Sequence[Outcome]) -> Iterator[tuple[Outcome, Outcome]]:
    for o in outcomes:
        for r in outcomes if o.model == "pretrained" else ():
            if r.model != "pretrained" and r.probe == o.probe:
                yield o, r


class _Builder:
    """Fields that the lines of one command share."""

    def __init__(
        self, parts: Parts, config: RepresentationConfig, shared: Mapping[str, Any], remarks: Sequence[str]
    ) -> None:
        self.parts, self.config, self.shared, self.remarks = parts, config, shared, remarks
        self.ks = [k for k in sorted(config.ks) if k < len(parts.classes)]

    def figures(self, o: Outcome) -> list[tuple[str, np.ndarray]]:
        """Every figure by name, (R, S): each subject's value with each seed of the model."""
        return [
            *((f"acc@{k}", o.hits(k)) for k in self.ks),
            *((m, np.asarray(METRICS[m](o.counts))) for m in self.config.metrics),
        ]

    def line(self, o: Outcome, r: Outcome | None, metric: str, found: Estimate) -> Result:
        classes, parts = len(self.parts.classes), self.parts
        k = int(metric.removeprefix("acc@")) if metric.startswith("acc@") else None
        details: dict[str, Any] = {
            "classes": list(parts.classes),
            "train": parts.train.facts,
            "test": parts.test.facts,
            "shared_subjects": len(parts.shared("subject")),
            "remarks": list(self.remarks),
        }
        if r is None:
            details |= {"chosen": list(o.chosen)} if o.chosen else {}
            details |= {} if k is None else {"over_windows": round(o.over_windows(k), 6)}
        seeds: dict[str, Any] = {} if self.config.draw is None else {"draw": self.config.seed}
        random = o.seeds or (r.seeds if r is not None else ())
        return Result.build(
            found,
            self.config.intervals.level,
            shared=self.shared,
            seeds={**seeds, **({"untrained": list(random)} if random else {})},
            kind="representation" if r is None else f"representation{DIFFERENCE}",
            metric=metric,
            model=o.model,
            reference=None if r is None else r.model,
            probe=o.probe,
            domain=self.config.name,
            setting=f"by {self.config.split}",
            chance=None if r is not None else (k or 1) / classes,
            details=details,
        )
