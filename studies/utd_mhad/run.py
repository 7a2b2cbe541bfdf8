"""The UTD-MHAD study: one step per command, finished work is kept; results.md holds the results.

    python studies/utd_mhad/run.py data UTD-MHAD             # build shards, fit and run the frozen skeleton teacher
    python studies/utd_mhad/run.py scratch                   # references: from scratch, random encoder, frozen teacher
    python studies/utd_mhad/run.py row simclr_imu            # pretrain every seed, export, evaluate with limited labels
    python studies/utd_mhad/run.py row imu_video             # ... and paired differences from simclr_imu
    python studies/utd_mhad/run.py row hard_negative beta_2 loss.0.beta=2.0        # a changed config under another name
    python studies/utd_mhad/run.py teacher supervised supervised=true              # row imu2clip under another teacher
    python studies/utd_mhad/run.py finetune imu_video        # train the exported encoders on the labels
    python studies/utd_mhad/run.py few imu_video DATA configs/eval/hapt.yaml       # few-shot on other data
    python studies/utd_mhad/run.py table                     # a report of all results

Every command uses one CPU thread unless OMP_NUM_THREADS is set, so several rows can run at the same time.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the clone, for the module that the studies share

from imu_video.config import read_yaml
from imu_video.errors import ConfigError
from imu_video.runtime import console
from studies.common import CONFIGS, DryRun, Steps, known, split_name

HERE = Path(__file__).resolve().parent / "configs"
SECONDS = 35
"""Measured cost of one pretraining on one core."""

REFERENCES: list[dict[str, Any]] = [
    {"name": "random", "start": "random"},
    {"name": "skeleton", "inputs": "teacher"},
    {"name": "scratch", "start": "random", "learn": "all"},
    {"name": "scratch spread", "start": "random", "learn": "all", "spread": {"inputs": "teacher"}},
]
"""Methods that use no pretrained weights."""

app = typer.Typer(
    help="The UTD-MHAD study: pretraining with skeletons, evaluated with limited labels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Study = Annotated[Path, typer.Option("--study", help="Folder of data, runs, encoders and results.")]
Seeds = Annotated[str, typer.Option("--seeds", help="Seeds of pretraining and evaluation, separated by commas.")]
Labels = Annotated[
    str | None, typer.Option("--labels", help="Limited-label config: a name in configs/labels, or a file.")
]
Against = Annotated[str, typer.Option("--against", help="Row that paired differences are computed against.")]
Words = Annotated[list[str] | None, typer.Argument(help="NAME key=value ...; a changed config needs a name.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="key=value, any number.")]

STUDY = Path("study-run")
SEEDS = "0,1,2,3,4"
AGAINST = "simclr_imu"


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where one call of the runner reads and writes.

    Args:
        steps: runs the commands.
        study: folder of runs, encoders and results.
        data: folder of shards.
        seeds: of pretraining and evaluation.
        labels: limited-label config of the command line; None takes the step's own.
        against: row that paired differences are computed against.
    """

    steps: Steps
    study: Path
    data: Path
    seeds: tuple[int, ...] = ()
    labels: str | None = None
    against: str = AGAINST

    def encoder(self, name: str, seed: int) -> Path:
        """Folder of an exported encoder."""
        return self.study / "encoders" / name / f"seed{seed}"

    def missing(self, name: str) -> list[int]:
        """Seeds whose encoder is not exported yet."""
        return [seed for seed in self.seeds if not (self.encoder(name, seed) / "config.json").is_file()]

    def pretrain(self, config: Path, name: str, seed: int, overrides: Sequence[str]) -> None:
        """Pretrain and export one encoder, unless it exists."""
        encoder, run = self.encoder(name, seed), self.study / "runs" / f"{name}-{seed}"
        if (encoder / "config.json").is_file():
            return
        fixed = (f"seed={seed}", f"data.root={self.data}", "run.threads=1")
        self.steps.run("imu-pretrain", "launch", config, *fixed, *overrides, "--run", run)
        trained = ["--with-skeleton"] if read_yaml(config).get("tower") is not None else []
        self.steps.run("imu-pretrain", "export", run, encoder, "--checkpoint", "latest", *trained)

    def row(self, config: Path, name: str, overrides: Sequence[str]) -> None:
        """Pretrain every seed of a row, then evaluate it with limited labels."""
        todo = self.missing(name)
        self.steps.say(
            f"{name}: {len(todo)} of {len(self.seeds)} pretrainings to do, about {len(todo) * SECONDS} s on one core"
        )
        for seed in self.seeds:
            self.pretrain(config, name, seed, overrides)
        other = self.study / "encoders" / self.against
        compared: list[str | Path] = ["--against", other] if name != self.against and other.is_dir() else []
        self.evaluate("main", self.study / "encoders" / name, *compared)

    def evaluate(self, labels: str, encoders: Path, *words: str | Path) -> None:
        """Evaluate encoders with limited labels by the config named, or by the one of the command line."""
        wanted = self.labels or labels
        config = Path(wanted) if Path(wanted).is_file() else known(HERE / "labels", wanted, "limited-label config")
        seeds = f"seeds=[{','.join(map(str, self.seeds))}]"
        out = self.study / "results.jsonl"
        self.steps.run(
            "imu-eval", "labels", encoders, self.data, "--config", config, seeds, "--out", out, *words,
            title=f"Evaluate {encoders} with limited labels",
        )  # fmt: skip


def _run(study: Path, dry_run: bool, seeds: str = SEEDS, labels: str | None = None, against: str = AGAINST) -> Run:
    try:
        numbers = tuple(int(seed) for seed in seeds.split(","))
    except ValueError as error:
        raise ConfigError(f"--seeds {seeds!r}: expected integers separated by commas", hint="--seeds 0,1") from error
    steps = Steps(dry_run=dry_run, threads=1)
    return Run(steps=steps, study=study, data=study / "data", seeds=numbers, labels=labels, against=against)


@app.command()
def data(
    root: Annotated[Path, typer.Argument(help="Folder of the recordings, UTD-MHAD.")],
    overrides: Overrides = None,
    depth: Annotated[bool, typer.Option("--depth", help="Also compute teacher features of the depth video.")] = False,
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Build shards, and fit and run the frozen skeleton teacher; key=value changes the teacher's config."""
    run = _run(study, dry_run)
    run.steps.run(
        "imu-video", "build", CONFIGS / "data" / "utd_mhad.yaml", run.data, f"dataset.root={root}", title="Build shards"
    )
    teacher = CONFIGS / "teacher" / "skeleton.yaml"
    run.steps.run("imu-video", "embed", run.data, teacher, *(overrides or []), title="Fit and run the skeleton teacher")
    if depth:
        frames = CONFIGS / "teacher" / "efficientnet_lite0.yaml"
        run.steps.run("imu-video", "embed", run.data, frames, title="Run the teacher of depth video")


@app.command()
def scratch(
    overrides: Overrides = None,
    study: Study = STUDY,
    seeds: Seeds = SEEDS,
    labels: Labels = None,
    dry_run: DryRun = False,
) -> None:
    """Evaluate the references: training from scratch, a random encoder, the frozen teacher alone."""
    run = _run(study, dry_run, seeds, labels)
    # Any encoder of the study's architecture provides the shape of the references; none of its weights are used.
    run.pretrain(HERE / "rows" / "simclr_imu.yaml", "shape", 0, ["optim.steps=1", *(overrides or [])])
    methods = f"methods={json.dumps(REFERENCES, separators=(',', ':'))}"
    run.evaluate("main", run.encoder("shape", 0), "--name", "none", methods)


@app.command()
def row(
    config: Annotated[str, typer.Argument(help="Row: a name in configs/rows.")],
    words: Words = None,
    study: Study = STUDY,
    seeds: Seeds = SEEDS,
    labels: Labels = None,
    against: Against = AGAINST,
    dry_run: DryRun = False,
) -> None:
    """Pretrain every seed of a row, export the encoders, and evaluate them with limited labels."""
    path = known(HERE / "rows", config, "row")
    name, overrides = split_name(words or [], config)
    _run(study, dry_run, seeds, labels, against).row(path, name, overrides)


@app.command()
def teacher(
    name: Annotated[str, typer.Argument(help="Name of the teacher; its data and results go to STUDY/teachers/NAME.")],
    overrides: Overrides = None,
    pretrain: Annotated[
        list[str] | None, typer.Option("--pretrain", help="key=value of the pretraining config; repeatable.")
    ] = None,
    study: Study = STUDY,
    seeds: Seeds = SEEDS,
    labels: Labels = None,
    dry_run: DryRun = False,
) -> None:
    """Fit another skeleton teacher (key=value changes its config), and run row imu2clip and the probes under it."""
    main = _run(study, dry_run, seeds, labels or "probes")
    own = replace(main, study=study / "teachers" / name, data=study / "teachers" / name / "data")
    # A folder of its own: two skeleton teachers in one data folder could only be told apart by their fingerprints.
    if not (own.data / "index.json").is_file() and not dry_run:
        own.data.mkdir(parents=True, exist_ok=True)
        for part in ("shards", "columns"):
            shutil.copytree(main.data / part, own.data / part, dirs_exist_ok=True)
        members = [path.name for path in main.data.glob("members-*.bin")]
        for part in (*members, "build.yaml", "index.json"):  # the index last: its presence marks a complete copy
            shutil.copy2(main.data / part, own.data / part)
    own.steps.run(
        "imu-video", "embed", own.data, CONFIGS / "teacher" / "skeleton.yaml", *(overrides or []),
        title=f"Fit and run the skeleton teacher {name}",
    )  # fmt: skip
    own.row(HERE / "rows" / "imu2clip.yaml", name, pretrain or [])


@app.command()
def finetune(
    name: Annotated[str, typer.Argument(help="Row whose encoders are trained on the labels.")],
    study: Study = STUDY,
    seeds: Seeds = SEEDS,
    labels: Labels = None,
    dry_run: DryRun = False,
) -> None:
    """Train the exported encoders of a row on the labels, and networks from scratch beside them."""
    run = _run(study, dry_run, seeds, labels)
    run.evaluate("finetune", run.study / "encoders" / name)


@app.command()
def few(
    name: Annotated[str, typer.Argument(help="Row whose encoders are evaluated.")],
    other: Annotated[Path, typer.Argument(help="Data folder.")],
    config: Annotated[Path, typer.Argument(help="Evaluation config, for example configs/eval/hapt.yaml.")],
    overrides: Overrides = None,
    study: Study = STUDY,
    seeds: Seeds = SEEDS,
    dry_run: DryRun = False,
) -> None:
    """Evaluate the encoders of a row few-shot on other data."""
    run = _run(study, dry_run, seeds)
    for seed in run.seeds:
        run.steps.run(
            "imu-eval", "fewshot", run.encoder(name, seed), other, "--config", config,
            "--out", study / f"few-{name}.jsonl", *(overrides or []), title=f"Evaluate seed {seed} few-shot",
        )  # fmt: skip


@app.command()
def table(study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Write a report of all results measured so far."""
    _run(study, dry_run).steps.run(
        "imu-eval", "report", study / "results.jsonl", study / "report", title="Write a report"
    )


if __name__ == "__main__":
    console.run(app)
