"""The studies' runners: the command lines of every step, finished work, refusals and exit codes."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


def expected(study: str) -> list[tuple[str, list[str]]]:
    """Calls of a runner and the command lines that each runs, from the text file beside this one."""
    calls: list[tuple[str, list[str]]] = []
    for line in (HERE / f"{study}_commands.txt").read_text().splitlines():
        if line.startswith("> "):
            calls.append((line.removeprefix("> "), []))
        elif line and not line.startswith("#"):
            calls[-1][1].append(line)
    return calls


@pytest.mark.parametrize("study", ["utd_mhad", "transfer", "protocols", "encoder", "video"])
def test_steps_run_these_commands(study: str, call: Callable[[str], Callable[..., list[str]]]) -> None:
    """One working folder for all calls: what is finished is not run again, and later steps find earlier ones."""
    run = call(study)
    for words, lines in expected(study):
        assert run(*shlex.split(words)) == lines, words


def python(study: str, *words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", ROOT / "studies" / study / "run.py", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize(
    ("study", "words", "message"),
    [
        ("utd_mhad", ["row", "nothing"], "no row 'nothing' in studies/utd_mhad/configs/rows"),
        ("utd_mhad", ["row", "imu_video", "loss.1.weight=2"], "the changed run has no name"),
        ("utd_mhad", ["row", "imu_video", "other", "third"], "'third': expected key=value"),
        ("utd_mhad", ["row", "imu_video", "--seeds", "a"], "--seeds 'a': expected integers"),
        ("utd_mhad", ["finetune", "x", "--labels", "none"], "no limited-label config 'none'"),
        ("transfer", ["scratch", "nothing"], "unknown scenario 'nothing'"),
        ("transfer", ["encoder", "nothing"], "no row 'nothing' in studies/transfer/configs/rows"),
        ("transfer", ["pretrained", "hapt_person", "nothing"], "no encoder ood-run/encoders/nothing"),
        ("transfer", ["report"], "ood-run holds no results"),
    ],
)
def test_refusals_write_nothing(study: str, words: list[str], message: str, tmp_path: Path) -> None:
    done = python(study, *words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "\n  try: " in done.stderr or "key=value" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.slow  # starts a build in two processes
def test_a_failing_command_passes_its_exit_code_on(tmp_path: Path) -> None:
    (tmp_path / "recordings").mkdir()
    done = python("transfer", "data", "umafall", "recordings", cwd=tmp_path)
    config = ROOT / "configs" / "data" / "umafall.yaml"
    line = f"imu-video build {config} ood-run/data/umafall dataset.root=recordings"
    alone = subprocess.run(
        [Path(sys.executable).parent / "imu-video", *shlex.split(line)[1:]], capture_output=True, cwd=tmp_path
    )
    assert done.returncode == alone.returncode == 3
    assert f"error: exit code 3 from: {line}\n" in done.stderr


def test_a_module_of_the_working_folder_is_never_imported(tmp_path: Path) -> None:
    for name in ("eval", "pretrain", "imu_video", "typer", "studies"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(77)")
    done = python("utd_mhad", "table", cwd=tmp_path)
    assert done.returncode == 3
    assert "study-run/results.jsonl" in done.stderr


def test_the_demo_prints_its_eight_commands(tmp_path: Path) -> None:
    done = python("demo", "out", "--dry-run", cwd=tmp_path)
    configs, data = f"{ROOT}/studies/demo/configs", "out/data"
    shared = f"out/encoder {data} --config {configs}/eval.yaml --out out/results.jsonl"
    assert [line.removeprefix("  $ ") for line in done.stdout.splitlines() if line.startswith("  $ ")] == [
        f"imu-video build {configs}/data.yaml {data} --workers 2",
        f"imu-video embed {data} {ROOT}/configs/teacher/efficientnet_lite0_fast.yaml",
        f"imu-pretrain launch {configs}/pretrain.yaml data.root={data} --run out/run",
        "imu-pretrain export out/run out/encoder",
        f"imu-eval fewshot {shared}",
        f"imu-eval zeroshot --mode video {shared}",
        f"imu-eval retrieval {shared}",
        f"imu-eval report out/results.jsonl out/report --run out/run --encoder out/encoder --data {data}",
    ]
    assert not list(tmp_path.iterdir())


def test_the_demo_removes_its_own_output_only(tmp_path: Path, runner: Callable[[str], object]) -> None:
    own, foreign = tmp_path / "own", tmp_path / "foreign"
    (own / "data").mkdir(parents=True)
    (own / "results.cells").mkdir()
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    runner("demo").clear(own)  # type: ignore[attr-defined]
    assert not own.exists()
    done = python("demo", foreign, cwd=tmp_path)
    assert done.returncode == 2
    assert "thesis.tex" in done.stderr
    assert os.listdir(foreign) == ["thesis.tex"]
