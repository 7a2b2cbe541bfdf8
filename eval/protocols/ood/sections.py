"""Report sections of the benchmark of distribution shift: targets, differences, subjects, source against target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eval.protocols.ood.selection import Outcome, selection_rules
from eval.protocols.ood.stored import FACTS, read_facts, read_run
from eval.protocols.ood.tables import CALIBRATION_COLUMNS, metric_tables, setting_of
from eval.report.calibration import calibration_sections
from eval.report.document import Block, Cell, Folded, Section, Table
from eval.report.figures import detail
from eval.report.figures import tables as figures
from eval.report.figures.detail import Strip
from eval.report.words import CORRECTED, metric_name, svg, unique
from eval.results.lines import CALIBRATION, Result
from imu_video.errors import DataError

MOST_STRIPS = 8
"""Maximum number of models in a strip figure: more cannot be distinguished."""


def ood_sections(results: Sequence[Result]) -> list[Section]:
    """Sections of one scenario; tables of the first metric are open, those of the others folded."""
    own = [r for r in results if r.metric not in CALIBRATION]
    metrics = unique(r.metric for r in own)
    blocks: list[Block] = []
    differences = [r for r in own if r.is_difference]
    if differences:
        rule = str(differences[0].probe)  # the other rules are in the tables
        chosen = [r for r in differences if r.probe == rule]
        caption = (
            f"Selected by {rule}: {metric_name(metrics[0])} minus the reference's, paired by subject and seed, 95 % "
            f"intervals; coloured: {CORRECTED}."
        )
        picture = figures.forest(chosen, metric=metrics[0], name=lambda r: r.model)
        blocks.append(svg(picture, f"paired differences, selected by {rule}", caption))
    blocks += metric_tables(own, metrics[0])
    if len(metrics) > 1:
        folded = [table for metric in metrics[1:] for table in metric_tables(own, metric)]
        blocks.append(Folded(f"Tables of {' and '.join(map(metric_name, metrics[1:]))}", folded))
    blocks += _strips(own, metrics[0])
    title = "Calibration, domain shift"
    calibration = calibration_sections(results, title=title, columns=CALIBRATION_COLUMNS, second=setting_of)
    return [Section("Domain shift", blocks), *calibration]


def conclusions(results: Sequence[Result]) -> list[str]:
    """Sentences of the summary: wins and losses with every selection rule."""
    own = [r for r in results if r.metric not in CALIBRATION]
    metric = own[0].metric
    out = []
    for rule in unique(str(r.probe) for r in own):
        differences = [r for r in own if r.is_difference and r.probe == rule and r.metric == metric]
        for reference in unique(str(r.reference) for r in differences):
            some = [r for r in differences if r.reference == reference]
            wins = sum(r.decided and r.value > 0 for r in some)
            losses = sum(r.decided and r.value < 0 for r in some)
            out.append(
                f"Selected by `{rule}`, against {reference}: better in {wins} of {len(some)} comparisons, worse in "
                f"{losses}, undecided in {len(some) - wins - losses} by {metric_name(metric)} ({CORRECTED})."
            )
        if selection_rules.get(rule).upper_bound:
            out.append(f"`{rule}` selects on the target itself: an upper bound, never a result.")
    return out


def _strips(own: Sequence[Result], metric: str) -> list[Block]:
    """Figures of every subject under the first selection rule."""
    lines = [r for r in own if not r.is_difference and r.metric == metric and "by_person" in r.details]
    lines = [r for r in lines if r.probe == lines[0].probe][:MOST_STRIPS]
    if not lines:
        return []
    subjects = list(lines[0].details["by_person"])
    values = {r.model: np.array([_mean(r.details["by_person"].get(s)) for s in subjects]) for r in lines}
    panel = Strip(title=f"{lines[0].domain}, selected by {lines[0].probe}", subjects=subjects, figures=values)
    caption = f"{metric_name(metric)} of every subject, mean over seeds, sorted by the first model."
    return [svg(detail.strips([panel], metric=metric), f"{metric_name(metric)} of every subject", caption)]


def _mean(values: Sequence[float | None] | None) -> float:
    known = [v for v in values or () if v is not None]
    return float(np.mean(known)) if known else float("nan")


def runs_section(folder: Path) -> Section:
    """Source validation against target accuracy of every finished run in a benchmark's folder.

    Raises:
        DataError: not a benchmark's folder, or a damaged run.
    """
    name, runs, classes = _read(folder)
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for o in runs:
        panels.setdefault(o.model, {}).setdefault(o.target, []).append((o.valid, o.score))
    pairs = {m: {t: np.array(p) for t, p in sorted(lines.items())} for m, lines in panels.items()}
    rows: list[list[str | Cell]] = [
        [model, target, str(len(p)), f"{p[:, 0].mean():.3f}", f"{p[:, 1].mean():.3f}", _correlation(p)]
        for model, lines in pairs.items()
        for target, p in lines.items()
    ]
    caption = (
        "Each dot is a finished run (every algorithm, setting and seed) at its checkpoint. Far below the dotted line, "
        "source validation overestimates target accuracy. Without a trend within a colour, source validation cannot "
        "choose for that target."
    )
    table = Table(
        columns=["model", "target", "runs", "source validation", "target", "rank correlation"],
        rows=rows,
        labels=2,
        caption="Mean accuracies over runs; Spearman's correlation over runs, with 5 runs or more",
    )
    picture = detail.source_and_target(pairs)
    blocks: list[Block] = [svg(picture, "target accuracy against source validation accuracy", caption), table]
    return Section(f"Source validation against target: {name}", [*blocks, _confusions(runs, classes)])


def _confusions(runs: Sequence[Outcome], classes: Sequence[str]) -> Folded:
    """Confusion matrices per target of ERM on the first model, over all its runs; ERM is fixed beforehand."""
    algorithms = unique(o.algorithm for o in runs)
    algorithm = "erm" if "erm" in algorithms else algorithms[0]
    own = [o for o in runs if o.algorithm == algorithm and o.model == runs[0].model]
    matrices = []
    for target in unique(o.target for o in own):
        total = np.sum([c for o in own if o.target == target for c in o.people.values()], axis=0)
        title = f"target {target}: {algorithm} on {runs[0].model}"
        matrices.append(svg(figures.confusion(total, classes, title=title), f"confusion matrix of {title}"))
    return Folded(f"Confusion matrices of {algorithm} on {runs[0].model}", matrices)


def _correlation(pairs: np.ndarray) -> str:
    from scipy.stats import spearmanr

    if len(pairs) < 5 or np.ptp(pairs[:, 0]) == 0 or np.ptp(pairs[:, 1]) == 0:
        return ""
    return f"{float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic):+.2f}"


def _read(folder: Path) -> tuple[str, list[Outcome], list[str]]:
    try:
        name = str(read_facts(folder)["identity"]["scenario"]["name"])
    except (DataError, KeyError, TypeError) as error:
        reason = error.message if isinstance(error, DataError) else f"{FACTS}: no name of a scenario"
        raise DataError(
            f"{folder}: not the folder of a benchmark ({reason})",
            hint="--ood-folder takes the --folder of `imu-eval ood`",
        ) from error
    runs: list[Outcome] = []
    classes: list[str] = []
    for file in sorted((folder / "runs").glob("*.json")):
        held = read_run(file)
        outcome, classes = Outcome.of(held), list(held["classes"])
        if outcome.held is None:
            runs.append(outcome)
    if not runs:
        raise DataError(f"{folder}: no finished run", hint="run `imu-eval ood` with this --folder")
    return name, runs, classes
