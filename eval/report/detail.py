"""What a mean hides: every person, every activity, and whether stated confidence is earned; from stored cells alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.config import Bootstrap
from eval.report import plots_detail
from eval.report.calibration import calibration_sections
from eval.report.document import Block, Cell, Folded, Section, Table
from eval.report.plots import words
from eval.report.plots_detail import Strip
from eval.report.words import rank, svg, unique
from eval.results.store import Result, bootstrap, load_counts, person_means, with_tests
from imu_video.metrics.classify import METRICS

PREFERRED = ("logreg", "ridge")
"""Probes whose people and activities are shown where they were run: named beforehand, never chosen by its figures."""
INTERVALS = Bootstrap(resamples=1000)


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """The stored counts of one model in one domain.

    Args:
        line: the result line that they belong to.
        counts: (R, E, S, M, M) seed, episode, person, true class, predicted class.
        classes, subjects: names.
    """

    line: Result
    counts: np.ndarray
    classes: Sequence[str]
    subjects: Sequence[str]

    def people(self, metric: str) -> np.ndarray:
        """Each person's mean over seeds and episodes, NaN where never asked. Shape: (S,)."""
        return person_means(METRICS[metric](self.counts).mean(axis=0).T)

    def recalls(self) -> np.ndarray:
        """Recall of each class for each person and episode, averaged over seeds, NaN where absent. Shape: (M, S, E)."""
        right = np.diagonal(self.counts, axis1=-2, axis2=-1).astype(float)
        asked = self.counts.sum(axis=-1)
        share = np.divide(right, asked, out=np.full(right.shape, np.nan), where=asked > 0)
        return np.asarray(share.mean(axis=0).transpose(2, 1, 0))


def kept_counts(results: Sequence[Result], metric: str) -> dict[str, list[Kept]]:
    """Domain -> counts of every model with the preferred probe at most shots, the encoder under test first."""
    lines = [r for r in results if r.kind == "fewshot" and r.metric == metric and r.cells is not None]
    out: dict[str, list[Kept]] = {}
    for domain in unique(r.domain for r in lines):
        own = [r for r in lines if r.domain == domain]
        most = max(int(r.shots or 0) for r in own)
        own = sorted((r for r in own if r.shots == most), key=lambda r: (rank(r.model), r.model))
        probes = unique(str(r.probe) for r in own if r.model == own[0].model)
        probe = next((p for p in PREFERRED if p in probes), probes[0])
        taken: dict[str, Result] = {}
        for r in own:
            if r.probe == probe or r.model == "supervised":
                taken.setdefault(r.model, r)
        for r in taken.values():
            counts, names = load_counts(str(r.cells), beside=Path())
            out.setdefault(domain, []).append(
                Kept(line=r, counts=counts, classes=names["classes"], subjects=names["subjects"])
            )
    return out


def with_stored_tests(results: Sequence[Result]) -> list[Result]:
    """Few-shot differences of older result files with the two facts that they lack, from the stored counts.

    Nothing changes where a difference has its facts already, or where the counts of one side were not stored.
    """
    lacking = [r for r in results if r.kind == "fewshot-difference" and "p_holm" not in r.details]
    held = {
        (r.metric, r.domain, r.shots, r.model, r.probe if r.model != "supervised" else None): r
        for r in results
        if r.kind == "fewshot" and r.cells is not None and r.metric in METRICS
    }
    found: dict[int, Result] = {}
    for metric in unique(r.metric for r in lacking):
        lines, people = [], []
        for r in (r for r in lacking if r.metric == metric):
            other = None if r.reference == "supervised" else r.probe
            pair = ((r.model, r.probe), (str(r.reference), other))
            sides = [held.get((metric, r.domain, r.shots, m, p)) for m, p in pair]
            if any(side is None for side in sides):
                continue
            a, b = (METRICS[metric](load_counts(str(s.cells), beside=Path())[0]) for s in sides if s is not None)
            lines.append(r)
            people.append(person_means((a.mean(axis=0) - b.mean(axis=0)).T))
        if lines:
            more = with_tests(lines, people, level=lines[0].level)
            found |= {id(old): new for old, new in zip(lines, more, strict=True)}
    return [found.get(id(r), r) for r in results]


def detail_sections(results: Sequence[Result], suffix: str, metric: str) -> list[Section]:
    """By person, by activity, calibration; none where no counts were stored."""
    out = []
    kept = kept_counts(results, metric) if metric in METRICS else {}
    if kept:
        out += [
            Section(f"Person by person{suffix}", _people(kept, metric)),
            Section(f"Activity by activity{suffix}", _activities(kept)),
        ]
    return out + calibration_sections([r for r in results if r.kind == "fewshot"], suffix)


def _where(k: Kept) -> str:
    shots = f"{k.line.shots} shot{'s' if k.line.shots != 1 else ''}"
    return f"{k.line.domain}, {shots}, {k.line.probe}"


def _people(kept: dict[str, list[Kept]], metric: str) -> list[Block]:
    panels, worst, tables = [], [], []
    for own in kept.values():
        figures = {k.line.model: k.people(metric) for k in own}
        first = own[0]
        panels.append(Strip(title=_where(first), people=first.subjects, figures=figures, chance=first.line.chance))
        for k in own:
            values = figures[k.line.model]
            asked = np.flatnonzero(np.isfinite(values))
            low, high = asked[np.argmin(values[asked])], asked[np.argmax(values[asked])]
            cells = [f"{values[low]:.3f} ({k.subjects[low]})", f"{values[high]:.3f} ({k.subjects[high]})"]
            spread = f"{values[asked].std(ddof=1):.3f}" if len(asked) > 1 else ""
            mean = f"{values[asked].mean():.3f}"
            worst.append([k.line.domain, k.line.model, str(k.line.probe), cells[0], mean, cells[1], spread])
        rows: list[list[str | Cell]] = [
            [s, *(f"{v[i]:.3f}" if np.isfinite(v[i]) else "" for v in figures.values())]
            for i, s in enumerate(first.subjects)
        ]
        tables.append(Table(columns=["person", *figures], rows=rows, caption=f"{_where(first)}: {words(metric)}"))
    caption = f"{words(metric)} of every person, from the worst to the best under the first model; dotted: chance."
    columns = ["domain", "model", "probe", "worst person", "mean", "best person", "spread over people"]
    return [
        svg(plots_detail.strips(panels, metric=metric), f"{words(metric)} of every person", caption),
        Table(
            columns=columns,
            rows=worst,
            labels=3,
            caption="The worst person is the smallest of several figures, each from this person's own windows: it lies "
            "below what a typical person gets, the more so the more people are asked",
        ),
        Folded("Every person's figure", tables),
    ]


def _activities(kept: dict[str, list[Kept]]) -> list[Block]:
    blocks: list[Block] = []
    for own in kept.values():
        first = own[0]
        total = first.counts.sum(axis=(0, 1, 2))
        rows: list[list[str | Cell]] = []
        for m, name in enumerate(first.classes):
            cells = [_recall(k.recalls()[m]) for k in own]
            rows.append([name, *cells, _mistaken(total[m], m, first.classes)])
        columns = ["activity", *(k.line.model for k in own), f"{first.line.model} mistakes it for"]
        blocks.append(
            Table(
                columns=columns,
                rows=rows,
                caption=f"{_where(first)}: share of an activity's windows that are recognised (recall), mean over "
                "people, 95 % interval over people and episodes",
            )
        )
    if len(blocks) > 2:
        return [blocks[0], Folded("The other domains", [b for b in blocks[1:] if isinstance(b, Table)])]
    return blocks


def _recall(cells: np.ndarray) -> str:
    if not np.isfinite(cells).any():
        return ""
    [interval] = bootstrap(cells[None], INTERVALS)
    ends = f" [{interval.low:.2f}, {interval.high:.2f}]" if np.isfinite(interval.low) else ""
    return f"{interval.value:.2f}{ends}"


def _mistaken(row: np.ndarray, m: int, classes: Sequence[str]) -> str:
    wrong = np.where(np.arange(len(row)) == m, 0, row)
    if not wrong.sum():
        return ""
    most = int(np.argmax(wrong))
    return f"{classes[most]} ({100 * wrong[most] / row.sum():.0f} %)"
