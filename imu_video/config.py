"""Configs: YAML with `extends`, `${ENV}` and dotted overrides, validated by pydantic; no component is built here.

A resolved config determines a run. There is no expression language: `extends` names another file (or a list of files)
relative to the file that contains it, `${NAME}` is an environment variable (`runtime.references`), `a.b=value`
overrides one key with a YAML value. Where a component entry is expected, the path of a YAML file is replaced by its
content: ``loss=configs/loss/info_nce.yaml``. One entry may stand for a list of one: ``loss=info_nce``.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict

from imu_video.errors import ConfigError, nearest
from imu_video.runtime import documents, references
from imu_video.runtime.identity import changes, digest

__all__ = [
    "DISTINCT",
    "Config",
    "Fragment",
    "PathText",
    "apply_override",
    "changes",
    "digest",
    "dump_yaml",
    "find",
    "load_config",
    "merge",
    "read_yaml",
    "shipped",
    "validate",
]


class Config(BaseModel):
    """Base of every config section: unknown keys and infinite numbers fail, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("expected the path of a file or folder")
    if len(text) > _LONGEST_PATH or max(map(len, re.split(r"[/\\]", text))) > _LONGEST_NAME:
        raise ValueError(f"a path has at most {_LONGEST_PATH} characters, and {_LONGEST_NAME} between two slashes")
    return text


_LONGEST_PATH, _LONGEST_NAME = 4000, 255
PathText = Annotated[str, AfterValidator(_path)]
"""Path or address of a file or folder, which need not exist."""


def _distinct(names: Any) -> Any:
    if names is not None and (not names or len(set(names)) != len(names)):
        raise ValueError(f"expected one or more distinct names, or null for all, got {list(names)}")
    return names


DISTINCT = AfterValidator(_distinct)
"""For a list of names, or None: ``Annotated[list[str] | None, DISTINCT]``; an empty list or a name twice is refused."""

C = TypeVar("C", bound=BaseModel)


class Fragment:
    """Marks a type as a component entry: ``Annotated[dict[str, Any], Fragment()]`` may be the path of a YAML file."""


def load_config(path: str | Path | Sequence[str | Path], model: type[C], overrides: Sequence[str] = ()) -> C:
    """Read, resolve and validate a config file.

    Args:
        path: YAML file; of several, a later one changes the keys of an earlier one, as with `extends`.
        model: pydantic model of the whole file.
        overrides: ``section.key=value`` strings; values are YAML; list entries by index (``loss.0.weight=0.5``).

    Raises:
        ConfigError: missing file, bad YAML, unknown key (with the nearest spelling), wrong type, unset variable.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    raw: dict[str, Any] = {}
    for one in paths:
        raw = merge(raw, _read(find(one), seen=(), model=model))
    for override in overrides:
        apply_override(raw, override)
        # After each override, so that a later one may change a key of the file: encoder=mine.yaml encoder.width=64.
        raw = _fragments(raw, model, _Origin(f"override {override!r}"))
    return validate(references.settled(raw), model, source=" and ".join(map(str, paths)))


def read_yaml(path: str | Path, *, strict: bool = True) -> dict[str, Any]:
    """Read one YAML mapping with `extends` merged in and `${ENV}` replaced.

    Args:
        path: YAML file.
        strict: an environment variable that is not set is an error; otherwise its reference stays.
    """
    raw: dict[str, Any] = references.settled(_read(find(path), seen=(), strict=strict))
    return raw


def shipped() -> Path:
    """Folder of the configs that come with the package: inside the package once installed, next to it in a clone."""
    here = Path(__file__).resolve().parent
    return next((p for p in (here / "configs", here.parent / "configs") if p.is_dir()), here.parent / "configs")


def find(path: str | Path) -> Path:
    """A config file as named, else the shipped one of that name: ``configs/pretrain/base.yaml`` works anywhere."""
    given = Path(path)
    # os.path: for a path that is too long or has a NUL character, those of pathlib raise an error
    if os.path.exists(given) or given.is_absolute():
        return given
    fallback = _as_shipped(given)
    return fallback if os.path.isfile(fallback) else given


def _similar(path: Path) -> str:
    """Hint for a config that does not exist: the shipped files of a similar name, else the folder of all of them."""
    by_stem: dict[str, list[str]] = {}
    for file in sorted(shipped().rglob("*.yaml")):
        by_stem.setdefault(file.stem, []).append((Path("configs") / file.relative_to(shipped())).as_posix())
    # A stem may exist in several folders (configs/teacher/clip.yaml, configs/pretrain/...): all of them are listed.
    close = [name for stem in difflib.get_close_matches(path.stem, by_stem, n=1) for name in by_stem[stem]]
    return f"did you mean {' or '.join(close)}?" if close else f"the shipped configs are in {shipped()}"


def _as_shipped(path: Path) -> Path:
    return shipped().joinpath(*(path.parts[1:] if path.parts[:1] == ("configs",) else path.parts))


def _read(
    path: Path, seen: tuple[Path, ...], model: type[BaseModel] | None = None, *, strict: bool = True
) -> dict[str, Any]:
    try:
        raw = documents.read_yaml(path, error=ConfigError)
        resolved = Path(os.path.realpath(path))  # Path.resolve raises a RuntimeError for a link that points to itself
        if resolved in seen:
            raise ConfigError(f"{path}: `extends` forms a cycle: {' -> '.join(p.name for p in (*seen, resolved))}")
        if len(seen) >= _LONGEST_CHAIN:
            raise ConfigError(f"{path}: `extends` names a chain of more than {_LONGEST_CHAIN} files")
    except ConfigError as error:
        missing = isinstance(error.__cause__, OSError)
        raise ConfigError(f"config {error.message}", hint=_similar(path) if missing else error.hint) from error
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping of keys at the top, got {type(raw).__name__}")
    own = references.resolve(raw, str(path), strict=strict)
    parents = _parents(own.pop("extends", []), path)
    if model is not None:
        own = _fragments(own, model, _Origin(str(path), path.parent))
    merged: dict[str, Any] = {}
    for parent in parents:
        try:
            merged = merge(merged, _read(path.parent / parent, (*seen, resolved), model, strict=strict))
        except ConfigError as error:
            if seen:  # the config that was named by the user is added once, however long the chain is
                raise
            raise ConfigError(f"{path}: key 'extends': {error.message}", hint=error.hint) from error
    return merge(merged, own)


_LONGEST_CHAIN = 32


def _parents(value: Any, path: Path) -> list[str]:
    """The files that ``extends`` names."""
    named = [value] if isinstance(value, str) else value
    if not isinstance(named, list) or not all(isinstance(one, str) and one.strip() for one in named):
        raise ConfigError(
            f"{path}: key 'extends': expected the path of a file or a list of paths (got {documents.shown(value)})",
            hint="remove the key, or name a file: extends: base.yaml",
        )
    return named


@dataclass(frozen=True)
class _Origin:
    """Where a value was written: the name for errors, the folder for relative paths, the dotted key."""

    source: str
    folder: Path | None = None
    key: str = ""

    def at(self, key: str | int) -> _Origin:
        return replace(self, key=f"{self.key}.{key}" if self.key else str(key))


def _fragments(value: Any, kind: Any, origin: _Origin) -> Any:
    """A raw value in which the content of YAML files replaces their paths, where ``kind`` contains `Fragment`."""
    if _is_component(kind):
        return _fragment(value, origin)
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, UnionType):
        for option in get_args(kind):
            value = _fragments(value, option, origin)
    elif get_origin(kind) in (list, tuple):
        item = get_args(kind)[0]
        if isinstance(value, list):
            value = [_fragments(entry, item, origin.at(i)) for i, entry in enumerate(value)]
        elif isinstance(value, str | dict) and _is_component(item):
            # A list of one component may be written as that entry: its name, its mapping or the path of its file. The
            # list form is stored, so the run id is the same.
            entry = _fragments(value, item, origin)
            value = [{"name": entry} if isinstance(entry, str) else entry]
    elif isinstance(kind, type) and issubclass(kind, BaseModel) and isinstance(value, dict):
        hints = get_type_hints(kind, include_extras=True)
        value = {k: _fragments(v, hints[k], origin.at(k)) if k in hints else v for k, v in value.items()}
    return value


def _is_component(kind: Any) -> bool:
    return get_origin(kind) is Annotated and any(isinstance(mark, Fragment) for mark in get_args(kind))


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and value.endswith((".yaml", ".yml"))


def _fragment(value: Any, origin: _Origin) -> Any:
    """One component entry: a path is read; in a mapping ``extends`` names the file that the other keys change."""
    if isinstance(value, dict) and _is_file(value.get("extends")):
        changed = {k: v for k, v in value.items() if k != "extends"}
        return merge(_fragment(value["extends"], origin), changed)
    if not _is_file(value):
        return value
    beside = None if origin.folder is None else origin.folder / value
    path = beside if beside is not None and os.path.isfile(beside) else find(value)
    try:
        entry = _read(path, seen=())
        if not isinstance(entry.get("name"), str):
            raise ConfigError(f"{path} is not a component entry: it has no 'name'", hint="`imu-video list`")
        return entry
    except ConfigError as error:
        folder = path.parent if os.path.isdir(path.parent) else _as_shipped(path.parent)
        known = sorted(p.name for p in folder.glob("*.yaml") if p.is_file()) if os.path.isdir(folder) else []
        near = "" if os.path.isfile(path) or not known else nearest(path.name, known)
        raise ConfigError(
            f"{origin.source}: key {origin.key!r}: {error.message}{near}", hint=None if near else error.hint
        ) from error


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge mappings key by key; a component entry with another `name`, a list or a scalar replaces the whole value.

    Example:
        >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
        {'a': {'b': 1, 'c': 3}}
        >>> merge({"a": {"name": "x", "c": 2}}, {"a": {"name": "y"}}), merge({"a": {"c": 2}}, {"a": {"name": "y"}})
        ({'a': {'name': 'y'}}, {'a': {'c': 2, 'name': 'y'}})
    """
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        same = (
            isinstance(old, dict)
            and isinstance(value, dict)
            # An entry without a name has no other name.
            and value.get("name", old.get("name")) == old.get("name", value.get("name"))
        )
        out[key] = merge(old, value) if same and isinstance(old, dict) else value
    return out


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set one key of a raw config in place from ``a.b=value``; see `load_config`.

    Raises:
        ConfigError: not ``a.b=value``, a value that is not YAML, or a key that cannot be set.
    """
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise ConfigError(f"override {override!r}: expected section.key=value", hint="for example data.batch_size=64")
    value = documents.parse_yaml(text, f"override {override!r}", error=ConfigError)
    keys = dotted.split(".")
    node: Any = raw
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(node, list):
            if not key.isdigit() or int(key) >= len(node):
                where = ".".join(keys[:depth])
                raise ConfigError(f"override {override!r}: {where} has {len(node)} entries, index {key!r} is invalid")
            if last:
                node[int(key)] = value
            else:
                node = node[int(key)]
        elif isinstance(node, dict):
            if last:
                node[key] = value
            else:
                node = node.setdefault(key, {})
        else:
            raise ConfigError(f"override {override!r}: {'.'.join(keys[:depth])} holds {node!r}, not a section")


def validate(raw: Mapping[str, Any], model: type[C], *, source: str) -> C:
    """Validate a mapping against a model; ``source`` is named in the error.

    Raises:
        ConfigError: the first fault, with its dotted key, the value seen and what was expected.
    """
    return documents.validate(model, dict(raw), source, error=ConfigError)


def dump_yaml(config: BaseModel | Mapping[str, Any]) -> str:
    """The resolved config as YAML that `load_config` reads back unchanged; `${ENV}` stays a reference."""
    if isinstance(config, BaseModel):
        data = references.restored(config.model_dump(mode="json"), keys=True)
    else:
        data = dict(config)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
