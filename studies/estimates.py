"""Estimates from the counts that `imu-eval fewshot` stores, and Markdown tables of them; shared by the studies.

A target may have several domains (devices of the same subjects): its figure is the mean over them, taken within
subjects and episodes, so that a subject counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eval.results import Result, read_results
from eval.results.counts import load_counts, load_support
from imu_video.errors import DataError
from imu_video.metrics.classify import macro_f1
from imu_video.metrics.inference import Estimate, estimate
from imu_video.metrics.significance import Comparison, compare
from imu_video.metrics.variance import REFERENCE_SEED, SEED

LEVEL = 0.95
REFERENCES = ("untrained", "handcrafted", "supervised")
"""References of the evaluation, in the order of the columns after those of other recipes."""
HEADS = {"handcrafted": "statistics", "supervised": "from scratch"}
"""Name of a model in tables, where it differs from that in result lines."""
FIXED = ("untrained", "handcrafted", "statistics", "supervised")
"""Models without a pretraining: their first axis, if any, holds seeds of the evaluation."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """Macro-F1 of one model on one target, averaged over the target's domains.

    Args:
        values: (R, E, S), by seed, episode and subject; NaN where the subject is no query.
        support: (E, S), whether a subject provides support in any of the domains.
    """

    values: np.ndarray
    support: np.ndarray


def value(cells: Mapping[str, Cells], model: str) -> Estimate:
    """Mean of a model with the variance of subjects, episodes and pretraining seeds.

    Args:
        cells: model -> its cells.
        model: one of them.
    """
    own = cells[model]
    axis = own.values[None] if model in FIXED else own.values[:, None]
    return estimate(axis, support=own.support, fraction=True)


def difference(cells: Mapping[str, Cells], model: str, reference: str) -> Estimate:
    """One model minus another on the cells that both have; the seeds of both are crossed, as in `imu-eval fewshot`.

    Args:
        cells: model -> its cells.
        model: with pretraining seeds.
        reference: another model.
    """
    own, other = cells[model], cells[reference]
    both = min(own.values.shape[1], other.values.shape[1])  # the supervised reference has fewer episodes
    found = estimate(own.values[:, None, :both] - other.values[None, :, :both], support=own.support[:both])
    if reference in FIXED:
        return found
    parts = (replace(part, factor=REFERENCE_SEED) if part.factor == SEED else part for part in found.parts)
    return replace(found, parts=tuple(parts))


def pooled(lines: Sequence[Result], model: str, shots: int) -> Cells:
    """Cells of a model, averaged over domains: those of a subject that is a query of several are paired by episode.

    Args:
        lines: result lines of one target.
        model, shots: what is taken.
    """
    mine = [line for line in lines if line.model == model and line.shots == shots and line.cells is not None]
    found = []
    for line in mine:
        counts, names = load_counts(str(line.cells), Path())
        support = load_support(str(line.cells), Path())
        if support is None:
            raise DataError(f"{line.cells}: no support subjects", hint="evaluate again with this version")
        found.append((macro_f1(counts), list(names["subjects"]), support))
    subjects = sorted({name for _, names, _ in found for name in names})
    shape = (len(found), *found[0][0].shape[:2], len(subjects))
    values, supporting = np.full(shape, np.nan), np.zeros((shape[2], shape[3]), dtype=bool)
    for number, (cells, names, support) in enumerate(found):
        columns = [subjects.index(name) for name in names]
        values[number][:, :, columns] = cells
        supporting[:, columns] |= support[:, : len(names)]
    exists = np.isfinite(values)
    count = exists.sum(axis=0)
    total = np.where(exists, values, 0.0).sum(axis=0)
    return Cells(values=np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0), support=supporting)


def interval_text(low: float, high: float) -> str:
    return f"[{low:+.3f}, {high:+.3f}]"


def difference_text(found: Estimate, tested: Comparison) -> str:
    star = " *" if tested.p_holm is not None and tested.p_holm < 1 - LEVEL else ""
    return f"{found.value:+.3f} {interval_text(*found.interval(LEVEL))}{star}"


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """What models were measured on.

    Args:
        name: domain, or the mean over several.
        joint: whether it is the mean over all domains of one setting.
        shots: labelled windows per class.
        cells: model -> its cells.
    """

    name: str
    joint: bool
    shots: int
    cells: Mapping[str, Cells]


def places(path: Path) -> list[Place]:
    """Domains of a result file, and the mean over the domains of each setting where there are several.

    Args:
        path: result file of one data set.
    """
    lines = [one for one in read_results([path])[0] if not one.is_difference and one.metric == "macro_f1"]
    groups: dict[tuple[str, bool], list[Result]] = {}
    for line in lines:
        if line.setting is not None and line.domain is not None:
            groups.setdefault((f"mean, {line.setting}", True), []).append(line)
            groups.setdefault((line.domain, False), []).append(line)
    found = []
    for (name, joint), own in groups.items():
        if joint and len({line.domain for line in own}) == 1:
            continue
        for shots in sorted({line.shots for line in own if line.shots is not None}):
            models = dict.fromkeys(line.model for line in own if line.shots == shots)
            cells = {model: pooled(own, model, shots) for model in models}
            found.append(Place(name=name, joint=joint, shots=shots, cells=cells))
    return sorted(found, key=lambda place: not place.joint)


def ordered(cells: Mapping[str, Cells], first: str) -> list[str]:
    """Models other than ``first``: other recipes in the order of the file, then the references."""
    others = [model for model in cells if model != first and model not in REFERENCES]
    return [*others, *(model for model in REFERENCES if model in cells)]


def page(path: Path, title: str, name: str = "pretrained", *, first: str = "pretrained") -> str:
    """Tables of a result file: macro-F1 of every model, and one model minus every other.

    Holm's correction is over all differences of a table; means over domains and single domains have tables of their
    own.

    Args:
        path: result file of one data set.
        title: heading.
        name: name of ``first`` in tables.
        first: model that the others are subtracted from.
    """
    out, found = [f"## {title}\n"], places(path)
    for joint, heading in ((True, "mean over domains"), (False, "by domain")):
        own = [place for place in found if place.joint == joint]
        if own:
            out += [f"### {title}, {heading}\n", values(own, name, first), differences(own, name, first)]
    return "\n".join(out)


def values(found: Sequence[Place], name: str, first: str) -> str:
    """Macro-F1 of every model; that of ``first`` with its interval."""
    models = ordered(found[0].cells, first)
    body = []
    for place in found:
        own = value(place.cells, first)
        low, high = own.interval(LEVEL)
        others = [f"{value(place.cells, model).value:.3f}" if model in place.cells else "" for model in models]
        row = [place.name, str(place.shots), str(own.subjects), f"{own.value:.3f} [{low:.3f}, {high:.3f}]"]
        body.append([*row, *others])
    return table(["domain", "shots", "test subjects", name, *(HEADS.get(model, model) for model in models)], body)


def differences(found: Sequence[Place], name: str, first: str) -> str:
    """``first`` minus every other model; a star marks what is decided after Holm's correction over the table."""
    models = ordered(found[0].cells, first)
    keys = [(number, model) for number, place in enumerate(found) for model in models if model in place.cells]
    own = [difference(found[number].cells, first, model) for number, model in keys]
    texts = {key: difference_text(*pair) for key, *pair in zip(keys, own, compare(own), strict=True)}
    body = [
        [place.name, str(place.shots), *(texts.get((number, model), "") for model in models)]
        for number, place in enumerate(found)
    ]
    return table(["domain", "shots", *(f"{name} minus {HEADS.get(model, model)}" for model in models)], body)
