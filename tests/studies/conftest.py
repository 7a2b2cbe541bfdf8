"""Runners of the studies as modules, and a stand-in for the commands that they run."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
Call = Callable[..., list[str]]


def load(study: str) -> ModuleType:
    """The runner of a study; its file adds the clone to the search path, which `runner` takes back."""
    name = f"studies_{study}_run"
    spec = importlib.util.spec_from_file_location(name, ROOT / "studies" / study / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    return load


def pretend(words: list[str]) -> None:
    """Leave the files by which the runners recognise finished work."""
    name, command = Path(words[0]).name, words[1]
    if (name, command) == ("imu-pretrain", "export"):
        made = [Path(words[3]) / "config.json"]
    elif (name, command) == ("imu-video", "build"):
        made = [Path(words[3]) / part for part in ("build.yaml", "index.json", "shards/a.tar", "columns/a.npy")]
    elif (name, command) == ("imu-eval", "calibrate-text"):
        made = [Path(words[words.index("--out") + 1]) / "config.json"]
    elif name == "imu-eval" and "--out" in words:
        made = [Path(words[words.index("--out") + 1])]
        made += [Path(words[words.index("--folder") + 1]) / "runs"] if "--folder" in words else []
    else:
        made = []
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


@pytest.fixture
def call(runner: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Call]:
    """A study's runner in an empty working folder: ``call(study)(words...)`` gives the commands that it ran.

    Each call is made twice: first with ``--dry-run``, which must print the same command lines and change no file.
    """
    monkeypatch.chdir(tmp_path)
    ran: list[list[str]] = []

    def record(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        ran.append([Path(command[0]).name, *command[1:]])
        pretend(ran[-1])
        return subprocess.CompletedProcess(command, 0)

    def of(study: str) -> Call:
        module = runner(study)
        monkeypatch.setattr(sys.modules["studies.common"].subprocess, "run", record)

        def call(*words: str) -> list[str]:
            before = sorted(tmp_path.rglob("*"))
            dry = CliRunner().invoke(module.app, [*words, "--dry-run"], catch_exceptions=False)
            assert dry.exit_code == 0, dry.output
            assert (ran, sorted(tmp_path.rglob("*"))) == ([], before), "a dry run runs nothing"
            printed = [line.removeprefix("  $ ") for line in dry.stdout.splitlines() if line.startswith("  $ ")]
            done = CliRunner().invoke(module.app, list(words), catch_exceptions=False)
            assert done.exit_code == 0, done.output
            assert printed == [shlex.join(command) for command in ran]
            ran.clear()
            return [line.replace(str(ROOT), "@") for line in printed]

        return call

    return of
