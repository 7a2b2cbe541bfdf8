"""What all three commands offer alike: a version, shell completion, and a module form."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imu_video import __version__

COMMANDS = {"imu-video": "build", "imu-pretrain": "launch", "imu-eval": "fewshot"}


def run(command: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name(command)
    return subprocess.run([program, *words], env={**os.environ, **environment}, capture_output=True, text=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_version(command: str) -> None:
    shown = run(command, "--version")
    assert (shown.returncode, shown.stdout) == (0, f"{command} {__version__}\n"), shown.stderr


@pytest.mark.parametrize(
    ("command", "shell"),
    [
        pytest.param(command, shell, marks=[pytest.mark.slow] * (shell != "bash" and command != "imu-video"))
        for command in COMMANDS
        for shell in ("bash", "zsh", "fish")
    ],
)
def test_the_shell_completes_subcommands(command: str, shell: str) -> None:
    """What the shell does at TAB after `COMMAND bui`; the answer of each shell has a format of its own."""
    name, wanted = f"_{command.upper().replace('-', '_')}_COMPLETE", COMMANDS[command]
    typed = f"{command} {wanted[:3]}"
    variables = {"COMP_WORDS": typed, "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": typed}
    answer = run(command, **{name: f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args", **variables})
    assert wanted in answer.stdout.split("\n")[0], (answer.stdout, answer.stderr)
    # Typer takes the shell from the parent process, which under a test runner may be no shell: name it instead.
    script = run(command, "--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert name in script.stdout, "the line that `--install-completion` writes for the shell"


@pytest.mark.parametrize("command", COMMANDS)
def test_without_arguments_the_help_is_shown(command: str) -> None:
    shown = run(command)
    assert COMMANDS[command] in shown.stdout + shown.stderr
    assert "Traceback" not in shown.stderr
