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
        str | None, typer.Argument(help="datasets, readers, teachers, encoders, pretrained ...; default: components.")
    ] = None,
    name: Annotated[str | None, typer.Argument(help="Name of one component: show its documentation.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    plugin: Plugins = None,
) -> None:
    """List the components that a config can name, or shipped encoders (`pretrained`); with a name all details."""
    from imu_video.cli import listing

    if kind == "pretrained":
        _list_pretrained(name, as_json)
        return
    load_plugins(plugin)
    if kind is not None and kind not in ALL and f"{kind}s" not in ALL:
        raise ConfigError(f"unknown kind of component {kind!r}{nearest(kind, [*ALL, 'pretrained'])}")
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
    elif "encoders" in chosen and name is None:
        console.table(*listing.encoder_table(chosen["encoders"]))
    elif name is not None:
        _, registry, _ = parts[0]
        console.say(*listing.description(registry, name).split("\n"), "")
        console.table(("argument", "default", "allowed"), listing.argument_rows(registry, name))
    else:
        rows = [(part, listing.summary(registry, part), listing.call(registry, part)) for _, registry, part in parts]
        console.table(("name", "description", "arguments"), rows)


def _list_pretrained(name: str | None, as_json: bool) -> None:
    """Print the encoders that are shipped inside the package, or all facts of one."""
    from dataclasses import asdict

    from imu_video.bundle.pretrained import list_pretrained

    known = {one.name: one for one in list_pretrained()}
    if name is not None and name not in known:
        raise ConfigError(f"no shipped encoder {name!r}{nearest(name, known)}", hint="imu-video list pretrained")
    chosen = [one for one in known.values() if name in (None, one.name)]
    if as_json:
        console.say_json([asdict(one) for one in chosen])
    elif name is not None:
        one = known[name]
        facts = [
            ("name", one.name),
            ("description", one.summary),
            ("parameters", f"{one.parameters:,}"),
            ("features", str(one.feature_dim)),
            ("size", f"{one.size_bytes / 1e6:.1f} MB"),
            ("licence", one.licence),
            *(("source", f"{s.name}, {s.licence}, {s.url}") for s in one.sources),
            ("trained with", one.command),
            ("weights sha256", one.sha256.get("model.safetensors", "")),
        ]
        console.table(("fact", "value"), facts)
    else:
        rows = [
            (o.name, f"{o.parameters:,}", o.feature_dim, f"{o.size_bytes / 1e6:.1f} MB", o.licence, o.summary)
            for o in chosen
        ]
        console.table(("name", "parameters", "features", "size", "licence", "description"), rows)


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
