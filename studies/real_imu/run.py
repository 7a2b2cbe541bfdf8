"""The study of the scale of real IMU: PDIoT without labels as the IMU-only part of a mixture, by number of subjects.

    python studies/real_imu/run.py data PDIOT-2023                 # after `data` of studies/older_adults/run.py
    python studies/real_imu/run.py grid --sizes 4,8,12             # pretrain; 0 subjects: arm `cross` of that study
    python studies/real_imu/run.py evaluate                        # held-out subjects, other data, transfer
    python studies/real_imu/run.py table                           # STUDY/tables.md, from the stored counts

Eight subjects are held out in a fixed order of names; a size takes the first of the others, so that larger sizes
contain smaller ones. With more recordings than the 20 subjects of results.md, larger sizes work: --sizes 16,64,94.
Finished work is kept, so every command may be interrupted and repeated. Every command uses one CPU thread unless
OMP_NUM_THREADS is set. results.md holds the results.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the clone, for the module that the studies share

from imu_video.errors import ConfigError
from imu_video.runtime import console
from imu_video.runtime.files import write_atomic
from imu_video.shards import load_index
from studies.common import DryRun, Steps, StudyFolder, integers, known, roots

HERE = Path(__file__).resolve().parent / "configs"
STUDY = Path("real-run")
OLDER = Path("older-run")
HELD_OUT = 8
"""Subjects that are in no mixture and on whom the encoders are evaluated."""
SHIPPED = ("imu-video/small", "imu-video/base")

EVALUATIONS = {
    "pdiot": "data/held-out",
    "pdiot_50": "data/held-out",
    "older": "targets/smartfallmm",
    "umafall": "targets/umafall",
    "daphnet": "targets/daphnet",
}
"""Evaluation -> its data: of this study, else of the study of older adults, whose evaluation configs are used there."""

app = typer.Typer(
    help="The study of the scale of real IMU: unlabelled subjects of PDIoT in a cross-modal mixture.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Study = Annotated[Path, typer.Option("--study", help="Folder of data, runs, encoders and results.")]
Older = Annotated[Path, typer.Option("--older", help="Folder of the study of older adults: paired data and targets.")]
Sizes = Annotated[str, typer.Option("--sizes", help="Numbers of PDIoT subjects in the mixture, separated by commas.")]


def divided(subjects: Sequence[str]) -> tuple[list[str], list[str]]:
    """Held-out subjects and the others, both in an order that depends on the names alone.

    Raises:
        ConfigError: too few subjects.
    """
    order = sorted(subjects, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    if len(order) <= HELD_OUT:
        raise ConfigError(f"{len(order)} subjects, of which {HELD_OUT} are held out", hint="use more recordings")
    return order[:HELD_OUT], order[HELD_OUT:]


class Run(StudyFolder):
    """The study's folder with its names."""

    def encoders(self, size: int, older: Path) -> Path:
        """Folder with the encoders of a size, one per seed."""
        return self.folder / "encoders" / f"pdiot{size}" if size else older / "encoders" / "cross"

    def part(self, name: str, subjects: Sequence[str], split: str) -> Path:
        """The windows of some subjects as a folder of their own, unless it exists."""
        source, out = self.folder / "data" / "pdiot", self.folder / "data" / name
        if self.absent(out, "index.json"):
            file = self.folder / "data" / f"{name}.yaml"
            if not self.steps.dry_run:
                file.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(file, f"subjects: {{{split}: [{', '.join(subjects)}]}}\n")
            self.steps.run("imu-video", "split", source, out, file)
        return out


def _run(study: Path, dry_run: bool) -> Run:
    return Run(steps=Steps(dry_run=dry_run, threads=1), folder=study)


def _subjects(study: Path) -> tuple[list[str], list[str]]:
    return divided(load_index(study / "data" / "pdiot").split("train").subjects)


@app.command()
def data(
    root: Annotated[Path, typer.Argument(help="Folder of the recordings, PDIoT.")],
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Build the windows of all PDIoT subjects."""
    run = _run(study, dry_run)
    run.build(HERE / "data" / "pdiot.yaml", study / "data" / "pdiot", f"dataset.root={root}")


@app.command()
def grid(
    sizes: Sizes = "4,8,12",
    seeds: Annotated[str, typer.Option("--seeds", help="Pretraining seeds, separated by commas.")] = "0,1,2,3,4",
    older: Older = OLDER,
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Pretrain and export all sizes, seed by seed, and keep the held-out subjects apart."""
    run = _run(study, dry_run)
    held, others = _subjects(study)
    run.part("held-out", held, "test")
    numbers = integers(sizes, "--sizes")
    if not all(0 < size <= len(others) for size in numbers):
        raise ConfigError(f"--sizes {sizes}: {len(others)} subjects are not held out", hint=f"--sizes {len(others)}")
    row = known(HERE.parents[1] / "older_adults" / "configs" / "rows", "cross", "row")
    parts = {size: run.part(f"pdiot-{size}", others[:size], "train") for size in numbers}
    for seed in integers(seeds):
        for size, part in parts.items():
            mixture = roots([(older / "data" / "paired", 2, True), (part, 1, False)])
            out = run.encoders(size, older) / f"seed{seed}"
            words = (mixture, "data.val_split=null", f"seed={seed}")
            run.train(row, study / "runs" / f"pdiot{size}-{seed}", out, words)


@app.command()
def evaluate(
    targets: Annotated[list[str] | None, typer.Argument(help=f"Of: {', '.join(EVALUATIONS)}; none: all.")] = None,
    sizes: Sizes = "12,8,4,0",
    older: Older = OLDER,
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Evaluate the first size few-shot, against the others and the shipped encoders."""
    run, (first, *others) = _run(study, dry_run), integers(sizes, "--sizes")
    against = [*(run.encoders(size, older) for size in others), *SHIPPED]
    for name in targets or EVALUATIONS:
        own = name.startswith("pdiot")
        folder = HERE if own else HERE.parents[1] / "older_adults" / "configs"
        config = known(folder / "eval", name, "evaluation")
        where = (study if own else older) / EVALUATIONS[name]
        run.few(run.encoders(first, older), where, config, against, study / "results" / f"{name}.jsonl")


@app.command()
def table(study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Write STUDY/tables.md from the stored counts."""
    from studies import estimates

    run, folder = _run(study, dry_run), study / "results"
    found = [name for name in EVALUATIONS if (folder / f"{name}.jsonl").is_file()]
    if not found:
        raise ConfigError(f"{folder} holds no results", hint="python studies/real_imu/run.py evaluate")
    run.steps.say(f"Write the tables of {len(found)} result files")
    if not dry_run:
        (study / "tables.md").write_text("\n".join(estimates.page(folder / f"{name}.jsonl", name) for name in found))


if __name__ == "__main__":
    console.run(app)
