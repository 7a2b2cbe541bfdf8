"""The study of students: size, arithmetic and latency of every encoder, accuracy on subjects held out, few-shot.

    python studies/students/run.py data hapt RawData          # also: ucihar (the same recordings), umafall CSV-FILES
    python studies/students/run.py cost                       # parameters, multiplications, latency
    python studies/students/run.py held-out hapt              # also: umafall, ucihar; [--model NAME] [key=value ...]
    python studies/students/run.py fusion                     # two experts and a gate against one classifier
    python studies/students/run.py few tcn                    # UMAFall, 5 shots
    python studies/students/run.py int8 micro_conv_lstm       # size of the int8 file, calibrated on HAPT
    python studies/students/run.py table                      # all results as one table

Finished work is kept. Every command uses one CPU thread unless OMP_NUM_THREADS is set. results.md holds the results.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the clone, for the module that the studies share

from imu_video.errors import ConfigError
from imu_video.runtime import console
from studies.common import CONFIGS, DryRun, Steps, known

HERE = Path(__file__).resolve().parent / "configs"
STUDY = Path("students-run")
REPEATS, SAMPLES = 50, 250
"""Forward passes of one window, and its samples, behind a latency."""

WINDOWS: dict[str, tuple[str, list[str]]] = {
    "hapt": ("hapt", ["window.seconds=4", "window.stride_s=4"]),
    "ucihar": ("hapt", ["window.seconds=2.56", "window.stride_s=1.28"]),
    "umafall": ("umafall", []),
}
"""Data folder -> config of configs/data, and what the study changes in it."""

STUDENTS: dict[str, dict[str, Any]] = {
    "cnn_gru": {"name": "cnn_gru", "pool": 2},
    "cnn_transformer": {"name": "cnn_transformer"},
    "deep_conv_lstm": {"name": "deep_conv_lstm"},
    "fusion_actnet": {"name": "fusion_actnet", "width": 16, "norm": "batch"},
    "harood_cnn": {"name": "harood_cnn", "norm": "batch"},
    "harood_transformer": {"name": "harood_transformer"},
    "hybrid": {"name": "hybrid", "columns": 96, "network": {"name": "segment_cnn", "norm": "group"}},
    "micro_conv_lstm": {"name": "micro_conv_lstm"},
    "patch_tst": {"name": "patch_tst"},
    "primus": {"name": "primus", "pool": 1},
    "resnet1d": {"name": "resnet1d", "width": 32},
    "segment_cnn": {"name": "segment_cnn"},
    "tcn": {"name": "tcn"},
    "tpn": {"name": "tpn"},
}
"""Students by name: encoders with their defaults, except for FusionActNet (a quarter of its width), `resnet1d` (half of
it), and settings that short windows need."""

app = typer.Typer(
    help="The study of students: size, arithmetic, latency, accuracy on subjects held out, few-shot.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Set(StrEnum):
    hapt = "hapt"
    umafall = "umafall"
    ucihar = "ucihar"


Study = Annotated[Path, typer.Option("--study", help="Folder of data, encoders and results.")]
Words = Annotated[list[str] | None, typer.Argument(help="Overrides of the config: key=value.")]
Student = Annotated[str, typer.Argument(help="Name of a student.")]


def student(name: str) -> dict[str, Any]:
    """The entry of one student.

    Raises:
        ConfigError: unknown name.
    """
    if name not in STUDENTS:
        raise ConfigError(f"no student {name!r}", hint=f"one of: {', '.join(STUDENTS)}")
    return STUDENTS[name]


@app.command()
def data(
    name: Set,
    root: Annotated[Path, typer.Argument(help="Folder of the recordings.")],
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Build the shards of one set of windows."""
    config, overrides = WINDOWS[name]
    Steps(dry_run=dry_run, threads=1).run(
        "imu-video", "build", known(CONFIGS / "data", config, "data config"), study / "data" / name,
        f"dataset.root={root}", *overrides, title=f"Build {name}",
    )  # fmt: skip


@app.command()
def cost(study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Count parameters and multiplications, and time one window of six channels and 5 s at 50 Hz on one thread."""
    steps = Steps(dry_run=dry_run)
    steps.say(f"Cost of {len(STUDENTS)} students")
    if dry_run:
        return
    import torch

    from imu_video.encoders.cost import cost as counted
    from imu_video.registry import encoders

    torch.set_num_threads(1)
    rows = {}
    for name, entry in STUDENTS.items():
        model = encoders.build(entry).eval()
        found, window = counted(model, samples=SAMPLES), torch.zeros(1, model.channels, SAMPLES)
        taken = []
        with torch.inference_mode():
            for _ in range(REPEATS + 5):
                start = time.process_time()
                model(window)
                taken.append(time.process_time() - start)
        rows[name] = {
            "parameters": found.parameters,
            "macs": found.macs,
            "features": found.feature_dim,
            # Processor time of the only thread: the clock would contain what else the machine does.
            "ms": 1000 * statistics.median(taken[5:]),
        }
    study.mkdir(parents=True, exist_ok=True)
    (study / "cost.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


@app.command("held-out")
def held_out(
    name: Set,
    words: Words = None,
    model: Annotated[list[str] | None, typer.Option("--model", help="Only these students; repeatable.")] = None,
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Train every student with labels; each group of subjects is held out in turn."""
    steps = Steps(dry_run=dry_run, threads=1)
    for one in model or STUDENTS:
        entry, out = student(one), study / f"{name}-{one}.jsonl"
        if out.is_file():
            steps.say(f"{out} exists")
            continue
        steps.run(
            "imu-eval", "ood", study / "data" / name, f"models={json.dumps([{'name': one, 'backbone': entry}])}",
            *(words or []), "--config", HERE / f"{name}.yaml", "--folder", study / "runs" / f"{name}-{one}",
            "--out", out, title=f"Train {one} on {name}",
        )  # fmt: skip


@app.command()
def fusion(words: Words = None, study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Two experts and a gate against one classifier, on the frozen features of a shipped encoder; HAPT, five seeds."""
    Steps(dry_run=dry_run, threads=1).run(
        "imu-eval", "ood", study / "data" / "hapt", *(words or []), "--config", HERE / "fusion.yaml",
        "--folder", study / "runs" / "fusion", "--out", study / "fusion.jsonl", title="Two experts and a gate",
    )  # fmt: skip


def _untrained(steps: Steps, study: Path, data: str, name: str) -> Path:
    """The folder of a student with random weights for the windows of a data folder, made if it does not exist."""
    out, entry = study / "encoders" / f"{data}-{name}", study / "entries" / f"{name}.yaml"
    if not (out / "config.json").is_file():
        if not steps.dry_run:
            entry.parent.mkdir(parents=True, exist_ok=True)
            entry.write_text(json.dumps(student(name)) + "\n", encoding="utf-8")  # JSON is YAML
        steps.run("imu-eval", "untrained", study / "data" / data, out, "--encoder", entry, title=f"Write {name}")
    return out


@app.command()
def few(name: Student, words: Words = None, study: Study = STUDY, dry_run: DryRun = False) -> None:
    """UMAFall with 5 shots: a linear probe on random weights, and the network trained on the support."""
    student(name)
    steps, out = Steps(dry_run=dry_run, threads=1), study / f"few-{name}.jsonl"
    if out.is_file():
        return steps.say(f"{out} exists")
    folder = _untrained(steps, study, "umafall", name)
    steps.run(
        "imu-eval", "fewshot", folder, study / "data" / "umafall", *(words or []), "--config", HERE / "few.yaml",
        "--out", out, title=f"Evaluate {name} with 5 shots",
    )  # fmt: skip


@app.command()
def int8(name: Student, study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Export a student with random weights to int8, calibrated on HAPT: the size of the file."""
    student(name)
    steps = Steps(dry_run=dry_run, threads=1)
    folder, data = _untrained(steps, study, "hapt", name), study / "data" / "hapt"
    steps.run(
        "imu-video", "export", folder, study / "exports" / name, "--onnx", "--int8", "--calibrate", data, "--force",
        title=f"Export {name}",
    )  # fmt: skip


@app.command()
def table(study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Print the results that exist as one table, a row per student."""
    file = study / "cost.json"
    if dry_run:
        return
    if not file.is_file():
        raise ConfigError(f"{study} holds no cost.json", hint="python studies/students/run.py cost")
    costs = json.loads(file.read_text(encoding="utf-8"))
    header = ("student", "parameters", "M multiplications", "ms per window", "HAPT", "UMAFall", "UMAFall, 5 shots")
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    for name, found in costs.items():
        few_shot = (
            f"{_value(study / f'few-{name}.jsonl', 'macro_f1', name='supervised')} (random weights "
            f"{_value(study / f'few-{name}.jsonl', 'macro_f1', name='pretrained')})"
        )
        cells = (
            name, f"{found['parameters']:,}", f"{found['macs'] / 1e6:.1f}", f"{found['ms']:.2f}",
            *(_value(study / f"{data}-{name}.jsonl", "macro_f1") for data in ("hapt", "umafall")), few_shot,
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    console.say(*lines)


def _value(file: Path, metric: str, name: str | None = None) -> str:
    """Value and interval of a metric in a file of result lines, or a dash."""
    if not file.is_file():
        return "-"
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["metric"] == metric and row["reference"] is None and name in (None, row["model"]):
            return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    return "-"


if __name__ == "__main__":
    console.run(app)
