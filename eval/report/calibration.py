"""Whether stated confidence is earned, for every protocol that keeps reliability bins; from result lines alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eval.report import plots_detail
from eval.report.document import Block, Cell, Section, Table, Text
from eval.report.words import rank, signed, svg, unique
from eval.results.store import Result, equal_people, load_bins

COLUMNS = {
    "fewshot": ("shots", "probe"),
    "labels": ("labels a class", "method"),
    "zeroshot": ("labels from", "probe"),
    "ood": ("people", "chosen by"),
}
"""Kinds with calibration, and what the second and third column of their table are."""
MOST = 8
"""Models in a panel at most: more cannot be told apart."""
UNSAID = (
    "Only answers with probabilities appear here. `ridge`, `prototype` and support vector machines state none, nor do "
    "cosines with prototypes or prompts, and a softmax over their scores would be an invention."
)


def calibration_sections(results: Sequence[Result], suffix: str) -> list[Section]:
    """A section with diagram and table a kind; none where nothing states a probability."""
    out = []
    for kind in unique(r.kind for r in results if r.kind in COLUMNS):
        title, columns, rows = calibration_table([r for r in results if r.kind == kind])
        if rows:
            cells: list[list[str | Cell]] = [[*row] for row in rows]
            table = Table(columns=columns, rows=cells, labels=4, caption=title)
            blocks = [*_diagrams([r for r in results if r.kind == kind and r.metric == "ece"]), table, Text(UNSAID)]
            out.append(Section(f"Is stated confidence earned?{suffix}", blocks))
    return out


def calibration_table(results: Sequence[Result]) -> tuple[str, list[str], list[list[str]]]:
    """Title, columns and rows of one kind's lines; no rows where nothing states a probability."""
    lines = [r for r in results if r.metric == "ece" and r.kind in COLUMNS]
    if not lines:
        return "", [], []
    above = {_place(r): r for r in results if r.metric == "overconfidence"}
    rows = []
    for r in sorted(lines, key=lambda r: (r.domain, str(r.probe), r.shots is None, r.shots or 0, rank(r.model))):
        other = above.get(_place(r))
        by_target = "; ".join(f"{target} {error:.3f}" for target, error in r.details.get("by_target", {}).items())
        rows.append(
            [
                r.domain,
                _second(r),
                str(r.probe),
                r.model,
                f"{r.value:.3f}",
                signed(other) if other else "",
                *([by_target] if r.kind == "ood" else []),
            ]
        )
    columns = ["domain", *COLUMNS[lines[0].kind], "model", "calibration error (ECE)", "confidence minus accuracy"]
    columns += ["ECE by target"] if lines[0].kind == "ood" else []
    title = (
        "ECE over 15 bins of equal width, everybody counted equally; no interval, since resamples of a sum of absolute "
        "values lie above it"
    )
    return title, columns, rows


def _place(r: Result) -> tuple[object, ...]:
    return r.domain, r.shots, r.model, r.probe, r.details.get("labels_from")


def _second(r: Result) -> str:
    if r.kind == "zeroshot":
        return str(r.details.get("labels_from", r.form))
    if r.kind == "ood":
        return str(r.setting)
    return "all" if r.shots is None else str(r.shots)


def _diagrams(lines: Sequence[Result]) -> list[Block]:
    """Reliability at most shots or labels, a panel a domain and probe, a line a model."""
    if not lines:
        return []
    most = None if any(r.shots is None for r in lines) else max(int(r.shots or 0) for r in lines)
    panels: dict[str, dict[str, np.ndarray]] = {}
    for r in sorted(lines, key=lambda r: (r.domain, str(r.probe), rank(r.model))):
        panel = f"{r.domain}, {r.probe}"
        bins = _bins(r) if r.shots == most and len(panels.get(panel, ())) < MOST else None
        if bins is not None:
            panels.setdefault(panel, {})[r.model] = bins
    if not panels:
        return []
    at = {"fewshot": f"At {most} shot{'s' if most != 1 else ''}: of", "labels": "At most labels: of"}
    caption = (
        f"{at.get(lines[0].kind, 'Of')} the windows about which a model is so certain, how many are right. On the "
        "dotted line confidence is earned; below it the model is more certain than right."
    )
    return [svg(plots_detail.reliability(panels), "reliability diagram", caption)]


def _bins(r: Result) -> np.ndarray | None:
    """Bins (B, 3) behind a line: its own, or those stored beside its counts."""
    if "bins" in r.details:
        return np.asarray(r.details["bins"], dtype=np.float64)
    stored = load_bins(r.cells, beside=Path()) if r.cells is not None else None
    return None if stored is None else np.asarray(equal_people(stored).mean(axis=0))
