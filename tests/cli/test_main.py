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


def test_both_packages_that_run_as_modules_treat_the_working_folder_alike() -> None:
    """The lines stand twice because nothing of ours may be imported before them; they must stay the same."""
    root = Path(__file__).resolve().parents[2]
    texts = [(root / package / "__main__.py").read_text().splitlines()[1:] for package in ("imu_video", "pretrain")]
    differing = [(one, two) for one, two in zip(*texts, strict=True) if one != two]
    assert len(differing) == 2, "the name of the other file, and what is imported"
    assert all("__main__.py" in pair[0] or " import main" in pair[0] for pair in differing)


@pytest.mark.parametrize("package", ["imu_video", "pretrain"])
def test_a_clone_that_is_not_installed_stays_on_the_path(tmp_path: Path, package: str) -> None:
    """Without its folder on the path neither another package of the clone nor a worker process could be imported."""
    for name in ("imu_video", "pretrain"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "cli").mkdir()
        (tmp_path / name / "cli" / "app.py").write_text("def main(): import beside")
    (tmp_path / "pretrain" / "cli" / "__init__.py").write_text("from pretrain.cli.app import main")
    (tmp_path / "beside.py").write_text("print('found')")
    source = Path(__file__).resolve().parents[2] / package / "__main__.py"
    (tmp_path / package / "__main__.py").write_text(source.read_text())
    command = [sys.executable, "-S", "-m", package]  # without site-packages, where the package is installed
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "found\n"), done.stderr
