"""Both renderings of a report are complete and escape everything; logs of running runs are read."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eval.report.build import read_log
from eval.report.document import Bullets, Cell, Folded, Section, Table, Text, to_html, to_markdown
from imu_video.errors import DataError


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


def test_a_log_may_still_be_written_to(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"kind": "train", "step": 1, "loss": 1.0}) + '\n{"kind": "tr')
    assert read_log(path) == [{"kind": "train", "step": 1, "loss": 1.0}]
    path.write_text('{"kind": "tr\n' + json.dumps({"step": 1}) + "\n")
    with pytest.raises(DataError, match=re.escape("log.jsonl, line 1: not readable as JSON")):
        read_log(path)
    with pytest.raises(DataError, match="imu-pretrain launch"):
        read_log(tmp_path / "none.jsonl")
