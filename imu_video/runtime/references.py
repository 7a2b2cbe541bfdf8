"""Environment variables in configs: `${NAME}` is used as its value, and stored and printed as the reference.

A value may be a secret or a path of this machine. Every module that stores a config passes it through `restored`, and
everything printed passes through `masked`. Both replace the values of the variables that a config of this process has
named; other variables are unknown here.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from imu_video.errors import ConfigError, ImuVideoError

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SHORTEST, _SHORTEST_PATH = 6, 4
"""Shorter values are words such as `val` or numbers: they are no secrets, and replacing them would garble messages."""
_PROTECTED = re.compile(r".*\$\{\w+\}.* \(value ([0-9a-f]{12})\)", re.DOTALL)
_ROUNDS = 100_000

_values: dict[str, str] = {}
_named: dict[str, str] = {}
_keys: dict[str, dict[str, str]] = {}


class Referenced(str):
    """A resolved text of a config that remembers how it was written."""

    __slots__ = ("written",)
    written: str


def resolve(value: Any, where: str, *, strict: bool = True, error: type[ImuVideoError] = ConfigError) -> Any:
    """A raw config with the values of its references; texts that had one are `Referenced`.

    Args:
        value: mappings, lists and texts.
        where: file, for the error.
        strict: a variable that is not set is an error; otherwise its reference stays.
        error: class of the error.

    Raises:
        ImuVideoError: of class ``error``: a variable is not set.

    Example:
        >>> os.environ["RECORDINGS"] = "/mnt/recordings"
        >>> root = resolve("${RECORDINGS}/2024", "build.yaml")
        >>> str(root), root.written
        ('/mnt/recordings/2024', '${RECORDINGS}/2024')
    """
    if isinstance(value, Mapping):
        return {key: resolve(item, where, strict=strict, error=error) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [resolve(item, where, strict=strict, error=error) for item in value]
    if not isinstance(value, str) or "${" not in value:
        return value

    def inserted(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if found is None:
            if strict:
                raise error(f"{where}: environment variable {match[1]} is not set", hint=f"export {match[1]}=...")
            return match[0]
        _remember(found, match[0])
        _named[match[1]] = found
        return found

    text = Referenced(_REFERENCE.sub(inserted, value))
    text.written = value
    return text if text != value else value


def settled(value: Any, key: str = "") -> Any:
    """A resolved config as plain JSON values; the keys that had references are remembered for `restored`.

    Args:
        value: from `resolve`, merged and overridden.
        key: dotted key of the value.
    """
    if isinstance(value, Mapping):
        return {name: settled(item, _below(key, name)) for name, item in value.items()}
    if isinstance(value, list):
        return [settled(item, _below(key, number)) for number, item in enumerate(value)]
    if isinstance(value, Referenced):
        _keys.setdefault(key, {})[str(value)] = value.written
        return str(value)
    return value


def reread(value: Any) -> Any:
    """What `restored` stored, with the values of the variables that a config of this process has named.

    Other references stay: a document of a stranger must not read the environment.
    """
    if isinstance(value, Mapping):
        return {key: reread(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [reread(item) for item in value]
    return _REFERENCE.sub(lambda match: _named.get(match[1], match[0]), value) if isinstance(value, str) else value


def restored(value: Any, *, keys: bool = False, key: str = "") -> Any:
    """JSON values in which the values of environment variables are replaced by their references.

    Args:
        value: a config, description or text.
        keys: ``value`` is a whole config: a key that had a reference gets it back, also for numbers and short words.
        key: dotted key of the value.
    """
    if isinstance(value, Mapping):
        return {name: restored(item, keys=keys, key=_below(key, name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [restored(item, keys=keys, key=_below(key, number)) for number, item in enumerate(value)]
    if keys:
        for resolved, written in _keys.get(key, {}).items():
            if _equal(value, resolved):
                return written
    return _replaced(value) if isinstance(value, str) else value


def masked(text: str) -> str:
    """A text to print: references in place of their values, and addresses without passwords and signatures.

    Example:
        >>> masked("https://anna:hunter2@host/data?X-Amz-Signature=0a1b&part=1")
        'https://***@host/data?X-Amz-Signature=***&part=1'
    """
    text = _replaced(text)
    if "://" not in text:
        return text
    return _QUERY.sub(r"\1***", _USER.sub(r"\1***@", text))


_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@'\"<>]*@", re.IGNORECASE)
_QUERY = re.compile(
    r"([?&;](?:[\w-]*(?:signature|credential|token|secret|password|passwd|apikey|api_key|access_key|accesskeyid)"
    r"|sig|key|pwd)=)[^\s&;'\"<>]+",
    re.IGNORECASE,
)


def command_line(words: Sequence[str]) -> str:
    """A command to publish beside its results: `masked`, and without the folders above the working folder.

    Args:
        words: the program and its arguments.

    Example:
        >>> command_line(["imu-eval", "fewshot", "/home/anna/encoder", "data", "--out=/tmp/results.jsonl"])
        'imu-eval fewshot .../encoder data --out=.../results.jsonl'
    """
    return masked(" ".join(_portable(word) for word in words))


def _portable(word: str) -> str:
    key, equals, value = word.rpartition("=")
    path = Path(value)
    if not (path.is_absolute() or value.startswith("~")):
        return word
    here = Path.cwd()
    shown = str(path.relative_to(here)) if path.is_relative_to(here) else f".../{path.name}"
    return f"{key}{equals}{shown}"


def protected(identity: Mapping[str, Any], *, keep: Collection[str] = ()) -> dict[str, Any]:
    """An identity with references in place of values; each states a fingerprint, so that another value is noticed.

    The fingerprint is a slow hash: a long random secret cannot be recovered from it, a guessable word can.

    Args:
        identity: dotted keys and values.
        keep: keys that are stored as they are.
    """
    return {key: value if key in keep else _protected(value) for key, value in identity.items()}


def same(saved: Any, now: Any) -> bool:
    """Whether two values of identities are equal, each of them `protected` or not.

    Example:
        >>> os.environ["WEIGHTS"] = "/mnt/weights"
        >>> weights = settled(resolve("${WEIGHTS}", "run.yaml"))
        >>> saved = protected({"encoder.weights": weights})["encoder.weights"]
        >>> saved.startswith("${WEIGHTS} (value "), same(saved, weights), same(saved, "/mnt/other")
        (True, True, False)
    """
    if isinstance(saved, list | tuple) and isinstance(now, list | tuple):
        return len(saved) == len(now) and all(map(same, saved, now))
    if isinstance(saved, Mapping) and isinstance(now, Mapping):
        return set(saved) == set(now) and all(same(saved[key], now[key]) for key in saved)
    if saved == now or not (isinstance(saved, str) and isinstance(now, str)):
        return bool(saved == now)
    marks = [_PROTECTED.fullmatch(text) for text in (saved, now)]
    if not any(marks):
        return False
    a, b = (mark[1] if mark else _fingerprint(text) for mark, text in zip(marks, (saved, now), strict=True))
    return a == b


def _protected(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _protected(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_protected(item) for item in value]
    if not isinstance(value, str):
        return value
    shown = _replaced(value)
    return value if shown == value else f"{shown} (value {_fingerprint(value)})"


@functools.lru_cache(maxsize=256)
def _fingerprint(value: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", value.encode(errors="surrogateescape"), b"imu-video", _ROUNDS).hex()[:12]


def _remember(value: str, reference: str) -> None:
    """Note a value in every form in which it may be printed or stored."""
    for form in (
        value,
        value.rstrip("/\\"),
        repr(value)[1:-1],
        json.dumps(value)[1:-1],
        quote(value),
        quote(value, ""),
    ):
        if len(form) >= (_SHORTEST_PATH if form[:1] == "/" else _SHORTEST):
            _values.setdefault(form, reference)


def _replaced(text: str) -> str:
    if not _values:
        return text
    # Longer values first: one may contain another.
    for value in sorted(_values, key=len, reverse=True):
        if value in text:
            text = text.replace(value, _values[value])
    return text


def _equal(value: Any, resolved: str) -> bool:
    if isinstance(value, bool):
        return resolved.lower() == str(value).lower()
    if isinstance(value, int | float):
        try:
            return float(resolved) == value
        except ValueError:
            return False
    return bool(value == resolved)


def _below(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)
