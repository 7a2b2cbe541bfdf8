"""The command `imu-eval`: fewshot, labels, zeroshot, retrieval, ood, report; it parses and prints, no more."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imu_video.errors import ConfigError, nearest
from imu_video.registry import load_plugin
from imu_video.runtime import console
from imu_video.runtime.logging import on_screen

if TYPE_CHECKING:
    from eval.config import EvalConfig
    from eval.results.store import Result
    from imu_video.shards.schema import Index

app = typer.Typer(
    help="Measure how an exported encoder carries over to people, placements and sensors it never saw.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

BASE = Path("configs/eval/base.yaml")


@app.callback()
def common(context: typer.Context) -> None:
    """Measure how an exported encoder carries over to people, placements and sensors it never saw."""
    context.with_resource(on_screen())


Encoder = Annotated[Path, typer.Argument(help="Encoder folder, from `imu-pretrain export`.")]
Data = Annotated[Path, typer.Argument(help="Data folder with labels, from `imu-video build`.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="section.key=value, any number.")]
ConfigFile = Annotated[Path, typer.Option("--config", help="Evaluation config.")]
Split = Annotated[list[str] | None, typer.Option("--split", help="Evaluate on this split; replaces the domains.")]
Placement = Annotated[list[str] | None, typer.Option("--placement", help="With --split: these devices only.")]
By = Annotated[
    list[str] | None,
    typer.Option("--by", help="With --split: one domain more for each value of this tag or placement."),
]


def _appendable(out: Path) -> Path:
    """Refuse a result file that cannot be written before hours of episodes are spent on it, and not after."""
    there = next(p for p in (out, *out.absolute().parents) if p.exists())
    if there == out and not out.is_file():
        raise ConfigError(f"--out {out}: exists and is not a file", hint="name a result file, e.g. results.jsonl")
    if there != out and not there.is_dir():
        raise ConfigError(f"--out {out}: {there} is not a folder", hint="name a result file, e.g. results.jsonl")
    if not os.access(there, os.W_OK):
        raise ConfigError(f"--out {out}: no permission to write to {there}", hint="name a file in a folder of yours")
    return out


Out = Annotated[Path, typer.Option("--out", help="Result file; lines are appended.", callback=_appendable)]
Plugins = Annotated[list[Path] | None, typer.Option("--plugin", help="Python file that registers your own parts.")]


@app.command()
def fewshot(
    encoder: Encoder,
    data: Data,
    overrides: Overrides = None,
    config: ConfigFile = BASE,
    shots: Annotated[list[int] | None, typer.Option("--shots", help="Labelled windows a class.")] = None,
    episodes: Annotated[int | None, typer.Option("--episodes", help="Episodes a domain.")] = None,
    probe: Annotated[list[str] | None, typer.Option("--probe", help="Registered probe.")] = None,
    split: Split = None,
    placement: Placement = None,
    by: By = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the episodes.")] = None,
    out: Out = Path("results.jsonl"),
    plugin: Plugins = None,
) -> None:
    """K-shot episodes with disjoint people, next to untrained, hand-crafted and supervised references."""
    _plugins(plugin)
    from eval.data.windows import load_windows
    from eval.protocols.fewshot import run_fewshot
    from eval.results.store import measure, save_counts
    from imu_video.bundle.encoder import load_encoder
    from imu_video.shards.reading.index import load_index

    index = load_index(data)
    short = {"episodes.shots": shots, "episodes.episodes": episodes, "episodes.seed": seed, "probes": probe}
    loaded = _load(config, index, short, split, placement, by, overrides)
    bundle = load_encoder(encoder)
    windows = load_windows(index, splits=loaded.splits)
    counts, remarks = run_fewshot(windows, bundle, loaded)
    shared = _shared(encoder, index, loaded)
    cells = Path(f"{out.stem}.cells") / f"{_cells_name(shared)}.npz"
    save_counts(out.parent / cells, counts)
    results = measure(counts, loaded, {**shared, "cells": cells.as_posix()}, remarks=remarks)
    _write(out, results, metric=_headline(loaded))
    for remark in remarks:
        console.say(f"note: {remark}")
    console.say(f"  next: imu-eval report {out} REPORT")


@app.command()
def labels(
    encoder: Annotated[Path, typer.Argument(help="Encoder folder, or a folder of such: one a seed.")],
    data: Data,
    overrides: Overrides = None,
    config: Annotated[Path, typer.Option("--config", help="Limited-label config.")] = Path(
        "configs/eval/limited_labels/base.yaml"
    ),
    against: Annotated[
        list[Path] | None,
        typer.Option("--against", help="Another encoder (or folder of such), for paired differences."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="In tables; default: the encoder folder's name.")] = None,
    out: Out = Path("results.jsonl"),
    plugin: Plugins = None,
) -> None:
    """K labelled windows a class from fixed people: probe, fine-tune and from scratch on the same labels and seeds.

    Finished cells are kept beside the result file: a command that was stopped goes on, and what two commands share
    (the from-scratch rows of two encoders of one architecture) is computed once.
    """
    _plugins(plugin)
    from eval.data.windows import load_windows
    from eval.protocols.limited_labels.config import LabelsConfig
    from eval.protocols.limited_labels.results import alpha_tables, labels_table, measure_labels
    from eval.protocols.limited_labels.run import LabelsRun, encoder_folders, sides_of
    from eval.protocols.limited_labels.subjects import group_people
    from eval.report import calibration_table
    from eval.results.cells import CellStore
    from eval.results.store import append_results, provenance
    from imu_video.bundle.encoder import load_encoder, read_config
    from imu_video.config import load_config
    from imu_video.shards.reading.index import load_index
    from imu_video.shards.reading.teacher_cache import cached_fingerprint, open_cache

    index = load_index(data)
    loaded = load_config(config, LabelsConfig, overrides or [])
    folders = {path: encoder_folders(path) for path in (encoder, *(against or []))}
    facts = [read_config(folder) for folder in folders[encoder]]
    cache = None
    if any(m.uses_teacher for m in loaded.methods):
        own = (facts[0]["lineage"].get("teacher") or {}).get("fingerprint")
        cache = open_cache(index, cached_fingerprint(index, loaded.teacher) if loaded.teacher else own)
    people = group_people(load_windows(index, splits=loaded.splits, teacher=cache), loaded)
    store = CellStore(out.parent / f"{out.stem}.cells" / "labels")
    cells = {}
    for path, inside in folders.items():
        run = LabelsRun(
            people=people,
            bundles=[load_encoder(folder) for folder in inside],
            weights=[str(read_config(folder)["weights_sha256"])[:12] for folder in inside],
            model=name if name and path == encoder else path.resolve().name,
            config=loaded,
            store=store,
            sides=sides_of(inside, people.windows, index),
        )
        cells[path] = run.run()
    shared = provenance(
        encoder={
            "name": name or encoder.resolve().name,
            "architecture": facts[0]["encoder"],
            "run_id": [f["lineage"].get("run_id") for f in facts],
        },
        data={"dataset": index.dataset, "digest": index.digest},
        config=loaded,
    )
    others = [c for path in against or [] for c in cells[path]]
    results = measure_labels(cells[encoder], people, loaded, shared, against=others)
    number = append_results(out, results)
    tables = [labels_table(results, metric=loaded.metrics[0], differences=differences) for differences in (False, True)]
    tables += [*alpha_tables(results, metric=loaded.metrics[0]), calibration_table(results)]
    for title, columns, rows in tables:
        if rows:
            console.table(columns, rows, title=title)
    console.say(f"{number} results appended to {out}")


@app.command()
def zeroshot(
    encoder: Encoder,
    data: Data,
    overrides: Overrides = None,
    mode: Annotated[
        str, typer.Option("--mode", help="Whose labels stand for the classes: video, source, teacher or text.")
    ] = "video",
    source: Annotated[
        Path | None, typer.Option("--source", help="With --mode source: the data folder with the labels.")
    ] = None,
    label_map: Annotated[
        Path | None,
        typer.Option("--label-map", help="With --mode source, e.g. configs/eval/label_maps/locomotion.yaml."),
    ] = None,
    probe: Annotated[list[str] | None, typer.Option("--probe", help="Registered probe (source, teacher).")] = None,
    config: ConfigFile = BASE,
    split: Split = None,
    placement: Placement = None,
    by: By = None,
    out: Out = Path("results.jsonl"),
    plugin: Plugins = None,
) -> None:
    """Classify windows of classes that no IMU window of these data stands for; four forms, four claims.

    video: prototypes of labelled videos. source: probes on the labelled IMU windows of another folder. teacher: probes
    on labelled teacher embeddings. text: prompts.
    """
    _plugins(plugin)
    from eval.protocols.zeroshot.command import check_form, run_form
    from imu_video.shards.reading.index import load_index

    check_form(mode, source, label_map)
    index = load_index(data)
    loaded = _load(config, index, {"probes": probe}, split, placement, by, overrides)
    shared = _shared(encoder, index, loaded)
    results = run_form(mode, encoder, index, loaded, shared, source=source, label_map=label_map)
    _write(out, results)


@app.command()
def retrieval(
    encoder: Encoder,
    data: Data,
    overrides: Overrides = None,
    config: ConfigFile = BASE,
    split: Split = None,
    placement: Placement = None,
    by: By = None,
    gallery: Annotated[int | None, typer.Option("--gallery", help="Pairs a gallery.")] = None,
    out: Out = Path("results.jsonl"),
    plugin: Plugins = None,
) -> None:
    """Find a window's own video among others, and the other way round: R@k and MRR."""
    _plugins(plugin)
    from eval.protocols.retrieval import run_retrieval

    more = [] if gallery is None else [f"retrieval.gallery={gallery}"]
    index, loaded, windows, model = _pair(encoder, data, config, split, placement, by, [*(overrides or []), *more])
    results = run_retrieval(windows, model, loaded, _shared(encoder, index, loaded))
    _write(out, results)


@app.command()
def ood(
    data: Annotated[list[Path], typer.Argument(help="Data folders with labels, from `imu-video build`.")],
    config: Annotated[Path, typer.Option("--config", help="Benchmark config, e.g. configs/eval/ood/hapt_person.yaml.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value, any number.")] = None,
    encoder: Annotated[list[str] | None, typer.Option("--encoder", help="NAME=FOLDER: one model more.")] = None,
    train: Annotated[
        str,
        typer.Option("--train", help="Of these encoders: all (fine-tune), head, or wise (weights between the two)."),
    ] = "all",
    folder: Annotated[Path, typer.Option("--folder", help="Where finished runs are kept.")] = Path("runs/ood"),
    out: Out = Path("results.jsonl"),
    workers: Annotated[int, typer.Option("--workers", min=0, help="Runs at a time; 0, with Ray: all its cores.")] = 1,
    engine: Annotated[str, typer.Option("--engine", help="local: processes here; ray: tasks of a cluster.")] = "local",
    part: Annotated[str, typer.Option("--part", help="i/n: this share of the runs, and no tables.")] = "0/1",
    dry: Annotated[bool, typer.Option("--dry", help="Say what it would cost, run nothing.")] = False,
    plugin: Plugins = None,
) -> None:
    """The benchmark of domain shift: algorithms and encoders on unseen people, placements, datasets, times."""
    _plugins(plugin)
    from eval.protocols.ood.command import benchmark, load, parse_part

    loaded = load(config, set_ or [], encoder or [], train)
    with_tables = benchmark(
        data,
        loaded,
        folder=folder,
        workers=workers,
        engine=engine,
        part=parse_part(part),
        dry=dry,
        plugins=[str(p) for p in plugin or []],
    )
    if with_tables is not None:
        from eval.protocols.ood.table import tables
        from eval.report import calibration_table
        from eval.results.store import append_results

        number = append_results(out, with_tables)
        for title, columns, rows in [*tables(with_tables), calibration_table(with_tables)]:
            if rows:
                console.table(columns, rows, title=title)
        console.say(f"{number} results appended to {out}")


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(help="Result files.")],
    out: Annotated[Path, typer.Argument(help="Folder for report.md and report.html.")],
    run: Annotated[Path | None, typer.Option("--run", help="Run folder, for the loss curve.")] = None,
    encoder: Annotated[Path | None, typer.Option("--encoder", help="Encoder folder, for the feature map.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Data folder, for feature map and sample pairs.")] = None,
    ood_folder: Annotated[
        list[Path] | None,
        typer.Option("--ood-folder", help="Folder of `imu-eval ood`: source validation against target accuracy."),
    ] = None,
    cases: Annotated[int, typer.Option("--cases", min=0, help="Failure cases to show; needs --encoder.")] = 8,
    plugin: Plugins = None,
) -> None:
    """Write result files as Markdown and one self-contained HTML page with plots."""
    _plugins(plugin)
    from eval.report import terminal_tables, write_report
    from eval.report.failures import failures_section
    from eval.report.illustrate import draw
    from eval.results.store import read_results

    if encoder is not None and data is None:
        raise ConfigError("--encoder needs --data: a feature map is a map of windows", hint="add --data DATA")
    read, replaced = read_results(results)
    pictures = draw(encoder, data) if data is not None else {}
    failures = None
    if encoder is not None and data is not None and cases:
        failures = failures_section(encoder, data, most=cases)
    markdown, page = write_report(
        read, out, replaced=replaced, run=run, pictures=pictures, benchmarks=ood_folder or [], cases=failures
    )
    shown = [r for r in read if r.kind.startswith("fewshot") and r.metric == "macro_f1"]
    if len({(r.encoder["weights"], r.data["digest"], r.config_digest) for r in shown}) == 1:  # else: see the page
        for title, columns, rows in terminal_tables(shown, metric="macro_f1"):
            console.table(columns, rows, title=title)
    console.say(f"{page}\n{markdown}")


# --------------------------------------------------------------------------------------------------- shared


def _load(
    path: Path,
    index: Index,
    short: dict[str, Any],
    split: Sequence[str] | None,
    placement: Sequence[str] | None,
    by: Sequence[str] | None,
    overrides: Sequence[str] | None,
) -> EvalConfig:
    """The config with the short options and then the overrides applied."""
    from eval.config import EvalConfig
    from imu_video.config import load_config

    given = [f"{key}={json.dumps(value)}" for key, value in short.items() if value]
    if short.get("episodes.seed") == 0:
        given.append("episodes.seed=0")
    if split:
        given.append(f"domains={json.dumps(make_domains(index, split, placement, by))}")
    elif placement or by:
        raise ConfigError("--placement and --by go with --split: together they replace the config's domains")
    return load_config(path, EvalConfig, [*given, *(overrides or [])])


def make_domains(
    index: Index, split: Sequence[str], placement: Sequence[str] | None, by: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Domains from the short options: everybody of the split, then one a value of each ``by``.

    Raises:
        ConfigError: a ``by`` that is neither ``placement`` nor a tag of the data.
    """
    whole: dict[str, Any] = {"name": "people", "split": list(split)}
    if placement:
        whole["placements"] = list(placement)
    out = [whole]
    for name in by or []:
        if name == "placement":
            out += [{**whole, "name": f"placement={p}", "placements": [p]} for p in placement or index.placements]
        elif name in index.tags:
            out += [{**whole, "name": f"{name}={value}", "where": {name: value}} for value in index.tags[name]]
        else:
            raise ConfigError(f"--by {name!r}: not a tag of the data{nearest(name, [*index.tags, 'placement'])}")
    return out


def _pair(
    encoder: Path,
    data: Path,
    config: Path,
    split: Sequence[str] | None,
    placement: Sequence[str] | None,
    by: Sequence[str] | None,
    overrides: Sequence[str] | None,
) -> tuple[Index, EvalConfig, Any, Any]:
    """Index, config, windows with the encoder's own teacher features, and the encoder with its projectors."""
    from eval.data.windows import load_windows
    from imu_video.models.projectors import load_pair_model
    from imu_video.shards.reading.index import load_index
    from imu_video.shards.reading.teacher_cache import open_cache

    index = load_index(data)
    loaded = _load(config, index, {}, split, placement, by, overrides)
    model, facts = load_pair_model(encoder)
    windows = load_windows(index, splits=loaded.splits, teacher=open_cache(index, facts.teacher))
    return index, loaded, windows, model


def _shared(encoder: Path, index: Index, config: EvalConfig) -> dict[str, Any]:
    from eval.results.store import provenance
    from imu_video.bundle.encoder import read_config

    facts = read_config(encoder)
    return provenance(
        encoder={
            "name": encoder.resolve().name,
            "weights": str(facts["weights_sha256"])[:12],
            "architecture": facts["encoder"],
            "run_id": facts["lineage"].get("run_id"),
        },
        data={"dataset": index.dataset, "digest": index.digest},
        config=config,
    )


def _cells_name(shared: dict[str, Any]) -> str:
    return "-".join([shared["encoder"]["weights"], shared["data"]["digest"], shared["config_digest"]])


def _write(out: Path, results: Sequence[Result], *, metric: str | None = None) -> None:
    from eval.report import calibration_table, plain_table, terminal_tables
    from eval.results.store import append_results

    number = append_results(out, results)
    plain = [plain_table(results), calibration_table(results)]
    for title, columns, rows in plain if metric is None else terminal_tables(results, metric=metric):
        if rows:
            console.table(columns, rows, title=title)
    console.say(f"{number} results appended to {out}")


def _headline(config: EvalConfig) -> str:
    return "macro_f1" if "macro_f1" in config.metrics else config.metrics[0]


def _plugins(files: Sequence[Path] | None) -> None:
    for file in files or []:
        load_plugin(file)


def main() -> None:
    """Entry point of the console script."""
    console.run(app)


if __name__ == "__main__":
    main()
