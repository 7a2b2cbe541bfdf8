"""The Slurm examples submit an array of parts and what gathers them; a stand-in for sbatch runs what it is given."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from imu_video.config import validate
from imu_video.registry import load_plugin
from imu_video.shards.building.build import BuildConfig, build
from imu_video.shards.reading.index import load_index
from imu_video.shards.reading.verify import verify

ROOT = Path(__file__).resolve().parents[2]
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
Submit = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def submit(tmp_path: Path) -> Submit:
    """Runs a script of examples/slurm with a stand-in for sbatch; keyword arguments are further variables."""
    fake = tmp_path / "sbatch"
    fake.write_text(SBATCH)
    fake.chmod(0o755)
    base = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "SBATCH": str(fake)}
    base |= {"LOG": str(tmp_path / "log"), "PARTS": "2", "WORKERS": "1"}

    def run(script: str, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        path = ROOT / "examples" / "slurm" / script
        environment = {**base, **variables}
        return subprocess.run(["bash", path, *words], env=environment, capture_output=True, text=True, cwd=tmp_path)

    return run


@pytest.mark.parametrize(
    ("script", "words", "variables", "tasks", "then", "line", "last"),
    [
        pytest.param(
            "build.sh",
            ["my config.yaml", "/shared/data", "dataset.root=/a b"],
            {},
            "1-2",
            "merges into /shared/data",
            r"imu-video build my\ config.yaml /shared/data dataset.root=/a\ b",
            "imu-video merge /shared/data",
            id="build",
        ),
        pytest.param(
            "build.sh",
            ["/shared/data", "tiny"],
            {"COMMAND": "embed"},
            "1-2",
            "merges into /shared/data",
            "imu-video embed /shared/data tiny",
            "imu-video merge /shared/data",
            id="embed",
        ),
        pytest.param(
            "ood.sh",
            ["/shared/my data", "--config", "ood.yaml", "--folder", "/shared/runs"],
            {},
            "1-2",
            "writes the tables",
            r"imu-eval ood /shared/my\ data --config ood.yaml --folder /shared/runs",
            r"imu-eval ood /shared/my\ data --config ood.yaml --folder /shared/runs",
            id="ood",
        ),
    ],
)
def test_an_array_and_a_job_that_waits_for_it_are_submitted(
    submit: Submit,
    tmp_path: Path,
    script: str,
    words: list[str],
    variables: dict[str, str],
    tasks: str,
    then: str,
    line: str,
    last: str,
) -> None:
    done = submit(script, *words, **variables)
    assert (done.returncode, done.stdout) == (0, f"array job 42 of 2 parts, then job 42 {then}\n")
    array, gather = (" ".join(block.split()) for block in (tmp_path / "log").read_text().split("---\n") if block)
    assert f"--array {tasks}" in array
    assert array.endswith(f"--wrap {line} --workers 1 --part $SLURM_ARRAY_TASK_ID/2")
    assert "--dependency afterok:42" in gather
    assert gather.endswith(f"--wrap {last}")


@pytest.mark.parametrize(("script", "words"), [("build.sh", ["one.yaml"]), ("ood.sh", [])])
def test_too_few_words_are_answered_with_the_usage(submit: Submit, script: str, words: list[str]) -> None:
    wrong = submit(script, *words)
    assert wrong.returncode != 0
    assert "usage" in wrong.stderr


@pytest.mark.slow
def test_what_is_submitted_builds_and_embeds(submit: Submit, tmp_path: Path) -> None:
    config = {
        "dataset": {"name": "tiny_people"},
        "window": {"seconds": 1.0, "rate_hz": 20, "clip_fps": 5, "clip_size": 16},
        "splits": {"subjects": {"train": ["p0", "p1"], "test": ["p2"]}},
    }
    (tmp_path / "people.yaml").write_text(yaml.safe_dump(config))
    data = tmp_path / "data"
    done = submit("build.sh", tmp_path / "people.yaml", data, "--plugin", PLUGIN, RUN="1")
    assert done.returncode == 0, done.stderr
    assert verify(load_index(data)).problems == []
    done = submit("build.sh", data, "tiny", RUN="1", COMMAND="embed")
    assert done.returncode == 0, done.stderr
    assert len(list((data / "teachers").glob("*/test.npy"))) == 1


@pytest.mark.slow
def test_what_is_submitted_finishes_the_benchmark(submit: Submit, tmp_path: Path) -> None:
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
    done = submit("ood.sh", *words, RUN="1")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs" / "runs").iterdir())) == 4
    assert done.stderr.count("2 of 4 runs to do") == 2
    assert (tmp_path / "results.jsonl").read_text().count("erm on cnn") > 0
