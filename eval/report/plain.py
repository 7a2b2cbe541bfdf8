"""Sections and tables of zero-shot, a form each, and of retrieval; measures nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eval.report import plots
from eval.report.document import Block, Cell, Folded, Section, Table, Text
from eval.report.plots import words
from eval.report.words import figure, svg, unique
from eval.results.store import CALIBRATION, Result

FORMS = {
    "video": "Zero-shot from video",
    "source": "Zero-shot by source labels",
    "teacher": "Zero-shot by teacher labels",
    "text": "Zero-shot by text",
}
"""Titles of the four forms; each has tables of its own, and so has a form that is not named here."""
NOTES = {
    "video": "Prototypes are mean video embeddings of people who are not queried; no labelled IMU window is "
    "used. The row `teacher` classifies the queries' own videos: what these prototypes allow at best.",
    "source": "Probes are fitted on labelled IMU windows of another data folder; no label of these data is used. "
    "Labels without a common name on both sides are left out and counted in the result lines.",
    "teacher": "Probes are fitted on labelled video embeddings of people who are not queried and applied to IMU "
    "embeddings; no IMU label is used. The row `teacher` asks the same probe about the queries' own videos.",
    "text": "Classes are prompts. `text tower`: the teacher's own texts, and the row `teacher` the queries' own "
    "videos. `sentence map`: a ridge map fitted on the IMU labels of other classes, which are named and never asked.",
    "retrieval": "Matches are pairs of a window and its own video; ties count against the query.",
}


def plain_sections(results: Sequence[Result], suffix: str) -> list[Section]:
    """A section a form of zero-shot, then retrieval; only those that were measured."""
    out = []
    figures = [r for r in results if r.metric not in CALIBRATION]
    forms = unique([*FORMS, *(r.form for r in results if r.form is not None)])
    titles = {form: form_title(form) for form in forms} | {"retrieval": "Retrieval between IMU and video"}
    for name, title in titles.items():
        own = [r for r in figures if (r.form or r.kind) == name and r.kind in ("zeroshot", "retrieval")]
        if own:
            note = [Text(NOTES[name])] if name in NOTES else []
            out.append(Section(f"{title}{suffix}", [_table(own), *note, *_confusions(own)]))
    return out


def form_title(form: str) -> str:
    """Title of a form of zero-shot."""
    return FORMS.get(form, f"Zero-shot by {form}")


def zero_shot_sentences(results: Sequence[Result]) -> list[str]:
    """One sentence a domain, form and probe of the pretrained encoder: the figure and whether it is above chance."""
    out = []
    for r in results:
        if r.form is None or r.metric != "balanced_accuracy" or r.model != "pretrained":
            continue
        verdict = "above" if (r.low or 0) > (r.chance or 0) else "not clearly above"
        by = "" if r.form == "video" else f" ({r.probe}; {r.details.get('labels_from')})"
        where = f"{form_title(r.form)} in {r.domain}{by}"
        out.append(f"{where}: balanced accuracy {figure(r)}, {verdict} chance ({r.chance or 0:.2f}).")
    return out


def plain_table(results: Sequence[Result]) -> tuple[str, list[str], list[list[str]]]:
    """Title, columns and rows of the table that one command prints; the first figure has its interval."""
    results = [r for r in results if r.metric not in CALIBRATION]
    metrics = unique(r.metric for r in results)
    last = "gallery" if results[0].kind == "retrieval" else "classes"
    rows = []
    for key, line in _rows(results).items():
        first = line[metrics[0]]
        size = str(first.details.get("gallery", len(first.details.get("classes", ()))))
        others = [f"{line[m].value:.3f}" for m in metrics[1:]]
        rows.append([*key[:3], figure(first), *others, f"{first.chance or 0:.3f}", str(first.subjects), size])
    names = [f"{words(metrics[0])} [{100 * results[0].level:.0f} %]", *map(words, metrics[1:])]
    columns = ["domain", "model", "probe", *names, f"chance {words(metrics[0])}", "people", last]
    return FORMS.get(str(results[0].form), results[0].kind), columns, rows


def _table(results: Sequence[Result]) -> Table:
    """A row a domain, model, probe and origin of labels, a column a metric."""
    metrics = unique(r.metric for r in results)
    rows: list[list[str | Cell]] = []
    for (domain, model, probe, origin), line in _rows(results).items():
        first = next(iter(line.values()))
        guesses = [line[m].chance for m in metrics if m in line]
        chance = " / ".join(unique(f"{c:.3f}" for c in guesses if c is not None))
        extra = "; ".join(filter(None, [origin, str(first.details.get("gallery", first.details.get("remark", "")))]))
        rows.append([domain, model, probe, *(figure(line[m]) if m in line else "" for m in metrics), chance, extra])
    last = "gallery" if results[0].kind == "retrieval" else "labels from"
    return Table(columns=["domain", "model", "probe", *map(words, metrics), "chance", last], rows=rows, labels=3)


def _confusions(results: Sequence[Result]) -> list[Block]:
    """Confusion matrices of the rows that carry one."""
    figures = []
    for (domain, model, probe, origin), line in _rows(results).items():
        r = next(iter(line.values()))
        counts, classes = np.asarray(r.details.get("confusion", ())), [str(c) for c in r.details.get("classes", ())]
        if len(classes) and counts.shape == (len(classes), len(classes)):
            title = ", ".join(filter(None, [domain, model, probe, origin]))
            figures.append(svg(plots.confusion(counts, classes, title=title), f"confusion matrix of {title}"))
    return [Folded("What is mistaken for what", figures)] if figures else []


def _rows(results: Sequence[Result]) -> dict[tuple[str, str, str, str], dict[str, Result]]:
    """Results by metric of each row of a table, in order of first appearance."""
    out: dict[tuple[str, str, str, str], dict[str, Result]] = {}
    for r in results:
        key = (r.domain, r.model, str(r.probe), str(r.details.get("labels_from", "")))
        out.setdefault(key, {})[r.metric] = r
    return out
