"""Options and helpers that several commands of `imu-video` share; no commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imu_video.errors import ConfigError
from imu_video.registry import load_plugin
from imu_video.runtime import console

if TYPE_CHECKING:
    from imu_video.shards.folders.summary import Table
    from imu_video.shards.schema import Index

Plugins = Annotated[list[Path] | None, typer.Option("--plugin", help="Python file that registers your own components.")]
Data = Annotated[Path, typer.Argument(help="Data folder written by `imu-video build`, or its address (s3:// ...).")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Parallel processes; does not change the result.")]
EngineName = Annotated[
    str, typer.Option("--engine", help="local: processes on this machine; ray: tasks of a Ray cluster.")
]
Overrides = Annotated[list[str] | None, typer.Argument(help="Config overrides: section.key=value ...")]


def load_plugins(plugins: Sequence[Path] | None) -> None:
    """Import the Python files that register components of the user."""
    for file in plugins or ():
        load_plugin(file)


def writable(out: Path, *, example: str) -> Path:
    """A file to write, checked before hours are spent on its content.

    Args:
        out: value of ``--out``.
        example: name of such a file, for the hint.

    Raises:
        ConfigError: a folder, a path below a file, or no permission.
    """
    existing = next(p for p in (out, *out.absolute().parents) if p.exists())
    if existing == out and not out.is_file():
        raise ConfigError(f"--out {out}: exists and is not a file", hint=f"name a file, e.g. --out {example}")
    if existing != out and not existing.is_dir():
        raise ConfigError(f"--out {out}: {existing} is not a folder", hint=f"name a file, e.g. --out {example}")
    if not os.access(existing, os.W_OK):
        raise ConfigError(f"--out {out}: no permission to write to {existing}", hint="name a file in a writable folder")
    return out


def size_of(index: Index) -> str:
    """Number of samples of a data folder and of each split, as text."""
    parts = ", ".join(f"{name} {split.samples}" for name, split in index.splits.items())
    return f"{sum(split.samples for split in index.splits.values())} samples ({parts})"


def show(table: Table) -> None:
    """Print a table unless it is empty; in a pipe its title is a comment line."""
    if not table.rows:
        return
    if not sys.stdout.isatty():
        console.say(f"# {table.title}")
    console.table(table.columns, table.rows, title=table.title)
