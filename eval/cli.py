"""The command `imu-eval`: a command per registered protocol, `run`, `report`, `plan`, `list`; it parses and prints."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eval.commands import Out, Plugins, command, option, protocol_command
from eval.latency import latency
from eval.registry import ALL, protocols
from imu_video.errors import ConfigError, nearest
from imu_video.registry import load_plugin
from imu_video.runtime import console
from imu_video.runtime.command import Group, new_app

if TYPE_CHECKING:
    from eval.protocol import Protocol
    from eval.report.document import Section, Table
    from eval.results.lines import Result


class ProtocolGroup(Group):
    """Commands of the registered protocols, beside those defined in this file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # A plugin may register a protocol, so it is loaded before the name of the command is looked up.
        for word, following in pairwise([*args, ""]):
            if word == "--plugin" and following:
                load_plugin(following)
            elif word.startswith("--plugin="):
                load_plugin(word.removeprefix("--plugin="))
        if any(word.partition("=")[0] == "--plugin" for word in args):
            for name in set(protocols.names()) & {"report", *super().list_commands(ctx)}:
                raise ConfigError(f"protocol {name!r} has the name of a command", hint="register it by another name")
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        return [*protocols.names(), "report", *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name == "report":
            return report_command()
        own = super().get_command(ctx, cmd_name)
        if own is None and cmd_name in protocols.names():
            return protocol_command(cmd_name, protocols.get(cmd_name), run_protocol)
        return own


app = new_app("imu-eval", "Evaluate exported encoders on unseen subjects, placements and devices.", cls=ProtocolGroup)
app.command("latency")(latency)


def report_command() -> Any:
    """`imu-eval report`, with an option ``--NAME-folder`` for each protocol that reports on a folder."""
    hints = typing.get_type_hints(report, include_extras=True)
    parameters = [
        p.replace(annotation=hints[p.name])
        for p in inspect.signature(report).parameters.values()
        if p.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    for name in protocols.names():
        help_text = protocols.get(name).report_folder
        if help_text is not None:
            annotation = Annotated[list[Path] | None, typer.Option(f"--{name}-folder", help=help_text)]
            parameters.append(option(f"{name}_folder", annotation, None))
    return command("report", report, parameters, summary=inspect.cleandoc(report.__doc__ or ""))


def run_protocol(protocol: Protocol, out: Path, plugins: Sequence[Path]) -> None:
    """Run a protocol, append its lines to the result file, print its tables and remarks, and name the next command.

    Args:
        protocol: with its options.
        out: result file.
        plugins: files that worker processes must import as well.
    """
    if measured(protocol, out, plugins):
        console.say(f"  next: imu-eval report {out} REPORT")


def measured(protocol: Protocol, out: Path, plugins: Sequence[Path]) -> bool:
    """Run a protocol, append its lines to the result file and print its tables and remarks; False without lines."""
    from eval.protocol import Context
    from eval.report.words import CORRECTED, ONE_PRETRAINING_SEED, remarks
    from eval.results.store import append_results

    results = protocol.run(Context(out=out, plugins=plugins))
    if not results:
        return False
    number = append_results(out, results)
    _print(protocol.tables(results))
    console.say(f"{number} results appended to {out}")
    for remark in dict.fromkeys(str(m) for r in results for m in r.details.get("remarks", ())):
        console.say(f"note: {remark}")
    # In a pipe tables have no caption, which explains their marks in a terminal.
    for reason in remarks(results):
        console.say(f"note: † {reason}")
    if any(r.one_pretraining_seed for r in results):
        console.say(f"note: {ONE_PRETRAINING_SEED}")
    if any(r.decided for r in results):
        console.say(f"note: * {CORRECTED}")
    return True


def _print(tables: Sequence[Table]) -> None:
    for table in tables:
        if table.rows:
            console.table(table.columns, table.texts, title=table.caption)


@app.command("run")
def run_(
    file: Annotated[Path, typer.Argument(help="Protocol file, e.g. configs/protocols/unimts.yaml.")],
    inputs: Annotated[
        list[str], typer.Argument(help="Encoder folder where a step needs one, data folders, overrides: key=value.")
    ],
    out: Out = Path("results.jsonl"),
    step: Annotated[list[str] | None, typer.Option("--step", help="Run only this step; repeatable.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Validate and print the commands of the steps.")] = False,
    plugin: Plugins = None,
) -> None:
    """Run the steps of a published protocol and append all results to one file; interrupted steps resume.

    Config and options of every step are validated before the first one runs. An override `key=value` changes every
    step that has the key, `STEP.key=value` one step. `imu-eval list published` lists the shipped protocols.
    """
    from eval.published import inputs_of, plan, refuse_missing

    folders, overrides = inputs_of(inputs)
    calls = plan(file, folders, overrides, out=out, plugins=plugin or [], only=step or [])
    if dry_run:
        console.say(*(call.line for call in calls))
        return
    calls, skipped = refuse_missing(calls, folders)
    some = False
    for number, call in enumerate(calls, start=1):
        console.say(f"step {number} of {len(calls)}: {call.line}")
        some = measured(call.protocol, out, plugin or []) or some
    for call, reason in skipped:
        console.say(f"note: optional step {call.step.label!r} was skipped: {reason}")
    if some:
        console.say(f"  next: imu-eval report {out} REPORT")


def report(
    *,
    results: Annotated[list[Path], typer.Argument(help="Result files.")],
    out: Annotated[Path, typer.Argument(help="Folder for report.md and report.html.")],
    run: Annotated[Path | None, typer.Option("--run", help="Run folder, for the loss curve.")] = None,
    encoder: Annotated[
        Path | None, typer.Option("--encoder", help="Encoder folder or name, for feature map and failure cases.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Data folder, for feature map and sample pairs.")] = None,
    cases: Annotated[int, typer.Option("--cases", min=0, help="Number of failure cases; requires --encoder.")] = 8,
    plugin: Plugins = None,
    **folders: list[Path] | None,
) -> None:
    """Write a report as Markdown and as one self-contained HTML page with figures."""
    from eval.report.build import Extras, write_report
    from eval.report.failures import failures_section
    from eval.report.illustrate import draw
    from eval.results.store import read_results

    if encoder is not None and data is None:
        raise ConfigError("--encoder requires --data: the feature map shows its windows", hint="add --data DATA")
    read, replaced = read_results(results)
    sections: list[Section] = []
    for name, paths in folders.items():
        protocol = protocols.get(name.removesuffix("_folder"))
        sections += [section for path in paths or [] for section in protocol.folder_sections(path)]
    pictures = draw(encoder, data) if data is not None else {}
    if encoder is not None and data is not None and cases:
        sections.append(failures_section(encoder, data, most=cases))
    extras = Extras(replaced=replaced, run=run, pictures=pictures, sections=sections)
    markdown, page = write_report(read, out, extras)
    _print(_headlines(read))
    console.say(str(page), str(markdown))


def _headlines(results: Sequence[Result]) -> list[Table]:
    """Tables of every protocol whose lines are of one encoder, dataset and config; more are on the page only."""
    by_protocol: dict[str, list[Result]] = {}
    for line in results:
        by_protocol.setdefault(line.protocol, []).append(line)
    return [
        table
        for name, lines in by_protocol.items()
        if len({(r.encoder.get("weights"), r.data.get("digest"), r.config_digest) for r in lines}) == 1
        for table in protocols.get(name).tables(lines)
    ]


@app.command("fit-head")
def fit_head_(
    encoder: Annotated[
        Path, typer.Argument(help="Encoder folder, shipped name (imu-video/small), or owner/name on the hub.")
    ],
    data: Annotated[Path, typer.Argument(help="Data folder with labels, from `imu-video build`.")],
    out: Annotated[Path, typer.Option("--out", help="Head folder to write.")] = Path("head"),
    split: Annotated[list[str] | None, typer.Option("--split", help="Fit on this split; default: all splits.")] = None,
    placement: Annotated[list[str] | None, typer.Option("--placement", help="Fit on this device only.")] = None,
    classes: Annotated[list[str] | None, typer.Option("--class", help="Distinguish only these; repeatable.")] = None,
    probe: Annotated[str, typer.Option("--probe", help="Linear probe: logreg or ridge.")] = "logreg",
    desired: Annotated[
        float, typer.Option("--accuracy", help="Accuracy of accepted predictions, which sets the threshold.")
    ] = 0.9,
    plugin: Plugins = None,
) -> None:
    """Fit a classifier on an encoder's features, for `imu-video predict`."""
    for file in plugin or []:
        load_plugin(file)
    from eval.heads import fit_head, load_labelled
    from imu_video.bundle.encoder import load_encoder
    from imu_video.cli.options import writable
    from imu_video.runtime.files import is_free

    if not is_free(out):
        raise ConfigError(f"--out {out}: exists and is not empty", hint="choose another folder for the head")
    if not out.exists():
        writable(out, example="head")
    bundle = load_encoder(encoder)
    head = fit_head(bundle, load_labelled(data, split, placement), probe=probe, classes=classes, desired=desired)
    head.save(out)
    facts = head.evidence
    rows = [
        (
            name,
            f"{facts[name]['value']:.3f}",
            f"[{facts[name]['low']:.3f}, {facts[name]['high']:.3f}]" if "low" in facts[name] else "",
            facts[name]["subjects"],
        )
        for name in ("accuracy", "macro_f1")
    ]
    console.table(("metric", "value", "95 % interval", "subjects"), rows, title="on subjects left out")
    console.say(
        f"wrote {out}: {len(head.spec.classes)} classes; predictions with a probability of {head.spec.threshold:.2f} "
        f"or more are accepted: {facts['accepted_share']:.0%} of the windows"
    )
    for name in facts["left_out_classes"]:
        console.say(f"note: class {name!r} is left out: fewer than two subjects")
    if "remark" in facts:
        console.say(f"note: {facts['remark']}")
    console.say(f"  next: imu-video predict {encoder} RECORDING --head {out} --out activities.html")


@app.command("calibrate-text")
def calibrate_text_(
    encoder: Annotated[
        str, typer.Argument(help="Encoder with a text head: folder, shipped name, or owner/name on the hub.")
    ],
    data: Annotated[list[Path], typer.Argument(help="Data folders of its training mixture, with labels.")],
    out: Annotated[Path, typer.Option("--out", help="Encoder folder to write.")],
    split: Annotated[list[str] | None, typer.Option("--split", help="Validation split; default: val.")] = None,
    placement: Annotated[list[str] | None, typer.Option("--placement", help="Only windows of this device.")] = None,
    plugin: Plugins = None,
) -> None:
    """Calibrate the probabilities of zero-shot predictions by text on validation subjects of the training data."""
    for file in plugin or []:
        load_plugin(file)
    from eval.heads import load_labelled
    from eval.text_calibration import calibrate_text, described, write_calibrated
    from imu_video.bundle.encoder import load_encoder
    from imu_video.runtime.files import is_free

    if not is_free(out):
        raise ConfigError(f"--out {out}: exists and is not empty", hint="choose another folder for the encoder")
    bundle, splits = load_encoder(encoder), tuple(split or ["val"])
    bundle.text_head  # noqa: B018  refuses an encoder without one before the windows are read
    found = calibrate_text(bundle, [load_labelled(folder, splits, placement) for folder in data], splits=splits)
    write_calibrated(encoder, out, found)
    console.table(
        ("dataset", "subjects", "windows", "activities"),
        [(one.dataset, one.subjects, one.windows, len(one.activities)) for one in found.data],
        title="calibrated on",
    )
    console.say(*described(found), f"wrote {out}")
    console.say(f"  next: imu-video predict {out} RECORDING --text walking --text sitting")


@app.command("plan")
def plan_(
    difference: Annotated[float, typer.Argument(help="True difference that the study should find, e.g. 0.05.")],
    results: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Read the standard deviations from a result file of an earlier study."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="With --from: only differences of this metric.")
    ] = None,
    subject_sd: Annotated[
        float | None, typer.Option("--subject-sd", min=0, help="Standard deviation of the difference between subjects.")
    ] = None,
    seed_sd: Annotated[float, typer.Option("--seed-sd", min=0, help="Standard deviation between seeds.")] = 0.0,
    pretraining_sd: Annotated[
        float, typer.Option("--pretraining-sd", min=0, help="Standard deviation between pretraining seeds.")
    ] = 0.0,
    episode_sd: Annotated[
        float, typer.Option("--episode-sd", min=0, help="Standard deviation between episodes.")
    ] = 0.0,
    fold_sd: Annotated[float, typer.Option("--fold-sd", min=0, help="Standard deviation between folds.")] = 0.0,
    reference_sd: Annotated[
        float,
        typer.Option("--reference-sd", min=0, help="Standard deviation between pretraining seeds of the reference."),
    ] = 0.0,
    support_sd: Annotated[
        float, typer.Option("--support-sd", min=0, help="Standard deviation between subjects as support.")
    ] = 0.0,
    rest_sd: Annotated[float, typer.Option("--rest-sd", min=0, help="Remaining standard deviation.")] = 0.0,
    subjects: Annotated[list[int] | None, typer.Option("--subjects", min=2, help="Numbers of subjects to try.")] = None,
    seeds: Annotated[list[int] | None, typer.Option("--seeds", min=1, help="Numbers of seeds to try.")] = None,
    pretraining: Annotated[
        list[int] | None, typer.Option("--pretraining-seeds", min=1, help="Numbers of pretraining seeds to try.")
    ] = None,
    reference: Annotated[
        list[int] | None,
        typer.Option("--reference-seeds", min=1, help="Numbers of pretraining seeds of the reference to try."),
    ] = None,
    episodes: Annotated[list[int] | None, typer.Option("--episodes", min=1, help="Numbers of episodes to try.")] = None,
    folds: Annotated[
        list[int] | None,
        typer.Option("--folds", min=2, help="Numbers of folds of subjects to try; default: none without a deviation."),
    ] = None,
    comparisons: Annotated[int, typer.Option("--comparisons", min=1, help="Number of comparisons in the table.")] = 1,
    power: Annotated[float, typer.Option("--power", min=0.5, max=0.999, help="Desired power.")] = 0.8,
    studies: Annotated[int, typer.Option("--studies", min=20, help="Simulated studies per size.")] = 400,
) -> None:
    """Compute the power to find a difference, by numbers of subjects, seeds, pretraining seeds, episodes and folds."""
    from eval.plan import Size, measured_spread, plan
    from imu_video.metrics.significance import Spread

    if (results is None) == (subject_sd is None):
        raise ConfigError(
            "imu-eval plan requires either --from or --subject-sd",
            hint="imu-eval plan 0.05 --subject-sd 0.08, or --from results.jsonl of an earlier study",
        )
    given = {"seed": seed_sd, "episode": episode_sd, "rest": rest_sd, "pretraining": pretraining_sd, "fold": fold_sd}
    given |= {"reference": reference_sd, "support": support_sd}
    if results:
        if unused := [name for name, value in given.items() if value]:
            raise ConfigError(
                f"--{unused[0]}-sd with --from: the standard deviations are read from the result file",
                hint=f"leave out --{unused[0]}-sd, or replace --from by --subject-sd",
            )
        spread = measured_spread(results, metric)
    else:
        if metric is not None:
            raise ConfigError(f"--metric {metric} without --from: no result file is read", hint="--from results.jsonl")
        spread = Spread(subject=subject_sd or 0.0, **given)
    episodic = spread.episode > 0 or spread.support > 0
    sizes = plan(
        spread,
        difference,
        subjects=subjects or [4, 8, 15, 30],
        seeds=seeds or ([1] if episodic and spread.reference > 0 and spread.seed == 0 else [1, 3, 5]),
        pretraining=pretraining or ([1] if spread.pretraining == 0 else [3, 5]),
        reference=reference or ([1] if spread.reference == 0 else [3]),
        episodes=episodes or ([30, 100] if episodic else [1]),
        folds=folds or ([0] if spread.fold == 0 else [5, 10]),
        comparisons=comparisons,
        studies=studies,
    )
    deviations = [f"{name} {value:.3f}" for name, value in vars(spread).items() if value > 0]
    title = f"power to find {difference:+g} with {comparisons} comparisons; sd by factor: {', '.join(deviations)}"
    # Factors that are not varied have no column.
    shown = [
        (place, name)
        for place, name in enumerate(Size._fields[:-1])
        if name in ("subjects", "seeds") or len({size[place] for size in sizes}) > 1 or int(sizes[0][place] or 0) > 1
    ]
    rows = [
        (
            *(size[place] for place, _ in shown),
            "one level of a factor that varies" if size.power is None else f"{size.power:.2f}",
            "yes" if (size.power or 0.0) >= power else "",
        )
        for size in sizes
    ]
    names = {"pretraining": "pretraining seeds", "reference": "reference seeds"}
    columns = (*(names.get(name, name) for _, name in shown), "power", f"at least {power:g}")
    console.table(columns, rows, title=title)
    enough = [size for size in sizes if (size.power or 0.0) >= power]
    if enough:
        least = min(
            enough, key=lambda size: (size.subjects, size.pretraining * size.reference * size.seeds * size.episodes)
        )
        needs = ", ".join(f"{least[place]} {names.get(name, name)}" for place, name in shown)
        console.say(f"fewest subjects with power {power:g}: {needs}")
    else:
        console.say(f"no size reaches {power:g}; try: --subjects {2 * max(size.subjects for size in sizes)}")


@app.command("untrained")
def untrained(
    data: Annotated[Path, typer.Argument(help="Data folder or array folder with labels.")],
    out: Annotated[Path, typer.Argument(help="Encoder folder to write.")],
    encoder: Annotated[
        str, typer.Option("--encoder", help="Registered encoder, or YAML file of an encoder entry.")
    ] = "harood_cnn",
    split: Annotated[
        list[str] | None,
        typer.Option("--split", help="Fit the normalisation on this split; default: train if present, else all."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the weights.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing encoder folder.")] = False,
    plugin: Plugins = None,
) -> None:
    """Write an encoder with random weights for the channels of labelled data."""
    from eval.untrained import write_untrained
    from imu_video.config import read_yaml

    entry = read_yaml(encoder) if encoder.endswith((".yaml", ".yml")) else encoder
    bundle = write_untrained(data, out, encoder=entry, splits=split, seed=seed, force=force)
    spec = bundle.spec
    console.say(
        f"{out}: {bundle.encoder_config['name']} with random weights, {len(spec.channels)} channels, "
        f"{spec.rate_hz:g} Hz, windows of {spec.window_s:g} s, {bundle.feature_dim} features",
        f"  next: imu-eval fewshot {out} {data}",
    )


@app.command("list")
def list_(
    kind: Annotated[
        str | None, typer.Argument(help="protocols, probes, algorithms, selection_rules or published.")
    ] = None,
    name: Annotated[str | None, typer.Argument(help="One component: print its description and arguments.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plugin: Plugins = None,
) -> None:
    """List protocols, probes, algorithms and selection rules, built in and from plugins, or published protocols."""
    from imu_video.cli import listing

    if kind == "published":
        _list_published(name, as_json)
        return
    chosen = ALL
    if kind is not None:
        key = kind.replace("-", "_")
        key = key if key in ALL else f"{key}s"
        if key not in ALL:
            raise ConfigError(
                f"no components of kind {kind!r}{nearest(kind, ALL)}", hint=f"one of: {', '.join([*ALL, 'published'])}"
            )
        chosen = {key: ALL[key]}
    if name is not None:
        for registry in chosen.values():
            registry.get(name)  # refuses an unknown name with the nearest spelling
    parts = [p for p in listing.components(chosen) if name is None or p[2] == name]
    if as_json:
        console.say_json([listing.as_json(*part) for part in parts])
    elif name is not None:
        for _, registry, part in parts:
            console.say(*listing.description(registry, part).split("\n"))
            arguments = listing.arguments(registry, part)
            console.table(
                ("argument", "default"), [(k, v.removeprefix("=") or "required") for k, v in arguments.items()]
            )
    elif kind is None:
        console.table(("kind", "name", "summary"), [(k, part, listing.summary(r, part)) for k, r, part in parts])
    else:
        rows = [(part, listing.summary(registry, part), listing.call(registry, part)) for _, registry, part in parts]
        console.table(("name", "summary", "arguments"), rows)


def _list_published(name: str | None, as_json: bool) -> None:
    """The shipped protocol files with their summaries, or the steps of one of them."""
    from eval.published import read_protocol, shipped_configs, shipped_protocols

    files = shipped_protocols() if name is None else {name: read_protocol(Path(name))}
    if as_json:
        console.say_json([{"kind": "published", "name": n, **f.model_dump(mode="json")} for n, f in files.items()])
    elif name is None:
        console.table(("name", "summary"), [(n, f.summary) for n, f in files.items()])
        console.table(("config of one protocol", "command"), list(shipped_configs().items()))
    else:
        rows = [(s.label, s.protocol, "yes" if s.optional else "no") for s in files[name].steps]
        console.say(files[name].summary)
        console.table(("step", "protocol", "optional"), rows)


def main() -> None:
    """Entry point of the console script."""
    console.run(app)


if __name__ == "__main__":
    main()
