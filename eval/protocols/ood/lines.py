"""Result lines of finished runs: metrics, calibration and paired differences; settings are selected in selection.py.

A value is the mean over subjects of the mean over seeds (and over domains, if a subject is a query in several).
``details`` also contain, as published tables report them, the accuracy of each target and its mean over targets, both
with the standard deviation (ddof 0) over seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from imu_video.metrics.variance import EPISODE, REFERENCE_SEED, SEED

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


Kind = tuple[str, str]
"""Model and algorithm of a line."""
ByTarget = Mapping[str, Sequence[Outcome]]
"""Chosen runs of each target, one per seed."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What the lines of one benchmark share.

    Args:
        config: of the benchmark; every encoder is a model.
        shared: provenance of the lines.
        intervals: confidence intervals and tests.
        members: model of one encoder -> name of its recipe, where several encoders differ in the pretraining seed.
        pretraining: recipe -> its pretraining seeds.
        folds: subject -> fold in which it is tested; None without folds.
    """

    config: OodConfig
    shared: Mapping[str, Any]
    intervals: Intervals
    members: Mapping[str, str]
    pretraining: Mapping[str, Sequence[int]]
    folds: Mapping[str, str] | None

    def recipe(self, model: str) -> str:
        """Name in tables of a model: that of its recipe."""
        return self.members.get(model, model)


def cells(by_target: ByTarget, metric: str) -> dict[str, np.ndarray]:
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
    members: Mapping[str, str] | None = None,
    pretraining: Mapping[str, Sequence[int]] | None = None,
    folds: Mapping[str, str] | None = None,
) -> list[Result]:
    """Result lines of every model and algorithm with every selection rule, and of paired differences.

    Differences are paired by subject and seed. The references are ERM with the same model and ERM with the first model
    of the config. Intervals and p values cover subjects, seeds, folds and pretraining seeds; p values are corrected
    over all comparisons of one rule and metric, and each line has its minimum detectable difference. Encoders of one
    recipe are one model. Its pretraining seeds are crossed with subjects and seeds, and paired in differences between
    algorithms on the same encoders; two recipes have independent pretraining seeds, one factor each.

    Args:
        outcomes: from `collect`.
        config: of the benchmark.
        shared: provenance of the lines.
        metrics: names of the metrics to report.
        intervals: confidence intervals and tests.
        members, pretraining, folds: see `Setup`.
    """
    setup = Setup(
        config=config,
        shared=shared,
        intervals=intervals or Intervals(),
        members=members or {},
        pretraining=pretraining or {},
        folds=folds,
    )
    out: list[Result] = []
    for rule, metric in itertools.product(config.selection, metrics):
        chosen: dict[Kind, list[ByTarget]] = {}
        for (model, algorithm), targets in chosen_runs(outcomes, rule, per_seed=config.select == "per_seed").items():
            chosen.setdefault((setup.recipe(model), algorithm), []).append(targets)
        own = {kind: _stacked([cells(targets, metric) for targets in runs]) for kind, runs in chosen.items()}
        for kind, figures in own.items():
            line, _ = _line(kind, None, figures, chosen[kind], rule, metric, setup)
            out.append(line)
            if metric == metrics[0]:  # calibration does not depend on the metric
                out += _calibration(line, chosen[kind], list(figures), setup)
        found = []
        for kind, reference in _comparisons(list(own), setup):
            difference = _difference(own[kind], own[reference], same=kind[0] == reference[0])
            found.append(_line(kind, reference, difference, chosen[kind], rule, metric, setup))
        out += with_tests([line for line, _ in found], [estimated for _, estimated in found], setup.intervals)
    return out


def _stacked(encoders: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Subject -> (P, seeds) values of P encoders of one recipe, which have the same queries."""
    return {subject: np.stack([own[subject] for own in encoders]) for subject in encoders[0]}


def _difference(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], *, same: bool
) -> dict[str, np.ndarray]:
    """Subject -> differences (P, Q, seeds): Q pretraining seeds of the reference, 1 where the encoders are the same."""
    return {s: ours[s][:, None] - (theirs[s][:, None] if same else theirs[s][None]) for s in ours}


def _comparisons(kinds: Sequence[Kind], setup: Setup) -> list[tuple[Kind, Kind]]:
    first = (setup.recipe(setup.config.models[0].name), "erm")
    pairs = []
    # Both references are the same for the first model, which must not be counted twice in the correction of p values.
    for kind in kinds:
        for reference in dict.fromkeys([(kind[0], "erm"), first]):
            if reference in kinds and reference != kind:
                pairs.append((kind, reference))
    return pairs


def _estimated(figures: Mapping[str, np.ndarray], setup: Setup, *, fraction: bool) -> Estimate:
    """Estimate of the values of every subject; a second sample of pretraining seeds is a factor of its own."""
    values = np.stack(list(figures.values()), axis=-1)  # (P, seeds, S) or (P, Q, seeds, S)
    folds = None if setup.folds is None else [setup.folds[subject] for subject in figures]
    if values.ndim == 3:
        return estimate(values[:, :, None], folds=folds, fraction=fraction, random_seeds=True)
    if values.shape[1] == 1:
        return estimate(values[:, 0][:, :, None], folds=folds, fraction=fraction, random_seeds=True)
    # Seeds take the axis of episodes, which have none here, so that all three samples of seeds are separate factors.
    found = estimate(values, folds=folds, fraction=fraction)
    names = {SEED: REFERENCE_SEED, EPISODE: SEED}
    parts = tuple(replace(part, factor=names.get(part.factor, part.factor)) for part in found.parts)
    return replace(found, parts=parts, seeds=found.episodes, episodes=1)


def _line(
    kind: Kind,
    reference: Kind | None,
    figures: Mapping[str, np.ndarray],
    encoders: Sequence[ByTarget],
    rule: str,
    metric: str,
    setup: Setup,
) -> tuple[Result, Estimate]:
    config, scenario = setup.config, setup.config.scenario
    estimated = _estimated(figures, setup, fraction=reference is None)
    details: dict[str, Any] = {
        "selection": rule,
        "people": scenario.people,
        "validation_by": scenario.validation_by,
    }
    if scenario.validation_by == "windows":
        details["remarks"] = [RANDOM_VALIDATION]
    if reference is None:
        rows = {s: values.mean(axis=0) for s, values in figures.items()}  # mean over encoders: (seeds,)
        both = [overall(targets) for targets in encoders]
        first = encoders[0]
        details |= {
            "by_target": {
                t: round(float(np.mean([o.score for targets in encoders for o in targets[t]])), 4) for t in first
            },
            "deviation_by_target": {
                t: round(float(np.mean([np.std([o.score for o in targets[t]]) for targets in encoders])), 4)
                for t in first
            },
            "accuracy_over_targets": round(float(np.mean([mean for mean, _ in both])), 4),
            "deviation_over_seeds": round(float(np.mean([deviation for _, deviation in both])), 4),
            "settings": {
                t: [dict(o.setting) for o in chosen] if config.select == "per_seed" else dict(chosen[0].setting)
                for t, chosen in first.items()
            },
            "by_person": {s: [None if np.isnan(v) else round(float(v), 6) for v in row] for s, row in rows.items()},
            **_alphas(encoders),
            "worst_person": min((float(np.nanmean(row)), s) for s, row in rows.items())[::-1],
        }
    seeds = setup.pretraining.get(kind[0], ())
    line = Result.build(
        estimated,
        setup.intervals.level,
        shared=setup.shared,
        seeds={"runs": list(config.seeds), **({"pretraining": list(seeds)} if seeds else {})},
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


def _calibration(line: Result, encoders: Sequence[ByTarget], subjects: Sequence[str], setup: Setup) -> list[Result]:
    """``ece`` and ``overconfidence`` over all targets, and ``ece`` per target; no lines without probabilities."""
    targets = list(encoders[0])
    seeds = max(len(chosen) for chosen in encoders[0].values())
    bins = np.zeros((len(encoders), seeds, len(targets), len(subjects), BINS, 3))
    for number, by_target in enumerate(encoders):
        for target, chosen in enumerate(by_target.values()):
            for seed, outcome in enumerate(chosen):
                if outcome.bins is None:
                    return []
                for subject, own in outcome.bins.items():
                    bins[number, seed, target, subjects.index(subject)] = own
    over = overconfidence(bins)  # (P, seeds, targets, subjects)
    cells = np.stack([[subject_means(run.T) for run in encoder] for encoder in over])[:, :, None]
    bins = bins.reshape(-1, *bins.shape[2:])
    errors = {
        name: round(float(expected_calibration_error(equal_subjects(bins[:, [target]])).mean()), 4)
        for target, name in enumerate(targets)
    }
    shared = {k: line.details[k] for k in ("selection", "people", "validation_by", "remarks") if k in line.details}
    details = shared | {"by_target": errors, "bins": kept_bins(bins)}
    return calibration_lines(bins, cells, line, setup.intervals, details)


def _alphas(encoders: Sequence[ByTarget]) -> dict[str, Any]:
    """Selected alphas of a model with ``train: wise``, and the curve as a mean over encoders, targets and seeds."""
    runs = [o for by_target in encoders for chosen in by_target.values() for o in chosen]
    curves = [o.by_alpha for o in runs if o.by_alpha is not None]
    if len(curves) < len(runs):
        return {}
    return {
        "alpha": {t: [o.alpha for by_target in encoders for o in by_target[t]] for t in encoders[0]},
        "by_alpha": np.mean(curves, axis=0).round(6).tolist(),
    }
