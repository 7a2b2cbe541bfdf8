"""Result lines of finished runs: metrics, calibration and paired differences; settings are selected in selection.py.

A value is the mean over subjects of the mean over seeds (and over domains, if a subject is a query in several).
``details`` also contain, as published tables report them, the accuracy of each target and its mean over targets, both
with the standard deviation (ddof 0) over seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.protocols.ood.config import OodConfig
from eval.protocols.ood.grid import Folder
from eval.protocols.ood.runs import Run
from eval.protocols.ood.selection import Outcome, choose, overall
from eval.results.intervals import (
    Intervals,
    calibration_lines,
    equal_subjects,
    kept_bins,
    subject_means,
    with_tests,
)
from eval.results.lines import DIFFERENCE, Result
from imu_video.errors import DataError
from imu_video.metrics.calibration import BINS, expected_calibration_error, overconfidence
from imu_video.metrics.classify import METRICS
from imu_video.metrics.inference import Estimate, estimate

RANDOM_VALIDATION = (
    "validation_by: windows draws validation windows at random, as in the released code: they overlap training windows "
    "in time, so source validation is too high"
)
"""Remark of result lines whose validation windows leak from training."""


def collect(folder: Folder, runs: Sequence[Run]) -> list[Outcome]:
    """The outcome of every run.

    Raises:
        DataError: a run is not finished.
    """
    results = [folder.result(run) for run in runs]
    missing = [run for run, result in zip(runs, results, strict=True) if result is None]
    if missing:
        raise DataError(
            f"{folder.path}: {len(missing)} of {len(runs)} runs are not finished, the first: {missing[0].algorithm} on "
            f"{missing[0].model}, target {missing[0].target}, seed {missing[0].seed}",
            hint="repeat the same `imu-eval ood` command; finished runs are kept",
        )
    return [Outcome.of(result) for result in results if result is not None]


def chosen_runs(
    outcomes: Sequence[Outcome], rule: str, *, per_seed: bool = False
) -> dict[tuple[str, str], dict[str, list[Outcome]]]:
    """The runs that a selection rule reports, for every model, algorithm and target; see `choose`."""
    # Grouped by target as well, because a setting is selected separately for each target domain.
    groups: dict[tuple[str, str], dict[str, list[Outcome]]] = {}
    for o in outcomes:
        groups.setdefault((o.model, o.algorithm), {}).setdefault(o.target, []).append(o)
    return {
        kind: {target: choose(own, rule, per_seed=per_seed) for target, own in targets.items()}
        for kind, targets in groups.items()
    }


def cells(by_target: Mapping[str, Sequence[Outcome]], metric: str) -> dict[str, np.ndarray]:
    """Subject -> (seeds,) values of a metric, NaN where the subject is not a query of a seed."""
    seeds = max(len(chosen) for chosen in by_target.values())
    found: dict[str, list[list[float]]] = {}
    for chosen in by_target.values():
        for seed, outcome in enumerate(chosen):
            for subject, counts in outcome.people.items():
                # A subject may be a query in several targets; its values are averaged, so that it counts once.
                row = found.setdefault(subject, [[] for _ in range(seeds)])
                row[seed].append(float(METRICS[metric](counts)))
    return {s: np.array([np.mean(values) if values else np.nan for values in row]) for s, row in sorted(found.items())}


def measure(
    outcomes: Sequence[Outcome],
    config: OodConfig,
    shared: Mapping[str, Any],
    *,
    metrics: Sequence[str] = ("accuracy", "macro_f1"),
    intervals: Intervals | None = None,
) -> list[Result]:
    """Result lines of every model and algorithm with every selection rule, and of paired differences.

    Differences are paired by subject and seed. The references are ERM with the same model and ERM with the first model
    of the config. Intervals and p values cover subjects and seeds; p values are corrected over all comparisons of one
    rule and metric, and each line has its minimum detectable difference.

    Args:
        outcomes: from `collect`.
        config: of the benchmark.
        shared: provenance of the lines.
        metrics: names of the metrics to report.
        intervals: confidence intervals and tests.
    """
    intervals = intervals or Intervals()
    out: list[Result] = []
    for rule, metric in itertools.product(config.selection, metrics):
        chosen = chosen_runs(outcomes, rule, per_seed=config.select == "per_seed")
        own = {kind: cells(targets, metric) for kind, targets in chosen.items()}
        for kind, figures in own.items():
            line, _ = _line(kind, None, figures, chosen[kind], rule, metric, config, shared, intervals)
            out.append(line)
            if metric == metrics[0]:  # calibration does not depend on the metric
                out += _calibration(line, chosen[kind], list(figures), intervals)
        pairs = _comparisons(list(own), config)
        found = []
        for kind, reference in pairs:
            difference = {s: own[kind][s] - own[reference][s] for s in own[kind]}
            found.append(_line(kind, reference, difference, chosen[kind], rule, metric, config, shared, intervals))
        out += with_tests([line for line, _ in found], [estimated for _, estimated in found], intervals)
    return out


def _comparisons(kinds: Sequence[tuple[str, str]], config: OodConfig) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    first = (config.models[0].name, "erm")
    pairs = []
    # Both references are the same for the first model, which must not be counted twice in the correction of p values.
    for kind in kinds:
        for reference in dict.fromkeys([(kind[0], "erm"), first]):
            if reference in kinds and reference != kind:
                pairs.append((kind, reference))
    return pairs


def _line(
    kind: tuple[str, str],
    reference: tuple[str, str] | None,
    figures: Mapping[str, np.ndarray],
    by_target: Mapping[str, Sequence[Outcome]],
    rule: str,
    metric: str,
    config: OodConfig,
    shared: Mapping[str, Any],
    intervals: Intervals,
) -> tuple[Result, Estimate]:
    cells = np.stack(list(figures.values()), axis=1)[:, None]  # (seeds, 1, S)
    estimated = estimate(cells, fraction=reference is None, random_seeds=True)
    scenario = config.scenario
    details: dict[str, Any] = {
        "selection": rule,
        "people": scenario.people,
        "validation_by": scenario.validation_by,
    }
    if scenario.validation_by == "windows":
        details["remarks"] = [RANDOM_VALIDATION]
    if reference is None:
        mean, deviation = overall(by_target)
        details |= {
            "by_target": {t: round(float(np.mean([o.score for o in chosen])), 4) for t, chosen in by_target.items()},
            "deviation_by_target": {
                t: round(float(np.std([o.score for o in chosen])), 4) for t, chosen in by_target.items()
            },
            "accuracy_over_targets": round(mean, 4),
            "deviation_over_seeds": round(deviation, 4),
            "settings": {
                t: [dict(o.setting) for o in chosen] if config.select == "per_seed" else dict(chosen[0].setting)
                for t, chosen in by_target.items()
            },
            "by_person": {s: [None if np.isnan(v) else round(float(v), 6) for v in row] for s, row in figures.items()},
            **_alphas(by_target),
            "worst_person": min((float(np.nanmean(row)), s) for s, row in figures.items())[::-1],
        }
    line = Result.build(
        estimated,
        intervals.level,
        shared=shared,
        seeds={"runs": list(config.seeds)},
        kind="ood" if reference is None else f"ood{DIFFERENCE}",
        metric=metric,
        model=f"{kind[1]} on {kind[0]}",
        reference=None if reference is None else f"{reference[1]} on {reference[0]}",
        probe=rule,
        domain=config.scenario.name,
        setting=config.scenario.people,
        details=details,
    )
    return line, estimated


def _calibration(
    line: Result, by_target: Mapping[str, Sequence[Outcome]], subjects: Sequence[str], intervals: Intervals
) -> list[Result]:
    """``ece`` and ``overconfidence`` over all targets, and ``ece`` per target; no lines without probabilities."""
    seeds = max(len(chosen) for chosen in by_target.values())
    bins = np.zeros((seeds, len(by_target), len(subjects), BINS, 3))
    for target, chosen in enumerate(by_target.values()):
        for seed, outcome in enumerate(chosen):
            if outcome.bins is None:
                return []
            for subject, own in outcome.bins.items():
                bins[seed, target, subjects.index(subject)] = own
    errors = {
        name: round(float(expected_calibration_error(equal_subjects(bins[:, [target]])).mean()), 4)
        for target, name in enumerate(by_target)
    }
    shared = {k: line.details[k] for k in ("selection", "people", "validation_by", "remarks") if k in line.details}
    details = shared | {"by_target": errors, "bins": kept_bins(bins)}
    over = overconfidence(bins)  # (seeds, targets, subjects)
    cells = np.stack([subject_means(over[seed].T) for seed in range(seeds)])[:, None]
    return calibration_lines(bins, cells, line, intervals, details)


def _alphas(by_target: Mapping[str, Sequence[Outcome]]) -> dict[str, Any]:
    """Selected alphas of a model with ``train: wise``, and the curve as a mean over targets and seeds."""
    runs = [o for chosen in by_target.values() for o in chosen]
    curves = [o.by_alpha for o in runs if o.by_alpha is not None]
    if len(curves) < len(runs):
        return {}
    return {
        "alpha": {target: [o.alpha for o in chosen] for target, chosen in by_target.items()},
        "by_alpha": np.mean(curves, axis=0).round(6).tolist(),
    }
