"""Content of parsed documents: limits on depth, numbers and texts, and values in messages; no parsers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from reprlib import Repr
from typing import Any

DEPTH_LIMIT = 64
"""Most levels of lists and mappings inside each other."""
TOO_DEEP = f"lists and mappings are nested deeper than {DEPTH_LIMIT} levels"
_INTEGER_LIMIT = 2**64


class Unacceptable(ValueError):
    """A fault of a document, without the name of its file.

    Args:
        message: the fault.
        line: line of a YAML document, from 1; None where it is not known.
        hint: next step, unless the reader of the document gives its own.
    """

    def __init__(self, message: str, *, line: int | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.line, self.hint = line, hint


def check_content(content: Any, *, texts: bool = True, finite: bool = True) -> None:
    """Check depth, numbers and texts of a parsed document; without recursion.

    Args:
        content: dicts, lists and scalars.
        texts: whether texts are checked too.
        finite: whether NaN and infinite numbers are refused.

    Raises:
        Unacceptable: the first fault, with its key.
    """
    level: list[Any] = [content] if isinstance(content, dict | list) else []
    if not level:
        content, level = None, [[content]]  # a document that is one scalar
    depth = 0
    while level:
        depth += 1
        if depth > DEPTH_LIMIT:
            raise Unacceptable(TOO_DEEP)
        below: list[Any] = []
        for node in level:
            if texts and type(node) is dict:
                for key in node:
                    if _fault(key):
                        raise Unacceptable(f"the key {shown(key)}: {_fault(key)}")
            for value in node.values() if type(node) is dict else node:
                kind = type(value)
                if kind is dict or kind is list:
                    below.append(value)
                elif (
                    (kind is float and finite and not math.isfinite(value))
                    or (kind is int and not -_INTEGER_LIMIT < value < _INTEGER_LIMIT)
                    or (texts and kind is str and _FORBIDDEN.search(value))
                ):
                    path = _path_to(content, value)
                    raise Unacceptable(f"key {shorten(path)!r}: {_fault(value)}" if path else _fault(value))
        level = below


_FORBIDDEN = re.compile("[\0\ud800-\udfff]")


def _fault(value: Any) -> str:
    """What is wrong with a scalar, in words; empty if nothing is."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"the number is {'not a number (NaN)' if math.isnan(value) else 'infinite'}, expected a finite one"
    if isinstance(value, int) and not -_INTEGER_LIMIT < value < _INTEGER_LIMIT:
        return f"an integer of {value.bit_length()} bits, expected at most 64"
    if isinstance(value, str) and (found := _FORBIDDEN.search(value)):
        return f"the text contains {'a NUL character' if found[0] == chr(0) else 'half of a surrogate pair'}"
    return ""


def _path_to(content: Any, wanted: Any) -> str:
    """Dotted key of the first place that holds this very object."""
    stack: list[tuple[str, Any]] = [("", content)] if isinstance(content, dict | list) else []
    while stack:
        path, node = stack.pop()
        pairs: Iterable[tuple[Any, Any]] = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in pairs:
            here = f"{path}.{key}".lstrip(".")
            if value is wanted:
                return here
            if isinstance(value, dict | list):
                stack.append((here, value))
    return ""


_repr = Repr()
_repr.maxlevel, _repr.maxlist, _repr.maxtuple, _repr.maxset = 6, 20, 20, 20
_repr.maxdict, _repr.maxstring, _repr.maxlong, _repr.maxother = 20, 200, 60, 200


def shown(value: Any) -> str:
    """A value for a message: its repr, bounded for large and deep values.

    Example:
        >>> shown([1, "two"]), len(shown("x" * 10**6))
        ("[1, 'two']", 200)
    """
    return shorten(_repr.repr(value), 400)


def shorten(text: str, most: int = 200) -> str:
    """A text of at most ``most`` characters; what is left out stands as three dots.

    Example:
        >>> shorten("a long sentence", 10)
        'a long ...'
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."
