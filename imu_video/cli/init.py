"""The command `imu-video init`: propose a `dataset.yaml`; `imu_video.datasets.proposal` finds the evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imu_video.cli.options import Plugins, load_plugins
from imu_video.runtime import console


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of IMU files, videos and labels.")],
    to_stdout: Annotated[
        bool, typer.Option("--print", help="Print the proposal instead of writing FOLDER/dataset.yaml.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Propose a dataset.yaml for a folder of files; guesses are marked, unknown values are TODO."""
    load_plugins(plugin)
    from imu_video.datasets.proposal import propose, write_proposal

    if to_stdout:
        console.say(*propose(folder).text.rstrip("\n").split("\n"))
        return
    path, proposal = write_proposal(folder)
    number = proposal.recordings
    console.say(f"wrote {path}: {number} recording{'' if number == 1 else 's'}")
    for line, key in proposal.marks:
        console.say(f"to fill in, line {line}: {key}")
    if proposal.unused:
        console.say(f"not used: {len(proposal.unused)} files, for example {proposal.unused[0]}")
    console.say(
        f"next: edit {path}, then `imu-video check {folder}` and "
        f"`imu-video build configs/data/folder.yaml DATA dataset.root={folder}`"
    )
