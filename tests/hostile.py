"""Hostile names for every place that shows data, and readers of rendered Markdown and HTML; no tests."""

from __future__ import annotations

import html.parser

import markdown as python_markdown
from hypothesis import strategies as st
from markdown_it import MarkdownIt

HOSTILE = (
    # rich, terminals
    *("[walk]", "[/x]", "[link=http://h]x[/link]", ":dog:", "\x1b[2J", "\x1b]8;;http://h\x07x\x1b]8;;\x07"),
    *("\x9b31m", "a\rb", "a\nb", "a\tb", "\u202egpj.exe", "a\u200bb", "\u2066a\u2069", "\ufeffa", "\udc80"),
    *("\U000e0041", "a\x00b"),
    # tables, code, blocks of Markdown
    *("a|b", "a\\|b", "a\\", "`a`", "``", "#a", "# a", "- a", "+ a", "* a", "> a", "1. a", "2) a", "---", "==="),
    *("***", "| - |", "    a", "~~~", "```", "!!! note", "??? a", ":   a", "*[a]: b", "[TOC]", "{{ a }}", "[ ] a"),
    *("[x] a", "[^1]", "[^1]: a", "*a*", "**a**", "_a_", "__a__", "a_b_c", "~~a~~", "~a~", "$a$", "{.a}", "^a^"),
    "{: onclick=alert(1) }",
    # HTML, links, images
    *("<!-- a -->", "-->", "<b>a</b>", "</td></table>", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>"),
    *("</script><script>alert(1)</script>", "' onclick='alert(1)", '" onclick="alert(1)', "![x](http://h/a.png)"),
    *("![x][y]", "[x](javascript:alert(1))", "[x](<javascript:alert(1)>)", "[x]: http://h", "<http://h>"),
    *("<a@h.example>", "[0.1, 0.2](http://h)", "[0.1, 0.2]: http://h", "[0.1, 0.2]", "[x] [0.1, 0.2]"),
    *("&lt;b&gt;", "&#60;b&#62;", "&amp;"),
    # YAML, spreadsheets, nothing
    *("key: value", "a: [", "'", '"', "null", "=cmd|' /C calc'!A0", "@SUM(1)", "a  ", "", " "),
)

ANY = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(alphabet="[]()<>!#-+*_`~|\\&;:/\"'= \n\t\x1b\u202ea1.", max_size=24),
    st.text(max_size=12),
    st.lists(st.sampled_from(HOSTILE), min_size=2, max_size=3).map("".join),
)
"""Any text, hostile ones most often."""


class Page(html.parser.HTMLParser):
    """Tags with the names of their attributes, text, addresses, and comments or declarations of an HTML page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.addresses: list[str] = []
        self.text = ""
        self.other: list[str] = []
        self.feed(page)
        self.close()

    @property
    def words(self) -> str:
        """The text with single spaces."""
        return " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "action", "data", "srcset")]

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.other.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def commonmark(text: str) -> str:
    """HTML of Markdown, as CommonMark with tables and strikethrough."""
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)


def mkdocs(text: str) -> str:
    """HTML of Markdown, as the documentation renders it."""
    extensions = ["tables", "admonition", "attr_list", "def_list", "abbr", "footnotes", "toc", "md_in_html"]
    further = ["pymdownx.superfences", "pymdownx.details", "pymdownx.highlight"]
    return python_markdown.markdown(text, extensions=extensions + further)
