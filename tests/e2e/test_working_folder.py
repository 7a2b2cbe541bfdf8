"""Commands that start child Pythons never execute files of the working folder that have the names of modules."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = Path(__file__).parent / "eval_people.py"
COMMANDS = Path(sys.executable).parent
# Names of our packages, of common scripts, and of modules of the standard library that Python has not loaded at start.
HOSTILE = (
    "eval.py", "pretrain.py", "imu_video.py", "tests.py", "types.py", "random.py", "signal.py", "socket.py",
    "typing.py", "multiprocessing/__init__.py", "imu_video/__init__.py", "pretrain/__init__.py", "eval/__init__.py",
    "torch.py",
)  # fmt: skip
DATA = {
    "dataset": {"name": "eval_people", "people": 3},
    "window": {"seconds": 2, "rate_hz": 32, "clip_fps": 5, "clip_size": 32},
    "splits": {"subjects": {"train": ["s0", "s1"], "val": ["s2"]}},
    "shard_samples": 8,
}
TRAINING = {
    "name": "made",
    "data": {"root": "data", "batch_size": 8},
    "encoder": {"name": "patch_tst", "width": 8, "layers": 1, "heads": 2, "ffn": 16},
    "projector": {"dim": 8},
    "optim": {"steps": 2},
    "run": {"device": "cpu", "threads": 1},
}
BENCHMARK = {
    "scenario": {"name": "people", "axis": "subject", "groups": 3},
    "models": [{"name": "cnn", "backbone": {"name": "harood_cnn", "kernel": 5, "norm": "batch"}}],
    "algorithms": ["erm"],
    "training": {"steps": 2, "evaluate_every": 1, "batch": 4, "lr": 0.005},
    "seeds": [0],
}
Call = Callable[..., None]


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Call:
    """Run a command in the hostile folder; fails when the command fails, or when a file of the folder was executed."""
    folder, marks = tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("marks")
    for name in HOSTILE:
        (folder / name).parent.mkdir(exist_ok=True)
        mark = f"{(marks / name.replace('/', '.'))!s}"
        (folder / name).write_text(f"open({mark!r}, 'w').close()\nraise SystemExit(0)\n")
    for name, config in (("data", DATA), ("training", TRAINING), ("benchmark", BENCHMARK)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONSAFEPATH", "PYTHONPATH", "WORLD_SIZE")}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

    def run(command: str, *words: object, leaves: str) -> None:
        line = [str(COMMANDS / command), *map(str, words)]
        done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        executed = sorted(p.name for p in marks.iterdir())
        assert not executed, f"{command} executed {executed} of the working folder; {done.stderr}"
        assert done.returncode == 0, done.stderr
        assert (folder / leaves).exists(), f"{command} exited with 0 and left no {leaves}: {done.stdout}{done.stderr}"

    run("imu-video", "build", "data.yaml", "data", "--workers", 2, "--plugin", PLUGIN, leaves="data/index.json")
    run("imu-video", "embed", "data", "tiny", "dim=8", "--workers", 2, leaves="data/teachers")
    return run


@pytest.mark.slow  # the flag -P of every child is held by tests/runtime/test_children.py
def test_processes_of_nproc(call: Call) -> None:
    call("imu-pretrain", "launch", "training.yaml", "--nproc", 2, "--run", "run", leaves="run/checkpoints/latest")


@pytest.mark.slow  # the same workers as those of --nproc, under another launcher
def test_processes_of_torchrun_as_documented(call: Call) -> None:
    assert "--no-python -- imu-pretrain launch CONFIG" in (ROOT / "docs/guides/pretraining.md").read_text()
    words = ["--standalone", "--nproc-per-node", 2, "--no-python", "--", COMMANDS / "imu-pretrain"]
    call("torchrun", *words, "launch", "training.yaml", "--run", "under-torchrun", leaves="under-torchrun/checkpoints")


@pytest.mark.slow  # the same worker pool as that of `build`, which is tested by default
def test_workers_of_a_benchmark(call: Call) -> None:
    words = ["--config", "benchmark.yaml", "--folder", "runs", "--workers", 2]
    call("imu-eval", "ood", "data", *words, leaves="results.jsonl")


@pytest.mark.slow  # starts a cluster
def test_workers_of_ray(call: Call) -> None:
    """Ray puts the working folder on the search path of its workers, whatever the environment says."""
    pytest.importorskip("ray", reason="clusters need the extra 'ray'")
    words = ["--engine", "ray", "--workers", 2, "--plugin", PLUGIN]
    call("imu-video", "build", "data.yaml", "built-by-ray", *words, leaves="built-by-ray/index.json")


def test_the_package_as_a_module(tmp_path: Path) -> None:
    """`python -m` finds the package through the working folder, but what the package imports comes from elsewhere."""
    for name in ("eval.py", "imu_video.py", "typer.py", "yaml.py", "torch.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'executed')!r}, 'a').write({name!r})\n")
    command = [sys.executable, "-m", "pretrain", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "executed").exists()
