"""The sections of zero-shot and retrieval: a row a domain, model and probe, a column a metric."""

from __future__ import annotations

from collections.abc import Sequence

from eval.document import Block, Cell, Section, Table, Text
from eval.plots import words
from eval.report.words import figure, unique
from eval.results import Result


def plain_sections(results: Sequence[Result], suffix: str) -> list[Section]:
    """Zero-shot and retrieval of one encoder on one dataset."""
    out = []
    for kind, title in (("zeroshot", "Zero-shot from video"), ("retrieval", "Retrieval between IMU and video")):
        own = [r for r in results if r.kind == kind]
        if own:
            out.append(Section(f"{title}{suffix}", _plain_tables(own)))
    return out


def _plain_tables(results: Sequence[Result]) -> list[Block]:
    """Zero-shot and retrieval: a row a domain, model and probe, a column a metric."""
    metrics = unique(r.metric for r in results)
    keys = list(dict.fromkeys((r.domain, r.model, str(r.probe)) for r in results))
    rows: list[list[str | Cell]] = []
    for key in keys:
        line = {r.metric: r for r in results if (r.domain, r.model, str(r.probe)) == key}
        first = next(iter(line.values()))
        guesses = [line[m].chance for m in metrics if m in line]
        chance = " / ".join(unique(f"{c:.3f}" for c in guesses if c is not None))
        extra = str(first.details.get("gallery", first.details.get("remark", "")))
        rows.append([*key, *(figure(line[m]) if m in line else "" for m in metrics), chance, extra])
    last = "gallery" if results[0].kind == "retrieval" else "anchors"
    return [
        Table(columns=["domain", "model", "probe", *map(words, metrics), "chance", last], rows=rows, labels=3),
        Text(
            "Matches are pairs of a window and its own video; ties count against the query."
            if results[0].kind == "retrieval"
            else "Prototypes are mean video embeddings of people who are not queried; no labelled IMU window is "
            "used. The row `teacher` classifies the queries' own videos: what these prototypes allow at best."
        ),
    ]
