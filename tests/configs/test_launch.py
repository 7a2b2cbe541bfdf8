"""The Slurm examples submit an array of parts and what gathers them; a stand-in for sbatch runs what it is given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from imu_video.config import validate
from imu_video.registry import load_plugin
from imu_video.shards.building.build import BuildConfig, build
from imu_video.shards.reading.index import load_index, verify

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "configs" / "launch" / "slurm_build.sh"
OOD_SCRIPT = ROOT / "configs" / "launch" / "slurm_ood.sh"
PLUGIN = ROOT / "tests" / "shards" / "tiny_dataset.py"
SBATCH = """#!/bin/bash
# Writes its arguments to a log; with RUN=1 it does what a cluster would: the wrapped line, once a task of the array.
for word in "$@"; do echo "$word"; done >> "$LOG"; echo --- >> "$LOG"
while [ $# -gt 0 ]; do case "$1" in --wrap) line=$2; shift 2;; --array) tasks=$2; shift 2;; *) shift;; esac; done
if [ "${RUN:-}" = 1 ]; then
  for task in $(if [ -n "${tasks:-}" ]; then seq ${tasks/-/ }; else echo 1; fi); do
    SLURM_ARRAY_TASK_ID=$task bash -c "$line" >&2 || exit 1
  done
fi
echo 42
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    fake = tmp_path / "sbatch"
    fake.write_text(SBATCH)
    fake.chmod(0o755)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "SBATCH": str(fake), "LOG": str(tmp_path / "log"), "PARTS": "2", "WORKERS": "1"}


def submitted(tmp_path: Path) -> list[list[str]]:
    return [block.split() for block in (tmp_path / "log").read_text().split("---\n") if block]


def test_an_array_and_a_merge_that_waits_for_it_are_submitted(environment: dict[str, str], tmp_path: Path) -> None:
    words = ["bash", SCRIPT, "my config.yaml", "/shared/data", "dataset.root=/a b"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "array job 42 of 2 parts, then job 42 merges into /shared/data\n"
    array, merge = (" ".join(words) for words in submitted(tmp_path))
    assert "--array 1-2" in array
    line = r"imu-video build my\ config.yaml /shared/data dataset.root=/a\ b --workers 1 --part $SLURM_ARRAY_TASK_ID/2"
    assert array.endswith(f"--wrap {line}")
    assert "--dependency afterok:42" in merge
    assert merge.endswith("--wrap imu-video merge /shared/data")
    environment["COMMAND"] = "embed"
    subprocess.run(["bash", SCRIPT, "/shared/data", "tiny"], env=environment, capture_output=True, check=True)
    assert "imu-video embed /shared/data tiny --workers 1 --part" in " ".join(submitted(tmp_path)[2])
    wrong = subprocess.run(["bash", SCRIPT, "one.yaml"], env={**environment, "COMMAND": "build"}, capture_output=True)
    assert wrong.returncode != 0
    assert b"usage" in wrong.stderr


@pytest.mark.slow
def test_what_is_submitted_builds_and_embeds(environment: dict[str, str], tmp_path: Path) -> None:
    config = {
        "dataset": {"name": "tiny_people"},
        "window": {"seconds": 1.0, "rate_hz": 20, "clip_fps": 5, "clip_size": 16},
        "splits": {"subjects": {"train": ["p0", "p1"], "test": ["p2"]}},
    }
    (tmp_path / "people.yaml").write_text(yaml.safe_dump(config))
    data, environment = tmp_path / "data", {**environment, "RUN": "1"}
    words = ["bash", SCRIPT, tmp_path / "people.yaml", data, "--plugin", PLUGIN]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert verify(load_index(data)) == []
    embed = {**environment, "COMMAND": "embed"}
    done = subprocess.run(["bash", SCRIPT, data, "tiny"], env=embed, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list((data / "teachers").glob("*/test.npy"))) == 1


def test_the_benchmark_is_an_array_and_a_job_for_the_tables(environment: dict[str, str], tmp_path: Path) -> None:
    words = ["bash", OOD_SCRIPT, "/shared/my data", "--config", "ood.yaml", "--folder", "/shared/runs"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "array job 42 of 2 parts, then job 42 makes the tables\n"
    array, gather = (" ".join(words) for words in submitted(tmp_path))
    assert "--array 0-1" in array
    line = r"imu-eval ood /shared/my\ data --config ood.yaml --folder /shared/runs"
    assert array.endswith(f"--wrap {line} --workers 1 --part $SLURM_ARRAY_TASK_ID/2")
    assert "--dependency afterok:42" in gather
    assert gather.endswith(f"--wrap {line}")
    wrong = subprocess.run(["bash", OOD_SCRIPT], env=environment, capture_output=True)
    assert wrong.returncode != 0
    assert b"usage" in wrong.stderr


@pytest.mark.slow
def test_what_is_submitted_finishes_the_benchmark(environment: dict[str, str], tmp_path: Path) -> None:
    config = {
        "dataset": {"name": "eval_people"},
        "window": {"seconds": 2, "rate_hz": 32, "stride_s": 2},
        "splits": {"subjects": {"test": [f"s{i}" for i in range(4)]}},
    }
    shifts = {
        "scenario": {"name": "shifts", "axis": "subject", "groups": 2},
        "models": [{"name": "cnn", "backbone": {"name": "harood_cnn", "kernel": 5, "norm": "batch"}}],
        "training": {"steps": 2, "evaluate_every": 2, "batch": 4},
        "seeds": [0, 1],
    }
    load_plugin(ROOT / "tests" / "e2e" / "eval_people.py")
    build(validate(config, BuildConfig, source="test"), tmp_path / "data")
    (tmp_path / "ood.yaml").write_text(yaml.safe_dump(shifts))
    words = [tmp_path / "data", "--config", tmp_path / "ood.yaml", "--folder", tmp_path / "runs"]
    words += ["--out", tmp_path / "results.jsonl"]
    run = {**environment, "RUN": "1"}
    done = subprocess.run(["bash", OOD_SCRIPT, *words], env=run, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs" / "runs").iterdir())) == 4
    assert done.stderr.count("2 of 4 runs to do") == 2
    assert (tmp_path / "results.jsonl").read_text().count("erm on cnn") > 0
