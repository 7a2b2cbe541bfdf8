"""Few-shot results per subject and per class, from stored counts alone; the mean over subjects hides both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.report.document import Block, Cell, Folded, Section, Table
from eval.report.figures import detail as figures
from eval.report.figures.detail import Strip
from eval.report.words import metric_name, plural, rank, svg, unique
from eval.results.counts import by_seed, load_counts, load_support
from eval.results.intervals import subject_means
from eval.results.lines import Result
from imu_video.metrics.classify import METRICS
from imu_video.metrics.inference import estimate

PREFERRED = ("logreg", "ridge")
"""Probes whose results per subject and class are shown: fixed beforehand, never selected by their results."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """The stored counts of one model in one domain.

    Args:
        line: the result line that they belong to.
        counts: (R, E, S, M, M) seed, episode, subject, true class, predicted class.
        support: (E, S + X) subjects that provide support; None in files of earlier versions.
        classes, subjects: names.
        pretraining: pretraining seed of each model, where several encoders were evaluated.
    """

    line: Result
    counts: np.ndarray
    support: np.ndarray | None
    classes: Sequence[str]
    subjects: Sequence[str]
    pretraining: Sequence[int] = ()

    def by_subject(self, metric: str) -> np.ndarray:
        """Each subject's mean over seeds and episodes, NaN for a subject without queries. Shape: (S,)."""
        return subject_means(METRICS[metric](self.counts).mean(axis=0).T)

    def recalls(self) -> np.ndarray:
        """Recall of each class for each seed, episode and subject, NaN where absent. Shape: (M, R, E, S)."""
        correct = np.diagonal(self.counts, axis1=-2, axis2=-1).astype(float)
        queries = self.counts.sum(axis=-1)
        share = np.divide(correct, queries, out=np.full(correct.shape, np.nan), where=queries > 0)
        return np.asarray(np.moveaxis(share, -1, 0))


def kept_counts(results: Sequence[Result], metric: str) -> dict[str, list[Kept]]:
    """Domain -> counts of every model with the preferred probe at the largest shot count, best-ranked model first."""
    lines = [r for r in results if not r.is_difference and r.metric == metric and r.cells is not None]
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
            support = load_support(str(r.cells), beside=Path())
            named = {"classes": names["classes"], "subjects": names["subjects"]}
            own_seeds = names.get("pretraining", ())
            kept = Kept(line=r, counts=counts, support=support, pretraining=own_seeds, **named)
            out.setdefault(domain, []).append(kept)
    return out


def detail_sections(results: Sequence[Result], metric: str) -> list[Section]:
    """Results per subject and per class; none where no counts were stored."""
    kept = kept_counts(results, metric) if metric in METRICS else {}
    if not kept:
        return []
    return [Section("Results per subject", _subjects(kept, metric)), Section("Results per class", _classes(kept))]


def _where(k: Kept) -> str:
    return f"{k.line.domain}, {plural(k.line.shots or 0, 'shot')}, {k.line.probe}"


def _subjects(kept: dict[str, list[Kept]], metric: str) -> list[Block]:
    panels, extremes, tables = [], [], []
    for own in kept.values():
        values = {k.line.model: k.by_subject(metric) for k in own}
        first = own[0]
        panels.append(Strip(title=_where(first), subjects=first.subjects, figures=values, chance=first.line.chance))
        extremes += [_extremes(k, values[k.line.model]) for k in own]
        rows: list[list[str | Cell]] = [
            [s, *(f"{v[i]:.3f}" if np.isfinite(v[i]) else "" for v in values.values())]
            for i, s in enumerate(first.subjects)
        ]
        tables.append(Table(columns=["subject", *values], rows=rows, caption=f"{_where(first)}: {metric_name(metric)}"))
    caption = f"{metric_name(metric)} of every subject, sorted by the first model; dotted line: chance."
    columns = ["domain", "model", "probe", "worst subject", "mean", "best subject", "deviation over subjects"]
    note = (
        "The worst subject is the minimum of several noisy values. It is biased downwards, more so with more subjects"
    )
    return [
        svg(figures.strips(panels, metric=metric), f"{metric_name(metric)} of every subject", caption),
        Table(columns=columns, rows=extremes, labels=3, caption=note),
        Folded("Values of every subject", tables),
    ]


def _extremes(k: Kept, values: np.ndarray) -> list[str]:
    """Row of a model: worst subject, mean, best subject and deviation."""
    known = np.flatnonzero(np.isfinite(values))
    low, high = known[np.argmin(values[known])], known[np.argmax(values[known])]
    ends = [f"{values[i]:.3f} ({k.subjects[i]})" for i in (low, high)]
    spread = f"{values[known].std(ddof=1):.3f}" if len(known) > 1 else ""
    return [k.line.domain, k.line.model, str(k.line.probe), ends[0], f"{values[known].mean():.3f}", ends[1], spread]


def _classes(kept: dict[str, list[Kept]]) -> list[Block]:
    tables: list[Table] = []
    for own in kept.values():
        first = own[0]
        total = first.counts.sum(axis=(0, 1, 2))
        rows: list[list[str | Cell]] = []
        for m, name in enumerate(first.classes):
            cells = [_recall(k.recalls()[m], k) for k in own]
            rows.append([name, *cells, _confused(total[m], m, first.classes)])
        columns = ["class", *(k.line.model for k in own), f"most frequent confusion of {first.line.model}"]
        caption = f"{_where(first)}: recall, mean over subjects, 95 % interval over subjects and support sets"
        tables.append(Table(columns=columns, rows=rows, caption=caption))
    if len(tables) > 2:
        return [tables[0], Folded("The other domains", tables[1:])]
    return [*tables]


def _recall(cells: np.ndarray, k: Kept) -> str:
    if not np.isfinite(cells).any():
        return ""
    found = estimate(by_seed(cells, k.pretraining), support=k.support, fraction=True)
    low, high = found.interval(k.line.level)
    ends = f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""
    return f"{found.value:.2f}{ends}"


def _confused(row: np.ndarray, m: int, classes: Sequence[str]) -> str:
    """The class most often predicted instead of class m, and its share of the class's windows."""
    wrong = np.where(np.arange(len(row)) == m, 0, row)
    if not wrong.sum():
        return ""
    most = int(np.argmax(wrong))
    return f"{classes[most]} ({100 * wrong[most] / row.sum():.0f} %)"
