"""The few-shot sections of the report: curves, tables, paired differences, confusions; measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eval.protocols.fewshot.detail import detail_sections
from eval.protocols.fewshot.tables import headline
from eval.report.calibration import calibration_sections, largest_shots, shots_or_all
from eval.report.document import Block, Cell, Folded, Section, Table
from eval.report.figures import tables as figures
from eval.report.words import (
    CORRECTED,
    TESTS,
    difference,
    figure,
    footnote,
    metric_name,
    plural,
    rank,
    svg,
    tests,
    unique,
)
from eval.results.counts import load_counts
from eval.results.lines import Result
from imu_video.metrics.classify import METRICS

NAMES = {
    "handcrafted": "hand-crafted features",
    "supervised": "the supervised encoder",
    "network": "its network alone",
    "statistics": "its statistics alone",
}
"""Names of references in sentences; others are `the REFERENCE encoder`."""


def fewshot_sections(results: Sequence[Result]) -> list[Section]:
    """Curves, tables, paired differences, details and confusions of one encoder on one dataset."""
    metric = headline(results)
    sections: list[Section] = []
    if any(not r.is_difference and r.metric in METRICS for r in results):
        sections.append(Section("Few-shot", _figures(results, metric)))
    if any(r.is_difference for r in results):
        caption = (
            "Pretrained minus reference, cell by cell on the same subjects and episodes. Green or red: "
            f"{CORRECTED}. The supervised reference runs on fewer episodes; only those are compared with it."
        )
        picture = svg(figures.forest(results, metric=metric), "paired differences with intervals", caption)
        sections.append(Section("Paired differences", [picture, difference_table(results, metric)]))
    sections += detail_sections(results, metric)
    at = f"At {plural(largest_shots(results), 'shot')}:"
    sections += calibration_sections(results, columns=("shots", "probe"), second=shots_or_all, at=at)
    matrices = _confusions(results, metric)
    return [*sections, Section("Confusion matrices", matrices)] if matrices else sections


def _figures(results: Sequence[Result], metric: str) -> list[Block]:
    """Curves and tables of the headline metric; tables of the other metrics folded."""
    domains = unique(r.domain for r in results if r.shots)
    caption = f"{metric_name(metric)} by labelled windows per class; bands: 95 % intervals, subjects and support sets."
    curves = figures.curves(results, metric=metric)
    blocks: list[Block] = [svg(curves, f"few-shot curves of {metric_name(metric)} for every domain", caption)]
    blocks += [few_shot_table(results, domain, metric) for domain in domains]
    others = [m for m in unique(r.metric for r in results) if m in METRICS and m != metric]
    if others:
        tables = [few_shot_table(results, domain, m) for m in others for domain in domains]
        blocks.append(Folded(f"Tables of {' and '.join(map(metric_name, others))}", tables))
    return blocks


def conclusions(results: Sequence[Result]) -> list[str]:
    """Sentences of the summary: wins and losses are differences that are decided after correction."""
    metric = headline(results)
    out: list[str] = []
    differences = [r for r in results if r.is_difference and r.metric == metric]
    for reference in unique(str(r.reference) for r in differences):
        own = [r for r in differences if r.reference == reference]
        wins = [r for r in own if r.decided and r.value > 0]
        losses = [r for r in own if r.decided and r.value < 0]
        name = NAMES.get(reference, f"the {reference} encoder")
        out.append(
            f"Against {name}: better in {len(wins)} of {len(own)} comparisons (domain, shots and probe), worse in "
            f"{len(losses)}, undecided in {len(own) - len(wins) - len(losses)}, by {metric_name(metric)} ({CORRECTED})."
        )
        if losses:
            out.append(f"Comparisons in which {name} did better: {'; '.join(_gathered(losses))}.")
    return out + _range(results, metric)


def _range(results: Sequence[Result], metric: str) -> list[str]:
    """Best and weakest domain of the pretrained encoder, and a warning where a domain has few subjects."""
    own = [r for r in results if not r.is_difference and r.metric == metric and r.model == "pretrained"]
    if not own:
        return []
    most = largest_shots(own)
    at_most = [r for r in own if r.shots == most]
    best, worst = max(at_most, key=lambda r: r.value), min(at_most, key=lambda r: r.value)
    lowest = "" if worst is best else f" and {figure(worst)} in {worst.domain} ({worst.probe})"
    out = [
        f"With {plural(most, 'shot')} the pretrained encoder reaches {figure(best)} in {best.domain} ({best.probe})"
        f"{lowest}; chance is about {best.chance or 0:.2f}."
    ]
    few = min(r.subjects for r in own)
    if few < 5:
        out.append(
            f"One domain or more has only {few} query subjects: its interval may not generalise to other subjects."
        )
    return out


def _gathered(losses: Sequence[Result]) -> list[str]:
    """Losses per domain: in which shots and probes, and by how much."""
    out = []
    for domain in unique(r.domain for r in losses):
        own = [r for r in losses if r.domain == domain]
        shots = ", ".join(unique(str(r.shots) for r in own))
        low, high = min(r.value for r in own), max(r.value for r in own)
        size = f"{low:+.3f}" if low == high else f"{low:+.3f} to {high:+.3f}"
        out.append(f"{domain} ({shots} shots; {', '.join(unique(str(r.probe) for r in own))}) by {size}")
    return out


def few_shot_table(results: Sequence[Result], domain: str, metric: str) -> Table:
    """Figures of one domain: one row per model and probe, one column per shot count."""
    own = [r for r in results if not r.is_difference and r.metric == metric and r.domain == domain]
    shots = sorted({int(r.shots or 0) for r in own})
    rows = []
    for model, probe in sorted({(r.model, str(r.probe)) for r in own}, key=lambda k: (rank(k[0]), k[1])):
        line = {r.shots: r for r in own if (r.model, r.probe) == (model, probe)}
        episodes = unique(str(line[s].episodes) for s in shots if s in line)
        rows.append([model, probe, *(figure(line[s]) if s in line else "" for s in shots), "/".join(episodes)])
    first = own[0]
    return Table(
        columns=["model", "probe", *(plural(s, "shot") for s in shots), "episodes"],
        rows=rows,
        labels=2,
        caption=f"{domain} ({first.setting}): {metric_name(metric)}, {len(first.details.get('classes', ()))} classes, "
        f"{first.subjects} query subjects, chance {first.chance or 0:.3f}",
    )


def difference_table(results: Sequence[Result], metric: str) -> Table:
    """Paired differences with intervals, marked where they are decided."""
    own = [r for r in results if r.is_difference and r.metric == metric]
    rows: list[list[str | Cell]] = []
    for r in own:
        names = [r.domain, str(r.shots), str(r.probe), str(r.reference)]
        rows.append([*names, difference(r), *tests(r), str(r.subjects), str(r.episodes)])
    return Table(
        columns=["domain", "shots", "probe", "minus", metric_name(metric), *TESTS, "subjects", "episodes"],
        rows=rows,
        labels=4,
        caption=f"▲ above zero, ▼ below zero with {CORRECTED}; no sign: undecided. Interval and p cover subjects, "
        "support sets and seeds; p is corrected for all comparisons of one command and metric, the interval is not. "
        "Minimum detectable difference: the smallest difference that the corrected test finds with 80 % power; an "
        f"undecided comparison does not exclude smaller ones.{footnote(own)}",
    )


def _confusions(results: Sequence[Result], metric: str) -> list[Block]:
    """Confusion matrices of the pretrained encoder's best and weakest domain at the largest shot count."""
    own = [
        r
        for r in results
        if not r.is_difference and r.metric == metric and r.model == "pretrained" and r.cells is not None
    ]
    most = largest_shots(own)
    own = sorted((r for r in own if r.shots == most), key=lambda r: -r.value)
    chosen = [*own[:1], *(r for r in own[-1:] if r.domain != own[0].domain)]
    blocks: list[Block] = []
    for r in chosen:
        counts, names = load_counts(str(r.cells), beside=Path())
        title = f"{r.domain}, {r.shots} shots, {r.probe}"
        caption = (
            f"The pretrained encoder's {'best' if r is own[0] else 'weakest'} domain by {metric_name(metric)}; per "
            "cent of the true class, over all episodes."
        )
        picture = figures.confusion(counts.sum(axis=(0, 1, 2)), names["classes"], title=title)
        blocks.append(svg(picture, f"confusion matrix of {title}", caption))
    return blocks
