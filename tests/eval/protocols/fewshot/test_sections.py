"""Few-shot tables and sentences: wins and losses only after correction; figures are reproducible."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.cli import run_protocol
from eval.protocols.fewshot.sections import conclusions, difference_table, few_shot_table
from eval.protocols.fewshot.tables import run_tables
from eval.report.document import Cell, Table
from eval.report.figures import tables as figures
from eval.report.words import CORRECTED
from eval.results.lines import Result


def result(**changes: object) -> Result:
    base = {
        "kind": "fewshot",
        "metric": "macro_f1",
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "model": "pretrained",
        "probe": "ridge",
        "domain": "people",
        "setting": "within",
        "shots": 5,
        "subjects": 8,
        "episodes": 10,
        "chance": 0.25,
        "details": {"classes": ["a", "b", "c", "d"]},
    }
    return Result.model_validate({**base, **changes})


def difference(
    value: float, low: float | None, high: float | None, reference: str = "handcrafted", p: float | None = None
) -> Result:
    """A difference; ``p`` is corrected, and decided by default where the interval excludes zero."""
    outside = low is not None and high is not None and (low > 0 or high < 0)
    details = {"inference": {"remarks": []}, "p_holm": p if p is not None else 0.01 if outside else 0.5}
    fields = {"value": value, "low": low, "high": high, "chance": None, "details": details}
    return result(kind="fewshot-difference", reference=reference, **fields)


def test_only_decided_differences_are_called_wins_or_losses() -> None:
    win = difference(0.1, 0.05, 0.15)
    close = difference(0.2, -0.01, 0.4).model_copy(update={"domain": "ankle"})
    loss = difference(-0.1, -0.2, -0.05).model_copy(update={"domain": "sensor"})
    unknown = difference(-0.3, None, None).model_copy(update={"domain": "one person"})
    uncorrected = difference(0.1, 0.01, 0.2, p=0.09).model_copy(update={"domain": "wrist"})
    text = conclusions([win, close, loss, unknown, uncorrected])
    assert text[0].startswith("Against hand-crafted features: better in 1 of 5 comparisons")
    assert "worse in 1, undecided in 3" in text[0]
    assert text[1] == "Comparisons in which hand-crafted features did better: sensor (5 shots; ridge) by -0.100."


def test_lines_of_earlier_versions_are_never_decided() -> None:
    old = difference(0.1, 0.05, 0.15)
    old = old.model_copy(update={"details": {"p_holm": 0.001}})
    assert not old.decided
    assert "better in 0 of 1" in conclusions([old])[0]


def test_unreliable_intervals_have_a_dagger_and_a_footnote() -> None:
    two = result(details={"classes": ["a"], "inference": {"remarks": ["3 subjects: the interval assumes much"]}})
    [table] = run_tables([two])
    assert table.texts[0][3] == "0.500 [0.400, 0.600]†"
    assert table.caption.endswith("† 3 subjects: the interval assumes much.")


def test_the_command_explains_the_marks_of_its_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe a table has no caption."""

    class Made:
        def run(self, context: object) -> list[Result]:
            return [result(details={"inference": {"remarks": ["one seed"]}}), difference(0.1, 0.05, 0.15)]

        def tables(self, results: list[Result]) -> list[Table]:
            return run_tables(results)

    run_protocol(Made(), tmp_path / "r.jsonl", [])  # type: ignore[arg-type]
    printed = capsys.readouterr().out.splitlines()
    assert "note: † one seed" in printed
    assert f"note: * {CORRECTED}" in printed


def test_few_subjects_are_stated() -> None:
    assert any("has only 3 query subjects" in line for line in conclusions([result(subjects=3)]))
    assert not any("query subjects" in line for line in conclusions([result(subjects=8)]))


def test_tables_hold_values_intervals_and_marks() -> None:
    rows = [
        result(),
        result(shots=1, value=0.3, low=None, high=None),
        result(model="supervised", probe="head", episodes=2),
    ]
    table = few_shot_table(rows, "people", "macro_f1")
    assert [*table.columns] == ["model", "probe", "1 shot", "5 shots", "episodes"]
    assert [*table.rows[0]] == ["pretrained", "ridge", "0.300", "0.500 [0.400, 0.600]", "10"]
    assert [*table.rows[1]] == ["supervised", "head", "", "0.500 [0.400, 0.600]", "2"]
    marks = [
        row[4] for row in difference_table([difference(0.1, 0.05, 0.2), difference(0.1, -0.05, 0.2)], "macro_f1").rows
    ]
    assert marks == [Cell("+0.100 [+0.050, +0.200]", "up"), Cell("+0.100 [-0.050, +0.200]", "")]


def test_terminal_tables_stay_narrow() -> None:
    rows = [
        result(),
        result(model="untrained", value=0.25),
        result(model="supervised", probe="head", value=0.125),
        difference(0.1, 0.05, 0.2, "untrained"),
        difference(0.2, -0.1, 0.3, "supervised"),
    ]
    first, second = run_tables(rows)
    assert [*first.columns] == ["domain", "shots", "probe", "pretrained", "untrained", "supervised"]
    assert first.texts == [["people", "5", "ridge", "0.500 [0.400, 0.600]", "0.250", "0.125"]]
    assert [*second.columns[3:]] == ["minus untrained", "minus supervised"]
    assert second.texts == [["people", "5", "ridge", "+0.100 [+0.050, +0.200] *", "+0.200 [-0.100, +0.300]"]]


def test_plots_are_reproducible_pictures() -> None:
    rows = [result(), result(shots=1), result(model="mine", domain="x|<y>", low=None, high=None)]
    first, second = (figures.curves(rows, metric="macro_f1") for _ in range(2))
    assert first == second
    assert first.lstrip().startswith(b"<?xml")
    forest = figures.forest([difference(0.1, 0.05, 0.2), difference(-0.1, None, None, "untrained")], metric="macro_f1")
    assert b"</svg>" in forest
    log = [{"kind": "train", "step": 1, "loss": 2.0}, {"kind": "train", "step": 2, "loss": None}]
    assert b"</svg>" in figures.training(log)
