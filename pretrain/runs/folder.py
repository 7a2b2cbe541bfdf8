"""The run folder: config, environment and lock of a run, and the checkpoint that it resumes from.

RUN/config.yaml       resolved config: `imu-pretrain launch RUN/config.yaml` repeats the run
RUN/environment.json  run id, identity, and one entry per launch: versions, machine, processes, threads, commit
RUN/log.jsonl         metrics (observe/trackers.py)
RUN/checkpoints/      checkpoints (checkpoints/store.py)
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imu_video.config import dump_yaml
from imu_video.errors import CheckpointError, ConfigError
from imu_video.runtime.files import is_leftover, remove_leftovers, write_atomic
from pretrain.checkpoints.store import CheckpointStore, read_state
from pretrain.config import PretrainConfig, differences, run_id

_LOCK = ".lock"
_BEFORE_CONFIG = {_LOCK, "environment.json"}  # what a process leaves that is killed before it has written config.yaml


class RunFolder:
    """One run's folder.

    Args:
        path: the folder; need not exist.
        keep: number of newest checkpoints that are kept in addition to the best.
    """

    def __init__(self, path: Path, *, keep: int = 2) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.environment_file = path / "environment.json"
        self.log_file = path / "log.jsonl"
        self.store = CheckpointStore(path / "checkpoints", keep=keep)

    def find_start(self, resume: str, identity: Mapping[str, Any]) -> Path | None:
        """The checkpoint to resume from, None for a new run; only reads, so every rank may call it.

        Args:
            resume: ``auto`` = resume an existing run, else start; ``never`` = refuse a folder that contains a run;
                otherwise the path of a checkpoint folder or of another run folder (its latest checkpoint).
            identity: of the run that starts (config.identity).

        Raises:
            ConfigError: not a run folder, a run that must not be resumed, or another config.
            CheckpointError: the checkpoint is missing or damaged.
        """
        holds_run = self.config_file.is_file()
        foreign = self.path.exists() and (
            not self.path.is_dir()
            or any(p.name not in _BEFORE_CONFIG and not is_leftover(p.name) for p in self.path.iterdir())
        )
        if foreign and not holds_run:
            raise ConfigError(
                f"--run {self.path}: exists and is not a run folder (it has no config.yaml)", hint="name a new folder"
            )
        if resume == "never":
            if holds_run:
                raise ConfigError(
                    f"--run {self.path} already contains a run and --resume is never",
                    hint="--resume auto resumes it; another --run starts a new run",
                )
            return None
        if resume == "auto":
            if not holds_run:
                return None
            name = self.store.pointer("latest")
            if name is None:
                self._compare(self.read_environment()["identity"], identity, of=self.path)
                return None
            start = self.store.resolve("latest")
        else:
            start = self._named(Path(resume))
        self._compare(read_state(start)["state"]["identity"], identity, of=start)
        return start

    def _named(self, given: Path) -> Path:
        if (given / "checkpoints").is_dir():
            given = CheckpointStore(given / "checkpoints").resolve("latest")
        if not given.is_dir():
            raise CheckpointError(
                f"--resume {given}: no such checkpoint folder", hint="pass auto, never, RUN or RUN/checkpoints/step-..."
            )
        latest = self.store.pointer("latest")
        # Resuming from an older checkpoint would overwrite later ones and leave a log that no single run produced.
        if latest is not None and (self.store.folder / latest).resolve() != given.resolve():
            raise ConfigError(
                f"--resume {given}: {self.path} already has checkpoints, up to {latest}",
                hint=f"branch off into a new folder: --run NEW --resume {given}",
            )
        return given

    @staticmethod
    def _compare(saved: Mapping[str, Any], now: Mapping[str, Any], *, of: Path) -> None:
        changed = differences(saved, now)
        if changed:
            raise ConfigError(
                f"{of} was made with another config; differences (saved -> now):\n    " + "\n    ".join(changed),
                hint="use another --run for the changed config, or restore the saved values",
            )

    def begin(self, config: PretrainConfig, identity: Mapping[str, Any], launch: Mapping[str, Any]) -> None:
        """Write config and environment, and remove leftovers of a killed process (rank 0 only)."""
        self.path.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.path)
        self.store.clean()
        launches = self.read_environment()["launches"] if self.environment_file.is_file() else []
        environment = {
            "run_id": run_id(identity),
            "identity": dict(identity),
            "launches": [*launches, {**describe_machine(), **launch}],
        }
        write_atomic(self.environment_file, json.dumps(environment, indent=1) + "\n")
        write_atomic(self.config_file, dump_yaml(config))

    def read_environment(self) -> dict[str, Any]:
        """The content of environment.json.

        Raises:
            CheckpointError: missing or damaged.
        """
        try:
            content: dict[str, Any] = json.loads(self.environment_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.environment_file} is missing or damaged: {error}") from error
        return content

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder while a process writes to it; the system releases the lock when the process ends.

        Raises:
            ConfigError: another process has locked it.
        """
        if sys.platform == "win32":  # Windows has no fcntl: two writers are not detected
            yield
            return
        import fcntl

        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / _LOCK, "w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    f"--run {self.path}: another process is writing to it", hint="wait for it, or use another --run"
                ) from error
            yield


def describe_machine() -> dict[str, Any]:
    """Versions, platform and source commit, recorded to make results reproducible."""
    packages = ("imu-video", "torch", "accelerate", "numpy", "safetensors")
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in packages}},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "commit": source_commit(),
    }


def source_commit() -> str | None:
    """Commit of the source tree, with ``+changes`` if it has uncommitted edits; None for an installed package."""
    here = Path(__file__).resolve().parent.parent.parent
    if not (here / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):  # no git on this machine: the commit is unknown, not an error
        return None
    return commit + ("+changes" if changed else "")
