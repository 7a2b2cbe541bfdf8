"""The tables that `imu-eval` commands print when they are done; the report's own are wider."""

from __future__ import annotations

from collections.abc import Sequence

from eval.report.plots import words
from eval.report.words import figure, signed, unique
from eval.results.store import Result


def terminal_tables(results: Sequence[Result], *, metric: str) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, columns and rows of the two tables that `imu-eval fewshot` prints: figures, and paired differences.

    A row is a domain, shot count and probe; the supervised reference, which has a head of its own, stands in every row
    of its domain and shots.
    """
    keys = list(dict.fromkeys((r.domain, r.shots, r.probe) for r in results if r.model == "pretrained" and r.shots))
    models = unique(r.model for r in results if r.kind == "fewshot")
    references = unique(str(r.reference) for r in results if r.kind == "fewshot-difference")
    held = {
        (r.kind, r.domain, r.shots, r.probe if r.model != "supervised" else None, r.reference or r.model): r
        for r in results
        if r.metric == metric
    }
    figures, differences = [], []
    for domain, shots, probe in keys:
        row = [domain, str(shots), str(probe)]
        cells = [held.get(("fewshot", domain, shots, probe if m != "supervised" else None, m)) for m in models]
        figures.append(
            row + [figure(c) if i == 0 and c else f"{c.value:.3f}" if c else "" for i, c in enumerate(cells)]
        )
        found = [held.get(("fewshot-difference", domain, shots, probe, reference)) for reference in references]
        differences.append(row + [signed(d) + (" *" if d.excludes_zero else "") if d else "" for d in found])
    level = f"{100 * results[0].level:.0f} %"
    words_ = ["domain", "shots", "probe"]
    tables = [(f"{words(metric)} of unseen people [{level} interval]", words_ + models, figures)]
    if references:
        title = f"pretrained minus reference, paired [{level} interval]; * = the interval excludes zero"
        tables.append((title, words_ + [f"minus {r}" for r in references], differences))
    return tables
