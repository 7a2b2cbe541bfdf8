"""The commands `imu-video list` and `imu-video doctor`: components and installation; no data is read."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from imu_video.cli.options import Plugins, load_plugins
from imu_video.errors import ConfigError, nearest
from imu_video.registry import ALL
from imu_video.runtime import console


def list_(
    kind: Annotated[
        str | None, typer.Argument(help="datasets, readers, teachers, encoders, losses ...; default: all.")
    ] = None,
    name: Annotated[str | None, typer.Argument(help="Name of one component: show its documentation.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    plugin: Plugins = None,
) -> None:
    """List the components that a config can name; with a kind also their arguments, with a name all details."""
    from imu_video.cli import listing

    load_plugins(plugin)
    if kind is not None and kind not in ALL and f"{kind}s" not in ALL:
        raise ConfigError(f"unknown kind of component {kind!r}{nearest(kind, ALL)}")
    chosen = ALL if kind is None else {kind if kind in ALL else f"{kind}s": ALL.get(kind) or ALL[f"{kind}s"]}
    parts = [p for p in listing.components(chosen) if name is None or p[2] == name]
    if name is not None and not parts:
        next(iter(chosen.values())).get(name)  # raises an error with the known names
    if as_json:
        console.say_json([listing.as_json(*part) for part in parts])
    elif kind is None:
        rows = [(what, part, listing.summary(registry, part)) for what, registry, part in parts]
        console.table(("kind", "name", "description"), rows)
    elif "readers" in chosen:
        from imu_video.cli.reader_page import reader_lines, reader_table

        if name is None:
            console.table(*reader_table(chosen["readers"]))
        else:
            console.table(("fact", "value"), reader_lines(chosen["readers"], name))
    elif "datasets" in chosen and name is not None:
        console.table(("fact", "value"), listing.dataset_lines(listing.facts_of(chosen["datasets"], name)))
    elif "datasets" in chosen:
        console.table(*listing.dataset_table(listing.dataset_facts(chosen["datasets"])))
        if sys.stdout.isatty():
            console.say("all details of one dataset: imu-video list datasets NAME")
    elif name is not None:
        _, registry, _ = parts[0]
        console.say(*listing.description(registry, name).split("\n"), "")
        console.table(("argument", "default", "allowed"), listing.argument_rows(registry, name))
    else:
        rows = [(part, listing.summary(registry, part), listing.call(registry, part)) for _, registry, part in parts]
        console.table(("name", "description", "arguments"), rows)


def doctor() -> None:
    """Check the installation: Python, torch, devices, video decoding, optional packages, disk space."""
    from imu_video.cli.doctor import BROKEN, examine

    findings = examine()
    console.table(("check", "status", "detail"), [(f.what, f.status, f.detail) for f in findings])
    broken = [f.what for f in findings if f.status == BROKEN]
    if broken:
        raise ConfigError(
            f"{len(broken)} checks of the installation failed: {', '.join(broken)}",
            hint="the table above names the cause of each",
        )
