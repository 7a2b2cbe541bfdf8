"""Tables of the benchmark of distribution shift: values per target for every selection rule, paired differences."""

from __future__ import annotations

from collections.abc import Sequence

from eval.report.alphas import alpha_tables
from eval.report.calibration import calibration_table
from eval.report.document import Table
from eval.report.words import CORRECTED, TESTS, figure, footnote, starred, tests, unique
from eval.results.lines import CALIBRATION, Result

CALIBRATION_COLUMNS = ("subjects", "selected by")
"""Second and third column of the table of calibration."""


def setting_of(line: Result) -> str:
    """Whether the target's subjects are disjoint from the sources'."""
    return str(line.setting)


def run_tables(results: Sequence[Result]) -> list[Table]:
    """Tables that the command prints: accuracy under every rule, differences, calibration."""
    calibration = calibration_table(results, columns=CALIBRATION_COLUMNS, second=setting_of)
    return [*metric_tables(results, "accuracy"), calibration]


def metric_tables(results: Sequence[Result], metric: str) -> list[Table]:
    """Figures, weights by alpha and paired differences of one metric, for every selection rule."""
    out: list[Table] = []
    for rule in unique(r.probe for r in results if r.metric not in CALIBRATION):
        own = [r for r in results if r.probe == rule and r.metric == metric]
        figures = [r for r in own if not r.is_difference]
        if figures:
            out += [_figures(figures, str(rule), metric), *_alphas(figures)]
            out += _differences([r for r in own if r.is_difference], str(rule), metric)
    return out


def _figures(figures: Sequence[Result], rule: str, metric: str) -> Table:
    targets = list(figures[0].details["by_target"])
    rows = []
    for r in figures:
        by_target = [_over_seeds(r, t) for t in targets]
        overall = f"{r.details['accuracy_over_targets']:.3f} ± {r.details['deviation_over_seeds']:.3f}"
        rows.append([r.model, figure(r), *by_target, overall, "{} {:.3f}".format(*r.details["worst_person"])])
    level = f"{100 * figures[0].level:.0f} %"
    caption = (
        f"{figures[0].domain}, selected by {rule}: {metric} over {figures[0].subjects} subjects [{level} interval]"
    )
    columns = ["model", metric, *targets, "mean over targets ± seeds", "worst subject"]
    return Table(columns=columns, rows=rows, caption=caption)


def _over_seeds(line: Result, target: str) -> str:
    """Accuracy in a target, and its standard deviation over seeds where the line has it."""
    value = f"{line.details['by_target'][target]:.3f}"
    # Lines of earlier versions have no deviation.
    deviation = line.details.get("deviation_by_target", {}).get(target)
    return value if deviation is None else f"{value} ± {deviation:.3f}"


def _differences(own: Sequence[Result], rule: str, metric: str) -> list[Table]:
    if not own:
        return []
    rows = []
    for r in own:
        rows.append([r.model, str(r.reference), starred(r), *tests(r)])
    caption = f"paired differences, selected by {rule}; * = {CORRECTED}{footnote(own)}"
    columns = ["model", "minus", f"{metric} [{100 * own[0].level:.0f} %]", *TESTS]
    return [Table(columns=columns, rows=rows, labels=2, caption=caption)]


def _alphas(figures: Sequence[Result]) -> list[Table]:
    """Source validation against target for models with ``train: wise``."""
    own = [r for r in figures if "by_alpha" in r.details]
    lines = [
        ([r.model], r.details["by_alpha"], [a for chosen in r.details["alpha"].values() for a in chosen]) for r in own
    ]
    title = f"{figures[0].domain}: source validation / target accuracy"
    return alpha_tables(lines, names=["model"], title=title)
