"""The command line of `imu-pretrain` without a run: version and help."""

from __future__ import annotations

from typer.testing import CliRunner

from imu_video import __version__
from pretrain.cli import app


def test_version_and_help() -> None:
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.stdout) == (0, f"imu-pretrain {__version__}\n")
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0
    assert all(name in shown.stdout for name in ("launch", "export", "status", "--version"))
