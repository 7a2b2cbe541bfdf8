"""The section of limited labels with fixed people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eval.protocols.limited_labels.results import alpha_tables, labels_table
from eval.report.document import Block, Cell, Folded, Section, Table, Text
from eval.report.plots import words
from eval.report.plots_detail import Strip, strips
from eval.report.words import difference, fact, svg, unique
from eval.results.store import CALIBRATION, Result


def labels_sections(own: Sequence[Result], suffix: str) -> list[Section]:
    """Limited labels with fixed people: figures and paired differences, a table a metric."""
    blocks: list[Block] = []
    own = [r for r in own if r.metric not in CALIBRATION]
    for metric in unique(r.metric for r in own):
        for differences in (False, True):
            caption, columns, rows = labels_table(own, metric=metric, differences=differences)
            if rows:
                table: list[list[str | Cell]] = [list(row) for row in rows]
                blocks.append(Table(columns=columns, rows=table, labels=4 if differences else 3, caption=caption))
    for metric in unique(r.metric for r in own)[:1]:
        for caption, columns, rows in alpha_tables(own, metric=metric):
            blocks.append(Table(columns=columns, rows=[[*row] for row in rows], labels=4, caption=caption))
    blocks += [*_people(own), *_tests(own)]
    note = (
        "The last step of a fixed schedule, or alpha 0.5; in brackets after `chosen` the step (alpha) that was best on "
        "the people of `choose`, a choice among ten on one or few people. `*`: the interval excludes zero. With few "
        "people asked the intervals are wide, as they should be."
    )
    return [Section(f"Limited labels{suffix}", [*blocks, Text(note)])]


def _tests(own: Sequence[Result]) -> list[Block]:
    """Corrected p and what each comparison could have seen; the differences by number of labels stand above."""
    tables = []
    for metric in unique(r.metric for r in own):
        lines = [r for r in own if r.kind == "labels-difference" and r.metric == metric and "p_holm" in r.details]
        rows: list[list[str | Cell]] = [
            [
                r.domain,
                r.model,
                str(r.probe),
                str(r.reference),
                "all" if r.shots is None else str(r.shots),
                difference(r),
                fact(r, "p_holm"),
                fact(r, "minimum_detectable"),
            ]
            for r in lines
        ]
        columns = ["people", "encoder", "method", "minus", "labels", words(metric), "p (Holm)", "could have seen"]
        caption = (
            f"{words(metric)}: signed ranks over people, corrected for all comparisons of one command and metric; the "
            "smallest difference that would have been found at 80 % power"
        )
        if rows:
            tables.append(Table(columns=columns, rows=rows, labels=5, caption=caption))
    return [Folded("Corrected p, and what each comparison could have seen", tables)] if tables else []


def _people(own: Sequence[Result]) -> list[Block]:
    """Every person's figure, a panel a number of labels, a mark a method."""
    lines = [r for r in own if r.kind == "labels" and isinstance(r.details.get("people"), dict)]
    if not lines:
        return []
    metric = lines[0].metric
    panels = []
    for domain, shots in unique((r.domain, r.shots) for r in lines if r.metric == metric):
        some = [r for r in lines if (r.domain, r.shots, r.metric) == (domain, shots, metric)][:8]
        people = list(some[0].details["people"])
        figures = {
            f"{r.model}, {r.probe}": np.array([float(r.details["people"].get(s, "nan")) for s in people]) for r in some
        }
        many = "all labels" if shots is None else f"{shots} label{'s' if shots > 1 else ''} a class"
        panels.append(Strip(title=f"{domain}, {many}", people=people, figures=figures, chance=some[0].chance))
    caption = f"{words(metric)} of every person, mean over seeds, from the worst to the best under the first method."
    return [svg(strips(panels, metric=metric), f"{words(metric)} of every person", caption)]
