"""Phrases that stay out of README, docs, help texts, error and log messages; docs/develop/style.md has the rules.

The list is an aid, not the goal: it catches the most frequent phrases that readers stumbled over.
"""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Pattern -> what to write.
PHRASES = {
    r"\banew\b": "again",
    r"\bnobody\b": "no subject",
    r"\b(?:windows|samples|shots?|labels?|updates?|episodes?|frames|clips|batches|steps) an? (?:second|class|tar|shard|"
    r"domain|window|person|subject|step|recording)\b": "per",
    r"\bcould not be had\b|\b(?:is|are) to be had\b": "could not be loaded",
    r"\bnot at hand\b|\bnone was at hand\b": "not available",
    r"\b(?:people|subjects|persons?) (?:who|that) (?:is|are) asked\b": "test subjects",
    r"\bpeople asked\b|\bis asked about\b": "test subjects",
    r"\bexplains itself\b": "self-describing",
    r"\bwhole road\b": "whole pipeline",
    r"\b(?:trains?|trained|training) along\b": "trained jointly",
    r"\bcarr(?:y|ies) over to\b": "transfers to",
    r"\bby the clock on the wall\b": "wall-clock time",
    r"\bwithout a word\b": "silently",
    r"\bput (?:it |them |the saved values )?back\b": "restore",
    r"\blooks? at (?:a |the |no )?(?:teachers?|skeletons?|clips?|videos?)\b": "uses",
    r"\bpairs that are none\b": "mismatched pairs",
    r"\bwhat (?:was|is) stopped\b": "interrupted work",
    r"\bpictures share\b|\bshares? no space\b": "joint embedding space",
    r"\bone space with\b": "joint embedding space",
    r"\b(?:says|tells) (?:everything|who|which|what)\b": "states",
    r"\bfor ever\b": "permanently",
}


def forbidden(text: str) -> list[str]:
    flat = re.sub(r"\s+", " ", text)
    found = ((pattern, match) for pattern in PHRASES for match in re.finditer(pattern, flat, re.IGNORECASE))
    return [
        f"{flat[max(0, match.start() - 30) : match.end() + 30]!r}: write {PHRASES[pattern]!r}"
        for pattern, match in found
    ]


def pages() -> list[Path]:
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "studies").rglob("*.md")]
    return sorted(path for path in found if path.name != "style.md")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pages(page: Path) -> None:
    assert forbidden(page.read_text(encoding="utf-8")) == []


def commands(command: Any, name: str) -> Iterator[tuple[str, str]]:
    yield name, command.help or ""
    for parameter in command.params:
        yield f"{name} {parameter.name}", getattr(parameter, "help", None) or ""
    for child in getattr(command, "commands", {}).values():
        yield from commands(child, f"{name} {child.name}")


def test_help_texts() -> None:
    import typer

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    found = []
    for name, target in scripts.items():
        app = typer.main.get_command(importlib.import_module(target.partition(":")[0]).app)
        found += [f"{where}: {line}" for where, text in commands(app, name) for line in forbidden(text)]
    assert found == []


def messages(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Texts of raised errors and of log calls, placeholders left out."""
    for node in ast.walk(tree):
        call = node.exc if isinstance(node, ast.Raise) else node
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if isinstance(node, ast.Raise) or name in ("debug", "info", "warning", "error") or name.endswith("Error"):
            for part in (*call.args, *(keyword.value for keyword in call.keywords)):
                strings = [n.value for n in ast.walk(part) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
                yield call.lineno, "".join(strings)


@pytest.mark.parametrize("package", ["imu_video", "pretrain", "eval"])
def test_messages(package: str) -> None:
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        for line, text in messages(ast.parse(path.read_text(encoding="utf-8"))):
            found += [f"{path.relative_to(ROOT)}:{line}: {hit}" for hit in forbidden(text)]
    assert found == []


def test_the_list_finds_what_it_names() -> None:
    """The examples of the style rules, as they were."""
    for text in ("ten windows a second", "drawn anew", "nobody of it is there", "teacher 'x' could not be had"):
        assert forbidden(text), text
    for text in ("ten windows per second", "a new second window", "loaded again", "a class of labels", "a tar"):
        assert not forbidden(text), text
