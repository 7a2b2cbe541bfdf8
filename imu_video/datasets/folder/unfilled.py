"""Marks in a `dataset.yaml` for values that only the owner of the recordings knows; a build stops at the first one."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from imu_video.errors import ConfigError
from imu_video.runtime import documents
from imu_video.runtime.content import Unacceptable
from imu_video.runtime.yaml_nodes import compose

MARK = "TODO"
"""Value (or key) that the owner replaces; ``TODO_phone`` marks as well."""


def unfilled(text: str) -> list[tuple[int, str]]:
    """Line and key of every mark in a YAML document; none if it cannot be parsed.

    Example:
        >>> unfilled("licence: TODO\\nimu: {time: {unit: TODO}}\\nurl: TODO list\\n")
        [(1, 'licence'), (2, 'imu.time.unit')]
    """
    try:
        root = compose(text)
    except Unacceptable:
        return []  # reading the declaration gives the error
    found: list[tuple[int, str]] = []
    _walk(root, "", found)
    return found


def _walk(node: yaml.Node | None, key: str, found: list[tuple[int, str]]) -> None:
    if isinstance(node, yaml.ScalarNode):
        if re.fullmatch(rf"{MARK}(_\w+)?", node.value):
            found.append((node.start_mark.line + 1, key))
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _walk(item, f"{key}[{number}]", found)
    elif isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            _walk(name, f"{key}.{name.value}".lstrip("."), found)
            _walk(value, f"{key}.{name.value}".lstrip("."), found)


def require_filled(declaration: Path) -> None:
    """Raise an error that names the lines of a declaration that are not filled in yet.

    Raises:
        ConfigError: at least one mark.
    """
    try:
        text = documents.read_text(declaration, error=ConfigError, limit=documents.YAML_LIMIT)
    except ConfigError:
        return  # reading the declaration gives the error
    marks = unfilled(text)
    if marks:
        line, key = marks[0]
        others = ", ".join(str(number) for number, _ in marks[1:6])
        comment = text.splitlines()[line - 1].partition("#")[2].strip()
        raise ConfigError(
            f"{declaration}, line {line}: {key} is not filled in yet ({MARK})"
            + (f", and {len(marks) - 1} more: line{'s' if len(marks) > 2 else ''} {others}" if others else ""),
            hint=f"replace {MARK} in line {line}"
            + (f": {comment}" if comment else " with the value for these recordings"),
        )
