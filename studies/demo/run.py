"""The demo: the whole pipeline on a simulated world, one command after another; not a benchmark.

python studies/demo/run.py [OUT] [--dry-run]
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the clone, for the module that the studies share

from imu_video.errors import ConfigError
from imu_video.runtime import console
from studies.common import CONFIGS, DryRun, Steps

HERE = Path(__file__).resolve().parent / "configs"
PRODUCED = {"data", "run", "encoder", "results", "report"}
"""Names in the output folder, without their endings: ``results`` also stands for the caches beside results.jsonl."""


def clear(out: Path) -> None:
    """Remove the results of an earlier demo, and nothing else.

    Raises:
        ConfigError: the folder holds something that the demo does not produce.
    """
    foreign = sorted(p.name for p in out.iterdir() if p.name.partition(".")[0] not in PRODUCED) if out.is_dir() else []
    if foreign or out.is_file():
        raise ConfigError(
            f"{out} is not the output folder of an earlier demo: it holds {', '.join(foreign[:3]) or 'a file'}",
            hint="name a folder that does not exist, for example demo-run",
        )
    if out.is_dir():
        shutil.rmtree(out)


def main(
    out: Annotated[Path, typer.Argument(help="Output folder; replaced.")] = Path("demo-run"), dry_run: DryRun = False
) -> None:
    """Simulate recordings, build shards, embed, pretrain, export, evaluate and write a report."""
    steps = Steps(dry_run=dry_run)
    if not dry_run:
        clear(out)
        out.mkdir(parents=True)
    data, run, encoder, results = out / "data", out / "run", out / "encoder", out / "results.jsonl"
    evaluation = (encoder, data, "--config", HERE / "eval.yaml", "--out", results)

    steps.run(
        "imu-video", "build", HERE / "data.yaml", data, "--workers", "2",
        title="Simulate recordings with video and build shards",
    )  # fmt: skip
    steps.run(
        "imu-video", "embed", data, CONFIGS / "teacher" / "efficientnet_lite0_fast.yaml",
        title="Compute the features of a frozen ImageNet teacher, once per clip",
    )  # fmt: skip
    steps.run(
        "imu-pretrain", "launch", HERE / "pretrain.yaml", f"data.root={data}", "--run", run,
        title="Pretrain an IMU student against the teacher, without labels",
    )  # fmt: skip
    steps.run("imu-pretrain", "export", run, encoder, title="Export the encoder as a self-describing folder")
    steps.run(
        "imu-eval", "fewshot", *evaluation,
        title="Evaluate few-shot on subjects, a placement, a sensor and a population that pretraining never saw",
    )  # fmt: skip
    steps.run("imu-eval", "zeroshot", "--mode", "video", *evaluation, title="Evaluate zero-shot with video prototypes")
    steps.run("imu-eval", "retrieval", *evaluation, title="Evaluate retrieval between IMU and video")
    steps.run(
        "imu-eval", "report", results, out / "report", "--run", run, "--encoder", encoder, "--data", data,
        title="Write a report with plots",
    )  # fmt: skip
    if not dry_run:
        steps.say("Done. Output:")
        full = out.resolve()
        console.say(
            f"  shards    {full}/data/         (imu-video inspect {data} --html samples.html)",
            f"  run       {full}/run/          (imu-pretrain status {run})",
            f'  encoder   {full}/encoder/      (imu_video.load_encoder("{encoder}"))',
            f"  results   {full}/results.jsonl",
            f"  report    {full}/report/report.html",
        )


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    console.run(app)
