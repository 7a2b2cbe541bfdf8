"""Places of pydantic's faults in a document: names of union branches removed; the wording is in documents.py."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def placed(faults: Iterable[Mapping[str, Any]], content: Any) -> list[dict[str, Any]]:
    """Faults whose places are keys of the document.

    For a value that fits no branch of a union, pydantic reports the faults of every branch, each with a name of the
    branch in its place (``root.tuple[Folder, ...].1.weight``). Only the faults of the branch that accepts most of the
    value are kept, without that name.

    Args:
        faults: ``ValidationError.errors()``.
        content: the document.

    Example:
        >>> from pydantic import TypeAdapter, ValidationError
        >>> content = {"rows": [1, "x"]}
        >>> try:
        ...     TypeAdapter(dict[str, str | list[int]]).validate_python(content)
        ... except ValidationError as error:
        ...     [fault["loc"] for fault in placed(error.errors(), content)]
        [('rows', 1)]
    """
    kept = [dict(fault) for fault in faults]
    while unions := _unions(kept, content):
        for place, branches in unions.items():
            deepest = {
                name: max(_known((*place, *fault["loc"][len(place) + 1 :]), content) for fault in found)
                for name, found in branches.items()
            }
            best = [found for name, found in branches.items() if deepest[name] == max(deepest.values())]
            chosen = [id(fault) for found in best for fault in found]
            others = [id(fault) for found in branches.values() for fault in found]
            kept = [fault for fault in kept if id(fault) not in others or id(fault) in chosen]
            for found in best:
                for fault in found:
                    fault["loc"] = (*place, *fault["loc"][len(place) + 1 :])
    return kept


_Branches = dict[tuple[Any, ...], dict[Any, list[dict[str, Any]]]]


def _unions(faults: Sequence[dict[str, Any]], content: Any) -> _Branches:
    """Places of unions with the faults of each branch by its name."""
    found: _Branches = defaultdict(lambda: defaultdict(list))
    for fault in faults:
        loc, known = fault["loc"], _known(fault["loc"], content)
        absent = fault["type"] in ("missing", "extra_forbidden")  # the last part is a key, and not one of the document
        if known < len(loc) - absent:
            found[loc[:known]][loc[known]].append(fault)
    # One name alone may be a key that a validator adds to the document.
    return {place: dict(branches) for place, branches in found.items() if len(branches) > 1}


def _known(loc: Sequence[Any], content: Any) -> int:
    """Number of leading parts of a place that are keys or indices of the document."""
    for depth, part in enumerate(loc):
        inside = isinstance(content, Mapping) and part in content
        if not inside and not (isinstance(content, list | tuple) and isinstance(part, int) and part < len(content)):
            return depth
        content = content[part]
    return len(loc)
