"""Tables, sections and conclusions of frozen representations; measures nothing."""

from __future__ import annotations

from collections.abc import Sequence

from eval.report.calibration import calibration_sections
from eval.report.document import Block, Cell, Folded, Section, Table, Text
from eval.report.rows import confusions
from eval.report.words import (
    CORRECTED,
    TESTS,
    difference,
    figure,
    footnote,
    metric_name,
    rank,
    starred,
    tests,
    unique,
)
from eval.results.lines import CALIBRATION, Result

NOTE = (
    "`acc@k`: share of windows whose true class is among the k largest scores, mean over subjects; ties count against "
    "the window. `over windows`: the same without equal weight per subject, as published figures are. Every probe is "
    "fitted once on all training windows: intervals cover test subjects and seeds of untrained encoders, not other "
    "training subjects."
)
Row = tuple[str, str | None, str, str | None, str]
"""Domain, setting, model, probe, and identity of the training windows."""


def run_tables(results: Sequence[Result]) -> list[Table]:
    """Two tables for each domain: figures, and paired differences of the first figure."""
    own = [r for r in results if r.metric not in CALIBRATION]
    out = []
    for lines in _domains(own):
        out.append(figures_table([r for r in lines if not r.is_difference]))
        differences = [r for r in lines if r.is_difference]
        if differences:
            out.append(_narrow(differences))
    return out


def representation_sections(results: Sequence[Result]) -> list[Section]:
    """Figures, paired differences with tests, confusion matrices, calibration."""
    own = [r for r in results if r.metric not in CALIBRATION]
    blocks: list[Block] = []
    for lines in _domains(own):
        blocks.append(figures_table([r for r in lines if not r.is_difference]))
        differences = [r for r in lines if r.is_difference]
        tables = [_tested([r for r in differences if r.metric == m]) for m in unique(r.metric for r in differences)]
        blocks += tables[:1]
        blocks += [Folded("Differences of the other figures", tables[1:])] if tables[1:] else []
    blocks += [*confusions([r for r in own if r.model == "pretrained" and not r.is_difference]), Text(NOTE)]
    columns = ("setting", "probe")
    calibration = calibration_sections(
        results, title="Calibration, frozen representations", columns=columns, second=lambda r: str(r.setting)
    )
    return [Section("Frozen representations", blocks), *calibration]


def conclusions(results: Sequence[Result]) -> list[str]:
    """First figure of the encoder with every probe, and decided differences of it."""
    out: list[str] = []
    for lines in _domains([r for r in results if r.metric not in CALIBRATION]):
        metric = lines[0].metric
        for r in lines:
            if r.model == "pretrained" and not r.is_difference and r.metric == metric:
                out.append(
                    f"{r.domain}, {r.setting}: a frozen encoder with `{r.probe}` reaches {metric_name(metric)} "
                    f"{figure(r)} on {r.subjects} test subjects; chance is {r.chance or 0:.2f}."
                )
        own = [r for r in lines if r.is_difference and r.metric == metric]
        for reference in unique(str(r.reference) for r in own):
            some = [r for r in own if r.reference == reference]
            better = [str(r.probe) for r in some if r.decided and r.value > 0]
            worse = [str(r.probe) for r in some if r.decided and r.value < 0]
            said = [
                f"{word} with {', '.join(names)}" for word, names in (("better", better), ("worse", worse)) if names
            ]
            undecided = len(some) - len(better) - len(worse)
            said += [f"undecided with {undecided} of {len(some)} probes"] if undecided else []
            out.append(
                f"{lines[0].domain}: against {reference} {'; '.join(said)}, by {metric_name(metric)} ({CORRECTED})."
            )
    return out


def figures_table(results: Sequence[Result]) -> Table:
    """One row per model and probe, every figure with its interval, and the first one over windows."""
    metrics = unique(r.metric for r in results)
    held: dict[Row, dict[str, Result]] = {}
    for r in results:
        held.setdefault((r.domain, r.setting, r.model, r.probe, str(r.details.get("train"))), {})[r.metric] = r
    rows: list[list[str | Cell]] = []
    for (*_, model, probe, _train), line in sorted(held.items(), key=lambda item: (str(item[0][3]), rank(item[0][2]))):
        over = line[metrics[0]].details.get("over_windows") if metrics[0] in line else None
        cells = [figure(line[m]) if m in line else "" for m in metrics]
        rows.append(
            [model, str(probe), *cells, "" if over is None else f"{over:.3f}", _chosen(next(iter(line.values())))]
        )
    first = results[0]
    parts = [first.details.get(name, {}) for name in ("train", "test")]
    sizes = " / ".join(str(part.get("windows", "?")) if isinstance(part, dict) else "?" for part in parts)
    classes = len(first.details.get("classes", ()))
    caption = (
        f"{first.domain} ({first.setting}): {classes} classes, {sizes} training / test windows, {first.subjects} test "
        f"subjects, chance {metric_name(metrics[0])} {first.chance or 0:.3f} [{100 * first.level:.0f} % interval over "
        f"subjects]{footnote(results)}"
    )
    columns = ["model", "probe", *map(metric_name, metrics), f"{metric_name(metrics[0])} over windows", "chosen"]
    return Table(columns=columns, rows=rows, labels=2, caption=caption)


def _chosen(r: Result) -> str:
    """Selected hyper-parameters, one value per seed."""
    found = r.details.get("chosen", [])
    pairs = [(name, value) for one in found if isinstance(one, dict) for name, value in one.items()]
    return "; ".join(f"{n}={'/'.join(f'{v:g}' for m, v in pairs if m == n)}" for n in unique(name for name, _ in pairs))


def _narrow(differences: Sequence[Result]) -> Table:
    metric = differences[0].metric
    some = [r for r in differences if r.metric == metric]
    references = unique(str(r.reference) for r in some)
    held = {(str(r.probe), str(r.reference)): r for r in some}
    rows: list[list[str | Cell]] = [
        [probe, *(starred(held[probe, reference]) if (probe, reference) in held else "" for reference in references)]
        for probe in unique(probe for probe, _ in held)
    ]
    caption = (
        f"{some[0].domain} ({some[0].setting}), {metric_name(metric)}: pretrained minus reference, paired "
        f"[{100 * some[0].level:.0f} % interval]; * = {CORRECTED}{footnote(some)}"
    )
    return Table(columns=["probe", *(f"minus {r}" for r in references)], rows=rows, labels=1, caption=caption)


def _tested(differences: Sequence[Result]) -> Table:
    rows: list[list[str | Cell]] = [
        [str(r.probe), str(r.reference), difference(r), *tests(r), str(r.subjects)] for r in differences
    ]
    first = differences[0]
    caption = (
        f"{first.domain} ({first.setting}): pretrained minus reference on the same windows. ▲ above zero, ▼ below zero "
        f"with {CORRECTED}; no sign: undecided. p is corrected for all comparisons of one command and figure, the "
        f"interval is not.{footnote(differences)}"
    )
    columns = ["probe", "minus", metric_name(first.metric), *TESTS, "subjects"]
    return Table(columns=columns, rows=rows, labels=2, caption=caption)


def _domains(results: Sequence[Result]) -> list[list[Result]]:
    """Lines of each domain, setting and training data, in order of first appearance."""
    out: dict[tuple[str, ...], list[Result]] = {}
    for r in results:
        out.setdefault((r.domain, str(r.setting), str(r.details.get("train"))), []).append(r)
    return list(out.values())
