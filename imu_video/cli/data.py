"""Commands on data folders: build, merge, split, fetch, inspect, verify; `imu_video.shards` does the work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from imu_video.cli.options import (
    Data,
    EngineName,
    Overrides,
    Plugins,
    Workers,
    load_plugins,
    show,
    size_of,
)
from imu_video.errors import ConfigError, ShardError
from imu_video.runtime import console
from imu_video.runtime.command import parse_part


def build(
    config: Annotated[Path, typer.Argument(help="Build config, for example configs/data/folder.yaml.")],
    out: Annotated[Path, typer.Argument(help="Data folder to write.")],
    overrides: Overrides = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a folder that was built from another config.")
    ] = False,
    workers: Workers = 1,
    engine: EngineName = "local",
    part: Annotated[
        str | None,
        typer.Option("--part", help="Encode only part i/n of the subjects, counted from 1; then run `merge OUT`."),
    ] = None,
    errors: Annotated[
        str | None,
        typer.Option(
            "--errors",
            help="Policy for recordings that cannot be read: raise, skip or quarantine; default: that of the config.",
        ),
    ] = None,
    hash_sources: Annotated[
        bool, typer.Option("--hash-sources", help="Record the sha256 of every source file in sources.json.")
    ] = False,
    fold: Annotated[
        str | None,
        typer.Option("--fold", help="Test on fold i/n of the subjects, counted from 1; i/loso: on the i-th subject."),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Build shards with an index from recordings; interrupted builds resume."""
    load_plugins(plugin)
    from imu_video.config import load_config
    from imu_video.shards.building.build import BuildConfig, already_built, build_part
    from imu_video.shards.building.build import build as make
    from imu_video.shards.building.sources import read_record
    from imu_video.shards.folders import summary
    from imu_video.shards.schema import SOURCES_FILE

    _refuse_declaration(config, out)
    policy = [] if errors is None else [f"errors={errors}"]
    loaded = load_config(config, BuildConfig, [*(overrides or []), *policy, *_fold(fold)])
    options: dict[str, Any] = {
        "force": force,
        "workers": workers,
        "engine": engine,
        "plugins": plugin or [],
        "hash_sources": hash_sources,
    }
    if not force:
        built = already_built(loaded, out)
        if built is not None:
            console.say(f"{out} is already built from this config: {size_of(built)}")
            show(summary.left_out(built))
            record = read_record(out) if hash_sources else None
            if record is not None and not record.hashed:
                console.say(f"note: {out / SOURCES_FILE} has no hashes; --force builds again and computes them")
            return
    if part is not None:
        folder = build_part(loaded, out, parse_part(part), **options)
        console.say(f"built {folder}; when all parts exist: imu-video merge {out}")
        return
    index = make(loaded, out, **options)
    show(summary.splits(index))
    facts = index.build
    for reason, count in facts.dropped.items():
        console.say(f"dropped {count} of {facts.windows} windows: {reason}")
    show(summary.notes(index))
    if facts.empty_recordings:
        console.say(f"{facts.empty_recordings} of {facts.recordings} recordings are shorter than a window")
    show(summary.quality(index))
    show(summary.sync(index))
    show(summary.left_out(index))
    console.say(f"built {out}: {size_of(index)}")


def merge(
    data: Annotated[list[Path], typer.Argument(help="Folder whose parts are merged, or several data folders.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Data folder to write when several folders are merged.")
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the shards instead of hard-linking them.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing data folder.")] = False,
    plugin: Plugins = None,
) -> None:
    """Merge the parts written by `build --part` or `embed --part`, or several data folders with the same axes."""
    load_plugins(plugin)
    if out is not None or len(data) > 1:
        from imu_video.shards.folders.combine import merge_folders
        from imu_video.shards.reading.index import load_index

        if out is None:
            raise ConfigError("merging several data folders requires --out", hint="imu-video merge A B --out C")
        merged = merge_folders([load_index(one) for one in data], out, copy=copy)
        console.say(f"merged {out}: {size_of(merged)}")
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
    index = merge_parts(folder, force=force)
    from imu_video.shards.folders import summary

    show(summary.left_out(index))
    console.say(f"merged {folder}: {size_of(index)}")


def split(
    data: Data,
    out: Annotated[Path, typer.Argument(help="Data folder to write.")],
    config: Annotated[Path, typer.Argument(help="YAML with `subjects` or `fractions`, or a build config's `splits`.")],
    overrides: Overrides = None,
    plugin: Plugins = None,
) -> None:
    """Re-split a data folder by subject; samples are copied unchanged and the old folder is kept."""
    load_plugins(plugin)
    from imu_video.config import apply_override, read_yaml, validate
    from imu_video.recordings.splits import SplitConfig
    from imu_video.shards.folders import summary
    from imu_video.shards.folders.combine import split_folder
    from imu_video.shards.reading.index import load_index

    raw = read_yaml(config)
    raw = raw["splits"] if isinstance(raw.get("splits"), dict) else raw
    for override in overrides or []:
        apply_override(raw, override)
    index = split_folder(load_index(data), validate(raw, SplitConfig, source=str(config)), out)
    show(summary.splits(index))
    console.say(f"split {data} into {out}: {size_of(index)}")


def fetch(
    address: Annotated[str, typer.Argument(help="s3://, gs://, http://, https:// or hf:// address of a data folder.")],
    out: Annotated[Path, typer.Argument(help="Data folder to write.")],
    plugin: Plugins = None,
) -> None:
    """Copy a data folder from an address to disk and verify its hashes; interrupted copies resume."""
    load_plugins(plugin)
    from imu_video.shards.folders.fetch import fetch as copy_from

    index = copy_from(address, out)
    console.say(f"fetched {out}: {size_of(index)}")


def inspect(
    data: Data,
    page: Annotated[Path | None, typer.Option("--html", help="Write an HTML page with samples instead.")] = None,
    recording: Annotated[
        str | None, typer.Option("--recording", help="Show this recording on the page, on one time line; needs --html.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Maximum number of samples on the page.")] = 200,
    megabytes: Annotated[float, typer.Option("--megabytes", min=0, help="Maximum size of the clips, in MB.")] = 64.0,
    split: Annotated[str | None, typer.Option("--split", help="Show only this split on the page.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed that selects the samples of the page.")] = 0,
    plugin: Plugins = None,
) -> None:
    """Show the contents of a data folder: splits, subjects, labels, rates, units, quality, teacher features."""
    load_plugins(plugin)
    from imu_video.shards.folders import summary
    from imu_video.shards.reading.index import load_index

    index = load_index(data)
    if recording is not None:
        from imu_video.browse.page import write_recording_page

        if page is None:
            raise ConfigError("--recording needs --html", hint=f"--recording {recording} --html recording.html")
        content = write_recording_page(index, recording, page)
        console.say(
            f"wrote {page}: {len(content['windows'])} windows kept, {len(content['dropped'])} dropped; "
            "open it in a browser"
        )
        return
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
        summary.left_out,
        summary.notes,
        summary.teachers,
    ):
        show(make(index))


def verify(
    data: Data,
    repair: Annotated[bool, typer.Option("--repair", help="Rebuild index.json from the shards first.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Check presence and size only, not the hashes.")] = False,
    plugin: Plugins = None,
) -> None:
    """Validate a data folder against its index: sizes, hashes, members, subjects in one split only."""
    load_plugins(plugin)
    from imu_video.shards.reading.index import load_index
    from imu_video.shards.reading.repair import repair as rebuild
    from imu_video.shards.reading.verify import verify as compare

    if repair:
        rebuilt, notes = rebuild(data)
        for note in notes:
            console.say(f"note: {note}")
        console.say(f"rebuilt {data / 'index.json'}: {size_of(rebuilt)}")
    index = load_index(data)
    found = compare(index, deep=not quick)
    problems = found.problems
    for problem in problems:
        console.say(f"problem: {problem}")
    for note in found.notes:
        console.say(f"note: {note}")
    if problems:
        raise ShardError(
            f"{data}: {len(problems)} problem{'s' * (len(problems) > 1)}, the first: {problems[0]}",
            hint="follow the hints of damaged columns and features; for damaged shards: "
            f"imu-video verify {data} --repair rebuilds the index if the shards are intact; otherwise copy them "
            "again, or build the folder again with --force; `imu-pretrain launch ... data.errors=skip` skips damaged "
            "samples",
        )
    console.say(f"{data}: OK, {size_of(index)}, digest {index.digest}")
    console.say(f"checked: {found.summary()}")


def _fold(text: str | None) -> list[str]:
    """Overrides of ``--fold i/n``.

    Raises:
        ConfigError: not of that form.
    """
    if text is None:
        return []
    match = re.fullmatch(r"(\d+)/(\d+|loso)", text)
    if match is None:
        raise ConfigError(f"--fold is {text!r}, expected i/n or i/loso", hint="--fold 1/loso")
    return [f"splits.fold={match[1]}", f"splits.folds={match[2]}"]


def _refuse_declaration(config: Path, out: Path) -> None:
    """Point to the build config of a folder of recordings whose declaration was given in its place.

    Raises:
        ConfigError: the file declares recordings.
    """
    from imu_video.config import read_yaml

    # A build config has a section `dataset` that names an adapter; in a declaration the key is the dataset's own name.
    content = read_yaml(config) if config.is_file() else {}
    if isinstance(content.get("dataset"), str) and "placements" in content:
        raise ConfigError(
            f"{config} declares recordings, and is not a build config",
            hint=f"imu-video build configs/data/folder.yaml {out} dataset.root={config.parent}",
        )
