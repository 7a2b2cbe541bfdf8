"""Calibration of any protocol that stores reliability bins: table and reliability diagram, from result lines alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from eval.report.document import Block, Cell, Section, Table, Text
from eval.report.words import rank, signed, svg
from eval.results.counts import load_bins
from eval.results.intervals import equal_subjects
from eval.results.lines import Result

MOST = 8
"""Maximum number of models in a panel: more cannot be distinguished."""
NOTE = (
    "Only models whose scores are probabilities appear here. `ridge`, `prototype` and support vector machines give "
    "no probabilities, nor do cosine similarities with prototypes or prompts; a softmax over their scores "
    "would not be one."
)
CAPTION = (
    "Share of correct predictions against stated confidence. On the dotted line the model is calibrated; below it the "
    "model is overconfident."
)


def calibration_sections(
    results: Sequence[Result],
    *,
    title: str = "Calibration",
    columns: tuple[str, str],
    second: Callable[[Result], str],
    at: str = "",
) -> list[Section]:
    """A section with diagram and table; none where no model's scores are probabilities.

    Args:
        results: lines of one protocol.
        title: of the section.
        columns, second: see `calibration_table`.
        at: first words of the diagram's caption: at which number of shots or labels.
    """
    table = calibration_table(results, columns=columns, second=second)
    if not table.rows:
        return []
    diagrams = _diagrams([r for r in results if r.metric == "ece"], at)
    return [Section(title, [*diagrams, table, Text(NOTE)])]


def calibration_table(results: Sequence[Result], *, columns: tuple[str, str], second: Callable[[Result], str]) -> Table:
    """Calibration error and overconfidence; no rows where no model's scores are probabilities.

    Args:
        results: lines of one protocol.
        columns: titles of the second and third column; the third is the line's ``probe``.
        second: cell of the second column.
    """
    lines = [r for r in results if r.metric == "ece"]
    over = {_place(r): r for r in results if r.metric == "overconfidence"}
    by_target = any("by_target" in r.details for r in lines)
    rows: list[list[str | Cell]] = []
    for r in sorted(lines, key=lambda r: (r.domain, str(r.probe), r.shots is None, r.shots or 0, rank(r.model))):
        other = over.get(_place(r))
        targets = "; ".join(f"{target} {error:.3f}" for target, error in r.details.get("by_target", {}).items())
        excess = signed(other) if other else ""
        names = [r.domain, second(r), str(r.probe), r.model]
        rows.append([*names, f"{r.value:.3f}", excess, *([targets] if by_target else [])])
    titles = ["domain", *columns, "model", "calibration error (ECE)", "confidence minus accuracy"]
    titles += ["ECE by target"] if by_target else []
    caption = (
        "ECE over 15 bins of equal width, with equal weight per subject; no interval, because the noise of bins biases "
        "a sum of absolute values upwards"
    )
    return Table(columns=titles, rows=rows, labels=4, caption=caption)


def _place(r: Result) -> tuple[object, ...]:
    return r.domain, r.shots, r.model, r.probe, r.details.get("labels_from")


def _diagrams(lines: Sequence[Result], at: str) -> list[Block]:
    """Reliability at the largest number of shots or labels: one panel per domain and probe, one line per model."""
    from eval.report.figures import detail

    most = None if any(r.shots is None for r in lines) else max(int(r.shots or 0) for r in lines)
    panels: dict[str, dict[str, np.ndarray]] = {}
    for r in sorted(lines, key=lambda r: (r.domain, str(r.probe), rank(r.model))):
        panel = f"{r.domain}, {r.probe}"
        bins = _bins(r) if r.shots == most and len(panels.get(panel, ())) < MOST else None
        if bins is not None:
            panels.setdefault(panel, {})[r.model] = bins
    if not panels:
        return []
    return [svg(detail.reliability(panels), "reliability diagram", f"{at} {CAPTION}".strip())]


def _bins(r: Result) -> np.ndarray | None:
    """Bins (B, 3) behind a line: its own, or those stored beside its counts."""
    if "bins" in r.details:
        return np.asarray(r.details["bins"], dtype=np.float64)
    stored = load_bins(r.cells, beside=Path()) if r.cells is not None else None
    return None if stored is None else np.asarray(equal_subjects(stored).mean(axis=0))


def shots_or_all(r: Result) -> str:
    """Shots or labels per class of a line as a cell."""
    return "all" if r.shots is None else str(r.shots)


def largest_shots(results: Sequence[Result]) -> int:
    """The largest number of shots among lines."""
    return max((int(r.shots or 0) for r in results), default=0)
