"""The command `imu-video convert`: published weights as an encoder folder; `imu_video.converters` does the work."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from imu_video.cli.options import Plugins, load_plugins
from imu_video.runtime import console


def convert(
    kind: Annotated[str, typer.Argument(help="Published network: harnet, imu2clip ...; `imu-video list converters`.")],
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint file, or folder with config.json and weights.")],
    out: Annotated[Path, typer.Argument(help="Encoder folder to write.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments of the converter: rate_hz=50 ...")] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Terms of the weights; default: those that the converter knows.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing encoder folder.")] = False,
    plugin: Plugins = None,
) -> None:
    """Convert published weights to an encoder folder and verify that it gives the same features after reloading."""
    load_plugins(plugin)
    from imu_video.config import apply_override
    from imu_video.converters import convert as write

    entry: dict[str, Any] = {"name": kind}
    for argument in arguments or []:
        apply_override(entry, argument)
    done = write(entry, checkpoint, out, licence=licence, force=force)
    console.say(
        f"converted {checkpoint} to {done.folder}: encoder {done.encoder}, {done.parameters:,} parameters, "
        f"{done.feature_dim} features"
    )
    for reason, number in Counter(done.dropped.values()).items():
        console.say(f"dropped {number} tensor{'' if number == 1 else 's'}: {reason}")
    console.say(f"licence: {done.licence}", f"redistribution: {done.redistribution}")
