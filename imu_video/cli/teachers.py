"""The command `imu-video embed`: teacher features for a data folder; `imu_video.shards.features` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from imu_video.cli.options import Data, EngineName, Overrides, Plugins, Workers, load_plugins
from imu_video.errors import ConfigError
from imu_video.runtime import console
from imu_video.runtime.command import parse_part


def embed(
    data: Data,
    teacher: Annotated[
        str, typer.Argument(help="Teacher config (YAML), a registered teacher, or TEACHER:MODEL (timm:resnet18).")
    ],
    overrides: Overrides = None,
    split: Annotated[list[str] | None, typer.Option("--split", help="Embed only these splits; default: all.")] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Clips per forward pass; increase on a GPU.")
    ] = 4,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, cuda:1 ...; default: a GPU if available.")
    ] = None,
    camera: Annotated[
        str | None, typer.Option("--camera", help="Camera to use in place of the main video: depth, exo ...")
    ] = None,
    workers: Workers = 1,
    engine: EngineName = "local",
    part: Annotated[
        str | None,
        typer.Option("--part", help="Embed only part i/n of the shards, counted from 1; then run `merge DATA`."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Discard unfinished work of another version.")] = False,
    plugin: Plugins = None,
) -> None:
    """Compute the features of a frozen teacher once and store them with the shards; interrupted runs resume."""
    load_plugins(plugin)
    from imu_video.config import apply_override, read_yaml
    from imu_video.registry import teachers
    from imu_video.shards.reading.index import load_index

    is_file = Path(teacher).suffix in {".yaml", ".yml"}
    entry: dict[str, Any] = read_yaml(teacher) if is_file else teachers.stated(teacher)
    _refuse_name_of_config(teacher)
    index = load_index(data)
    for override in overrides or []:
        apply_override(entry, override)
    from imu_video.shards.features.embed import Embedding

    options: dict[str, Any] = {"splits": split, "camera": camera, "batch_size": batch_size, "device": device}
    options |= {"workers": workers, "engine": engine, "plugins": plugin or [], "force": force}
    embedding = Embedding(index, entry, **options)
    if part is not None:
        folder = embedding.part(*parse_part(part))
        console.say(f"embedded {folder}; when all parts exist: imu-video merge {data}")
        return
    cache = embedding.whole()
    console.say(f"embedded {data} with {entry.get('name')}: teachers/{cache.fingerprint}")


def _refuse_name_of_config(teacher: str) -> None:
    """Point to the shipped config whose name was given in place of the name of a registered teacher."""
    from imu_video.config import find
    from imu_video.registry import teachers

    file = f"configs/teacher/{teacher}.yaml"
    if Path(teacher).name == teacher and find(file).is_file() and teacher not in teachers.names():
        raise ConfigError(f"unknown teacher {teacher!r}; did you mean `{file}`?", hint=f"name the config: {file}")
