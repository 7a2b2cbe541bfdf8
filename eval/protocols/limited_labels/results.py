"""From the counts of a limited-label run to result lines: figures, paired differences, figures by person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.finetune.wise import curve_tables
from eval.protocols.limited_labels.config import LabelsConfig
from eval.protocols.limited_labels.run import Cells
from eval.protocols.limited_labels.subjects import People
from eval.results.store import Result, bootstrap, calibration_lines, ends, kept_bins, with_tests
from imu_video.metrics.calibration import overconfidence
from imu_video.metrics.classify import METRICS


def measure_labels(
    cells: Sequence[Cells],
    people: People,
    config: LabelsConfig,
    shared: Mapping[str, Any],
    *,
    against: Sequence[Cells] = (),
) -> list[Result]:
    """Figures with intervals over people, then seeds; and paired differences, seed by seed and person by person.

    Every method that uses the encoder is compared with each of ``config.references`` at the same number of labels, and
    with the same method of every other model in ``against``.

    Args:
        cells: of the encoder under test.
        people: who was asked.
        config: metrics and bootstrap.
        shared: from `eval.results.store.provenance`.
        against: cells of other models.
    """
    out = []
    for c in cells:
        lines = _lines("labels", c, None, c.counts, people, config, shared)
        out += lines
        if c.bins is not None:
            bins = c.bins[:, None]
            details = {k: lines[0].details[k] for k in ("labels", "method")} | {"bins": kept_bins(bins)}
            out += calibration_lines(bins, overconfidence(c.bins).T, lines[0], config.bootstrap, details)
    differences: dict[str, list[Result]] = {}
    for c in cells:
        if not c.pretrained:
            continue
        others = [r for r in cells if r.method.name in config.references and r.method.name != c.method.name]
        others += [r for r in against if r.method.name == c.method.name and r.pretrained]
        for r in others:
            if r.number == c.number:
                for line in _lines("labels-difference", c, r, c.counts, people, config, shared):
                    differences.setdefault(line.metric, []).append(line)
    for lines in differences.values():
        by_person = [np.array(list(line.details["people"].values())) for line in lines]
        out += with_tests(lines, by_person, level=config.bootstrap.level)
    return out


def _lines(
    kind: Any,
    c: Cells,
    reference: Cells | None,
    counts: np.ndarray,
    people: People,
    config: LabelsConfig,
    shared: Mapping[str, Any],
) -> list[Result]:
    out = []
    for name in config.metrics:
        metric = METRICS[name]
        values = metric(counts)  # (R, S)
        chosen = None if c.chosen is None or reference is not None else float(metric(c.chosen).mean())
        if reference is not None:
            values = values - metric(reference.counts)
        [interval] = bootstrap(values.T[None], config.bootstrap)
        details: dict[str, Any] = {
            "classes": [people.windows.classes[i] for i in people.classes],
            "labels": c.number,
            "method": c.method.model_dump(mode="json"),
            "people": dict(zip(people.subjects, values.mean(axis=0).round(6).tolist(), strict=True)),
            "seeds": dict(zip(map(str, config.seeds), values.mean(axis=1).round(6).tolist(), strict=True)),
        }
        if chosen is not None:
            details["chosen"] = chosen
        if c.curve is not None and reference is None:
            source = [None] * len(c.curve.alphas) if c.curve.on_choose is None else c.curve.on_choose.mean(axis=0)
            target = metric(c.curve.counts).mean(axis=(0, 2))
            details["by_alpha"] = [
                [float(a), None if s is None else round(float(s), 6), round(float(t), 6)]
                for a, s, t in zip(c.curve.alphas, source, target, strict=True)
            ]
            details["alpha"] = [] if c.curve.chosen is None else c.curve.chosen.tolist()
        own = dict(shared)
        own["encoder"] = {**shared["encoder"], "weights": c.weights} if c.pretrained else {"weights": c.weights}
        out.append(
            Result(
                kind=kind,
                metric=name,
                value=interval.value,
                **ends(interval),
                level=config.bootstrap.level,
                model=c.model,
                reference=None if reference is None else f"{reference.model}: {reference.method.name}",
                probe=c.method.name,
                domain=config.name,
                setting="fixed people",
                shots=None if c.number == "all" else c.number,
                subjects=interval.subjects,
                episodes=interval.episodes,
                chance=None if reference is not None else 1.0 / len(people.classes),
                details=details,
                seeds={"labels, weights and order": config.seeds, "bootstrap": config.bootstrap.seed},
                **own,
            )
        )
    return out


def labels_table(
    results: Sequence[Result], *, metric: str, differences: bool = False
) -> tuple[str, list[str], list[list[str]]]:
    """Title, columns and rows: a row a model and method (and what is subtracted), a column a number of labels.

    Args:
        results: lines of any kind; others than limited-label ones are passed over.
        metric: the figure to show.
        differences: paired differences instead of figures.
    """
    kind = "labels-difference" if differences else "labels"
    own = [r for r in results if r.kind == kind and r.metric == metric]
    numbers = sorted({r.shots for r in own}, key=lambda n: (n is None, n or 0))
    held = {(r.domain, r.model, str(r.probe), r.reference, r.shots): r for r in own}
    rows = []
    for key in dict.fromkeys(k[:4] for k in held):
        line = [held.get((*key, n)) for n in numbers]
        first = next(r for r in line if r is not None)
        names = [key[0], key[1], key[2], *([str(key[3])] if differences else [])]
        rows.append([*names, *(_cell(r) if r else "" for r in line), f"{first.subjects} / {first.episodes}"])
    columns = ["people", "encoder", "method", *(["minus"] if differences else [])]
    columns += ["all labels" if n is None else f"{n} label{'s' if n > 1 else ''} a class" for n in numbers]
    what = "paired difference" if differences else metric.replace("_", "-")
    title = f"{what}, fixed people [{100 * own[0].level:.0f} % interval over people, then seeds]" if own else ""
    return title, [*columns, "asked / seeds"], rows


def alpha_tables(results: Sequence[Result], *, metric: str) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, columns and rows of methods with ``learn: wise``: the people of `choose` against those who are asked."""
    lines = [
        (
            [r.domain, r.model, str(r.probe), "all" if r.shots is None else str(r.shots)],
            r.details["by_alpha"],
            r.details["alpha"],
        )
        for r in results
        if r.kind == "labels" and r.metric == metric and "by_alpha" in r.details
    ]
    title = f"accuracy of the people of `choose` / {metric.replace('_', '-')} of the people who are asked"
    return curve_tables(lines, names=["people", "encoder", "method", "labels a class"], title=title)


def _cell(r: Result) -> str:
    signed = "+" if r.kind == "labels-difference" else ""
    text = f"{r.value:{signed}.3f}"
    if r.low is not None and r.high is not None:
        text += f" [{r.low:{signed}.3f}, {r.high:{signed}.3f}]"
    if r.kind == "labels-difference":
        return text + (" *" if r.excludes_zero else "")
    chosen = r.details.get("chosen")
    return text + (f" (chosen {chosen:.3f})" if chosen is not None else "")
