"""The tables that `imu-eval fewshot` prints: one row per domain, shot count and probe; the report's own are wider."""

from __future__ import annotations

from collections.abc import Sequence

from eval.report.document import Table
from eval.report.words import CORRECTED, figure, footnote, metric_name, starred, unique
from eval.results.lines import Result
from imu_video.metrics.classify import METRICS

HEADLINE = "macro_f1"


def headline(results: Sequence[Result]) -> str:
    """The metric that is shown first: macro-F1 where it was measured, else the first measured one."""
    metrics = [r.metric for r in results if not r.is_difference and r.metric in METRICS]
    return HEADLINE if HEADLINE in metrics or not metrics else metrics[0]


def run_tables(results: Sequence[Result]) -> list[Table]:
    """Two tables of the headline metric: figures, and paired differences.

    The supervised reference has its own head and appears in every row of its domain and shot count.
    """
    metric = headline(results)
    keys = unique((r.domain, r.shots, r.probe) for r in results if r.model == "pretrained" and r.shots)
    models = unique(r.model for r in results if not r.is_difference)
    references = unique(str(r.reference) for r in results if r.is_difference)
    held = {
        (r.is_difference, r.domain, r.shots, r.probe if r.model != "supervised" else None, r.reference or r.model): r
        for r in results
        if r.metric == metric
    }
    figures, differences = [], []
    for domain, shots, probe in keys:
        row = [domain, str(shots), str(probe)]
        cells = [held.get((False, domain, shots, probe if m != "supervised" else None, m)) for m in models]
        figures.append(
            row + [figure(c) if i == 0 and c else f"{c.value:.3f}" if c else "" for i, c in enumerate(cells)]
        )
        found = [held.get((True, domain, shots, probe, reference)) for reference in references]
        differences.append(row + [starred(d) if d else "" for d in found])
    level = f"{100 * results[0].level:.0f} %"
    names = ["domain", "shots", "probe"]
    caption = f"{metric_name(metric)} on unseen subjects [{level} interval]"
    daggers = footnote([r for r in results if r.metric == metric])
    tables = [Table(columns=names + models, rows=figures, labels=3, caption=caption + daggers)]
    if references:
        caption = f"pretrained minus reference, paired [{level} interval]; * = {CORRECTED}"
        columns = names + [f"minus {r}" for r in references]
        tables.append(Table(columns=columns, rows=differences, labels=3, caption=caption))
    return tables
