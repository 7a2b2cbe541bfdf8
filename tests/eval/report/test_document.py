"""Both renderings of a report are complete and escape everything; logs of running runs are read."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eval.report.build import read_log
from eval.report.document import (
    Bullets,
    Card,
    Cards,
    Cell,
    Clip,
    Figure,
    Folded,
    Section,
    Table,
    Text,
    to_html,
    to_markdown,
)
from imu_video.errors import DataError
from tests.hostile import HOSTILE, Page, commonmark, mkdocs


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


def _sections(name: str) -> list[Section]:
    """A section with every kind of block, in which every text is the name."""
    cells = [Cell(name, "up"), name]
    picture = Figure(data=b"<svg/>", kind="svg+xml", alt=name, caption=f"of {name}")
    return [
        Section(f"a {name}", [Text(name), Text(f"`a` {name} `b` {name}"), Bullets([name, f"a {name}"])]),
        Section("b", [Table(columns=[name, name], rows=[cells, cells], caption=f"of {name}"), picture]),
        Section("c", [Cards([Card(title=name, facts=[(name, name)], shown=[Clip(data=b"x", alt=name)])])]),
        Section("d", [Folded(name, [Text(name), picture])]),
    ]


def _without_code(page: Page) -> list[tuple[str, tuple[str, ...]]]:
    """The tags without those of code: a name in backticks is shown as code."""
    return [tag for tag in page.tags if tag[0] != "code"]


def test_hostile_names_make_no_markup_anywhere() -> None:
    blocks = {"h1", "h2", "h3", "p", "code", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}
    expected = Page(to_html("walk", _sections("walk"), lead="walk"))
    for name in HOSTILE:
        for render in (commonmark, mkdocs):
            page = Page(render(to_markdown(f"a {name}", _sections(name))))
            assert {tag for tag, _ in page.tags} <= blocks, name
            assert [tag for tag, _ in page.tags].count("td") == 4
            assert not page.addresses
            assert not page.other
        text = to_html(name, _sections(name), lead=name)
        page = Page(text)
        assert [tag for tag in page.tags if tag[0] != "code"] == [tag for tag in expected.tags if tag[0] != "code"], (
            name
        )
        assert page.addresses == expected.addresses
        assert page.other == expected.other == ["doctype html"]
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e\udc80]", text)
