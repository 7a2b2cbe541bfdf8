"""Short runs of published protocols on real data: one small encoder, HAPT; README.md states question and method.

    python studies/protocols/run.py data RawData                # the signals of HAPT
    python studies/protocols/run.py encoder                     # pretrain and export
    python studies/protocols/run.py evaluate unimts_hapt        # also: imu_video_hapt; further words are overrides
    python studies/protocols/run.py report

Finished work is kept. Every command uses one CPU thread unless OMP_NUM_THREADS is set. results.md holds the results.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the clone, for the module that the studies share

from imu_video.runtime import console
from studies.common import CONFIGS, DryRun, Steps, known

HERE = Path(__file__).resolve().parent / "configs"
STUDY = Path("protocols-run")
WINDOWS = ["window.seconds=5", "window.stride_s=5", "splits.fractions={train: 0.6, val: 0.15, test: 0.25}"]
"""Windows of IMU-Video-OOD-HAR, and subjects for training, validation and test."""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Study = Annotated[Path, typer.Option("--study", help="Folder of data, run, encoder and results.")]


@app.command()
def data(
    root: Annotated[Path, typer.Argument(help="Folder RawData of HAPT.")], study: Study = STUDY, dry_run: DryRun = False
) -> None:
    """Build the windows of HAPT."""
    words = ["imu-video", "build", CONFIGS / "data" / "hapt.yaml", study / "data" / "hapt", f"dataset.root={root}"]
    Steps(dry_run=dry_run, threads=1).run(*words, *WINDOWS, title="Build HAPT")


@app.command()
def encoder(study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Pretrain and export the encoder."""
    steps, made = Steps(dry_run=dry_run, threads=1), study / "encoder" / "config.json"
    if made.is_file():
        return
    root = f"data.root={study / 'data' / 'hapt'}"
    steps.run("imu-pretrain", "launch", HERE / "simclr_hapt.yaml", root, "--run", study / "run", title="Pretrain")
    steps.run("imu-pretrain", "export", study / "run", study / "encoder")


@app.command()
def evaluate(
    protocol: Annotated[str, typer.Argument(help="unimts_hapt or imu_video_hapt.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Overrides: key=value.")] = None,
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Run a protocol; finished cells are kept."""
    file, out = known(HERE, protocol, "protocol"), study / "results.jsonl"
    folders = [study / "encoder", study / "data" / "hapt"]
    words = ["imu-eval", "run", file, *folders, *(overrides or []), "--out", out]
    Steps(dry_run=dry_run, threads=1).run(*words, title=f"Run {protocol}")


@app.command()
def report(study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Write the report of all results."""
    Steps(dry_run=dry_run, threads=1).run("imu-eval", "report", study / "results.jsonl", study / "report")


if __name__ == "__main__":
    console.run(app)
