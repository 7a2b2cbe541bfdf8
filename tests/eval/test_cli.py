"""The command `imu-eval` with protocols of plugins that do not fit: one message each, before anything is measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = """
from pathlib import Path
from eval.protocol import Protocol, protocols

@protocols.register({name!r})
class Mine(Protocol):
    "Mine."
    name = {stated!r}

    def __init__(self, *, {arguments}) -> None:
        self.arguments = encoder, data

    def run(self, context):
        print("arguments", *self.arguments)
        return []
"""


def call(folder: Path, *words: str, name: str, stated: str | None = None, arguments: str = "encoder: Path, data"):  # type: ignore[no-untyped-def]
    (folder / "mine.py").write_text(PLUGIN.format(name=name, stated=stated or name, arguments=arguments))
    code = "from eval.cli import main; main()"
    command = [sys.executable, "-P", "-c", code, *words, "--plugin", "mine.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ({"name": "fewshot"}, "protocol 'fewshot' is registered twice: "),
        ({"name": "report"}, "protocol 'report' has the name of a command"),
        ({"name": "mine", "stated": "other"}, "protocol 'mine': Mine.name must be 'mine'"),
        (
            {"name": "mine", "arguments": "encoder, data, out: str = ''"},
            "protocol 'mine': argument 'out' has the name of an option of every protocol",
        ),
    ],
)
def test_a_protocol_that_does_not_fit_is_refused(tmp_path: Path, protocol: dict[str, str], message: str) -> None:
    done = call(tmp_path, protocol["name"], "a", "b", **protocol)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}"), done.stderr


def test_arguments_without_annotation_are_text_and_a_catch_all_is_no_option(tmp_path: Path) -> None:
    done = call(tmp_path, "mine", "a", "b", name="mine", arguments="encoder: Path, data, **rest")
    assert (done.returncode, done.stdout) == (0, "arguments a b\n"), done.stderr


def test_several_shots_in_one_option_are_refused_with_the_options_to_write() -> None:
    from typer.testing import CliRunner

    from eval.cli import app

    done = CliRunner().invoke(app, ["fewshot", "encoder", "data", "--shots", "1,5"])
    assert str(done.exception) == "--shots 1,5: expected one whole number\n  try: repeat --shots: --shots 1 --shots 5"
    done = CliRunner().invoke(app, ["fewshot", "no_encoder", "no_data", "--shots", "1", "--shots", "5"])
    assert "no_data" in str(done.exception)
