"""The command `export-bids`: recordings of a dataset as a BIDS-Motion dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imu_video.cli.options import Overrides, Plugins, load_plugins
from imu_video.runtime import console


def export_bids(
    config: Annotated[Path, typer.Argument(help="Build config whose dataset is exported; its windows are not used.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; it must not exist.")],
    overrides: Overrides = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the dataset; default: of the folder.")] = None,
    task: Annotated[
        str, typer.Option("--task", help="Activity of the subjects, for the BIDS entity `task`.")
    ] = "activities",
    licence: Annotated[
        str | None, typer.Option("--licence", help="Licence of the export; default: that of the dataset.")
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option("--subject", help="Export only this subject; repeatable.")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Write recordings as a BIDS-Motion dataset: devices, labels and tags, without videos and skeletons."""
    load_plugins(plugin)
    from imu_video.config import load_config
    from imu_video.readers import write_bids
    from imu_video.registry import datasets
    from imu_video.shards.building.build import BuildConfig

    loaded = load_config(config, BuildConfig, overrides or [])
    dataset = datasets.build(loaded.dataset, seed=loaded.seed)
    count = write_bids(
        dataset.recordings(subject),
        out,
        name=name or out.name,
        task=task,
        licence=licence or dataset.licence,
    )
    console.say(f"exported {out}: {count} recordings")
