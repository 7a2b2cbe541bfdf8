"""The run folder: config, environment and lock of a run, and the checkpoint that it resumes from.

RUN/config.yaml       resolved config: `imu-pretrain launch RUN/config.yaml` repeats the run
RUN/environment.json  run id, identity, and one entry per launch: versions, machine, processes, threads, commit
RUN/log.jsonl         metrics (observe/trackers.py); lines that a resumed run repeats move to log.set-aside.jsonl
RUN/checkpoints/      checkpoints (checkpoints/store.py)
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imu_video.config import dump_yaml, read_yaml, validate
from imu_video.errors import CheckpointError, ConfigError, GuardStop, ImuVideoError
from imu_video.runtime.documents import read_json
from imu_video.runtime.files import is_leftover, remove_leftovers, write_atomic
from imu_video.runtime.references import restored
from pretrain.checkpoints.store import CheckpointStore, read_state
from pretrain.config import PretrainConfig
from pretrain.identity import differences, run_id, stored
from pretrain.identity import identity as identity_of
from pretrain.runs.machine import describe_machine

logger = logging.getLogger(__name__)

_LOCK = ".lock"
_BEFORE_CONFIG = {_LOCK, "environment.json"}  # what a process leaves that is killed before it has written config.yaml
_DATA = "data (index digest)"


class FolderLost(GuardStop):
    """The run folder was removed or replaced while a run was writing to it."""


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
        self.store = CheckpointStore(path / "checkpoints", keep=keep, check=self.check)
        self._seen: tuple[list[str], str | None] | None = None
        self._locked: tuple[tuple[int, int], str] | None = None

    @property
    def holds_run(self) -> bool:
        """Whether the folder contains a run: its config, or checkpoints whose config was lost."""
        return self.config_file.is_file() or bool(self.store.names())

    def find_start(self, resume: str, identity: Mapping[str, Any]) -> Path | None:
        """The checkpoint to resume from, None for a new run; only reads, so every rank may call it.

        Args:
            resume: ``auto`` = resume an existing run from its newest checkpoint, else start; ``never`` = refuse a
                folder that contains a run; otherwise the path of a checkpoint folder or of another run folder (its
                newest checkpoint).
            identity: of the run that starts (`pretrain.identity`).

        Raises:
            ConfigError: not a run folder, a run that must not be resumed, or another config.
            CheckpointError: the checkpoint is missing or damaged.
        """
        self._seen = self._contents()
        holds_run = self.holds_run
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
        start = self.store.newest() if resume == "auto" else self._named(Path(resume))
        if start is not None:
            self._compare(read_state(start)["state"]["identity"], identity, of=start)
        elif holds_run:
            self._compare(self._saved_identity(identity), identity, of=self.path)
        return start

    def _named(self, given: Path) -> Path:
        if (given / "checkpoints").is_dir():
            newest = CheckpointStore(given / "checkpoints").newest()
            if newest is None:
                raise CheckpointError(f"--resume {given}: the run has no checkpoint yet", hint="omit --resume")
            given = newest
        if not given.is_dir():
            raise CheckpointError(
                f"--resume {given}: no such checkpoint folder", hint="pass auto, never, RUN or RUN/checkpoints/step-..."
            )
        names = self.store.names()
        here = given.resolve()
        if here.parent == self.store.folder.resolve() and here.name in names:
            return self.store.folder / here.name
        # Two runs in one folder would leave checkpoints and a log that no single run produced.
        if names:
            raise ConfigError(
                f"--resume {given}: {self.path} already has checkpoints of its own, up to {names[-1]}",
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

    def _saved_identity(self, now: Mapping[str, Any]) -> Mapping[str, Any]:
        """Identity of a run that has no checkpoint: as recorded, or else that of its config."""
        with contextlib.suppress(CheckpointError):
            return self.read_environment()["identity"]
        with contextlib.suppress(ImuVideoError):
            saved = validate(read_yaml(self.config_file), PretrainConfig, source=str(self.config_file))
            # Data and code of plugins are in no config: they are taken to be the same.
            same = {key: value for key, value in now.items() if "(" in key}
            return {**identity_of(saved, data=now[_DATA]), **same}
        return now  # both are damaged, and there is no state that another config could be mixed with

    def begin(
        self, config: PretrainConfig, identity: Mapping[str, Any], launch: Mapping[str, Any], *, start: Path | None
    ) -> None:
        """Write config and environment, and bring the checkpoints in order (rank 0 only, under the lock).

        Args:
            config: resolved.
            identity: of the run.
            launch: facts of this launch.
            start: result of `find_start`.

        Raises:
            ConfigError: another process has changed the folder since `find_start`.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if self._seen is not None and self._contents() != self._seen:
            raise ConfigError(
                f"--run {self.path}: another process has written checkpoints to it since this one read them",
                hint="run the same command again",
            )
        remove_leftovers(self.path)
        if start is not None and start.parent == self.store.folder:
            self.store.settle(start)
        launches = self._launches()
        environment = {
            "run_id": run_id(identity),
            "identity": stored(identity),
            "launches": [*launches, {**describe_machine(), **launch}],
        }
        write_atomic(self.environment_file, json.dumps(environment, indent=1) + "\n")
        write_atomic(self.config_file, dump_yaml(config))

    def _contents(self) -> tuple[list[str], str | None]:
        return self.store.names(), self.store.pointer("latest")

    def _launches(self) -> list[Any]:
        """Earlier launches; a damaged record is set aside, because a run does not depend on it."""
        if not os.path.lexists(self.environment_file):
            return []
        try:
            return list(self.read_environment()["launches"])
        except CheckpointError as error:
            number = 1
            while os.path.lexists(aside := self.path / f"environment.damaged-{number}.json"):
                number += 1
            os.rename(self.environment_file, aside)
            logger.warning(f"{error.message}; moved to {aside.name}, a new one is begun")
            return []

    def read_environment(self) -> dict[str, Any]:
        """The content of environment.json.

        Raises:
            CheckpointError: missing or damaged.
        """
        content: Any = read_json(self.environment_file, error=CheckpointError)
        fields = {"identity": dict, "launches": list}
        if not isinstance(content, dict) or not all(isinstance(content.get(k), v) for k, v in fields.items()):
            raise CheckpointError(f"{self.environment_file}: expected an object with {' and '.join(fields)}")
        return content

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder while a process writes to it; the system releases the lock when the process ends.

        Raises:
            ConfigError: another process has locked it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            # Not truncated: the content is that of the process that holds the lock. A planted link is not followed.
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            handle = os.open(self.path / _LOCK, flags, 0o666)
            stack.callback(os.close, handle)
            if sys.platform != "win32":  # Windows has no fcntl: two writers are not detected
                import fcntl

                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise ConfigError(
                        f"--run {self.path}: another process is writing to it",
                        hint="wait for it, or use another --run",
                    ) from error
                # An open folder keeps its number: a new folder of the same name cannot get it.
                folder = os.open(self.path, os.O_RDONLY)
                stack.callback(os.close, folder)
            token = f"{os.getpid()} {secrets.token_hex(8)}\n"
            os.ftruncate(handle, 0)
            os.pwrite(handle, token.encode(), 0) if hasattr(os, "pwrite") else os.write(handle, token.encode())
            self._locked = self._number(), token
            stack.callback(setattr, self, "_locked", None)
            yield

    def check(self) -> None:
        """Notice that the folder is no longer the one that was locked; does nothing without `lock`.

        Raises:
            FolderLost: it was removed, or replaced by another one.
        """
        if self._locked is None:
            return
        number, token = self._locked
        try:
            # Either suffices: the lock file may be deleted by hand, and some network disks renumber their folders.
            if self._number() == number or (self.path / _LOCK).read_text(encoding="utf-8") == token:
                return
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError:
            return  # the disk does not answer: the write that follows reports it
        raise FolderLost(f"--run {self.path}: the folder was removed or replaced while the run was writing to it")

    def _number(self) -> tuple[int, int]:
        here = os.stat(self.path)
        return here.st_dev, here.st_ino


def default_folder(name: str, run: str) -> Path:
    """Run folder of a command without ``--run``.

    A name with a value of the environment, which may be a secret, is left out; a folder that an earlier version made
    with it is still found.

    Args:
        name: of the config.
        run: run id.
    """
    named = Path("runs") / f"{name}-{run}"
    return named if named.exists() or restored(name) == name else Path("runs") / f"run-{run}"
