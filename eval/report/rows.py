"""Tables with one row per domain, model and probe and one column per metric; for any protocol."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eval.report.document import Block, Cell, Folded, Table
from eval.report.words import figure, footnote, metric_name, svg, unique
from eval.results.lines import CALIBRATION, Result


def figure_table(results: Sequence[Result], *, caption: str = "", last: tuple[str, str] | None = None) -> Table:
    """A narrow table: the first metric with its interval, the others without.

    Args:
        results: lines; calibration lines are left out.
        caption: of the table.
        last: title and name in ``details`` of a last column; a list counts its entries.
    """
    results = [r for r in results if r.metric not in CALIBRATION]
    metrics = unique(r.metric for r in results)
    rows: list[list[str | Cell]] = []
    for key, line in _rows(results).items():
        first = line[metrics[0]] if metrics[0] in line else next(iter(line.values()))
        others = [f"{line[m].value:.3f}" if m in line else "" for m in metrics[1:]]
        chance = "" if first.chance is None else f"{first.chance:.3f}"
        rows.append([*key[:3], figure(first), *others, chance, str(first.subjects), *_last(first, last)])
    level = f"{100 * results[0].level:.0f} %" if results else ""
    names = [f"{metric_name(m)} [{level}]" if i == 0 else metric_name(m) for i, m in enumerate(metrics)]
    chance_of = f"chance {metric_name(metrics[0])}" if metrics else "chance"
    columns = ["domain", "model", "probe", *names, chance_of, "subjects", *([last[0]] if last else [])]
    return Table(columns=columns, rows=rows, labels=3, caption=caption + footnote(results))


def _last(line: Result, last: tuple[str, str] | None) -> list[str]:
    if last is None:
        return []
    value = line.details.get(last[1], "")
    return [str(len(value)) if isinstance(value, list) else str(value)]


def wide_table(results: Sequence[Result], *, last: str) -> Table:
    """A wide table: every metric with its interval, chance, and the origin of labels or the gallery size.

    Args:
        results: lines without calibration lines.
        last: title of the last column.
    """
    metrics = unique(r.metric for r in results)
    rows: list[list[str | Cell]] = []
    for (domain, model, probe, origin), line in _rows(results).items():
        first = next(iter(line.values()))
        guesses = [line[m].chance for m in metrics if m in line]
        chance = " / ".join(unique(f"{c:.3f}" for c in guesses if c is not None))
        extra = "; ".join(filter(None, [origin, str(first.details.get("gallery", first.details.get("remark", "")))]))
        rows.append([domain, model, probe, *(figure(line[m]) if m in line else "" for m in metrics), chance, extra])
    columns = ["domain", "model", "probe", *map(metric_name, metrics), "chance", last]
    return Table(columns=columns, rows=rows, labels=3, caption=footnote(results).strip())


def confusions(results: Sequence[Result]) -> list[Block]:
    """Confusion matrices of the rows that store one in their ``details``, folded."""
    from eval.report.figures import tables as figures

    shown = []
    for (domain, model, probe, origin), line in _rows(results).items():
        r = next(iter(line.values()))
        counts, classes = np.asarray(r.details.get("confusion", ())), [str(c) for c in r.details.get("classes", ())]
        if len(classes) and counts.shape == (len(classes), len(classes)):
            title = ", ".join(filter(None, [domain, model, probe, origin]))
            shown.append(svg(figures.confusion(counts, classes, title=title), f"confusion matrix of {title}"))
    return [Folded("Confusion matrices", shown)] if shown else []


def _rows(results: Sequence[Result]) -> dict[tuple[str, str, str, str], dict[str, Result]]:
    """Lines by metric for each row of a table, in order of first appearance."""
    out: dict[tuple[str, str, str, str], dict[str, Result]] = {}
    for r in results:
        key = (r.domain, r.model, str(r.probe), str(r.details.get("labels_from", "")))
        out.setdefault(key, {})[r.metric] = r
    return out
