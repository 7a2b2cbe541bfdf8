"""Configs: YAML with `extends`, `${ENV}` and dotted overrides, validated by pydantic; no component is built here.

A resolved config determines a run. There is no expression language: `extends` names another file (or a list of files)
relative to the file that contains it, `${NAME}` is an environment variable, `a.b=value` overrides one key with a YAML
value. Where a component entry is expected, the path of a YAML file is
replaced by its content: ``loss=configs/loss/info_nce.yaml``. One entry may stand for a list of one: ``loss=info_nce``.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from imu_video.errors import ConfigError, nearest, report

_ENV = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Config(BaseModel):
    """Base of every config section: unknown keys fail, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


C = TypeVar("C", bound=BaseModel)


class Fragment:
    """Marks a type as a component entry: ``Annotated[dict[str, Any], Fragment()]`` may be the path of a YAML file."""


def load_config(path: str | Path, model: type[C], overrides: Sequence[str] = ()) -> C:
    """Read, resolve and validate a config file.

    Args:
        path: YAML file.
        model: pydantic model of the whole file.
        overrides: ``section.key=value`` strings; values are YAML; list entries by index (``loss.0.weight=0.5``).

    Raises:
        ConfigError: missing file, bad YAML, unknown key (with the nearest spelling), wrong type, unset variable.
    """
    raw = _read(find(path), seen=(), model=model)
    for override in overrides:
        apply_override(raw, override)
        # After each override, so that a later one may change a key of the file: encoder=mine.yaml encoder.width=64.
        raw = _fragments(raw, model, _Origin(f"override {override!r}"))
    return validate(raw, model, source=str(path))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read one YAML mapping with `extends` merged in and `${ENV}` replaced."""
    return _read(find(path), seen=())


def _parsed(text: str, path: Path) -> Any:
    """The content of a YAML text; a key that is given twice is an error, since the parser would drop the first one."""
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        nodes, seen = [root] if root is not None else [], set()
        while nodes:
            node = nodes.pop()
            if id(node) in seen or isinstance(node, yaml.ScalarNode):
                continue
            seen.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                nodes += node.value
                continue
            lines: dict[tuple[str, str], int] = {}
            for key, value in node.value:
                nodes.append(value)
                if not isinstance(key, yaml.ScalarNode):
                    continue
                line, name = key.start_mark.line + 1, (key.tag, key.value)
                if name in lines:
                    raise ConfigError(
                        f"{path}, line {line}: the key {key.value!r} is given twice, first in line {lines[name]}",
                        hint="put the content of both under one key",
                    )
                lines[name] = line
        return None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def shipped() -> Path:
    """Folder of the configs that come with the package: inside the package once installed, next to it in a clone."""
    here = Path(__file__).resolve().parent
    return next((p for p in (here / "configs", here.parent / "configs") if p.is_dir()), here.parent / "configs")


def find(path: str | Path) -> Path:
    """A config file as named, else the shipped one of that name: ``configs/pretrain/base.yaml`` works anywhere."""
    given = Path(path)
    if given.exists() or given.is_absolute():
        return given
    fallback = _as_shipped(given)
    return fallback if fallback.is_file() else given


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


def _read(path: Path, seen: tuple[Path, ...], model: type[BaseModel] | None = None) -> dict[str, Any]:
    resolved = Path(os.path.realpath(path))  # Path.resolve raises a RuntimeError for a link that points to itself
    if resolved in seen:
        raise ConfigError(f"{path}: `extends` forms a cycle: {' -> '.join(p.name for p in (*seen, resolved))}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"config {path} is not a UTF-8 text file: {error.reason}") from error
    except OSError as error:
        raise ConfigError(f"config {path}: {error.strerror or error}", hint=_similar(path)) from error
    try:
        raw = _parsed(text, path) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping of keys at the top, got {type(raw).__name__}")
    own = _expand(raw, path)
    parents = own.pop("extends", [])
    if model is not None:
        own = _fragments(own, model, _Origin(str(path), path.parent))
    merged: dict[str, Any] = {}
    for parent in [parents] if isinstance(parents, str) else parents:
        merged = merge(merged, _read(path.parent / parent, (*seen, resolved), model))
    return merge(merged, own)


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
    path = beside if beside is not None and beside.is_file() else find(value)
    try:
        entry = _read(path, seen=())
        if not isinstance(entry.get("name"), str):
            raise ConfigError(f"{path} is not a component entry: it has no 'name'", hint="`imu-video list`")
        return entry
    except ConfigError as error:
        folder = path.parent if path.parent.is_dir() else _as_shipped(path.parent)
        known = sorted(p.name for p in folder.glob("*.yaml") if p.is_file())
        near = "" if path.is_file() or not known else nearest(path.name, known)
        raise ConfigError(
            f"{origin.source}: key {origin.key!r}: {error.message}{near}", hint=None if near else error.hint
        ) from error


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge mappings key by key; a component entry with another `name`, a list or a scalar replaces the whole value.

    Example:
        >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
        {'a': {'b': 1, 'c': 3}}
    """
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        same = (
            isinstance(old, dict) and isinstance(value, dict) and value.get("name", old.get("name")) == old.get("name")
        )
        out[key] = merge(old, value) if same and isinstance(old, dict) else value
    return out


def _expand(value: Any, path: Path) -> Any:
    if isinstance(value, dict):
        return {k: _expand(v, path) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, path) for v in value]
    if isinstance(value, str):
        for name in _ENV.findall(value):
            if name not in os.environ:
                raise ConfigError(f"{path}: environment variable {name} is not set", hint=f"export {name}=...")
        return _ENV.sub(lambda m: os.environ[m.group(1)], value)
    return value


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set one key of a raw config in place from ``a.b=value``; see `load_config`.

    Raises:
        ConfigError: not ``a.b=value``, a value that is not YAML, or a key that cannot be set.
    """
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise ConfigError(f"override {override!r}: expected section.key=value", hint="for example data.batch_size=64")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not valid YAML") from error
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
    try:
        return model.model_validate(dict(raw))
    except ValidationError as error:
        # A misspelt key is both unknown and missing; the unknown spelling is the useful half of that.
        faults = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        first, *others = (_config_error(fault, model, source) for fault in faults)
        if others:
            with suppress(ConfigError):
                report(first, *others)
        raise first from error


def _config_error(fault: Any, model: type[BaseModel], source: str) -> ConfigError:
    """One fault that pydantic found, in words."""
    loc = tuple(str(p) for p in fault["loc"])
    key = ".".join(loc)
    if fault["type"] == "extra_forbidden":
        return ConfigError(
            f"{source}: unknown key {key!r}{nearest(loc[-1], _fields_at(model, loc[:-1]))}",
            hint=_in_section(model, loc),
        )
    if fault["type"] == "missing":
        return ConfigError(f"{source}: key {key!r} is missing")
    where, value = f"key {key!r}: " if key else "", fault.get("input")
    # A check of several keys receives the whole section; printing it would obscure the message.
    got = "" if fault["type"] == "value_error" and isinstance(value, Mapping) else f" (got {value!r})"
    if fault["type"] in ("tuple_type", "list_type") and isinstance(value, str | Mapping):
        return ConfigError(
            f"{source}: {where}expected a list{got}", hint=f"write a list, also for one entry: '{key}=[...]'"
        )
    hint = None
    if fault["type"] == "string_type" and (value is None or isinstance(value, int | float | date)):
        # YAML has its own idea of null, on, no, 01 and 2024-05-06; as a name they need quotation marks
        hint = "put texts that YAML reads as another type in quotation marks: '01', 'null', 'on', '2024-05-06'"
    return ConfigError(f"{source}: {where}{fault['msg'].removeprefix('Value error, ')}{got}", hint=hint)


def _in_section(model: type[BaseModel], loc: tuple[str, ...]) -> str | None:
    """Hint for a key of a section that was written without its section: ``lr`` for ``optim.lr``."""
    if len(loc) != 1:
        return None
    sections = [name for name in model.model_fields if name not in loc and loc[0] in _fields_at(model, (name,))]
    return f"write the section too: {' or '.join(f'{name}.{loc[0]}' for name in sections)}" if sections else None


def _fields_at(model: type[BaseModel], loc: Iterable[str]) -> list[str]:
    current: Any = model
    for part in loc:
        field = getattr(current, "model_fields", {}).get(part)
        if field is None:
            continue  # list index or union branch
        options = [field.annotation, *getattr(field.annotation, "__args__", ())]
        current = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
    return list(getattr(current, "model_fields", {}))


def dump_yaml(config: BaseModel | Mapping[str, Any]) -> str:
    """The resolved config as YAML that `load_config` reads back unchanged."""
    data = config.model_dump(mode="json") if isinstance(config, BaseModel) else dict(config)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


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
