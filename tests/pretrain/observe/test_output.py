"""Output whose reader goes away."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pretrain.checkpoints.store import CheckpointStore
from pretrain.observe.output import lasting_output
from pretrain.observe.trackers import read_log

PROGRAM = """
import sys
from pretrain.observe.output import lasting_output
with lasting_output():
    for number in range(5000):
        print(number, "x" * 200)
        print(number, "y" * 200, file=sys.stderr)
sys.exit(7)
"""


@pytest.mark.parametrize("closed", ["stdout", "stderr", "both"])
def test_a_program_outlives_its_readers(closed: str, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(tmp_path / "other", "w") as other:
        streams = {name: write if closed in (name, "both") else other for name in ("stdout", "stderr")}
        done = subprocess.run([sys.executable, "-P", "-c", PROGRAM], **streams, check=False)  # type: ignore[call-overload]
    os.close(write)
    assert done.returncode == 7
    text = (tmp_path / "other").read_text()
    if closed != "both":
        assert text.count(f"warning: {closed} cannot be written (Broken pipe); the run continues") == 1
        assert text.count("\n") == 5001
    else:
        assert text == ""


def test_streams_are_put_back_and_behave(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with lasting_output():
        print("out")
        sys.stderr.writelines(["e", "rr\n"])
        assert sys.stdout.encoding == before[0].encoding
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("out\n", "err\n")


@pytest.mark.slow
def test_training_outlives_the_reader_of_its_output(
    config_file: Callable[..., Path], start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = start("launch", config_file(optim={"steps": 40}), "--run", tmp_path / "run")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert "stdout cannot be written (Broken pipe); the run continues" in err
    assert CheckpointStore(tmp_path / "run" / "checkpoints").pointer("latest") == "step-00000040"
    assert read_log(tmp_path / "run" / "log.jsonl")[-1]["step"] == 40
