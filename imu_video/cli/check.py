"""The command `imu-video check`: faults of a folder of recordings, or its changes since a data folder was built."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imu_video.cli.options import Overrides, Plugins, load_plugins, show
from imu_video.errors import ConfigError
from imu_video.runtime import console


def check(
    folder: Annotated[Path, typer.Argument(help="Folder of recordings, or a data folder with --against.")],
    config: Annotated[
        Path | None,
        typer.Argument(help="Build config whose windows and splits are checked; default: windows of 4 s, no splits."),
    ] = None,
    overrides: Overrides = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", help="Compare these recordings with those that the data folder was built from."),
    ] = None,
    dataset: Annotated[
        str, typer.Option("--dataset", help="Dataset adapter of the folder: `imu-video list datasets`.")
    ] = "folder",
    quick: Annotated[
        bool, typer.Option("--quick", help="Read tables and headers of videos, but decode no frames.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plugin: Plugins = None,
) -> None:
    """List all faults of a folder of recordings without writing anything; the exit code is 1 if there are any."""
    load_plugins(plugin)
    from imu_video.config import load_config
    from imu_video.shards.building.build import BuildConfig
    from imu_video.shards.building.check import check_against, check_recordings
    from imu_video.shards.folders.summary import Table
    from imu_video.shards.schema import INDEX_FILE

    notes: tuple[str, ...] = ()
    if against is not None:
        from imu_video.shards.reading.index import load_index

        index = load_index(folder)
        entry = dict(index.build.config.get("dataset", {}))
        if "root" not in entry:
            raise ConfigError(
                f"{folder} was not built from a folder of files (dataset {entry.get('name', index.dataset)!r})",
                hint="--against compares the folder of recordings of datasets with an argument `root`",
            )
        faults = tuple(check_against(index, {**entry, "root": str(against)}))
        done = f"{against}: the recordings that {folder} was built from"
    else:
        if (folder / INDEX_FILE).is_file():
            raise ConfigError(
                f"{folder} is a data folder, not a folder of recordings",
                hint=f"imu-video verify {folder}, or compare it: imu-video check {folder} --against RECORDINGS",
            )
        if config is not None:
            loaded = load_config(config, BuildConfig, [*(overrides or []), f"dataset.root={folder}"])
        else:
            window = {"seconds": 4.0, "stride_s": 2.0, "clip_fps": 3, "clip_size": 224}
            loaded = BuildConfig.model_validate({"dataset": {"name": dataset, "root": str(folder)}, "window": window})
        report = check_recordings(loaded, splits=config is not None, quick=quick, progress=not as_json)
        faults, notes = report.faults, report.notes
        done = f"{folder}: {report.recordings} recordings without a fault" + (
            "" if quick else f", {report.windows} windows"
        )
    if as_json:
        content = {"faults": [fault.model_dump() for fault in faults], "notes": notes}
        console.say_json(content)
    else:
        rows = tuple((fault.file, fault.what, fault.hint) for fault in faults)
        for note in notes:
            console.say(f"note: {note}")
        what = "differences" if against is not None else "faults"
        show(Table(title=f"{what} ({len(rows)})", columns=("file", "what", "try"), rows=rows))
        if not (rows and against is not None):
            console.say(done)
    if faults:
        raise typer.Exit(1)
