"""Names of data are shown as themselves: no escape sequence in a terminal, no link, image or HTML in Markdown."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given, settings

from imu_video.runtime.text import code, code_block, markdown, plain, plain_json
from tests.hostile import ANY, HOSTILE, Page, commonmark, mkdocs

RENDERERS = [commonmark, mkdocs]


def _check_markdown(render: Callable[[str], str], text: str) -> None:
    expected = " ".join(plain(" ".join(text.split())).split())
    shown = markdown(text)
    for template, tags, words in (
        (f"before\n\n{shown}\n\nafter", {"p"}, f"before {expected} after"),
        (f"| a | b |\n| --- | --- |\n| {shown} | {shown} |\n", _TABLE, f"a b {expected} {expected}"),
        (f"- x\n- {shown}\n", {"ul", "li"}, f"x {expected}"),
        (f"## {shown}\n", {"h2"}, expected),
        (f"x {shown} y", {"p"}, f"x {expected} y"),
    ):
        if not expected and template.startswith("- "):
            continue  # `- x`, `-` is a heading for some renderers
        page = Page(render(template))
        assert {tag for tag, _ in page.tags} == tags, (template, page.tags)
        assert not page.other
        assert page.words == " ".join(words.split()), template
    assert [tag for tag, _ in Page(render(f"| a | b |\n| --- | --- |\n| {shown} | {shown} |\n")).tags].count("td") == 2


_TABLE = {"table", "thead", "tbody", "tr", "th", "td"}


@pytest.mark.parametrize("render", RENDERERS)
def test_hostile_names_render_as_themselves(render: Callable[[str], str]) -> None:
    for text in HOSTILE:
        _check_markdown(render, text)


@given(text=ANY)
@settings(max_examples=60, deadline=None)
def test_any_text_renders_as_itself(text: str) -> None:
    _check_markdown(commonmark, text)


@pytest.mark.slow
@pytest.mark.parametrize("render", RENDERERS)
@given(text=ANY)
@settings(max_examples=2000, deadline=None)
def test_many_texts_render_as_themselves(render: Callable[[str], str], text: str) -> None:
    _check_markdown(render, text)


@given(text=ANY)
@settings(max_examples=60, deadline=None)
def test_code_holds_any_text(text: str) -> None:
    page = Page(commonmark(f"## a {code(text)} b\n"))
    assert page.tags == [("h2", ()), ("code", ())]
    assert page.words == " ".join(f"a {plain(' '.join(text.split()))} b".split())
    block = Page(commonmark(code_block(text) + "\n\nafter"))
    assert [tag for tag, _ in block.tags] == ["pre", "code", "p"]
    assert block.words == " ".join(f"{plain(text, lines=True)} after".split())


@given(text=ANY)
@settings(max_examples=150, deadline=None)
def test_plain_text_has_no_characters_that_are_not_drawn(text: str) -> None:
    for shown, allowed in ((plain(text), ""), (plain(text, lines=True), "\n")):
        assert all(unicodedata.category(c)[0] != "C" or c in allowed for c in shown)
        assert not {"\u2028", "\u2029"} & set(shown)
        shown.encode()  # no surrogates
    assert plain(plain(text)) == plain(text)
    document = plain_json({"name": text}, indent=1)
    assert json.loads(document) == {"name": text}
    assert all(unicodedata.category(c)[0] != "C" or c == "\n" for c in document)


def test_readable_texts_stay_as_they_are() -> None:
    for text in ("walk fast", "Zoë 歩く हिन्दी", "C:\\data\\new", "a\u00a0b", "[0.1]", "50 %"):
        assert plain(text) == text
    for text in ("macro_f1", "-0.112 [-0.150, -0.071]", "p = 0.05 (n=3)", "https://doi.org/10.1/x?a=b#c", "a - b -> c"):
        assert markdown(text) == text
