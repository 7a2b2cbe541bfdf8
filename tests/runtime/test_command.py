"""The three commands answer ``--version`` and ``--help`` alike."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

import imu_video.cli.app
import pretrain.cli
from eval.cli import app as eval_app
from imu_video import __version__
from imu_video.runtime.command import new_app

APPS = {"imu-video": imu_video.cli.app.app, "imu-pretrain": pretrain.cli.app, "imu-eval": eval_app}


@pytest.mark.parametrize("name", APPS)
def test_the_version_is_shown_and_nothing_else(name: str) -> None:
    done = CliRunner().invoke(APPS[name], ["--version"])
    assert (done.exit_code, done.output) == (0, f"{name} {__version__}\n")


def test_log_records_are_shown_while_a_command_runs() -> None:
    app = new_app("imu-demo", "Count windows.")

    @app.command()
    def count() -> None:
        import logging

        logging.getLogger("imu_video.demo").info("3 windows")

    @app.command()
    def fail() -> None:
        raise typer.Exit(3)

    assert CliRunner().invoke(app, ["count"]).output == "3 windows\n"
    assert CliRunner().invoke(app, ["fail"]).exit_code == 3
    assert "Count windows." in CliRunner().invoke(app, ["--help"]).output
