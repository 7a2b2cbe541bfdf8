"""What a report says: wins and losses only where intervals exclude zero, all escaped, both renderings complete."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eval.report import conclusions, difference_table, few_shot_table, plots, read_log, terminal_tables
from eval.report.document import Bullets, Cell, Folded, Section, Table, Text, to_html, to_markdown
from eval.results.store import Result
from imu_video.errors import DataError


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


def difference(value: float, low: float | None, high: float | None, reference: str = "handcrafted") -> Result:
    return result(kind="fewshot-difference", reference=reference, value=value, low=low, high=high, chance=None)


def test_only_intervals_that_exclude_zero_are_called_wins_or_losses() -> None:
    win = difference(0.1, 0.05, 0.15)
    close = difference(0.2, -0.01, 0.4).model_copy(update={"domain": "ankle"})
    loss = difference(-0.1, -0.2, -0.05).model_copy(update={"domain": "sensor"})
    unknown = difference(-0.3, None, None).model_copy(update={"domain": "one person"})
    text = conclusions([win, close, loss, unknown], metric="macro_f1")
    assert text[0].startswith("Against hand-crafted features: better in 1 of 4 comparisons")
    assert "worse in 1, undecided in 2" in text[0]
    assert text[1] == "Where hand-crafted features did better: sensor (5 shots; ridge) by -0.100."


def test_remarks_and_few_people_are_stated() -> None:
    lines = conclusions([result(subjects=3, details={"remarks": ["people: queries ['v1']"]})], metric="macro_f1")
    assert any("asks only 3 people" in line for line in lines)
    assert any(line == "Note: people: queries ['v1']." for line in lines)


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
    (_, columns, figures), (_, names, differences) = terminal_tables(rows, metric="macro_f1")
    assert columns == ["domain", "shots", "probe", "pretrained", "untrained", "supervised"]
    assert figures == [["people", "5", "ridge", "0.500 [0.400, 0.600]", "0.250", "0.125"]]
    assert names[3:] == ["minus untrained", "minus supervised"]
    assert differences == [["people", "5", "ridge", "+0.100 [+0.050, +0.200] *", "+0.200 [-0.100, +0.300]"]]


class _Balance(HTMLParser):
    """Checks that tags close in order."""

    VOID = frozenset({"meta", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_both_renderings_hold_everything_and_escape_it() -> None:
    evil = '<script>alert("x")</script>'
    sections = [
        Section(f"Title {evil}", [Text(f"`code` {evil}"), Bullets([evil, "two"])]),
        Section("Table", [Table(columns=["a|b", "n"], rows=[[evil, Cell("+1", "down")]], caption="cap & tion")]),
        Section("Folded", [Folded("more", [Text("inside")])]),
        Section("Empty", []),
    ]
    page = to_html(f"T {evil}", sections, lead=evil)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 6
    assert "<code>code</code>" in page
    assert 'class="n down"' in page
    parser = _Balance()
    parser.feed(page.removeprefix("<!doctype html>"))
    assert parser.open == []
    text = to_markdown("T", sections)
    assert "a\\|b" in text
    assert "+1 ▼" in text
    assert "### more\n\ninside" in text
    assert "Empty" not in text


def test_plots_are_reproducible_pictures() -> None:
    rows = [result(), result(shots=1), result(model="mine", domain="x|<y>", low=None, high=None)]
    first, second = (plots.curves(rows, metric="macro_f1") for _ in range(2))
    assert first == second
    assert first.lstrip().startswith(b"<?xml")
    forest = plots.forest([difference(0.1, 0.05, 0.2), difference(-0.1, None, None, "untrained")], metric="macro_f1")
    assert b"</svg>" in forest
    log = [{"kind": "train", "step": 1, "loss": 2.0}, {"kind": "train", "step": 2, "loss": None}]
    assert b"</svg>" in plots.training(log)


def test_a_log_may_still_be_written_to(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"kind": "train", "step": 1, "loss": 1.0}) + '\n{"kind": "tr')
    assert read_log(path) == [{"kind": "train", "step": 1, "loss": 1.0}]
    path.write_text('{"kind": "tr\n' + json.dumps({"step": 1}) + "\n")
    with pytest.raises(DataError, match=re.escape("log.jsonl, line 1 is not JSON")):
        read_log(path)
    with pytest.raises(DataError, match="imu-pretrain launch"):
        read_log(tmp_path / "none.jsonl")
