"""Every node of the JSON files of a data folder, changed in every way of a list; counts of right outcomes.

In contrast to `mutate`, which draws damage by seed, the edits here are complete: each value, key and list entry is
deleted, replaced by each of `VALUES`, nested deeply, given twice, and sorted.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.faults.mutate import DEEP, places

VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, 0.5, 1e308, "", "x", "../../etc/passwd", "é", [], {}, [None],
    [[]], {"a": 1}, [1, 2], "x" * 5000,
)  # fmt: skip
LITERALS = (
    "NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP,
    "[" * DEEP, '{"a":1,"a":2}', '"\\ud800"', '"\\u0000"', "undefined",
)  # fmt: skip
_MARK = "@@HERE@@"


def edits(document: Any, *, every: int = 1) -> Iterator[tuple[str, bytes]]:
    """Name and text of every edit of a document, or of every ``every``-th one."""
    number = 0
    for place in range(len(places(document))):
        for name, make in _ways():
            number += 1
            if number % every:
                continue
            changed = copy.deepcopy(document)
            box, key = places(changed)[place]
            yield f"{name} at {key!r}", make(changed, box, key)


def _ways() -> Iterator[tuple[str, Callable[[Any, Any, Any], bytes]]]:
    yield "deleted", _deleted
    yield "listed", _listed
    yield "given twice", _twice
    yield "sorted", _sorted
    for value in VALUES:
        yield f"{str(value)[:12]}", lambda document, box, key, value=value: _set(document, box, key, value)
    for literal in LITERALS:
        yield f"{literal[:12]}", lambda document, box, key, literal=literal: _literal(document, box, key, literal)


def _text(document: Any) -> bytes:
    return json.dumps(document).encode()


def _set(document: Any, box: Any, key: Any, value: Any) -> bytes:
    box[key] = value
    return _text(document)


def _literal(document: Any, box: Any, key: Any, literal: str) -> bytes:
    box[key] = _MARK
    return json.dumps(document).replace(f'"{_MARK}"', literal, 1).encode()


def _deleted(document: Any, box: Any, key: Any) -> bytes:
    del box[key]
    return _text(document)


def _listed(document: Any, box: Any, key: Any) -> bytes:
    """A list for an object and an object for a list."""
    old = box[key]
    if isinstance(old, dict):
        box[key] = list(old.values())
    elif isinstance(old, list):
        box[key] = {str(i): value for i, value in enumerate(old)}
    else:
        box[key] = [old]
    return _text(document)


def _twice(document: Any, box: Any, key: Any) -> bytes:
    """An entry of a list, or a key of an object, a second time."""
    if isinstance(box, list):
        box.insert(key, copy.deepcopy(box[key]))
        return _text(document)
    box[_MARK] = copy.deepcopy(box[key])
    return json.dumps(document).replace(json.dumps(_MARK), json.dumps(key), 1).encode()


def _sorted(document: Any, box: Any, key: Any) -> bytes:
    """The keys of an object, or the entries of a list, in the reverse order."""
    old = box[key]
    if isinstance(old, dict):
        box[key] = dict(reversed(old.items()))
    elif isinstance(old, list):
        box[key] = old[::-1]
    return _text(document)
