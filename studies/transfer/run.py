"""The transfer study: motion-capture encoders on real sensors, and the benchmark of domain shift.

    python studies/transfer/run.py data umafall CSV-FOLDER          # also: hapt, sp_sw_har, berkeley_mhad, daphnet
    python studies/transfer/run.py data bandai_namco BVH-FOLDER     # pretraining data; also: utd_mhad
    python studies/transfer/run.py encoder imu_video                # pretrain and export a row of configs/rows
    python studies/transfer/run.py encoder imu_video_sigmoid permuted data.control=permuted_pairs    # a changed row
    python studies/transfer/run.py few hapt imu_video_sigmoid       # few-shot; also: umafall, daphnet
    python studies/transfer/run.py scratch hapt_person              # ERM and fifteen algorithms on fresh networks
    python studies/transfer/run.py pretrained hapt_person imu_video simclr_imu    # fine-tuned (all) and frozen (head)
    python studies/transfer/run.py both umafall_position comodo coral mmd         # algorithms on a frozen encoder
    python studies/transfer/run.py report                           # one report per table of results

Finished work is kept. Every command uses one CPU thread unless OMP_NUM_THREADS is set. results.md holds the results.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the clone, for the module that the studies share

from imu_video.config import read_yaml
from imu_video.errors import ConfigError
from imu_video.runtime import console
from studies.common import CONFIGS, DryRun, Steps, known, split_name

HERE = Path(__file__).resolve().parent / "configs"
STUDY = Path("ood-run")

DATA = {
    "hapt_person": ("hapt",),
    "hapt_umafall": ("hapt20", "umafall"),
    "umafall_position": ("umafall",),
    "umafall_time": ("umafall",),
    "sp_sw_pocket_to_wrist": ("sp_sw_har",),
    "berkeley_position": ("berkeley_mhad",),
    "daphnet_patients": ("daphnet",),
}
"""Scenario -> its data folders."""

WINDOWS: dict[str, dict[str, list[str]]] = {
    "hapt": {
        "hapt": ["window.seconds=2.56", "window.stride_s=1.28"],
        "hapt20": ["window.seconds=5", "window.stride_s=2.5", "window.rate_hz=20"],
    },
    "utd_mhad": {
        "utd": [
            "window.mode=sliding",
            "window.seconds=2.56",
            "window.stride_s=0.64",
            "window.clip_fps=null",
            "splits.subjects={train: [s1, s2, s3, s4, s5, s6, s8], val: [s7]}",
        ]
    },
    "bandai_namco": {
        "bandai": [
            "window.seconds=2.56",
            "window.stride_s=0.64",
            "dataset.placements=[left_wrist, right_wrist, waist, thigh, ankle, chest]",
        ]
    },
}
"""Dataset -> data folder -> what the study changes in the shipped config; other datasets are built as shipped."""

app = typer.Typer(
    help="The transfer study: motion-capture encoders on real sensors, and the benchmark of domain shift.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Train(StrEnum):
    """How a pretrained encoder is trained: fine-tuned, kept frozen, or WiSE-FT between the two."""

    all = "all"
    head = "head"
    wise = "wise"


Study = Annotated[Path, typer.Option("--study", help="Folder of data, runs, encoders and results.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Runs at a time.")]
Scenario = Annotated[str, typer.Argument(help=f"One of: {', '.join(DATA)}.")]
Words = Annotated[list[str] | None, typer.Argument(help="NAME key=value ...; a changed config needs a name.")]


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where one call of the runner reads and writes.

    Args:
        steps: runs the commands.
        study: folder of data, runs, encoders and results.
        workers: runs of the benchmark at a time.
    """

    steps: Steps
    study: Path
    workers: int = 1

    def benchmark(self, scenario: str, out: str, *words: str) -> None:
        """Run a scenario; fresh networks and pretrained ones go to separate tables, ``OUT.jsonl``."""
        if scenario not in DATA:
            raise ConfigError(f"unknown scenario {scenario!r}", hint=f"one of: {', '.join(DATA)}")
        own = HERE / "ood" / f"{scenario}.yaml"
        config = own if own.is_file() else CONFIGS / "eval" / "ood" / f"{scenario}.yaml"
        self.steps.run(
            "imu-eval", "ood", *(self.study / "data" / name for name in DATA[scenario]), "--config", config,
            "--folder", self.study / "runs" / scenario, "--out", self.study / f"{out}.jsonl",
            "--workers", str(self.workers), *words, title=f"Run scenario {scenario}",
        )  # fmt: skip

    def encoders(self, names: Sequence[str], train: Train) -> list[str]:
        """Arguments of ``imu-eval ood`` for exported encoders: named ``comodo``, ``comodo_head`` or ``comodo_wise``."""
        words: list[str] = []
        suffix = "" if train is Train.all else f"_{train.value}"
        for name in names:
            folder = self.study / "encoders" / name
            if not (folder / "config.json").is_file() and not self.steps.dry_run:
                raise ConfigError(f"no encoder {folder}", hint=f"python studies/transfer/run.py encoder {name}")
            words += ["--encoder", f"{name}{suffix}={folder}"]
        return [*words, "--train", train.value]


def _run(study: Path, dry_run: bool, workers: int = 1) -> Run:
    return Run(steps=Steps(dry_run=dry_run, threads=1), study=study, workers=workers)


@app.command()
def data(
    dataset: Annotated[str, typer.Argument(help="A config of configs/data.")],
    root: Annotated[Path, typer.Argument(help="Folder of the recordings.")],
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Build the shards of one dataset; for bandai_namco also compute the teacher's features."""
    run = _run(study, dry_run)
    config = known(CONFIGS / "data", dataset, "data config")
    for name, overrides in WINDOWS.get(dataset, {dataset: []}).items():
        words = (f"dataset.root={root}", *overrides)
        run.steps.run("imu-video", "build", config, study / "data" / name, *words, title=f"Build shards {name}")
    if dataset == "bandai_namco":
        teacher = CONFIGS / "teacher" / "efficientnet_lite0_fast.yaml"
        run.steps.run("imu-video", "embed", study / "data" / "bandai", teacher, title="Compute teacher features")


@app.command()
def encoder(
    config: Annotated[str, typer.Argument(help="Row: a name in configs/rows.")],
    words: Words = None,
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Pretrain and export one encoder, unless it exists."""
    path = known(HERE / "rows", config, "row")
    name, overrides = split_name(words or [], config)
    run, out = _run(study, dry_run), study / "encoders" / name
    if (out / "config.json").is_file():
        return run.steps.say(f"{out} exists")
    # A row that names one data folder needs its clips, which UTD-MHAD does not have for every window.
    bandai, utd = study / "data" / "bandai", study / "data" / "utd"
    alone = isinstance(read_yaml(path)["data"]["root"], str)
    root = f"data.root={bandai}" if alone else f"data.root=[{{root: {bandai}}}, {{root: {utd}}}]"
    folder = study / "pretraining" / name
    run.steps.run("imu-pretrain", "launch", path, root, *overrides, "--run", folder, title=f"Pretrain {name}")
    run.steps.run("imu-pretrain", "export", folder, out, "--checkpoint", "latest", title=f"Export {name}")


@app.command()
def few(
    dataset: Annotated[str, typer.Argument(help="hapt, umafall or daphnet.")],
    name: Annotated[str, typer.Argument(help="Exported encoder.")],
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Evaluate an encoder few-shot on one dataset."""
    _run(study, dry_run).steps.run(
        "imu-eval", "fewshot", study / "encoders" / name, study / "data" / dataset,
        "--config", known(CONFIGS / "eval", dataset, "evaluation config"), "--out", study / f"few-{name}.jsonl",
        "references.supervised.episodes=0", title=f"Evaluate {name} few-shot on {dataset}",
    )  # fmt: skip


@app.command(context_settings={"ignore_unknown_options": True})
def scratch(
    scenario: Scenario,
    words: Annotated[
        list[str] | None, typer.Argument(help="Further arguments of imu-eval ood, for example --set KEY=VALUE.")
    ] = None,
    study: Study = STUDY,
    workers: Workers = 1,
    dry_run: DryRun = False,
) -> None:
    """Train ERM and fifteen algorithms on fresh networks."""
    _run(study, dry_run, workers).benchmark(scenario, "scratch", *(words or []))


@app.command()
def pretrained(
    scenario: Scenario,
    encoders: Annotated[list[str], typer.Argument(help="Exported encoders.")],
    train: Annotated[
        list[Train] | None, typer.Option("--train", help="all, head or wise; repeatable. Default: all and head.")
    ] = None,
    study: Study = STUDY,
    workers: Workers = 1,
    dry_run: DryRun = False,
) -> None:
    """Train exported encoders with ERM: fine-tuned (all), frozen (head) or WiSE-FT (wise)."""
    run = _run(study, dry_run, workers)
    for how in train or (Train.all, Train.head):
        run.benchmark(scenario, "pretrained", "--set", "algorithms=[erm]", *run.encoders(encoders, how))


@app.command()
def both(
    scenario: Scenario,
    name: Annotated[str, typer.Argument(help="Exported encoder.")],
    algorithms: Annotated[list[str], typer.Argument(help="Algorithms besides ERM: names, or YAML entries.")],
    train: Annotated[Train, typer.Option("--train", help="all, head or wise.")] = Train.head,
    study: Study = STUDY,
    workers: Workers = 1,
    dry_run: DryRun = False,
) -> None:
    """Train one exported encoder with ERM and with the algorithms named."""
    run = _run(study, dry_run, workers)
    wanted = f"algorithms=[{','.join(['erm', *algorithms])}]"
    run.benchmark(scenario, "both", "--set", wanted, *run.encoders([name], train))


@app.command()
def report(study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Write one report per table of results: scratch, pretrained, both."""
    run = _run(study, dry_run)
    folders: list[str | Path] = []
    for folder in sorted((study / "runs").glob("*")):
        folders += ["--ood-folder", folder]
    tables = [t for t in ("scratch", "pretrained", "both") if (study / f"{t}.jsonl").is_file()]
    if not tables:
        raise ConfigError(f"{study} holds no results", hint="python studies/transfer/run.py scratch hapt_person")
    for table in tables:
        words = (study / f"{table}.jsonl", study / f"report-{table}", *folders)
        run.steps.run("imu-eval", "report", *words, title=f"Write the report of {table}")


if __name__ == "__main__":
    console.run(app)
