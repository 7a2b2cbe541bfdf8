"""The three commands answer ``--version`` and ``--help`` alike."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

import imu_video.cli.app
import pretrain.cli
from eval.cli import app as eval_app
from imu_video import __version__
from imu_video.errors import ConfigError
from imu_video.runtime.command import new_app, parse_part

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


@pytest.mark.parametrize(("text", "part"), [("1/1", (1, 1)), ("2/2", (2, 2)), ("3/16", (3, 16))])
def test_a_part_is_read(text: str, part: tuple[int, int]) -> None:
    assert parse_part(text) == part


@pytest.mark.parametrize("text", ["", "3", "/", "1/", "0/4", "5/4", "-1/4", "1/0", "1:2", "1/2/3", "1.0/2", "\u00b2/4"])
def test_parts_count_from_1_to_their_number(text: str) -> None:
    with pytest.raises(ConfigError, match="expected i/n with 1 <= i <= n") as refused:
        parse_part(text)
    assert repr(text) in str(refused.value), "the value seen"
    assert "try: --part 1/4" in str(refused.value)


@pytest.mark.parametrize(("name", "command"), [("imu-video", "build"), ("imu-video", "embed"), ("imu-eval", "ood")])
def test_every_command_with_parts_describes_how_they_are_counted(name: str, command: str) -> None:
    shown = CliRunner().invoke(APPS[name], [command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    line = next(line for line in shown.splitlines() if "--part" in line)
    assert "counted from 1" in line, line
