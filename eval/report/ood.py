"""The sections of the benchmark of domain shift: by target, differences, people, source against target."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.protocols.ood.grid import FACTS
from eval.protocols.ood.selection import Outcome
from eval.protocols.ood.table import tables
from eval.report import plots, plots_detail
from eval.report.document import Block, Bullets, Cell, Folded, Section, Table
from eval.report.plots import words
from eval.report.plots_detail import Strip
from eval.report.words import svg, unique
from eval.results.store import CALIBRATION, Result
from imu_video.errors import DataError

MOST_STRIPS = 8
"""Models in a strip figure at most: more cannot be told apart."""


def ood_sections(own: Sequence[Result], suffix: str) -> list[Section]:
    """One scenario's figures; the first metric's open, the others' folded."""
    own = [r for r in own if r.metric not in CALIBRATION]
    metrics = unique(r.metric for r in own)
    blocks: list[Block] = [Bullets(_conclusions(own, metrics[0]))]
    differences = [r for r in own if r.kind == "ood-difference"]
    if differences:
        rule = str(differences[0].probe)  # the other rules are in the tables
        chosen = [r for r in differences if r.probe == rule]
        caption = f"Chosen by {rule}: {words(metrics[0])} minus the reference's, person by person, 95 % intervals."
        picture = plots.forest(chosen, metric=metrics[0], kind="ood-difference")
        blocks.append(svg(picture, f"paired differences, chosen by {rule}", caption))
    blocks += _tables(own, metrics[0])
    if len(metrics) > 1:
        folded = [t for m in metrics[1:] for t in _tables(own, m)]
        blocks.append(Folded(f"The same for {' and '.join(map(words, metrics[1:]))}", folded))
    blocks += _strips(own, metrics[0])
    return [Section(f"Domain shift{suffix}", blocks)]


def _conclusions(own: Sequence[Result], metric: str) -> list[str]:
    out = []
    for rule in unique(str(r.probe) for r in own):
        differences = [r for r in own if r.kind == "ood-difference" and r.probe == rule and r.metric == metric]
        for reference in unique(str(r.reference) for r in differences):
            some = [r for r in differences if r.reference == reference]
            wins = sum(r.excludes_zero and r.value > 0 for r in some)
            losses = sum(r.excludes_zero and r.value < 0 for r in some)
            corrected = sum(float(r.details.get("p_holm", 1.0)) < 0.05 for r in some)
            out.append(
                f"Chosen by `{rule}`, against {reference}: better in {wins} of {len(some)} comparisons, worse in "
                f"{losses}, undecided in {len(some) - wins - losses} by the intervals of {words(metric)}; {corrected} "
                "remain after correction for their number (p below 0.05)."
            )
    if any(r.probe == "oracle" for r in own):
        out.append("`oracle` chooses on the target itself: an upper bound, never a result.")
    people = {r.subjects for r in own}
    if people and min(people) < 6:
        out.append(
            f"With {min(people)} people a signed-rank test cannot give a p below {2 / 2 ** min(people):.3g}, however "
            "clear the case: look at the intervals."
        )
    return out or ["No comparison was measured."]


def _tables(own: Sequence[Result], metric: str) -> list[Table]:
    out = []
    for title, columns, rows in tables(own, metric=metric):
        labels = 2 if columns[1] == "minus" else 1
        cells: list[list[str | Cell]] = [[*row] for row in rows]
        out.append(Table(columns=columns, rows=cells, labels=labels, caption=title))
    return out


def _strips(own: Sequence[Result], metric: str) -> list[Block]:
    figures = [r for r in own if r.kind == "ood" and r.metric == metric and "by_person" in r.details]
    panels = []
    for rule in unique(str(r.probe) for r in figures)[:1]:
        lines = [r for r in figures if r.probe == rule][:MOST_STRIPS]
        people = list(lines[0].details["by_person"])
        values = {r.model: np.array([_mean(r.details["by_person"].get(s)) for s in people]) for r in lines}
        panels.append(Strip(title=f"{lines[0].domain}, chosen by {rule}", people=people, figures=values))
    if not panels:
        return []
    caption = f"{words(metric)} of every person, mean over seeds, from the worst to the best under the first model."
    return [svg(plots_detail.strips(panels, metric=metric), f"{words(metric)} of every person", caption)]


def _mean(values: Sequence[float | None] | None) -> float:
    there = [v for v in values or () if v is not None]
    return float(np.mean(there)) if there else float("nan")


def runs_section(folder: Path) -> Section:
    """Source validation against target accuracy of every finished run of a benchmark's folder.

    Raises:
        DataError: no benchmark there, or a damaged run.
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
        "A dot is a finished run (every algorithm, setting and seed) at its checkpoint. Far below the dotted line: "
        "what source validation promises is not kept. No trend within a colour: source validation cannot choose there."
    )
    table = Table(
        columns=["model", "target", "runs", "source validation", "target", "rank correlation"],
        rows=rows,
        labels=2,
        caption="Mean accuracies over runs; Spearman's correlation over runs, where there are at least 5",
    )
    picture = plots_detail.source_and_target(pairs)
    blocks: list[Block] = [svg(picture, "target accuracy against source validation accuracy", caption), table]
    return Section(f"Source validation against target: {name}", [*blocks, _confusions(runs, classes)])


def _confusions(runs: Sequence[Outcome], classes: Sequence[str]) -> Folded:
    """What one model mistakes for what in each target: ERM's counts, named beforehand, over all its runs there."""
    algorithms = unique(o.algorithm for o in runs)
    algorithm = "erm" if "erm" in algorithms else algorithms[0]
    own = [o for o in runs if o.algorithm == algorithm and o.model == runs[0].model]
    figures = []
    for target in unique(o.target for o in own):
        total = np.sum([c for o in own if o.target == target for c in o.people.values()], axis=0)
        title = f"target {target}: {algorithm} on {runs[0].model}"
        figures.append(svg(plots.confusion(total, classes, title=title), f"confusion matrix of {title}"))
    return Folded(f"What {algorithm} on {runs[0].model} mistakes for what", figures)


def _correlation(pairs: np.ndarray) -> str:
    from scipy.stats import spearmanr

    if len(pairs) < 5 or np.ptp(pairs[:, 0]) == 0 or np.ptp(pairs[:, 1]) == 0:
        return ""
    return f"{float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic):+.2f}"


def _read(folder: Path) -> tuple[str, list[Outcome], list[str]]:
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        name = str(facts["identity"]["scenario"]["name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder}: not the folder of a benchmark ({FACTS}: {error})",
            hint="--ood-folder takes what `imu-eval ood --folder` named",
        ) from error
    runs: list[Outcome] = []
    classes: list[str] = []
    for file in sorted((folder / "runs").glob("*.json")):
        try:
            held = json.loads(file.read_text(encoding="utf-8"))
            outcome, classes = Outcome.of(held), [str(c) for c in held["classes"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file}: not a result: {error}", hint="delete it; the run is repeated") from error
        if outcome.held is None:
            runs.append(outcome)
    if not runs:
        raise DataError(f"{folder}: no finished run", hint="`imu-eval ood` fills it")
    return name, runs, classes
