"""Names and messages made safe for terminals, Markdown, JSON and CSV; nothing is printed or written.

Labels, subjects, file names and facts of datasets come from files of other people. On the way out such a text is shown
as its characters, whatever they are: a terminal executes no escape sequence in it, and a renderer of Markdown makes no
link, image or HTML of it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

# Letters and marks that are not drawn (default-ignorable code points); `str.isprintable` takes them for printable.
_NOT_DRAWN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def plain(text: object, *, lines: bool = False) -> str:
    """A text in which every character that is not drawn is shown as its escape: control, bidi, zero-width.

    Args:
        text: any object; its `str` is shown.
        lines: keep line breaks; otherwise they are shown as escapes, too.

    Example:
        >>> plain("walk\\x1b[2J")
        'walk\\\\x1b[2J'
        >>> plain("anna\\u202e.csv")
        'anna\\\\u202e.csv'
    """
    shown = str(text)
    if _drawn(shown):
        return shown
    return "".join(c if _drawn(c) or (lines and c == "\n") else c.encode("unicode_escape").decode() for c in shown)


def plain_json(value: Any, *, indent: int | None = None) -> str:
    """A JSON document with all characters as they are, except those that are not drawn, which are escaped.

    Example:
        >>> plain_json(["walk", "anna" + chr(0x202E)])
        '["walk", "anna\\\\u202e"]'
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "".join(c if _drawn(c) or c == "\n" else json.dumps(c)[1:-1] for c in text) if not _drawn(text) else text


def _drawn(text: str) -> bool:
    """Whether all characters are drawn or are spaces."""
    if text.isprintable():
        return _NOT_DRAWN.search(text) is None
    return len(text) == 1 and unicodedata.category(text) == "Zs"


# ------------------------------------------------------------------------------------------------------------ Markdown

# Python-Markdown knows fewer backslash escapes than CommonMark; the others are written as character references.
_SPECIAL = re.compile(r"[\\`*{}\[\]<&~$|]|(?<![^\W_])_|_(?![^\W_])")
_REFERENCES = {"<": "&lt;", "&": "&amp;", "~": "&#126;", "$": "&#36;"}
_INTERVAL = re.compile(r"\[[-+]?[\d.]+, [-+]?[\d.]+\]")
"""An interval in a report, such as ``[0.12, 0.34]``: it is no link, and stays readable without its escapes."""
_BLOCK = re.compile(r"(?P<number>\d+)(?=[.)](\s|$))|[#>=:!?^]|[-+](?![\d.])")
"""What may start a heading, a list, a quotation, a rule or an extension's block at the beginning of a line."""


def markdown(text: object) -> str:
    """A text as one line of Markdown that renders as exactly this text, also in a cell of a table.

    There is no markup of its own in the result: no link, image, HTML, code, heading or list. A complete address
    (``https://...``) stays readable; some renderers make it a link to what is shown.

    Example:
        >>> markdown("see ![x](http://h/a.png) <b>|")
        'see !\\\\[x\\\\](http://h/a.png) &lt;b>\\\\|'
        >>> markdown("macro_f1 0.812 [0.771, 0.850]")
        'macro_f1 0.812 [0.771, 0.850]'
    """
    line = plain(" ".join(str(text).split()))
    pieces, at = [], 0
    for interval in _INTERVAL.finditer(line):
        pieces += [_SPECIAL.sub(_escaped, line[at : interval.start()]), interval[0]]
        at = interval.end()
        if line[at : at + 1] in ("(", "[", ":"):  # it would be a link, or define one
            pieces[-1] = _SPECIAL.sub(_escaped, interval[0])
    escaped = "".join([*pieces, _SPECIAL.sub(_escaped, line[at:])])
    escaped = re.sub(r"#(?=#*$)", r"\\#", escaped)  # a heading drops them from its end
    start = _BLOCK.match(escaped)
    if start is None:
        return escaped
    if start["number"]:
        return f"{start['number']}\\{escaped[start.end() :]}"
    return f"&#{ord(escaped[0])};{escaped[1:]}"


def _escaped(match: re.Match[str]) -> str:
    return _REFERENCES.get(match[0], f"\\{match[0]}")


def code(text: object) -> str:
    """A text as inline code of Markdown, outside tables.

    Example:
        >>> code("a`b")
        '``a`b``'
    """
    line = plain(" ".join(str(text).split())) or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"


def code_block(text: str, language: str = "") -> str:
    """A text as a block of code of Markdown, with a fence that the text does not contain.

    Example:
        >>> print(code_block("x = 1", "python"))
        ```python
        x = 1
        ```
    """
    shown = plain(text, lines=True).rstrip("\n")
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{fence}{language}\n{shown}\n{fence}"
