"""`python -m imu_video` is the command, and files of the working folder are not imported in place of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from imu_video import __version__


@pytest.mark.parametrize("flags", [[], ["-P"]])
def test_python_m_runs_the_command(tmp_path: Path, flags: list[str]) -> None:
    for name in ("pydantic", "typer", "yaml", "eval", "pretrain"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the working folder was imported')")
    command = [sys.executable, *flags, "-m", "imu_video"]
    shown = subprocess.run([*command, "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert (shown.returncode, shown.stdout) == (0, f"imu-video {__version__}\n"), shown.stderr
    wrong = subprocess.run([*command, "list", "nothing"], cwd=tmp_path, capture_output=True, text=True)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: ")
