"""Steps of the study runners: command lists, their log lines and their exit codes; not what a study measures.

Estimates from stored counts, which several studies share, are in estimates.py.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from imu_video.errors import ConfigError, ImuVideoError
from imu_video.runtime import console

ROOT = Path(__file__).resolve().parents[1]
"""The clone that the runner lies in: studies are not part of the installed package."""

CONFIGS = ROOT / "configs"

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the commands that remain to be run, and run none.")]


class StepFailed(ImuVideoError):
    """A command of a study that ended with an error; the runner passes its exit code on.

    Args:
        command: the command line that failed.
        exit_code: its exit code.
    """

    def __init__(self, command: str, exit_code: int) -> None:
        super().__init__(f"exit code {exit_code} from: {command}", hint="correct the cause and repeat the same command")
        self.exit_code = exit_code


class Steps:
    """Runs the commands of a study one after another, or only prints them.

    Args:
        dry_run: print the commands, run none of them.
        threads: CPU threads per command where the environment does not set ``OMP_NUM_THREADS``; None sets nothing.
    """

    def __init__(self, *, dry_run: bool = False, threads: int | None = None) -> None:
        self.dry_run = dry_run
        self._environment = dict(os.environ)
        if threads is not None:
            self._environment.setdefault("OMP_NUM_THREADS", str(threads))
        self._started = time.monotonic()

    @property
    def seconds(self) -> int:
        """Whole seconds since the runner started."""
        return int(time.monotonic() - self._started)

    def say(self, title: str) -> None:
        """Print the title of the following commands with the time since the start."""
        console.say(f"[{self.seconds:4d} s] {title}")

    def run(self, *words: str | Path, title: str | None = None) -> None:
        """Run one command of the toolkit in the working folder; its output goes to the terminal.

        Args:
            words: command (``imu-video``, ``imu-pretrain``, ``imu-eval``) and its arguments; no shell reads them.
            title: line that is printed before the command.

        Raises:
            ConfigError: the command is not installed.
            StepFailed: the command ended with an error.
        """
        command = [str(_near(word)) for word in words]
        line = shlex.join(command)
        if title is not None:
            self.say(title)
        console.say(f"  $ {line}")
        if self.dry_run:
            return
        done = subprocess.run([_installed(command[0]), *command[1:]], env=self._environment, check=False)
        if done.returncode:
            # A process that a signal ended has a negative code; 128 + signal is what a shell reports for it.
            raise StepFailed(line, done.returncode if done.returncode > 0 else 128 - done.returncode)

    def python(self, module: str, *words: str | Path, title: str | None = None) -> None:
        """Run a module of the toolkit that has no console command, with ``-P``; see `run`.

        Args:
            module: its dotted name.
            words: arguments.
            title: line that is printed before the command.

        Raises:
            StepFailed: the command ended with an error.
        """
        self.run("python", "-P", "-m", module, *words, title=title)


@dataclass(frozen=True, kw_only=True)
class StudyFolder:
    """Where one call of a runner reads and writes; a finished step is skipped.

    Args:
        steps: runs the commands.
        folder: folder of data, runs, encoders and results.
    """

    steps: Steps
    folder: Path

    def absent(self, path: Path, mark: str = "") -> bool:
        """True if the file is missing, or the folder lacks the file that marks it as finished; else it is named."""
        if (path / mark).is_file():
            self.steps.say(f"{path} exists")
            return False
        return True

    def build(self, config: Path, folder: Path, *overrides: str) -> None:
        """Build a data folder, unless it exists."""
        if self.absent(folder, "index.json"):
            self.steps.run("imu-video", "build", config, folder, *overrides)

    def merge(self, parts: Sequence[Path], out: Path, title: str | None = None) -> None:
        """Join data folders, unless this was done."""
        if self.absent(out, "index.json"):
            self.steps.run("imu-video", "merge", *parts, "--out", out, title=title)

    def train(self, config: Path, run: Path, out: Path, overrides: Sequence[str]) -> None:
        """Pretrain one encoder and export its last checkpoint, unless it exists."""
        if self.absent(out, "config.json"):
            self.steps.run("imu-pretrain", "launch", config, *overrides, "--run", run)
            self.steps.run("imu-pretrain", "export", run, out, "--checkpoint", "latest")

    def few(self, encoders: Path, data: Path, config: Path, against: Sequence[str | Path], out: Path) -> None:
        """Evaluate the encoders of one row few-shot, with paired differences from those of others, unless it exists."""
        if not self.absent(out):
            return
        words: list[str | Path] = []
        for other in against:
            words += ["--against", other]
        self.steps.run("imu-eval", "fewshot", encoders, data, "--config", config, *words, "--out", out)


def roots(folders: Sequence[tuple[Path, int, bool]]) -> str:
    """The override that names the folders of a mixture.

    Args:
        folders: folder, weight, and whether it is paired with a teacher.

    Example:
        >>> roots([(Path("a"), 2, True), (Path("b"), 1, False)])
        'data.root=[{root: a, weight: 2}, {root: b, weight: 1, paired: false}]'
    """
    entries = [
        f"{{root: {root}, weight: {weight}{'' if paired else ', paired: false'}}}" for root, weight, paired in folders
    ]
    return f"data.root=[{', '.join(entries)}]"


def integers(text: str, option: str = "--seeds") -> tuple[int, ...]:
    """Integers separated by commas.

    Raises:
        ConfigError: something else.

    Example:
        >>> integers("0,1,2")
        (0, 1, 2)
    """
    try:
        return tuple(int(one) for one in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{option} {text!r}: expected integers separated by commas", hint=f"{option} 0,1") from error


def _installed(command: str) -> str:
    """The console command of the Python that runs the study, else the first one on the search path.

    Console commands, in contrast to ``python -m``, do not search the working folder for modules: a file ``eval.py`` or
    ``pretrain.py`` that a user keeps there is never imported in place of ours.
    """
    beside = shutil.which(command, path=str(Path(sys.executable).parent))
    found = beside or shutil.which(command)
    if found is None:
        raise ConfigError(f"command {command} is not installed for {sys.executable}", hint=f"pip install -e {ROOT}")
    return found


def _near(word: str | Path) -> str | Path:
    """A path of the clone relative to the working folder where it lies inside it: shorter lines, the same file."""
    inside = isinstance(word, Path) and word.is_absolute() and word.is_relative_to(Path.cwd())
    return word.relative_to(Path.cwd()) if inside and isinstance(word, Path) else word


def known(folder: Path, name: str, kind: str) -> Path:
    """The config ``name`` of a study's folder.

    Args:
        folder: folder of YAML files.
        name: file name without its ending.
        kind: what the folder holds, for the error.

    Raises:
        ConfigError: no such file; the names that exist are listed.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in folder.glob("*.yaml") if p.stem != "base"))
        raise ConfigError(f"no {kind} {name!r} in {folder.relative_to(ROOT)}", hint=f"one of: {names}")
    return path


def split_name(words: Sequence[str], default: str) -> tuple[str, list[str]]:
    """Name and overrides of ``[NAME] [key=value ...]``.

    Overrides without a name are refused: their encoders would be kept under the name of the unchanged config, and a
    later run of that config would take them for its own.

    Raises:
        ConfigError: overrides without a name, or a second word that is not an override.
    """
    if not words:
        return default, []
    name, overrides = words[0], list(words[1:])
    if "=" in name:
        raise ConfigError(
            f"{name!r} changes the config {default!r}, but the changed run has no name",
            hint=f"give it one: {default} {default}_changed {shlex.join(words)}",
        )
    wrong = [word for word in overrides if "=" not in word]
    if wrong:
        raise ConfigError(f"{wrong[0]!r}: expected key=value after the name {name!r}")
    return name, overrides
