"""Tables and the figure of the video study, from stored counts; nothing is trained or evaluated here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.report.figures.common import encoded, pyplot
from eval.results import read_results
from imu_video.errors import DataError
from imu_video.metrics.inference import Estimate
from imu_video.metrics.significance import compare
from studies.estimates import LEVEL, Cells, difference, difference_text, interval_text, pooled, table, value
from studies.video.design import ARMS, FURTHER, OWN_STUDENT, RECIPES, RECORDED, TARGETS

TRUE = "pretrained"
"""Name in result lines of the encoders that are compared: those with true pairs."""
LOOKS: Mapping[str, tuple[str, str, str]] = {
    TRUE: ("true pairs", "#1f5fa8", "o"),
    "permuted": ("permuted pairs", "#b3361f", "v"),
    "redrawn": ("redrawn pairs", "#d07a00", "^"),
    "imu": ("IMU only", "#2e8540", "D"),
    "video": ("skeleton teacher", "#6a3d9a", "P"),
    "untrained": ("untrained", "#8b939c", "s"),
    "handcrafted": ("hand-crafted", "#1d2430", "x"),
}
"""Model -> name, colour and marker, in the order of the columns; `video` are true pairs of another teacher."""
REFERENCES = ("untrained", "handcrafted")
"""Models without pretraining."""
REAL = "real"
"""Target of the rows that contain the subjects of all recorded sets of the grid."""
NEW = "new"
"""Target of the rows that contain the subjects of all further recorded sets."""
JOINED = {REAL: RECORDED, NEW: FURTHER}
"""Target of joined rows -> its targets."""
TITLES = {
    REAL: "HAPT and UMAFall",
    NEW: "PDIoT and WISDM51",
    "hapt": "HAPT, waist",
    "umafall": "UMAFall, mean of five placements",
    "world": "simulated, mean of three domains",
    "pdiot": "PDIoT, mean of chest and pocket",
    "wisdm51": "WISDM51, wrist",
    "utd": "UTD-MHAD",
}
_FILE = re.compile(r"(?P<source>[a-z_]+)-(?P<scale>[0-9a-z]+)-(?P<seeds>\d+)-(?P<target>[a-z0-9]+)")


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One target, scale and number of shots.

    Args:
        target, scale, shots: what was measured.
        cells: model -> its cells.
    """

    target: str
    scale: str
    shots: int
    cells: Mapping[str, Cells]

    def value(self, model: str) -> Estimate:
        """Mean of a model with the variance of subjects, episodes and pretraining seeds."""
        return value(self.cells, model)

    def difference(self, reference: str) -> Estimate:
        """True pairs minus another model; the seeds of both are crossed, as in `imu-eval fewshot`."""
        return difference(self.cells, TRUE, reference)


def result_files(folder: Path, source: str) -> dict[tuple[str, str], tuple[int, Path]]:
    """Result files of a source by scale and target, those with the most seeds."""
    found: dict[tuple[str, str], tuple[int, Path]] = {}
    for path in sorted(folder.glob(f"{source}-*.jsonl")):
        match = _FILE.fullmatch(path.stem)
        if match is None or match["source"] != source:
            continue
        key, seeds = (match["scale"], match["target"]), int(match["seeds"])
        if seeds > found.get(key, (0, path))[0]:
            found[key] = (seeds, path)
    return found


def rows(files: Mapping[tuple[str, str], tuple[int, Path]], order: Sequence[str]) -> list[Row]:
    """Rows of all files, by target, shots and scale."""
    out = []
    for (scale, target), (_, path) in files.items():
        lines, _ = read_results([path])
        figures = [line for line in lines if not line.is_difference and line.metric == "macro_f1"]
        for shots in sorted({line.shots for line in figures if line.shots is not None}):
            models = {line.model for line in figures}
            cells = {model: pooled(figures, model, shots) for model in models}
            out.append(Row(target=target, scale=scale, shots=shots, cells=cells))
    out += [row for target in JOINED for row in joined(out, target)]
    return sorted(out, key=lambda row: (list(TITLES).index(row.target), row.shots, order.index(row.scale)))


def joined(found: Sequence[Row], target: str) -> list[Row]:
    """Rows with the subjects of several sets, for scales and shots that were evaluated on all of them.

    The encoders of a row are the same on every set, so that one estimate needs one factor of pretraining seeds for all
    subjects; every subject has the same weight. Episodes of two sets with the same number are paired.

    Args:
        found: rows.
        target: name of the joined rows, see ``JOINED``.
    """
    out, names = [], JOINED[target]
    for first in found:
        if first.target != names[0]:
            continue
        same = [row for row in found if (row.scale, row.shots) == (first.scale, first.shots)]
        parts = [row for name in names for row in same if row.target == name]
        if len(parts) < len(names) or len({part.cells[TRUE].values.shape[:2] for part in parts}) > 1:
            continue
        cells = {
            model: Cells(
                values=np.concatenate([part.cells[model].values for part in parts], axis=-1),
                support=np.concatenate([part.cells[model].support for part in parts], axis=-1),
            )
            for model in first.cells
        }
        out.append(Row(target=target, scale=first.scale, shots=first.shots, cells=cells))
    return out


def primary(found: Sequence[Row]) -> list[Row]:
    """The rows that answer the question: all recorded subjects, or all rows where there are none."""
    return [row for row in found if row.target in JOINED] or list(found)


def _contrasts(found: Sequence[Row]) -> list[str]:
    """Models that all rows have, without the true pairs, in the order of the columns."""
    return [name for name in LOOKS if name != TRUE and all(name in row.cells for row in found)]


def values_table(found: Sequence[Row]) -> str:
    """Macro-F1 of every model, with the interval of true pairs."""
    arms, body = _contrasts(found), []
    for row in found:
        true = row.value(TRUE)
        low, high = true.interval(LEVEL)
        body.append([
            TITLES[row.target], str(row.shots), row.scale, f"{true.value:.3f} [{low:.3f}, {high:.3f}]",
            *(f"{row.value(arm).value:.3f}" for arm in arms), str(true.subjects), str(true.pretraining),
        ])  # fmt: skip
    head = ["target", "shots", "windows", *(LOOKS[name][0] for name in (TRUE, *arms))]
    return table([*head, "test subjects", "pretraining seeds"], body)


def contrasts_table(found: Sequence[Row]) -> str:
    """True pairs minus every other model; Holm's correction over the rows of a column."""
    columns = []
    for reference in _contrasts(found):
        differences = [row.difference(reference) for row in found]
        columns.append([difference_text(*pair) for pair in zip(differences, compare(differences), strict=True)])
    body = [
        [TITLES[row.target], str(row.shots), row.scale, *(column[number] for column in columns)]
        for number, row in enumerate(found)
    ]
    names = [f"minus {LOOKS[name][0]}" for name in _contrasts(found)]
    return table(["target", "shots", "windows", *names], body)


def excluded_table(found: Sequence[Row], reference: str) -> str:
    """True pairs minus a control: simultaneous intervals over all rows, and the difference that would be detected."""
    differences = [row.difference(reference) for row in found]
    body = []
    for row, own, tested in zip(found, differences, compare(differences), strict=True):
        body.append([
            TITLES[row.target], str(row.shots), row.scale, f"{own.value:+.3f}", _p(own.p), _p(tested.p_holm),
            interval_text(tested.low, tested.high), f"{tested.detectable:.3f}",
            ", ".join(f"{factor} {share:.0%}" for factor, share in sorted(own.shares.items(), key=lambda s: -s[1])),
        ])  # fmt: skip
    head = ["target", "shots", "windows", f"true minus {LOOKS[reference][0]}", "p", "p, corrected"]
    return table([*head, "simultaneous interval", "detectable with 80 % power", "shares of the variance"], body)


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def retrieval_table(runs: Path, source: str, order: Sequence[str]) -> str:
    """Retrieval on validation subjects by scale and arm, mean over the finished runs: do the pairs differ?"""
    body = []
    for scale in order:
        cells, most = [], 0
        for arm in ("video", "permuted", "redrawn"):
            found = [value for log in sorted(runs.glob(f"{source}-{scale}/{arm}-*/log.jsonl")) for value in _mrr(log)]
            most = max(most, len(found))
            cells.append(f"{np.mean(found):.3f}" if found else "")
        if most:
            body.append([scale, *cells, str(most)])
    return table(["windows", "true pairs", "permuted pairs", "redrawn pairs", "pretraining seeds"], body)


def _mrr(log: Path) -> list[float]:
    """The last retrieval figure of a run's log."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if '"validate"' in line]
    return [float(line["mrr"]) for line in lines if "mrr" in line][-1:]


def page(found: Sequence[Row], runs: Path, source: str, order: Sequence[str]) -> str:
    """All tables of the arms of one source.

    Args:
        found: its rows.
        runs: folder of its runs, for retrieval.
        source: name of the pretraining data.
        order: scales.
    """
    parts = [
        "## Macro-F1\n", values_table(found),
        "## True pairs minus each other model\n", contrasts_table(found),
        "## Excluded effects: true minus permuted pairs\n", excluded_table(primary(found), "permuted"),
        "## Excluded effects: true pairs minus IMU only\n", excluded_table(primary(found), "imu"),
        "## Retrieval on validation subjects\n", retrieval_table(runs, source, order),
    ]  # fmt: skip
    return "\n".join(parts)


def further_page(folder: Path, order: Sequence[str]) -> str:
    """Tables of the arms on the further recorded sets, which are a family of their own; empty if not evaluated.

    Args:
        folder: folder of the result files.
        order: scales.
    """
    found = rows(result_files(folder, "further"), order)
    if not found:
        return ""
    parts = [
        "## Further real sensors\n", values_table(found), contrasts_table(found),
        excluded_table(primary(found), "permuted"), excluded_table(primary(found), "imu"),
    ]  # fmt: skip
    return "".join(f"\n{part}" for part in parts)


def recipes_page(folder: Path, order: Sequence[str]) -> str:
    """Tables of the recipes, for every scale at which one or more were evaluated on all targets.

    Args:
        folder: folder of the result files.
        order: scales.
    """
    parts = []
    for scale in order:
        found = recipes_rows(folder, scale)
        names = [name for name in RECIPES if all(name in row.cells for row in found)]
        if found and set(names) - {"imu"}:
            parts += [f"## Recipes on {scale} windows\n", recipes_table(found, names), recipes_contrasts(found, names)]
    return "".join(f"\n{part}" for part in parts)


def recipes_rows(folder: Path, scale: str) -> list[Row]:
    """Rows of the grid at one scale with the cells of the recipes, which were evaluated on the same episodes.

    Args:
        folder: folder of the result files.
        scale: scale of the recipes.

    Raises:
        DataError: a recipe was evaluated on other subjects or episodes.
    """

    def of(source: str) -> list[Row]:
        files = {key: path for key, path in result_files(folder, source).items() if key[0] == scale}
        return [row for row in rows(files, (scale,)) if row.target in TARGETS]

    found, complete = of("mixture"), len(TARGETS)
    others = {name: {(row.target, row.shots): row for row in of(name)} for name in RECIPES if name not in ARMS}
    out = []
    for row in found:
        cells = dict(row.cells)
        for name, theirs in others.items():
            if len({target for target, _ in theirs}) < complete:
                continue
            own = theirs[row.target, row.shots].cells
            if not np.array_equal(own[TRUE].support, row.cells[TRUE].support):
                raise DataError(f"{name}, {row.target}: other episodes than the grid", hint="evaluate both again")
            cells[name] = own[TRUE]
            if name in OWN_STUDENT:
                cells[_untrained(name)] = own["untrained"]
        out.append(Row(target=row.target, scale=scale, shots=row.shots, cells=cells))
    return out


def _untrained(recipe: str) -> str:
    return f"untrained {recipe}"


def _columns(found: Sequence[Row]) -> list[str]:
    return [f"{TITLES[row.target]}, {row.shots} shot{'s' if row.shots != 1 else ''}" for row in found]


def recipes_table(found: Sequence[Row], names: Sequence[str]) -> str:
    """Macro-F1 of every recipe, of untrained students and of hand-crafted statistics.

    Args:
        found: rows of one scale; their true pairs are the first recipe.
        names: the other recipes.
    """
    titles = {TRUE: next(iter(RECIPES.values())), **{name: RECIPES[name] for name in names}}
    titles |= {name: LOOKS[name][0] for name in REFERENCES}
    titles |= {_untrained(name): f"untrained, student of {RECIPES[name]}" for name in OWN_STUDENT if name in names}
    body = []
    for model, title in titles.items():
        own = [row.value(model) for row in found]
        seeds = "" if model.startswith("untrained") or model in REFERENCES else str(own[0].pretraining)
        body.append([title, *(f"{value.value:.3f}" for value in own), seeds])
    subjects = ["test subjects", *(str(row.value(TRUE).subjects) for row in found), ""]
    return table(["recipe", *_columns(found), "pretraining seeds"], [*body, subjects])


def recipes_contrasts(found: Sequence[Row], names: Sequence[str]) -> str:
    """The first recipe minus every other one; Holm's correction over all cells of the table.

    Args:
        found: rows of one scale; their true pairs are the first recipe.
        names: the other recipes.
    """
    pairs = [(name, row.difference(name)) for name in names for row in found]
    cells: dict[str, list[str]] = {name: [] for name in names}
    for (name, own), result in zip(pairs, compare([own for _, own in pairs]), strict=True):
        cells[name].append(difference_text(own, result))
    body = [[RECIPES[name], *line] for name, line in cells.items()]
    return table([f"{next(iter(RECIPES.values()))} minus", *_columns(found)], body)


def figure(found: Sequence[Row], windows: Mapping[str, int], shots: int) -> bytes:
    """SVG: macro-F1 of the arms over the number of windows, and true minus permuted pairs with its interval.

    Args:
        found: rows of the study.
        windows: scale -> number of training windows.
        shots: rows to draw.
    """
    figure_class, style = pyplot()
    shown = [row for row in found if row.shots == shots]
    targets = [target for target in TITLES if any(row.target == target for row in shown)]
    with style:
        drawing = figure_class(figsize=(4.2 * len(targets), 6.4), layout="constrained")
        axes = drawing.subplots(2, len(targets), sharex=True, sharey="row", squeeze=False)
        for column, target in enumerate(targets):
            own = [row for row in shown if row.target == target]
            x = [windows[row.scale] for row in own]
            top, bottom = axes[0, column], axes[1, column]
            for arm, (name, colour, marker) in LOOKS.items():
                if arm == "handcrafted" or any(arm not in row.cells for row in own):
                    continue
                top.plot(x, [row.value(arm).value for row in own], color=colour, marker=marker, label=name)
            for shift, arm in ((0.97, "permuted"), (1.03, "imu")):
                name, colour, marker = LOOKS[arm]
                differences = [row.difference(arm) for row in own]
                ends = np.array([d.interval(LEVEL) for d in differences])
                values = np.array([d.value for d in differences])
                spread = np.abs(ends - values[:, None]).T
                at = [shift * place for place in x]
                bottom.errorbar(at, values, yerr=spread, color=colour, marker=marker, label=f"minus {name}", capsize=3)
            bottom.axhline(0, color="#1d2430", linewidth=0.8)
            top.set_title(TITLES[target])
            top.set_xscale("log")
            top.set_xticks(x, [row.scale for row in own])
            top.minorticks_off()
            bottom.set_xlabel("training windows")
        axes[0, 0].set_ylabel(f"macro-F1, {shots} shots")
        axes[1, 0].set_ylabel("true pairs minus control")
        axes[0, -1].legend(loc="best", fontsize=8)
        axes[1, -1].legend(loc="best", fontsize=8)
    return encoded(drawing, "svg")
