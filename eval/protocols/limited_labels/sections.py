"""Tables and sections of limited labels: figures, differences, subjects, tests; measures nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eval.report.alphas import alpha_tables
from eval.report.calibration import calibration_sections, calibration_table, shots_or_all
from eval.report.document import Block, Cell, Folded, Section, Table, Text
from eval.report.figures import detail as figures
from eval.report.figures.detail import Strip
from eval.report.words import (
    CORRECTED,
    MINIMUM,
    TESTS,
    difference,
    figure,
    footnote,
    metric_name,
    plural,
    starred,
    svg,
    tests,
    unique,
)
from eval.results.lines import CALIBRATION, Result

_CALIBRATION = ("labels per class", "method")
MOST_STRIPS = 8
"""Maximum number of methods in a panel: more cannot be distinguished."""
NOTE = (
    "Figures are those of the last step of a fixed schedule, or of alpha 0.5; `chosen` is the step (alpha) that was "
    "best on the validation subjects, a choice on one or few subjects. With `report: chosen` it is the main figure and "
    "the last step is in brackets. "
    f"`*`: {CORRECTED}. With few test subjects the intervals are necessarily wide."
)


def run_tables(results: Sequence[Result]) -> list[Table]:
    """Tables that the command prints: figures and differences of the first metric, alphas, calibration."""
    metric = _metrics(results)[0]
    tables = [labels_table(results, metric=metric, differences=differences) for differences in (False, True)]
    calibration = calibration_table(results, columns=_CALIBRATION, second=shots_or_all)
    return [*tables, *wise_tables(results, metric=metric), calibration]


def labels_sections(results: Sequence[Result]) -> list[Section]:
    """Figures and paired differences, one table per metric; subjects, tests and calibration."""
    own = [r for r in results if r.metric not in CALIBRATION]
    blocks: list[Block] = []
    for metric in _metrics(own):
        tables = [labels_table(own, metric=metric, differences=differences) for differences in (False, True)]
        blocks += [table for table in tables if table.rows]
    blocks += [*wise_tables(own, metric=_metrics(own)[0]), *_subjects(own), *_by_class(own), *_tests(own), Text(NOTE)]
    title, at = "Calibration, limited labels", "With the largest number of labels:"
    calibration = calibration_sections(results, title=title, columns=_CALIBRATION, second=shots_or_all, at=at)
    return [Section("Limited labels", blocks), *calibration]


def _metrics(results: Sequence[Result]) -> list[str]:
    return unique(r.metric for r in results if r.metric not in CALIBRATION)


def labels_table(results: Sequence[Result], *, metric: str, differences: bool = False) -> Table:
    """One row per model and method (and reference), one column per number of labels.

    Args:
        results: lines of the protocol.
        metric: the figure.
        differences: paired differences instead of figures.
    """
    own = [r for r in results if r.is_difference == differences and r.metric == metric]
    numbers = sorted({r.shots for r in own}, key=lambda n: (n is None, n or 0))
    held = {(r.domain, r.model, str(r.probe), r.reference, r.shots): r for r in own}
    rows = []
    for key in unique(k[:4] for k in held):
        line = [held.get((*key, n)) for n in numbers]
        first = next(r for r in line if r is not None)
        names = [key[0], key[1], key[2], *([str(key[3])] if differences else [])]
        rows.append([*names, *(_cell(r) if r else "" for r in line), f"{first.subjects} / {first.episodes}"])
    columns = ["domain", "encoder", "method", *(["minus"] if differences else [])]
    columns += [_labels(n) for n in numbers]
    what = "paired difference" if differences else metric_name(metric)
    caption = f"{what}, fixed subjects [{100 * own[0].level:.0f} % interval over subjects and seeds]" if own else ""
    caption += footnote(own)
    return Table(
        columns=[*columns, "test subjects / seeds"], rows=rows, labels=4 if differences else 3, caption=caption
    )


def _labels(number: int | None) -> str:
    return "all labels" if number is None else f"{plural(number, 'label')} per class"


def _cell(r: Result) -> str:
    if r.is_difference:
        return starred(r)
    # The figure of the other moment: a line has one of the two.
    others = [f" ({name} {r.details[name]:.3f})" for name in ("chosen", "last") if name in r.details]
    return figure(r) + "".join(others)


def wise_tables(results: Sequence[Result], *, metric: str) -> list[Table]:
    """Validation against test subjects by alpha, for methods with ``learn: wise``."""
    lines = [
        ([r.domain, r.model, str(r.probe), shots_or_all(r)], r.details["by_alpha"], r.details["alpha"])
        for r in results
        if not r.is_difference and r.metric == metric and "by_alpha" in r.details
    ]
    title = f"accuracy on validation subjects / {metric_name(metric)} on test subjects"
    return alpha_tables(lines, names=["domain", "encoder", "method", "labels per class"], title=title)


def _tests(own: Sequence[Result]) -> list[Block]:
    """Corrected p and minimum detectable difference of every comparison."""
    tables = []
    for metric in _metrics(own):
        rows: list[list[str | Cell]] = []
        for r in own:
            if r.is_difference and r.metric == metric:
                names = [r.domain, r.model, str(r.probe), str(r.reference), shots_or_all(r)]
                rows.append([*names, difference(r), *tests(r)])
        columns = ["domain", "encoder", "method", "minus", "labels", metric_name(metric), *TESTS]
        caption = (
            f"{metric_name(metric)}: tests over subjects and seeds, corrected for all comparisons of one command and "
            f"metric; {MINIMUM} of the corrected test at 80 % power"
        )
        if rows:
            tables.append(Table(columns=columns, rows=rows, labels=5, caption=caption))
    return [Folded(f"Corrected p values, {MINIMUM}", tables)] if tables else []


def _by_class(own: Sequence[Result]) -> list[Block]:
    """Recall of every class with its interval."""
    lines = [r for r in own if not r.is_difference and "by_class" in r.details]
    tables = []
    for domain, classes in unique((r.domain, tuple(r.details["by_class"])) for r in lines):
        rows: list[list[str | Cell]] = []
        for r in lines:
            if (r.domain, tuple(r.details["by_class"])) == (domain, classes):
                recalls = [_recall(r.details["by_class"][name]) for name in classes]
                rows.append([r.model, str(r.probe), shots_or_all(r), *recalls])
        caption = f"{domain}: recall per class, fixed subjects [{100 * lines[0].level:.0f} % interval]"
        tables.append(Table(columns=["encoder", "method", "labels", *classes], rows=rows, labels=3, caption=caption))
    return [Folded("Results per class", tables)] if tables else []


def _recall(entry: Sequence[float | None]) -> str:
    value, low, high = entry
    if value is None:
        return ""
    return f"{value:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")


def _subjects(own: Sequence[Result]) -> list[Block]:
    """Values of every subject: one panel per number of labels, one marker per method."""
    lines = [r for r in own if not r.is_difference and isinstance(r.details.get("people"), dict)]
    if not lines:
        return []
    metric = lines[0].metric
    panels = []
    for domain, shots in unique((r.domain, r.shots) for r in lines if r.metric == metric):
        some = [r for r in lines if (r.domain, r.shots, r.metric) == (domain, shots, metric)][:MOST_STRIPS]
        subjects = list(some[0].details["people"])
        values = {
            f"{r.model}, {r.probe}": np.array([float(r.details["people"].get(s, "nan")) for s in subjects])
            for r in some
        }
        panels.append(
            Strip(title=f"{domain}, {_labels(shots)}", subjects=subjects, figures=values, chance=some[0].chance)
        )
    caption = f"{metric_name(metric)} of every subject, mean over seeds, sorted by the first method."
    return [svg(figures.strips(panels, metric=metric), f"{metric_name(metric)} of every subject", caption)]
