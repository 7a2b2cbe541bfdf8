"""Blocks of a report, rendered as Markdown and as one self-contained HTML page; independent of result lines."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from imu_video.runtime.text import code, markdown, plain

Mark = Literal["", "up", "down"]


@dataclass(frozen=True)
class Cell:
    """A table cell; ``mark`` colours a difference that is decided."""

    text: str
    mark: Mark = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells under column names; the first ``labels`` columns are text, the others numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    caption: str = ""
    labels: int = 1

    @property
    def texts(self) -> list[list[str]]:
        """The rows as plain text, for a terminal."""
        return [[cell.text if isinstance(cell, Cell) else cell for cell in row] for row in self.rows]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """An image with a description ``alt``; omitted in Markdown."""

    data: bytes
    kind: Literal["svg+xml", "png"]
    alt: str
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """An MP4 clip with playback controls; omitted in Markdown."""

    data: bytes
    alt: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """One case: a title, pairs of name and value, and its figures or clips."""

    title: str
    facts: Sequence[tuple[str, str]]
    shown: Sequence[Figure | Clip]


@dataclass(frozen=True)
class Cards:
    """Cases in a grid."""

    items: Sequence[Card]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: Sequence[str]


@dataclass(frozen=True)
class Folded:
    """Collapsed blocks behind a summary line; blocks under a heading in Markdown."""

    summary: str
    blocks: Sequence[Table | Figure | Text | Bullets | Cards]


Block = Table | Figure | Text | Bullets | Cards | Folded


@dataclass
class Section:
    """A heading and its blocks."""

    title: str
    blocks: list[Block] = field(default_factory=list)


def to_markdown(title: str, sections: Sequence[Section]) -> str:
    """The report as Markdown, without figures.

    Example:
        >>> print(to_markdown("R", [Section("S", [Text("hello")])]).strip())
        # R
        <BLANKLINE>
        ## S
        <BLANKLINE>
        hello
    """
    parts = [f"# {_line(title)}"]
    for section in sections:
        blocks = [text for block in section.blocks if (text := _markdown(block))]
        if blocks:
            parts += [f"## {_line(section.title)}", *blocks]
    return "\n\n".join(parts) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Text(text):
            return _line(text)
        case Bullets(items):
            return "\n".join(f"- {_line(item)}" for item in items)
        case Cards(items):
            return "\n".join(
                f"- {_line(c.title)}: {'; '.join(f'{markdown(name)} {markdown(value)}' for name, value in c.facts)}"
                for c in items
            )
        case Table():
            rule = ["---"] * block.labels + ["---:"] * (len(block.columns) - block.labels)
            rows = [[_pipe(c) for c in row] for row in block.rows]
            lines = [[_pipe(c) for c in block.columns], rule, *rows]
            table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
            return f"{_line(block.caption)}\n\n{table}" if block.caption else table
        case Folded(summary, blocks):
            return "\n\n".join([f"### {_line(summary)}", *(t for b in blocks if (t := _markdown(b)))])
        case _:
            return ""


def _pipe(cell: Cell | str) -> str:
    if isinstance(cell, Cell):
        return _pipe(cell.text) + {"": "", "up": " ▲", "down": " ▼"}[cell.mark]
    return markdown(cell)


def _line(text: str) -> str:
    """Text on one line in which `text in backticks` is code; everything else renders as itself."""
    words = " ".join(text.split())
    pieces = re.split(r"`([^`]+)`", words)  # text, code, text, code ...
    if len(pieces) == 1:
        return markdown(words)
    # The first piece alone begins the line; a piece keeps the spaces at its ends, which separate it from the code.
    return "".join(code(piece) if n % 2 else _between(piece, first=n == 0) for n, piece in enumerate(pieces))


def _between(text: str, *, first: bool) -> str:
    escaped = markdown(text) if first else markdown(f";{text}")[1:]
    return f"{escaped}{' ' * (text[-1:] == ' ')}"


def to_html(title: str, sections: Sequence[Section], *, lead: str = "") -> str:
    """The report as one HTML page without scripts and external references; all text is escaped.

    A content security policy in its head forbids scripts and requests, as a second protection in case that a name of a
    class or subject contains markup.

    Args:
        title: title of the page.
        sections: content of the page; sections without blocks are omitted.
        lead: line below the title.
    """
    named = [(f"s{n}", section) for n, section in enumerate(sections) if section.blocks]
    contents = "".join(f'<li><a href="#{key}">{_e(section.title)}</a></li>' for key, section in named)
    body = "".join(
        f'<section id="{key}"><h2><a href="#{key}">{_e(section.title)}</a></h2>'
        f"{''.join(map(_html, section.blocks))}</section>"
        for key, section in named
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_e(title)}</title><style>{CSS}</style></head><body>"
        f"<header><h1>{_e(title)}</h1><p>{_e(lead)}</p></header>"
        f'<nav aria-label="contents"><ul>{contents}</ul></nav><main>{body}</main></body></html>\n'
    )


def _html(block: Block) -> str:
    match block:
        case Text(text):
            return f"<p>{_prose(text)}</p>"
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{_prose(item)}</li>" for item in items) + "</ul>"
        case Table():
            return _table(block)
        case Figure():
            caption = f"<figcaption>{_e(block.caption)}</figcaption>" if block.caption else ""
            return f"<figure><div class=w>{_shown(block)}</div>{caption}</figure>"
        case Cards(items):
            return f"<div class=cards>{''.join(map(_card, items))}</div>"
        case Folded(summary, blocks):
            return f"<details><summary>{_e(summary)}</summary>{''.join(map(_html, blocks))}</details>"


def _shown(shown: Figure | Clip) -> str:
    data = base64.b64encode(shown.data).decode()
    if isinstance(shown, Clip):
        attributes = "controls muted loop playsinline preload=auto"
        return f'<video {attributes} aria-label="{_e(shown.alt)}" src="data:video/mp4;base64,{data}"></video>'
    return f'<img src="data:image/{shown.kind};base64,{data}" alt="{_e(shown.alt)}">'


def _card(card: Card) -> str:
    facts = "".join(f"<dt>{_e(name)}</dt><dd>{_e(value)}</dd>" for name, value in card.facts)
    return f"<article class=card><h3>{_e(card.title)}</h3>{''.join(map(_shown, card.shown))}<dl>{facts}</dl></article>"


def _table(table: Table) -> str:
    head = "".join(
        f'<th scope="col"{"" if i < table.labels else " class=n"}>{_e(name)}</th>'
        for i, name in enumerate(table.columns)
    )
    rows = []
    for row in table.rows:
        cells = []
        for i, cell in enumerate(row):
            text, mark = (cell.text, cell.mark) if isinstance(cell, Cell) else (cell, "")
            kinds = " ".join(filter(None, ["" if i < table.labels else "n", mark, "l" if len(text) > 40 else ""]))
            attribute = f' class="{kinds}"' if kinds else ""
            cells.append(f"<td{attribute}>{_e(text)}{_SIGNS[mark]}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    caption = f"<caption>{_e(table.caption)}</caption>" if table.caption else ""
    return f"<div class=t><table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"


_SIGNS: dict[Mark, str] = {
    "": "",
    "up": ' <span title="above zero">▲</span>',
    "down": ' <span title="below zero">▼</span>',
}


def _prose(text: str) -> str:
    """Escaped text in which `text in backticks` becomes code, as in Markdown."""
    # Escaped first: the tags added here are then the only markup.
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _e(text))


def _e(text: str) -> str:
    return html.escape(plain(text, lines=True), quote=True)


POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
)
CSS = """
:root{--ink:#1d2430;--soft:#5b6675;--line:#dfe4ea;--paper:#fff;--tint:#f5f7fa;--blue:#1f5fa8;--up:#1b7a3d;--down:#b3361f}
*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:16px}
body{margin:0;background:var(--paper);color:var(--ink)}
body{font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:break-word}
header,main{max-width:1040px;margin:0 auto;padding:0 24px}
header{padding-top:48px}
h1{font-size:30px;line-height:1.2;margin:0 0 8px;letter-spacing:-.01em}
header p{color:var(--soft);margin:0 0 16px}
nav{max-width:1040px;margin:0 auto;padding:0 24px}
nav ul{list-style:none;max-width:none;margin:0;padding:8px 0;display:flex;flex-wrap:wrap;gap:2px 18px}
nav ul{border-top:1px solid var(--line);border-bottom:1px solid var(--line)}
nav li{margin:0}
nav a{color:var(--blue);text-decoration:none;font-size:14px}
nav a:hover{text-decoration:underline}
section{margin:40px 0}
h2{font-size:21px;margin:0 0 12px;line-height:1.3}
h2 a{color:inherit;text-decoration:none}
h3{font-size:15px;margin:0 0 8px;line-height:1.35}
p,ul{max-width:74ch}
ul{padding-left:22px}
li{margin:4px 0}
code{font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--tint);padding:1px 4px}
.t,.w{overflow-x:auto}
.t{margin:16px 0}
table{border-collapse:collapse;font-size:14px;min-width:50%}
caption{text-align:left;color:var(--soft);padding-bottom:8px;max-width:min(80ch,86vw)}
th,td{padding:6px 14px 6px 0;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}
td.l{white-space:normal;min-width:200px;max-width:40ch}
th{font-weight:600;color:var(--soft);border-bottom:2px solid var(--line)}
td:last-child,th:last-child{padding-right:4px}
tbody tr:hover{background:var(--tint)}
.n{text-align:right;font-variant-numeric:tabular-nums}
.up{color:var(--up)}.down{color:var(--down)}
figure{margin:20px 0}
.w img{max-width:100%;height:auto;display:block}
figcaption{color:var(--soft);font-size:14px;margin-top:6px;max-width:80ch}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(280px,1fr));gap:20px;margin:20px 0}
.card{border:1px solid var(--line);border-radius:8px;padding:14px 16px;min-width:0}
.card img,.card video{width:100%;height:auto;display:block;margin-bottom:8px}
.card video{border-radius:5px;background:#10141b;max-height:260px;object-fit:contain}
dl{display:grid;grid-template-columns:auto 1fr;gap:2px 12px;margin:0;font-size:13px}
dt{color:var(--soft)}
dd{margin:0;min-width:0}
details{border:1px solid var(--line);border-radius:6px;padding:8px 16px;margin:12px 0;background:var(--tint)}
details[open]{background:var(--paper)}
summary{cursor:pointer;color:var(--blue)}
@media(min-width:1380px){nav{position:fixed;top:48px;left:24px;width:calc((100vw - 1040px)/2 - 24px);padding:0}}
@media(min-width:1380px){nav{max-width:220px;max-height:calc(100vh - 96px);overflow-y:auto}}
@media(min-width:1380px){nav ul{display:block;border:0}nav li{margin:6px 0;line-height:1.3}}
@media(max-width:640px){header,main,nav{padding-left:16px;padding-right:16px}header{padding-top:24px}h1{font-size:24px}}
@media(max-width:640px){.w img{max-width:max(100%,600px)}}
@media print{nav{display:none}details{border:0;padding:0}section{break-inside:auto}figure,.card{break-inside:avoid}}
"""
