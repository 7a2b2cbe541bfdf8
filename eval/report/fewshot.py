"""The few-shot sections: conclusions in words, curves, tables, paired differences; other protocols have their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eval.report import plots
from eval.report.detail import detail_sections, with_stored_tests
from eval.report.document import Block, Bullets, Cell, Folded, Section, Table
from eval.report.plain import zero_shot_sentences
from eval.report.plots import words
from eval.report.words import difference, fact, figure, rank, svg, unique
from eval.results.store import Result, load_counts
from imu_video.metrics.classify import METRICS

HEADLINE = "macro_f1"
FACTS = ("p (Holm)", "could have seen")


def fewshot_sections(results: Sequence[Result], suffix: str) -> list[Section]:
    """Conclusions, curves, tables, differences and confusions of one encoder on one dataset."""
    results = with_stored_tests(results)
    metrics = [r.metric for r in results if r.kind == "fewshot" and r.metric in METRICS]
    headline = HEADLINE if HEADLINE in metrics else (metrics[0] if metrics else HEADLINE)
    sections = [Section(f"In short{suffix}", [Bullets(conclusions(results, metric=headline))])]
    if metrics:
        blocks: list[Block] = [
            svg(
                plots.curves(results, metric=headline),
                f"few-shot curves of {words(headline)} for every domain",
                f"{words(headline)} against labelled windows a class; bands are 95 % intervals over people, episodes.",
            )
        ]
        blocks += [few_shot_table(results, d, headline) for d in unique(r.domain for r in results if r.shots)]
        others = [m for m in unique(metrics) if m != headline]
        if others:
            tables = [
                few_shot_table(results, d, m) for m in others for d in unique(r.domain for r in results if r.shots)
            ]
            blocks.append(Folded(f"The same for {' and '.join(map(words, others))}", tables))
        sections.append(Section(f"Few-shot{suffix}", blocks))
    if any(r.kind == "fewshot-difference" for r in results):
        caption = (
            "Pretrained minus reference, cell by cell on the same people and episodes. Green or red: the interval "
            "excludes zero. The supervised reference runs on fewer episodes; only those are compared with it."
        )
        figure = svg(plots.forest(results, metric=headline), "paired differences with intervals", caption)
        sections.append(Section(f"Paired differences{suffix}", [figure, difference_table(results, headline)]))
    sections += detail_sections(results, suffix, headline)
    confusions = _confusions(results, headline)
    if confusions:
        sections.append(Section(f"What is mistaken for what{suffix}", confusions))
    return sections


def conclusions(results: Sequence[Result], *, metric: str) -> list[str]:
    """Sentences that the figures carry, wins and losses alike; only intervals that exclude zero count as either."""
    out: list[str] = []
    differences = [r for r in results if r.kind == "fewshot-difference" and r.metric == metric]
    for reference in unique(str(r.reference) for r in differences):
        own = [r for r in differences if r.reference == reference]
        wins = [r for r in own if r.excludes_zero and r.value > 0]
        losses = [r for r in own if r.excludes_zero and r.value < 0]
        name = {"handcrafted": "hand-crafted features", "supervised": "the supervised encoder"}.get(
            reference, f"the {reference} encoder"
        )
        open_ones = len(own) - len(wins) - len(losses)
        out.append(
            f"Against {name}: better in {len(wins)} of {len(own)} comparisons (domain, shots and probe), worse in "
            f"{len(losses)}, undecided in {open_ones}, by {words(metric)}."
        )
        if losses:
            out.append(f"Where {name} did better: {'; '.join(_gathered(losses))}.")
    shots = [r for r in results if r.kind == "fewshot" and r.metric == metric and r.model == "pretrained"]
    if shots:
        most = max(int(r.shots or 0) for r in shots)
        at_most = [r for r in shots if r.shots == most]
        best, worst = max(at_most, key=lambda r: r.value), min(at_most, key=lambda r: r.value)
        out.append(
            f"At {most} shots the pretrained encoder reaches {figure(best)} in {best.domain} ({best.probe}) and "
            f"{figure(worst)} in {worst.domain} ({worst.probe}); chance is about {best.chance or 0:.2f}."
        )
        few = min(r.subjects for r in shots)
        if few < 5:
            out.append(f"Some domain asks only {few} people: its interval says little about people at large.")
    out += zero_shot_sentences(results)
    remarks = unique(str(m) for r in results for m in r.details.get("remarks", ()))
    return out + [f"Note: {remark}." for remark in remarks] or ["No comparison was measured."]


def _gathered(losses: Sequence[Result]) -> list[str]:
    """Losses a domain: over which shots and probes, and how large."""
    out = []
    for domain in unique(r.domain for r in losses):
        own = [r for r in losses if r.domain == domain]
        shots = ", ".join(unique(str(r.shots) for r in own))
        low, high = min(r.value for r in own), max(r.value for r in own)
        size = f"{low:+.3f}" if low == high else f"{low:+.3f} to {high:+.3f}"
        out.append(f"{domain} ({shots} shots; {', '.join(unique(str(r.probe) for r in own))}) by {size}")
    return out


def few_shot_table(results: Sequence[Result], domain: str, metric: str) -> Table:
    """One domain's figures: a row a model and probe, a column a shot count."""
    own = [r for r in results if r.kind == "fewshot" and r.metric == metric and r.domain == domain]
    shots = sorted({int(r.shots or 0) for r in own})
    rows = []
    for model, probe in sorted({(r.model, str(r.probe)) for r in own}, key=lambda k: (rank(k[0]), k[1])):
        line = {r.shots: r for r in own if (r.model, r.probe) == (model, probe)}
        episodes = unique(str(line[s].episodes) for s in shots if s in line)
        rows.append([model, probe, *(figure(line[s]) if s in line else "" for s in shots), "/".join(episodes)])
    first = own[0]
    return Table(
        columns=["model", "probe", *(f"{s} shot{'s' if s != 1 else ''}" for s in shots), "episodes"],
        rows=rows,
        labels=2,
        caption=f"{domain} ({first.setting}): {words(metric)}, {len(first.details.get('classes', ()))} classes, "
        f"{first.subjects} people asked, chance {first.chance or 0:.3f}",
    )


def difference_table(results: Sequence[Result], metric: str) -> Table:
    """Paired differences with intervals, marked where the interval excludes zero."""
    own = [r for r in results if r.kind == "fewshot-difference" and r.metric == metric]
    rows: list[list[str | Cell]] = [
        [
            r.domain,
            str(r.shots),
            str(r.probe),
            str(r.reference),
            difference(r),
            fact(r, "p_holm"),
            fact(r, "minimum_detectable"),
            str(r.subjects),
            str(r.episodes),
        ]
        for r in own
    ]
    few = min((r.subjects for r in own), default=0)
    bound = f" With {few} people p cannot be below {2 / 2**few:.2g} before correction." if 1 < few < 6 else ""
    return Table(
        columns=[*("domain", "shots", "probe", "minus"), words(metric), *FACTS, "people", "episodes"],
        rows=rows,
        labels=4,
        caption="▲ the whole 95 % interval is above zero, ▼ below zero; no sign: undecided. p: signed ranks over "
        "people, corrected for all comparisons of one command and metric. Could have seen: the smallest "
        f"difference that would have been found at 80 % power; undecided says nothing about smaller ones.{bound}",
    )


def _confusions(results: Sequence[Result], metric: str) -> list[Block]:
    """Confusion matrices of the pretrained encoder's best and weakest domain at most shots."""
    own = [
        r
        for r in results
        if r.kind == "fewshot" and r.metric == metric and r.model == "pretrained" and r.cells is not None
    ]
    if not own:
        return []
    most = max(int(r.shots or 0) for r in own)
    own = sorted((r for r in own if r.shots == most), key=lambda r: -r.value)
    blocks: list[Block] = []
    for r in [own[0], *([own[-1]] if own[-1].domain != own[0].domain else [])]:
        counts, names = load_counts(str(r.cells), beside=Path())
        title = f"{r.domain}, {r.shots} shots, {r.probe}"
        total = counts.sum(axis=(0, 1, 2))
        blocks.append(
            svg(
                plots.confusion(total, names["classes"], title=title),
                f"confusion matrix of {title}",
                f"The pretrained encoder's {'best' if r is own[0] else 'weakest'} domain by {words(metric)}; shares of "
                "the true class in per cent, over all episodes.",
            )
        )
    return blocks
