"""Published protocols: files that list commands of `imu-eval` as steps; planned and validated here, run in cli.py.

    summary: Linear probe and retrieval of Example et al. 2026.
    steps:
      probe: {protocol: labels, config: {extends: configs/eval/limited_labels/base.yaml, labels: [100]}}
      retrieval: {protocol: retrieval, options: {gallery: 32}, optional: true}

``imu-eval run FILE ENCODER DATA`` runs the steps in order and appends their lines to one result file. A step of a
protocol that evaluates one data folder runs once for each folder of the command line. A file that `extends` another one
changes its steps by their names.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, model_validator

from eval.commands import protocol_command
from eval.data.array_declaration import DECLARATION
from eval.options import need_folders
from eval.protocol import Protocol
from eval.registry import protocols
from imu_video.bundle.folder import CONFIG, WEIGHTS
from imu_video.config import Config, PathText, find, load_config, merge, read_yaml, shipped, validate
from imu_video.errors import ConfigError, nearest
from imu_video.runtime import documents
from imu_video.shards.schema import INDEX_FILE

FOLDER = Path("configs/protocols")
"""Folder of the shipped files, as their names are written on the command line."""
_OVERRIDE = re.compile(r"(?P<head>[A-Za-z_]\w*)(?:\.(?P<rest>\w+(?:\.\w+)*))?=(?P<value>.*)", re.DOTALL)
_GIVEN = {"encoder": "ENCODER", "data": "DATA"}
"""Arguments of a protocol that the command line of `imu-eval run` gives."""
_RESERVED = {"config": "config", "overrides": "config", "set_": "config", "out": None, "plugin": None}
"""Arguments that are not options of a step -> the key of the step to use instead."""


class Step(Config):
    """One command of `imu-eval`.

    Args:
        protocol: registered protocol.
        name: name in messages and overrides; default: that of the protocol.
        config: config file of the protocol, or several if its ``--config`` may be repeated; or a mapping of its keys,
            in which ``extends`` names the file or files that the other keys change. Files are looked up beside the
            protocol file, then among the shipped ones.
        options: further arguments of the protocol, named as in its constructor.
        optional: whether the step is skipped, with a message, where encoder or data lack something that it needs.
    """

    protocol: str
    name: str = Field(default="", pattern=r"^([a-z][a-z0-9_]*)?$")
    config: PathText | list[PathText] | dict[str, Any] | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    optional: bool = False

    @property
    def label(self) -> str:
        """Name in messages and overrides."""
        return self.name or self.protocol


class ProtocolFile(Config):
    """A published protocol.

    Args:
        summary: one line for `imu-eval list published`: system, paper, what is measured.
        steps: run in order; a mapping of names to steps, or a list of steps.
    """

    summary: str = Field(min_length=1)
    steps: list[Step] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and isinstance(data.get("steps"), Mapping):
            steps = [{"name": n, **s} if isinstance(s, Mapping) else s for n, s in data["steps"].items()]
            return {**data, "steps": steps}
        return data

    @model_validator(mode="after")
    def _distinct(self) -> ProtocolFile:
        labels = [step.label for step in self.steps]
        if len(set(labels)) != len(labels):
            raise ValueError(f"steps must have distinct names, got {labels}; add `name` to each")
        return self


@dataclass(frozen=True, kw_only=True)
class Call:
    """A step on its inputs.

    Args:
        step: the step.
        words: the command line after ``imu-eval``.
        protocol: built from ``words``.
    """

    step: Step
    words: tuple[str, ...]
    protocol: Protocol

    @property
    def line(self) -> str:
        """The command that does the same."""
        return shlex.join(["imu-eval", *self.words])


def read_protocol(path: Path) -> ProtocolFile:
    """A protocol file.

    Raises:
        ConfigError: a missing file, the config of a single protocol, or an invalid key.
    """
    raw = read_yaml(path)
    if "steps" not in raw:
        first = find(path).read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()
        raise ConfigError(
            f"{path}: no key 'steps'; it is not a published protocol but perhaps the config of one command",
            hint=first if first.startswith("imu-eval ") else "imu-eval list published",
        )
    file = validate(raw, ProtocolFile, source=str(path))
    for number, step in enumerate(file.steps):
        if step.protocol not in protocols.names():
            raise ConfigError(
                f"{path}: key 'steps.{number}.protocol': no protocol {step.protocol!r}"
                f"{nearest(step.protocol, protocols.names())}",
                hint="imu-eval list protocols; those of a plugin need --plugin FILE.py",
            )
    return file


def shipped_protocols() -> dict[str, ProtocolFile]:
    """The shipped protocol files by their name on the command line, sorted."""
    return {(FOLDER / p.name).as_posix(): read_protocol(p) for p in sorted((shipped() / FOLDER.name).glob("*.yaml"))}


def shipped_configs() -> dict[str, str]:
    """The configs of single protocols beside the protocol files: name -> command of the first line."""
    out = {}
    for path in sorted((shipped() / FOLDER.name).glob("*/*.yaml")):
        first = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()
        out[(FOLDER / path.parent.name / path.name).as_posix()] = first
    return out


def inputs_of(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Folders and overrides among the words of a command line.

    Example:
        >>> inputs_of(["encoders/mine", "data/hapt", "labels.seeds=[0]", "./a=b"])
        (['encoders/mine', 'data/hapt', './a=b'], ['labels.seeds=[0]'])
    """
    overrides = [word for word in words if _OVERRIDE.fullmatch(word)]
    return [word for word in words if word not in overrides], overrides


def plan(
    path: Path,
    folders: Sequence[str],
    overrides: Sequence[str] = (),
    *,
    out: Path,
    plugins: Sequence[Path] = (),
    only: Sequence[str] = (),
) -> list[Call]:
    """Every command of a protocol file, with config and options validated.

    Args:
        path: protocol file.
        folders: the encoder, if a step needs one, then the data folders.
        overrides: ``key=value`` changes the config, or an option, of every step that has the key;
            ``STEP.key=value`` that of one step.
        out: result file.
        plugins: plugin files, already loaded.
        only: names of the steps to plan; none for all.

    Raises:
        ConfigError: the first fault of any step, or a folder of another kind, before anything runs.
    """
    file = read_protocol(path)
    labels = [step.label for step in file.steps]
    for name in only:
        if name not in labels:
            raise ConfigError(f"--step {name}: no such step in {path}{nearest(name, labels)}")
    steps = [_Planner(step, path, several=len(labels) > 1) for step in file.steps if not only or step.label in only]
    needy = [step.step.label for step in steps if "encoder" in step.positional]
    if len(folders) < (2 if needy else 1):
        expected = "ENCODER and DATA" if needy else "DATA"
        why = f" (step {needy[0]!r} evaluates an encoder)" if needy else ""
        raise ConfigError(
            f"{path}: expected {expected}{why}, got {' '.join(folders) or 'no folder'}",
            hint=f"imu-eval run {path} {'ENCODER DATA' if needy else 'DATA'}",
        )
    _share(overrides, steps, labels, path)
    encoder, data = (folders[0], folders[1:]) if needy else (None, list(folders))
    _refuse_swapped(encoder, data, path)
    return [call for step in steps for call in step.calls(encoder, data, out, plugins)]


def _refuse_swapped(encoder: str | None, data: Sequence[str], path: Path) -> None:
    """Refuse an encoder folder in the place of data, and the reverse; folders that do not exist are not looked at.

    Raises:
        ConfigError: the first of them.
    """
    usage = f"imu-eval run {path} {'DATA' if encoder is None else 'ENCODER DATA'}"
    why = "; no step takes an encoder" if encoder is None else ""
    for folder in data:
        if _holds(folder, CONFIG) and _holds(folder, WEIGHTS) and not _is_data(folder):
            raise ConfigError(f"{path}: expected a data folder, got {folder}, an encoder folder{why}", hint=usage)
    if encoder is not None and _is_data(encoder) and not _holds(encoder, WEIGHTS):
        raise ConfigError(f"{path}: expected an encoder folder, got {encoder}, a data folder", hint=usage)


def _is_data(folder: str) -> bool:
    return _holds(folder, INDEX_FILE) or _holds(folder, DECLARATION)


def _holds(folder: str, name: str) -> bool:
    return os.path.isfile(os.path.join(folder, name))


def _share(overrides: Sequence[str], steps: Sequence[_Planner], labels: Sequence[str], path: Path) -> None:
    """Give every override to the steps that it names, or that have its key.

    Raises:
        ConfigError: an override that no step takes.
    """
    for text in overrides:
        match = _OVERRIDE.fullmatch(text)
        if match is None:
            raise ConfigError(f"override {text!r}: expected key=value", hint="for example seeds=[0]")
        head, rest = match["head"], match["rest"]
        # `labels.seeds=[0]` is for the step `labels`, `labels=[1]` for every step with the key `labels`.
        one = head in labels and rest is not None
        named = [step for step in steps if not one or step.step.label == head]
        override = f"{rest}={match['value']}" if one else text
        # Every step takes what it can, so the list is complete before `any` stops at its first true value.
        taken = [step.take(override) for step in named]
        if named and not any(taken):
            known = sorted({key for step in named for key in step.keys})
            key = override.partition("=")[0].partition(".")[0]
            what = f"step {head!r} of {path} has no such key" if one else f"no step of {path} has the key"
            raise ConfigError(f"override {text!r}: {what}{nearest(key, known)}", hint="--dry-run prints the commands")


class _Planner:
    """Turns one step into command lines.

    Args:
        step: of the file.
        path: of the file.
        several: whether the file has several steps.
    """

    def __init__(self, step: Step, path: Path, *, several: bool) -> None:
        self.step, self.path, self.several = step, path, several
        self.kind: type[Protocol] = protocols.get(step.protocol)
        self.command = protocol_command(step.protocol, self.kind, lambda protocol, out, plugins: protocol)
        arguments = {p.name: p for p in self.command.params if p.name != "help"}
        self.positional = {n: p for n, p in arguments.items() if p.param_type_name == "argument"}
        self.options = {n: p for n, p in arguments.items() if n not in self.positional and n not in _RESERVED}
        self.configurable = {"config", "overrides", "set_"} & set(arguments)
        self.values = dict(step.options)
        self.config, self.changes = self._config(arguments)
        for name in self.values:
            if name in _RESERVED or (name in _GIVEN and name in self.positional):
                raise self._error(f"{name!r} is not an option of a step", hint=self._instead(name))
            if name not in self.options and name not in self.positional:
                raise self._error(f"no option {name!r}{nearest(name, [*self.options, *self.positional])}")
        for name in self.positional:
            if name not in {*_GIVEN, *_RESERVED, *self.values} and self.positional[name].required:
                raise self._error(
                    f"argument {name!r} of protocol {step.protocol!r} is required", hint="add it to options"
                )

    @property
    def keys(self) -> set[str]:
        """Keys that an override may name."""
        return set(self._fields) | set(self.options)

    @property
    def _fields(self) -> set[str]:
        known = self.kind.Config is not None and bool(self.configurable)
        return set(self.kind.Config.model_fields) if known and self.kind.Config is not None else set()

    def take(self, override: str) -> bool:
        """Apply an override if this step has its key."""
        key, _, text = override.partition("=")
        if key.partition(".")[0] in self._fields:
            self.changes.append(override)
        elif key in self.options:
            self.values[key] = _value(text, override)
        else:
            return False
        return True

    def calls(self, encoder: str | None, data: Sequence[str], out: Path, plugins: Sequence[Path]) -> list[Call]:
        """One call for all data folders where the protocol takes several, otherwise one for each."""
        place = self.positional.get("data")
        if place is None or place.nargs != 1:
            return [self._call(encoder, data, out, plugins)]
        return [self._call(encoder, [folder], out, plugins) for folder in data]

    def _call(self, encoder: str | None, data: Sequence[str], out: Path, plugins: Sequence[Path]) -> Call:
        values = dict(self.values)
        if "folder" in self.options and "folder" not in values:
            # Each step has its own folder of finished runs beside the results, so that an interrupted one resumes.
            values["folder"] = str(out.parent / f"{out.stem}.cells" / self.step.label)
        words = [self.step.protocol]
        for name in self.positional:
            if name == "encoder":
                words += [encoder] if encoder is not None else []
            elif name == "data":
                words += data
            elif name in values:
                words += _listed(values[name])
        words += [word for file in self.config for word in ("--config", file)]
        if self.changes and "overrides" in self.configurable:
            words += self.changes
        else:
            words += [word for change in self.changes for word in ("--set", change)]
        for name, value in values.items():
            if name in self.options:
                words += self._option(name, value)
        words += ["--out", str(out), *(word for plugin in plugins for word in ("--plugin", str(plugin)))]
        with self._named():
            protocol = self._built(words)
            if self.kind.Config is not None and self.config:
                load_config(self.config, self.kind.Config, self.changes)
            protocol.check()
        return Call(step=self.step, words=tuple(words), protocol=protocol)

    def _option(self, name: str, value: Any) -> list[str]:
        flag = self.options[name].opts[0]
        if isinstance(value, bool) and self.options[name].is_flag:
            return [flag] if value else list(self.options[name].secondary_opts[:1])
        return [word for one in _listed(value) for word in (flag, one)]

    def _built(self, words: Sequence[str]) -> Protocol:
        """The protocol of a command line, as its own command would build it."""
        try:
            built: Protocol = self.command.main(list(words[1:]), standalone_mode=False)
        except Exception as error:
            # The parser's own class of errors depends on the version of typer.
            if not hasattr(error, "format_message"):
                raise
            # Not every version of the parser states the value, so the command line that contains it is added.
            raise ConfigError(f"{error.format_message()} (in: {shlex.join(['imu-eval', *words])})") from error
        return built

    def _config(self, arguments: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """Config files, and overrides for the keys that the step states itself."""
        given = self.step.config
        if given is None:
            return [], []
        if "config" not in arguments:
            raise self._error(f"protocol {self.step.protocol!r} has no config", hint="remove the key 'config'")
        own = dict(given) if isinstance(given, dict) else {}
        base = own.pop("extends", arguments["config"].default) if isinstance(given, dict) else given
        if base is None:
            raise self._error("a config without `extends`", hint="name a file: config: {extends: FILE.yaml, ...}")
        named = base if isinstance(base, list) else [base]
        if not named or not all(isinstance(file, str | Path) for file in named):
            raise self._error(f"config.extends: expected the path of a file, got {base!r}")
        files = [self._beside(str(file)) for file in named]
        if len(files) > 1 and not arguments["config"].multiple:
            raise self._error(f"protocol {self.step.protocol!r} has one config file, got {len(files)}")
        merged: dict[str, Any] = {}
        with self._named():
            for file in files:
                merged = merge(merged, read_yaml(file))
        merged = merge(merged, own)
        changes = [f"{key}={_text(merged[key])}" for key in own]
        if changes and not {"overrides", "set_"} & set(arguments):
            raise self._error(f"protocol {self.step.protocol!r} has no overrides", hint="name a config file instead")
        return files, changes

    def _beside(self, name: str) -> str:
        beside = find(self.path).parent / name
        return str(beside) if os.path.isfile(beside) else name

    def _instead(self, name: str) -> str | None:
        if name in _GIVEN:
            return f"it is given on the command line: imu-eval run {self.path} ... {_GIVEN[name]}"
        key = _RESERVED[name]
        return "it is given on the command line" if key is None else f"use the key {key!r} of the step"

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name file and step in every error of a config."""
        try:
            yield
        except ConfigError as error:
            raise self._error(error.message, hint=error.hint) from error

    def _error(self, message: str, *, hint: str | None = None) -> ConfigError:
        return ConfigError(f"{self.path}: step {self.step.label!r}: {message}", hint=hint)


def refuse_missing(calls: Sequence[Call], folders: Sequence[str]) -> tuple[list[Call], list[tuple[Call, str]]]:
    """The calls whose inputs have what they need, and the optional ones that lack something, with the reason.

    Args:
        calls: from `plan`.
        folders: encoder and data folders of the command line.

    Raises:
        ConfigError: a folder that does not exist, a step that is not optional and lacks something, or no step is left.
    """
    need_folders([Path(folder) for folder in folders])
    able, skipped = [], []
    for call in calls:
        reason = call.protocol.lacks()
        if reason is None:
            able.append(call)
        elif call.step.optional:
            skipped.append((call, reason))
        else:
            raise ConfigError(f"step {call.step.label!r}: {reason}", hint="run only the other steps: --step NAME")
    if not able:
        call, reason = skipped[0]
        raise ConfigError(f"every step would be skipped; step {call.step.label!r}: {reason}")
    return able, skipped


def _value(text: str, override: str) -> Any:
    """The YAML value of an override of an option.

    Raises:
        ConfigError: not YAML.
    """
    return documents.parse_yaml(text, f"override {override!r}", error=ConfigError)


def _listed(value: Any) -> list[str]:
    return [str(one) for one in (value if isinstance(value, list) else [value]) if one is not None]


def _text(value: Any) -> str:
    """A value as YAML on one line."""
    # Not JSON: YAML reads its 1e-06 as text.
    text: str = yaml.safe_dump(value, default_flow_style=True, width=math.inf, sort_keys=False, allow_unicode=True)
    return text.removesuffix("...\n").strip()
