"""Identity of configs and descriptions: digests of canonical JSON and differences in words; no files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel


def digest(data: BaseModel | Mapping[str, Any] | Sequence[Any], *, length: int = 12) -> str:
    """Hash of the canonical JSON of a config or description.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    plain = data.model_dump(mode="json") if isinstance(data, BaseModel) else data
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]


def changes(before: Any, now: Any, path: str = "") -> list[str]:
    """Differences between two JSON values in words, one per changed key; long texts and hashes are not quoted.

    Example:
        >>> changes({"imu": {"x": "ax", "y": "ay"}, "rate": 50}, {"imu": {"x": "ay", "y": "ay"}, "unit": "g"})
        ["imu.x: 'ax' -> 'ay'", 'rate: removed', 'unit: added']
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        found: list[str] = []
        for key in (*before, *(key for key in now if key not in before)):
            where = f"{path}.{key}" if path else str(key)
            if key not in now or key not in before:
                found.append(f"{where}: {'added' if key in now else 'removed'}")
            else:
                found += changes(before[key], now[key], where)
        return found
    if isinstance(before, list | tuple) and isinstance(now, list | tuple) and len(before) == len(now):
        return [line for i, pair in enumerate(zip(before, now, strict=True)) for line in changes(*pair, f"{path}.{i}")]
    if before == now:
        return []
    texts = [repr(value) for value in (before, now)]
    if max(map(len, texts)) > _LONGEST_VALUE:
        return [f"{path}: changed"]
    return [f"{path}: {texts[0]} -> {texts[1]}"]


_LONGEST_VALUE = 40
"""Longest value that `changes` quotes, in characters: a hash does not help a reader."""
