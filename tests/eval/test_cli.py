"""The command `imu-eval` with protocols of plugins that do not fit: one message each, before anything is measured."""

from __future__ import annotations

import json
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


FORKED = """
import json, os, sys
from eval.cli import main
for number, words in enumerate(json.load(sys.stdin)):
    if os.fork() == 0:
        os.chdir(str(number))
        os.dup2(os.open("out", os.O_CREAT | os.O_WRONLY), 1)
        os.dup2(os.open("err", os.O_CREAT | os.O_WRONLY), 2)
        sys.argv = ["imu-eval", *words, "--plugin", "mine.py"]
        main()
    with open(f"{number}/code", "w") as file:
        file.write(str(os.waitstatus_to_exitcode(os.wait()[1])))
"""
CASES = {
    "protocol 'fewshot' is registered twice: ": {"name": "fewshot"},
    "protocol 'report' has the name of a command": {"name": "report"},
    "protocol 'mine': Mine.name must be 'mine'": {"name": "mine", "stated": "other"},
    "protocol 'mine': argument 'out' has the name of an option of every protocol": {
        "name": "mine",
        "arguments": "encoder, data, out: str = ''",
    },
    "": {"name": "mine", "arguments": "encoder: Path, data, **rest"},
}
"""The beginning of the message -> the plugin; none where the protocol runs."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The command with each plugin, in a child of one process that has imported everything once."""
    root, calls = tmp_path_factory.mktemp("protocols"), []
    for number, case in enumerate(CASES.values()):
        (root / str(number)).mkdir()
        plugin = PLUGIN.format(**{"stated": case["name"], "arguments": "encoder: Path, data", **case})
        (root / str(number) / "mine.py").write_text(plugin)
        calls.append([case["name"], "a", "b"])
    command = [sys.executable, "-P", "-c", FORKED]
    subprocess.run(command, cwd=root, input=json.dumps(calls), text=True, check=True)
    return {message: root / str(number) for number, message in enumerate(CASES)}


@pytest.mark.parametrize("message", [message for message in CASES if message])
def test_a_protocol_that_does_not_fit_is_refused(folders: dict[str, Path], message: str) -> None:
    error = (folders[message] / "err").read_text()
    assert (folders[message] / "code").read_text() == "2", error
    assert error.startswith(f"error: {message}"), error


def test_arguments_without_annotation_are_text_and_a_catch_all_is_no_option(folders: dict[str, Path]) -> None:
    folder = folders[""]
    assert (folder / "out").read_text() == "arguments a b\n", (folder / "err").read_text()
    assert (folder / "code").read_text() == "0"


def test_several_shots_in_one_option_are_refused_with_the_options_to_write() -> None:
    from typer.testing import CliRunner

    from eval.cli import app

    done = CliRunner().invoke(app, ["fewshot", "encoder", "data", "--shots", "1,5"])
    assert str(done.exception) == "--shots 1,5: expected one whole number\n  try: repeat --shots: --shots 1 --shots 5"
    done = CliRunner().invoke(app, ["fewshot", "no_encoder", "no_data", "--shots", "1", "--shots", "5"])
    assert "no_data" in str(done.exception)
