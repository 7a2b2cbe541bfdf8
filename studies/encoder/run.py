"""The encoder study: the mixture, the two shipped encoders and their evaluation on data outside the mixture.

    python studies/encoder/run.py data world                       # simulated part of the mixture
    python studies/encoder/run.py data cmu_mocap CMU-MOCAP         # also: sp_sw_har, wisdm51, bandai_namco
    python studies/encoder/run.py pretrain small                   # also: base; or: small NAME key=value ...
    python studies/encoder/run.py pretrain small --with bandai_namco     # second mixture, not for shipping
    python studies/encoder/run.py validate small                   # few-shot on validation subjects of the mixture
    python studies/encoder/run.py select all                       # a candidate without SP-SW-HAR and WISDM 51
    python studies/encoder/run.py target hapt RawData              # data outside the mixture
    python studies/encoder/run.py evaluate base hapt umafall       # few-shot, frozen, ridge
    python studies/encoder/run.py zeroshot base hapt               # by the names of the activities
    python studies/encoder/run.py report
    python studies/encoder/run.py ship small base                  # copy into the package, with card and hashes

make.sh runs the steps from the recordings to the exported encoders. Finished work is kept. Every command uses one CPU
thread unless OMP_NUM_THREADS is set. results.md holds the results.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the clone, for the module that the studies share

from imu_video.errors import ConfigError
from imu_video.runtime import console
from studies.common import CONFIGS, DryRun, Steps, known, split_name

HERE = Path(__file__).resolve().parent
STUDY = Path("encoder-run")

MIXTURE: dict[str, int] = {"world": 8, "cmu_mocap": 1, "cmu_mocap_again": 1, "sp_sw_har": 1, "wisdm51": 2}
"""Data folder of the mixture -> its weight. ``again``: the same takes with other devices, tempo and size."""
SOURCES = [name for name in MIXTURE if not name.endswith("_again")]
"""Configs of the mixture."""
FURTHER: dict[str, int] = {"bandai_namco": 2}
"""Data folders of the second mixture: their licences do not allow the weights to be shipped."""
LEFT_OUT = {"sp_sw_har": "sp_sw_har_2s", "wisdm51": "wisdm51"}
"""Sources that candidates of `select` are pretrained without -> folders that they are evaluated on, all subjects."""
VALIDATION = ("sp_sw_har_2s", "wisdm51", "world")
"""Folders whose validation subjects the choice of a recipe may use."""

app = typer.Typer(
    help="The encoder study: the mixture, the two shipped encoders and their evaluation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Study = Annotated[Path, typer.Option("--study", help="Folder of data, runs, encoders and results.")]
Words = Annotated[list[str] | None, typer.Argument(help="NAME key=value ...; a changed config needs a name.")]
More = Annotated[list[str] | None, typer.Option("--with", help=f"Further folder of the mixture: {', '.join(FURTHER)}.")]


def _built(folder: Path) -> bool:
    return (folder / "index.json").is_file()


def _roots(study: Path, weights: dict[str, int]) -> str:
    """The override that names the folders of a mixture."""
    parts = ", ".join(f"{{root: {study / 'data' / one}, weight: {weight}}}" for one, weight in weights.items())
    return f"data.root=[{parts}]"


def _exported(study: Path, name: str, steps: Steps) -> Path:
    folder = study / "encoders" / name
    if not (folder / "config.json").is_file() and not steps.dry_run:
        raise ConfigError(f"no encoder {folder}", hint=f"python studies/encoder/run.py pretrain {name}")
    return folder


@app.command()
def data(
    source: Annotated[str, typer.Argument(help=f"One of: {', '.join([*SOURCES, *FURTHER])}.")],
    root: Annotated[Path | None, typer.Argument(help="Folder of the recordings; none for the simulated world.")] = None,
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Build one folder of the mixture, and of SP-SW-HAR also windows of 2 s for validation."""
    steps = Steps(dry_run=dry_run, threads=1)
    config = known(HERE / "configs", source, "data config")
    if (root is None) != (source == "world"):
        raise ConfigError(
            f"data {source}: " + ("expected the folder of the recordings" if root is None else "no folder")
        )
    where = [] if root is None else [f"dataset.root={root}"]
    builds = {source: (config, where)}
    if source == "sp_sw_har":
        two = ["window.seconds=2", "window.stride_s=0.5"]
        builds["sp_sw_har_2s"] = (config, [*where, *two])
    if source == "cmu_mocap":
        builds["cmu_mocap_again"] = (config, [*where, "dataset.randomise.seed=1"])
    for name, (file, words) in builds.items():
        if _built(study / "data" / name):
            steps.say(f"{study / 'data' / name} exists")
        else:
            steps.run("imu-video", "build", file, study / "data" / name, *words, title=f"Build {name}")


@app.command()
def pretrain(
    config: Annotated[str, typer.Argument(help="small or base.")],
    words: Words = None,
    more: More = None,
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Pretrain and export one encoder on the mixture, and calibrate its text head, unless it exists."""
    steps = Steps(dry_run=dry_run, threads=1)
    path = known(HERE / "configs", config, "encoder")
    unknown = sorted(set(more or []) - set(FURTHER))
    if unknown:
        raise ConfigError(
            f"--with {unknown[0]}: not a folder of the second mixture", hint=f"one of: {', '.join(FURTHER)}"
        )
    default = "-".join([config, *(more or [])])
    name, overrides = split_name(words or [], default)
    out, folder = study / "encoders" / name, study / "pretraining" / name
    if (out / "config.json").is_file():
        return steps.say(f"{out} exists")
    weights = MIXTURE | {one: FURTHER[one] for one in more or []}
    steps.run(
        "imu-pretrain", "launch", path, _roots(study, weights), *overrides, "--run", folder, title=f"Pretrain {name}"
    )
    exported, labelled = study / "exported" / name, [study / "data" / one for one in SOURCES]
    if not (exported / "config.json").is_file():
        steps.run("imu-pretrain", "export", folder, exported, "--checkpoint", "latest", title=f"Export {name}")
    steps.run(
        "imu-eval", "calibrate-text", exported, *labelled, "--out", out, title=f"Calibrate the text head of {name}"
    )


@app.command()
def validate(
    name: Annotated[str, typer.Argument(help="Exported encoder.")], study: Study = STUDY, dry_run: DryRun = False
) -> None:
    """Evaluate an encoder few-shot on validation subjects of the mixture: a choice uses nothing else."""
    steps = Steps(dry_run=dry_run, threads=1)
    encoder = _exported(study, name, steps)
    for folder in VALIDATION:
        file = HERE / "configs" / "eval" / f"{folder.removesuffix('_2s')}.yaml"
        steps.run(
            "imu-eval", "fewshot", encoder, study / "data" / folder, "--config", file,
            "--out", study / f"validation-{name}.jsonl", title=f"Validate {name} on {folder}",
        )  # fmt: skip


@app.command()
def select(
    candidate: Annotated[str, typer.Argument(help="A config of configs/select.")],
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Pretrain one candidate without the sources of real devices and evaluate it few-shot on all their subjects."""
    steps, at = Steps(dry_run=dry_run, threads=1), study / "selection"
    config = known(HERE / "configs" / "select", candidate, "candidate")
    encoder, run = at / "encoders" / candidate, at / "pretraining" / candidate
    if not (encoder / "config.json").is_file():
        roots = _roots(study, {one: weight for one, weight in MIXTURE.items() if one not in LEFT_OUT})
        steps.run("imu-pretrain", "launch", config, roots, "--run", run, title=f"Pretrain {candidate}")
        steps.run("imu-pretrain", "export", run, encoder, "--checkpoint", "latest", title=f"Export {candidate}")
    for source, folder in LEFT_OUT.items():
        steps.run(
            "imu-eval", "fewshot", encoder, study / "data" / folder,
            "--config", HERE / "configs" / "eval" / f"left_out_{source}.yaml",
            "--out", at / f"{candidate}.jsonl", title=f"Evaluate {candidate} on {source}",
        )  # fmt: skip


@app.command()
def target(
    dataset: Annotated[str, typer.Argument(help="A config of configs/eval that is not of the mixture.")],
    root: Annotated[Path, typer.Argument(help="Folder of the recordings.")],
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Build data outside the mixture with its shipped config."""
    steps, out = Steps(dry_run=dry_run, threads=1), study / "targets" / dataset
    known(HERE / "configs" / "eval", dataset, "target")
    if _built(out):
        return steps.say(f"{out} exists")
    clips = ["window.clip_fps=null"] if dataset == "utd_mhad" else []
    config = known(CONFIGS / "data", dataset, "data config")
    steps.run("imu-video", "build", config, out, f"dataset.root={root}", *clips, title=f"Build {dataset}")


@app.command()
def evaluate(
    name: Annotated[str, typer.Argument(help="Exported encoder.")],
    datasets: Annotated[list[str], typer.Argument(help="Data sets outside the mixture.")],
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Evaluate an encoder few-shot on data outside the mixture."""
    _evaluate(Steps(dry_run=dry_run, threads=1), study, name, datasets, "fewshot", results="results")


@app.command()
def zeroshot(
    name: Annotated[str, typer.Argument(help="Exported encoder with a text head.")],
    datasets: Annotated[list[str], typer.Argument(help="Data sets outside the mixture.")],
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Evaluate an encoder zero-shot by the names of the activities on data outside the mixture."""
    steps = Steps(dry_run=dry_run, threads=1)
    names = ["--label-map", HERE / "names.yaml"]
    _evaluate(steps, study, name, datasets, "zeroshot", "--mode", "text", *names, results="zeroshot")


def _evaluate(
    steps: Steps, study: Path, name: str, datasets: list[str], protocol: str, *options: str | Path, results: str
) -> None:
    """Run a protocol on every data set; the results of an encoder are in one file."""
    encoder = _exported(study, name, steps)
    for dataset in datasets:
        steps.run(
            "imu-eval", protocol, encoder, study / "targets" / dataset, *options,
            "--config", known(HERE / "configs" / "eval", dataset, "target"),
            "--out", study / f"{results}-{name}.jsonl", title=f"Evaluate {name} {protocol} on {dataset}",
        )  # fmt: skip


@app.command()
def report(study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Write one report of all evaluations."""
    files = sorted(study.glob("results-*.jsonl"))
    if not files:
        raise ConfigError(f"{study} holds no results", hint="python studies/encoder/run.py evaluate base hapt")
    Steps(dry_run=dry_run, threads=1).run("imu-eval", "report", *files, study / "report", title="Write the report")


@app.command()
def ship(
    names: Annotated[list[str], typer.Argument(help="small, base.")], study: Study = STUDY, dry_run: DryRun = False
) -> None:
    """Copy exported encoders into the package, with card and hashes."""
    steps = Steps(dry_run=dry_run, threads=1)
    for name in names:
        encoder, facts = _exported(study, name, steps), known(HERE, name, "description of an encoder")
        steps.python("imu_video.bundle.ship", encoder, facts, title=f"Ship {name}")


if __name__ == "__main__":
    console.run(app)
