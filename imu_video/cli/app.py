"""The command `imu-video`: build, embed, inspect, verify, list, doctor; it parses and prints, the rooms do the work.

Only light modules are imported at the top, so that ``--help`` is immediate.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imu_video import __version__
from imu_video.errors import ConfigError, ShardError, nearest
from imu_video.registry import ALL, load_plugin
from imu_video.runtime import console
from imu_video.runtime.logging import on_screen

if TYPE_CHECKING:
    from imu_video.shards.folders.summary import Table
    from imu_video.shards.schema import Index

app = typer.Typer(
    help="Recordings into shards, shards into teacher embeddings; then `imu-pretrain` and `imu-eval`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Plugins = Annotated[list[Path] | None, typer.Option("--plugin", help="Python file that registers your own parts.")]
Data = Annotated[Path, typer.Argument(help="Data folder, as `imu-video build` made it, or its address (s3:// ...).")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Processes at once; the result is the same.")]
EngineName = Annotated[str, typer.Option("--engine", help="local: processes here; ray: tasks of a Ray cluster.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="section.key=value, any number.")]


def _version(value: bool) -> None:
    if value:
        console.say(f"imu-video {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Recordings into shards, shards into teacher embeddings; then `imu-pretrain` and `imu-eval`."""
    context.with_resource(on_screen())


@app.command()
def build(
    config: Annotated[Path, typer.Argument(help="Build config, for example configs/data/folder.yaml.")],
    out: Annotated[Path, typer.Argument(help="Data folder to make.")],
    overrides: Overrides = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that another config built.")] = False,
    workers: Workers = 1,
    engine: EngineName = "local",
    part: Annotated[str | None, typer.Option("--part", help="Only share i/n of the people; then `merge OUT`.")] = None,
    plugin: Plugins = None,
) -> None:
    """Cut recordings into windows and write them as shards with an index; what was stopped continues."""
    _load(plugin)
    from imu_video.config import load_config
    from imu_video.shards.building.build import BuildConfig, already_built, build_part
    from imu_video.shards.building.build import build as make

    loaded = load_config(config, BuildConfig, overrides or [])
    options: dict[str, Any] = {"force": force, "workers": workers, "engine": engine, "plugins": plugin or []}
    if not force:
        built = already_built(loaded, out)
        if built is not None:
            console.say(f"{out} is already built from this config: {_size(built)}")
            return
    if part is not None:
        with _stoppable():
            folder = build_part(loaded, out, _part(part), **options)
        console.say(f"built {folder}; when all parts are there: imu-video merge {out}")
        return
    with _stoppable():
        index = make(loaded, out, **options)
    from imu_video.shards.folders import summary

    _show(summary.splits(index))
    facts = index.build
    for reason, count in facts.dropped.items():
        console.say(f"dropped {count} of {facts.windows} windows: {reason}")
    if facts.empty_recordings:
        console.say(f"{facts.empty_recordings} of {facts.recordings} recordings are shorter than a window")
    _show(summary.quality(index))
    _show(summary.sync(index))
    console.say(f"built {out}: {_size(index)}")


@app.command()
def embed(
    data: Data,
    teacher: Annotated[str, typer.Argument(help="Teacher config (YAML), or the name of a registered teacher.")],
    overrides: Overrides = None,
    split: Annotated[list[str] | None, typer.Option("--split", help="Only these splits; default all.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Clips a forward pass; a GPU likes more.")] = 4,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1 ...; a GPU where there is.")] = None,
    view: Annotated[str | None, typer.Option("--view", help="A further video of the samples: depth, exo ...")] = None,
    workers: Workers = 1,
    engine: EngineName = "local",
    part: Annotated[str | None, typer.Option("--part", help="Only share i/n of the shards; then `merge DATA`.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Throw away unfinished work of another version.")] = False,
    plugin: Plugins = None,
) -> None:
    """Compute a frozen teacher's embeddings once and keep them beside the shards."""
    _load(plugin)
    from imu_video.config import apply_override, read_yaml
    from imu_video.shards.reading.index import load_index

    index = load_index(data)
    entry: dict[str, Any] = read_yaml(teacher) if Path(teacher).suffix in {".yaml", ".yml"} else {"name": teacher}
    for override in overrides or []:
        apply_override(entry, override)
    from imu_video.shards.features.embed import Embedding

    options: dict[str, Any] = {"splits": split, "view": view, "batch_size": batch_size, "device": device}
    options |= {"workers": workers, "engine": engine, "plugins": plugin or [], "force": force}
    if part is not None:
        with _stoppable():
            folder = Embedding(index, entry, **options).part(*_part(part))
        console.say(f"embedded {folder}; when all parts are there: imu-video merge {data}")
        return
    with _stoppable():
        cache = Embedding(index, entry, **options).whole()
    console.say(f"embedded {data} with {entry.get('name')}: teachers/{cache.fingerprint}")


@app.command()
def merge(
    data: Annotated[list[Path], typer.Argument(help="OUT, of which parts are there; or two data folders and more.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder to make of several data folders.")] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy their tars; default: hard links where possible.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a data folder of that name.")] = False,
    plugin: Plugins = None,
) -> None:
    """Put together the parts that `build --part` or `embed --part` left, or several data folders of the same axes."""
    _load(plugin)
    if out is not None or len(data) > 1:
        from imu_video.shards.folders.combine import merge_folders
        from imu_video.shards.reading.index import load_index

        if out is None:
            raise ConfigError("several data folders are merged into a new one", hint="imu-video merge A B --out C")
        with _stoppable():
            merged = merge_folders([load_index(one) for one in data], out, copy=copy)
        console.say(f"merged {out}: {_size(merged)}")
        return
    from imu_video.shards.building.merge import merge_parts
    from imu_video.shards.publish import parts_folder

    (folder,) = data
    if folder.is_dir() and not parts_folder(folder).is_dir():
        from imu_video.shards.features.merge import merge_features
        from imu_video.shards.reading.index import load_index

        for cache in merge_features(load_index(folder), plugins=plugin or []):
            console.say(f"merged teachers/{cache.fingerprint}: {', '.join(cache.splits)}")
        return
    with _stoppable():
        index = merge_parts(folder, force=force)
    console.say(f"merged {folder}: {_size(index)}")


@app.command("split")
def split_(
    data: Data,
    out: Annotated[Path, typer.Argument(help="Data folder to make.")],
    config: Annotated[Path, typer.Argument(help="YAML with `subjects` or `fractions`, or a build config's `splits`.")],
    overrides: Overrides = None,
) -> None:
    """Divide the people of a data folder anew; samples are copied as they are, the old folder stays."""
    from imu_video.config import apply_override, read_yaml, validate
    from imu_video.recordings.splits import SplitConfig
    from imu_video.shards.folders import summary
    from imu_video.shards.folders.combine import split_folder
    from imu_video.shards.reading.index import load_index

    raw = read_yaml(config)
    raw = raw["splits"] if isinstance(raw.get("splits"), dict) else raw
    for override in overrides or []:
        apply_override(raw, override)
    with _stoppable():
        index = split_folder(load_index(data), validate(raw, SplitConfig, source=str(config)), out)
    _show(summary.splits(index))
    console.say(f"divided {data} into {out}: {_size(index)}")


@app.command()
def fetch(
    address: Annotated[str, typer.Argument(help="s3://, gs://, http://, https:// or hf:// address of a data folder.")],
    out: Annotated[Path, typer.Argument(help="Data folder to make.")],
) -> None:
    """Copy a data folder from an address to the disk, every hash checked; what was stopped continues."""
    from imu_video.shards.folders.fetch import fetch as bring

    with _stoppable():
        index = bring(address, out)
    console.say(f"fetched {out}: {_size(index)}")


@app.command()
def inspect(
    data: Data,
    page: Annotated[Path | None, typer.Option("--html", help="Write a page to browse samples instead.")] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Samples on the page at most.")] = 200,
    megabytes: Annotated[float, typer.Option("--megabytes", min=0, help="Of clips on the page at most.")] = 64.0,
    split: Annotated[str | None, typer.Option("--split", help="Only this split on the page.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which samples the page shows.")] = 0,
) -> None:
    """Show what a data folder holds: splits, people, labels by placement, rates, units, quality, teacher caches."""
    from imu_video.shards.folders import summary
    from imu_video.shards.reading.index import load_index

    index = load_index(data)
    if page is not None:
        from imu_video.browse.page import write_page

        shown = write_page(index, page, most=samples, megabytes=megabytes, split=split, seed=seed)
        console.say(f"wrote {page}: {shown} samples, {page.stat().st_size / 1e6:.1f} MB; open it in a browser")
        return
    for make in (
        summary.facts,
        summary.splits,
        summary.labels,
        summary.quality,
        summary.sync,
        summary.teachers,
    ):
        table = make(index)
        _show(table)


@app.command()
def verify(
    data: Data,
    repair: Annotated[bool, typer.Option("--repair", help="Rebuild index.json from the shards first.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Presence and size only, no hashes.")] = False,
) -> None:
    """Compare every shard with the index: sizes, hashes, members, people in one split only."""
    from imu_video.shards.reading import index as indices

    if repair:
        rebuilt, notes = indices.repair(data)
        for note in notes:
            console.say(f"note: {note}")
        console.say(f"rebuilt {data / 'index.json'}: {_size(rebuilt)}")
    index = indices.load_index(data)
    problems = indices.verify(index, deep=not quick)
    for problem in problems:
        console.say(f"problem: {problem}")
    if problems:
        raise ShardError(
            f"{data}: {len(problems)} problem{'s' * (len(problems) > 1)}, the first: {problems[0]}",
            hint="copy the shards again, or build the folder again with --force; `imu-pretrain launch ... "
            "data.errors=skip` leaves damaged samples out",
        )
    console.say(f"{data} is sound: {_size(index)}, digest {index.digest}")


@app.command("list")
def list_(
    kind: Annotated[
        str | None, typer.Argument(help="datasets, teachers, encoders, losses, augmentations ...; default all.")
    ] = None,
    name: Annotated[str | None, typer.Argument(help="One of them, for everything that is known of it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document for machines.")] = False,
    plugin: Plugins = None,
) -> None:
    """List components that a config can name; for one kind, with their arguments; for one dataset, all its facts."""
    from imu_video.cli import listing

    _load(plugin)
    if kind is not None and kind not in ALL and f"{kind}s" not in ALL:
        raise ConfigError(f"no components of kind {kind!r}{nearest(kind, ALL)}")
    chosen = ALL if kind is None else {kind if kind in ALL else f"{kind}s": ALL.get(kind) or ALL[f"{kind}s"]}
    parts = [p for p in listing.components(chosen) if name is None or p[2] == name]
    if name is not None and not parts:
        next(iter(chosen.values())).get(name)  # says which names there are
    if as_json:
        console.say(json.dumps([listing.as_json(*part) for part in parts], indent=2, ensure_ascii=False))
    elif kind is None:
        rows = [(what, part, listing.summary(registry, part)) for what, registry, part in parts]
        console.table(("kind", "name", "what it is"), rows)
    elif "datasets" in chosen and name is not None:
        console.table(("fact", "value"), listing.dataset_lines(listing.facts_of(chosen["datasets"], name)))
    elif "datasets" in chosen:
        console.table(*listing.dataset_table(listing.dataset_facts(chosen["datasets"])))
        if sys.stdout.isatty():
            console.say("all facts of one: imu-video list datasets NAME")
    elif name is not None:
        _, registry, _ = parts[0]
        console.say(listing.description(registry, name))
    else:
        rows = [(part, listing.summary(registry, part), listing.call(registry, part)) for _, registry, part in parts]
        console.table(("name", "what it is", "arguments"), rows)


@app.command()
def doctor() -> None:
    """Check the installation: Python, torch, devices, video decoding, optional extras, disk."""
    from imu_video.cli.doctor import BROKEN, examine

    findings = examine()
    console.table(("check", "status", "detail"), [(f.what, f.status, f.detail) for f in findings])
    broken = [f.what for f in findings if f.status == BROKEN]
    if broken:
        raise ConfigError(f"the installation has {len(broken)} broken parts: {', '.join(broken)}", hint="see above")


def main() -> None:
    """Entry point: known errors become one message and their exit code."""
    console.run(app)


# ------------------------------------------------------------------------------------------------------------ helpers


def _load(plugins: Sequence[Path] | None) -> None:
    for file in plugins or ():
        load_plugin(file)


def _part(text: str) -> tuple[int, int]:
    """i/n as numbers."""
    number, slash, of = text.partition("/")
    if not (slash and number.isdigit() and of.isdigit()):
        raise ConfigError(f"--part {text!r}: expected i/n", hint="for example --part 3/16")
    return int(number), int(of)


def _size(index: Index) -> str:
    parts = ", ".join(f"{name} {split.samples}" for name, split in index.splits.items())
    return f"{sum(split.samples for split in index.splits.values())} samples ({parts})"


def _show(table: Table) -> None:
    if not table.rows:
        return
    if not sys.stdout.isatty():
        console.say(f"# {table.title}")
    console.table(table.columns, table.rows, title=table.title)


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that temporary folders are removed."""

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    main()
