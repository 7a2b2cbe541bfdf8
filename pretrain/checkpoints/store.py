"""Checkpoints as folders of safetensors and JSON, written atomically; the caller chooses their content.

RUN/checkpoints/step-00000200/  model.safetensors   student, projectors, losses (never the teacher)
                                optimizer.safetensors
                                state.json          state, identity, sha256 of the two files, digest of itself
RUN/checkpoints/latest, best    one line each: the name of a folder
RUN/checkpoints/set-aside-1/    checkpoints that a run left behind when it continued from an earlier one

A folder is filled under a temporary name, synced and renamed; then the pointers are replaced. Whatever moment a process
is killed at, the newest folder is a complete checkpoint. The pointers are a convenience: a lost one is found again from
the complete checkpoints. A damaged newest checkpoint is an error, never a reason to pick another silently. Only what
newer complete checkpoints replace is deleted, and only files that were written here.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from imu_video.config import digest
from imu_video.errors import CheckpointError, GuardStop
from imu_video.runtime.documents import read_bytes, read_json
from imu_video.runtime.files import atomic_folder, file_sha256, temporary_path, write_atomic
from imu_video.types import JsonDict

logger = logging.getLogger(__name__)

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_TENSORS = (MODEL, OPTIMIZER)
_NAME = re.compile(r"step-[0-9]{8,18}")
_ATTEMPTS = 50  # of a reader beside a run that replaces its checkpoints while they are read


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint in memory.

    Args:
        model: state dict of the training task.
        optimizer: result of `optim.optimizer_tensors`; empty when read with ``optimizer=False``.
        state: JSON: training state, identity, input specification, versions.
    """

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: JsonDict


class CheckpointStore:
    """The checkpoints of one run folder.

    Args:
        folder: ``RUN/checkpoints``; made at the first write.
        keep: number of newest checkpoints that are kept in addition to the best, >= 1.
        check: called before each write; raises where the run folder is no longer the one that the run was started in.

    Example:
        >>> import tempfile, torch
        >>> store = CheckpointStore(Path(tempfile.mkdtemp()) / "checkpoints", keep=1)
        >>> state = {"state": {"step": 5, "best": None}}
        >>> _ = store.write(5, Checkpoint(model={"w": torch.ones(2)}, optimizer={}, state=state))
        >>> store.read(store.resolve("latest")).state["state"]["step"]
        5
    """

    def __init__(self, folder: Path, *, keep: int = 2, check: Callable[[], None] | None = None) -> None:
        self.folder = folder
        self.keep = keep
        self.check = check or (lambda: None)

    # ------------------------------------------------------------------------------------------------------- writing

    def write(self, step: int, checkpoint: Checkpoint) -> Path:
        """Write one checkpoint, point `best` (to the step that its state records) and `latest`, then delete old ones.

        A complete checkpoint of the same step is kept unchanged: a step determines its weights.

        Raises:
            GuardStop: it cannot be written (disk full, folder gone); earlier checkpoints are unchanged.
        """
        self.check()
        target = self.folder / step_name(step)
        with self._writing(step):
            self.folder.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(target) and self.fault(target) is not None:
                self.set_aside([target.name])
            if not target.exists():
                self._fill(target, checkpoint)
            # `latest` comes last; if the process is killed before, the next start finds the newer folder by itself.
            self._point_best(checkpoint.state)
            self._point("latest", target.name)
        self._retain()
        return target

    def _fill(self, target: Path, checkpoint: Checkpoint) -> None:
        with atomic_folder(target) as partial:
            save_file(_plain(checkpoint.model), partial / MODEL)
            save_file(_plain(checkpoint.optimizer), partial / OPTIMIZER)
            content = {
                "state": checkpoint.state,
                "sha256": {name: file_sha256(partial / name) for name in _TENSORS},
            }
            (partial / STATE).write_text(json.dumps({**content, "digest": digest(content, length=64)}, indent=1))

    @contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        """Failed writes as one error that names the newest complete checkpoint."""
        try:
            yield
        except (OSError, SafetensorError) as error:
            number = _errno(error)
            complete = self.newest_complete()
            reason = os.strerror(number) if number else str(error)
            what = f"the checkpoint of step {step} cannot be written ({reason})"
            if complete is None:
                what += "; there is none yet"
            elif step_of(complete.name) != step:
                what += f"; the newest complete one is {complete.name}"
            else:
                what = f"{complete.name} is complete, but `latest` cannot be written ({reason})"
            full = number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            hint = ("free some space" if full else "make the folder writable") + "; the same command then continues"
            if complete is not None:
                hint += f" after step {step_of(complete.name)}"
            raise GuardStop(f"{self.folder}: {what}", hint=hint) from error

    def _retain(self) -> None:
        names = self.names()
        stay = {*names[-self.keep :], self.pointer("best"), self.pointer("latest")}
        for name in names:
            path = self.folder / name
            # A link, or a folder to which somebody added files, is not ours alone to delete.
            if name in stay or path.is_symlink() or not _is_ours(path):
                continue
            # Renamed first: a half-deleted folder must not look like a checkpoint.
            doomed = temporary_path(path)
            try:
                os.replace(path, doomed)
                shutil.rmtree(doomed)
            except OSError as error:  # an old checkpoint too many does no harm; the run goes on
                logger.warning(f"{path}: an old checkpoint cannot be deleted: {error.strerror}")

    def settle(self, start: Path) -> None:
        """Make ``start`` the newest checkpoint of this store before a run continues from it.

        Later checkpoints are set aside. `latest` and `best` are rewritten where they are missing or name another one.

        Args:
            start: a complete checkpoint of this store.
        """
        later = [name for name in self.names() if step_of(name) > step_of(start.name)]
        if later:
            aside = self.set_aside(later)
            logger.warning(f"{self.folder}: continuing from {start.name}; {', '.join(later)} moved to {aside.name}/")
        if self.pointer("latest") != start.name:
            if not later:
                logger.warning(
                    f"{self.folder / 'latest'} {self._lost('latest')}: continuing from {start.name}, the newest "
                    "complete checkpoint"
                )
            self._point("latest", start.name)
        before, was, there = self.pointer("best"), self._lost("best"), os.path.lexists(self.folder / "best")
        name = self._point_best(read_state(start)["state"])
        if name != before or (before is None and there):
            now = f"names {name} from now on" if name else "is removed until a checkpoint is the best again"
            logger.warning(f"{self.folder / 'best'} {was}: it {now}")

    def set_aside(self, names: Iterable[str]) -> Path:
        """Move checkpoints (or anything that has one of our names) to a new folder ``set-aside-N``; returns it."""
        number = 1
        while os.path.lexists(aside := self.folder / f"set-aside-{number}"):
            number += 1
        aside.mkdir()
        for name in names:
            os.rename(self.folder / name, aside / name)
        return aside

    def _point(self, which: str, name: str) -> None:
        file = self.folder / which
        if file.is_dir() and not file.is_symlink():  # a folder of that name cannot be replaced by a file
            logger.warning(f"{file} is a folder; moved to {self.set_aside([which]).name}/")
        write_atomic(file, name + "\n")

    def _point_best(self, state: Mapping[str, Any]) -> str | None:
        """Let `best` name the best checkpoint that a state records, or else the best that is left; None if none is."""
        name = self._recorded_best(state)
        if name is None:
            file = self.folder / "best"
            if not file.is_dir() or file.is_symlink():
                file.unlink(missing_ok=True)
        elif self.pointer("best") != name:
            self._point("best", name)
        return name

    def _recorded_best(self, state: Mapping[str, Any]) -> str | None:
        best = state["state"]["best"]
        if best is None:
            return None
        if (self.folder / (name := step_name(best["step"]))).is_dir():
            return name
        # It was lost, or belongs to steps that were set aside: among those that were the best when they were written,
        # the last one beat all before it.
        for name in reversed(self.names()):
            try:
                other = read_state(self.folder / name)["state"]["state"]["best"]
            except CheckpointError:
                continue
            if other is not None and step_name(other["step"]) == name:
                return name
        return None

    # ------------------------------------------------------------------------------------------------------- reading

    def read(self, path: Path, *, optimizer: bool = True) -> Checkpoint:
        """Read and verify one checkpoint folder.

        Raises:
            CheckpointError: a file is missing or damaged; the hint names the newest complete checkpoint.
        """
        try:
            content = _verified(path)
            try:
                model = load_file(path / MODEL)
                moments = load_file(path / OPTIMIZER) if optimizer else {}
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from error
        except CheckpointError as error:
            raise CheckpointError(error.message, hint=self.remedy()) from error
        return Checkpoint(model=model, optimizer=moments, state=content["state"])

    def load(self, which: str, *, optimizer: bool = True) -> tuple[Path, Checkpoint]:
        """`resolve` and `read`, beside a run that may replace its checkpoints at any time.

        Raises:
            CheckpointError: no such checkpoint, or it is damaged.
        """
        for _ in range(_ATTEMPTS):
            before = self.names(), self._content(which)
            try:
                path = self.resolve(which)
                return path, self.read(path, optimizer=optimizer)
            except CheckpointError:
                # Deleted between the two, or while it was read: only then the next attempt sees something else.
                if _NUMBER.fullmatch(which) or before == (self.names(), self._content(which)):
                    raise
        path = self.resolve(which)
        return path, self.read(path, optimizer=optimizer)

    def resolve(self, which: str) -> Path:
        """Folder of ``latest``, ``best`` or a step number.

        Raises:
            CheckpointError: no such checkpoint.
        """
        found: Path | None = None
        reason = ""
        if _NUMBER.fullmatch(which):
            found = self.folder / step_name(int(which))
        elif which == "latest":
            found = self.newest()
        elif which == "best":
            name = self.pointer("best")
            newest = self.newest() if name is None else None
            if newest is not None:
                state = read_state(newest)["state"]
                name, best = self._recorded_best(state), state["state"]["best"]
                reason = f" (the best was step {best['step']}, whose folder is gone)" if best is not None else ""
            found = self.folder / name if name is not None else None
        if found is None or not found.is_dir():
            raise CheckpointError(
                f"{self.folder}: no checkpoint {which!r}{reason}",
                hint=f"available: {', '.join(self.names()) or 'no checkpoint'}",
            )
        return found

    def newest(self) -> Path | None:
        """The newest checkpoint, which a run continues from; None before the first.

        Where `latest` does not name it (it was lost, or the process was killed before it was written), it is verified
        first.

        Raises:
            CheckpointError: it is damaged, or `latest` exists and all checkpoints are gone.
        """
        names = self.names()
        if not names:
            if os.path.lexists(self.folder / "latest"):
                raise CheckpointError(
                    f"{self.folder / 'latest'} {self._lost('latest')}, and the folder contains no checkpoint",
                    hint=f"restore {self.folder} from a backup, or start a new run: --run NEW",
                )
            return None
        newest = self.folder / names[-1]
        if self.pointer("latest") != newest.name and (fault := self.fault(newest)) is not None:
            raise CheckpointError(fault, hint=self.remedy())
        return newest

    def remedy(self) -> str:
        """What to do about a damaged checkpoint: the newest complete one, verified."""
        complete = self.newest_complete()
        if complete is None:
            return f"no complete checkpoint is left: restore {self.folder} from a backup, or start a new run: --run NEW"
        return f"--resume {complete} continues from the newest complete checkpoint; later ones are kept in set-aside-1/"

    def fault(self, path: Path) -> str | None:
        """What is damaged in a checkpoint folder; None if it is complete. Reads all of it."""
        try:
            _verified(path)
        except CheckpointError as error:
            return error.message
        return None

    def pointer(self, which: str) -> str | None:
        """The checkpoint that `latest` or `best` names; None if there is no such file or it names no checkpoint."""
        name = (self._content(which) or b"").decode("utf-8", errors="replace").strip()
        return name if _NAME.fullmatch(name) and (self.folder / name).is_dir() else None

    def names(self) -> list[str]:
        """Folders with the name of a checkpoint, oldest first."""
        try:
            found = [entry.name for entry in os.scandir(self.folder) if _NAME.fullmatch(entry.name) and entry.is_dir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(found, key=step_of)

    def newest_complete(self) -> Path | None:
        """The newest checkpoint that is complete, None if none is; each one is verified until one is found."""
        paths = (self.folder / name for name in reversed(self.names()))
        return next((path for path in paths if self.fault(path) is None), None)

    def _content(self, which: str) -> bytes | None:
        with suppress(CheckpointError):
            return read_bytes(self.folder / which, error=CheckpointError, limit=4096)
        return None

    def _lost(self, which: str) -> str:
        """Why a pointer cannot be used, as the end of a sentence that begins with its path."""
        content = self._content(which)
        if content is None:
            return "cannot be read" if os.path.lexists(self.folder / which) else "is missing"
        name = content.decode("utf-8", errors="replace").strip()
        if not _NAME.fullmatch(name):
            return "is damaged"
        return f"names {name}" + ("" if (self.folder / name).is_dir() else ", which does not exist")


_NUMBER = re.compile(r"[0-9]{1,18}")


def step_name(step: int) -> str:
    """Folder name of a step's checkpoint.

    Example:
        >>> step_name(200)
        'step-00000200'
    """
    return f"step-{step:08d}"


def step_of(name: str) -> int:
    """Step of a checkpoint's folder name.

    Example:
        >>> step_of("step-00000200")
        200
    """
    return int(name.removeprefix("step-"))


def read_state(path: Path) -> JsonDict:
    """The verified content of a checkpoint's state.json: ``state`` and ``sha256``.

    Raises:
        CheckpointError: missing or damaged.
    """
    if not (path / STATE).exists():
        raise CheckpointError(f"checkpoint {path}: {STATE} is missing")
    try:
        content: Any = read_json(path / STATE, error=CheckpointError)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {path}: {STATE} is damaged") from error
    claimed = content.pop("digest", None) if isinstance(content, dict) else None
    known = claimed is not None and {"state", "sha256"} <= content.keys() and isinstance(content["sha256"], dict)
    if not known or digest(content, length=64) != claimed or not _has_progress(content["state"]):
        raise CheckpointError(f"checkpoint {path}: {STATE} is damaged")
    return content


def _has_progress(state: Any) -> bool:
    progress = state.get("state") if isinstance(state, dict) else None
    if not isinstance(progress, dict) or not isinstance(progress.get("step"), int) or "best" not in progress:
        return False
    best = progress["best"]
    return best is None or (isinstance(best, dict) and isinstance(best.get("step"), int))


def _verified(path: Path) -> JsonDict:
    """The content of state.json of a checkpoint whose files are all as they were written."""
    content = read_state(path)
    if sorted(content["sha256"]) != sorted(_TENSORS):
        raise CheckpointError(f"checkpoint {path}: {STATE} lists {sorted(content['sha256'])}, expected {_TENSORS}")
    step = content["state"]["state"]["step"]
    if _NAME.fullmatch(path.name) and step != step_of(path.name):
        raise CheckpointError(f"checkpoint {path}: its content is of step {step}")
    for name, expected in content["sha256"].items():
        try:
            seen = file_sha256(path / name)
        except FileNotFoundError as error:
            raise CheckpointError(f"checkpoint {path}: {name} is missing") from error
        except OSError as error:
            raise CheckpointError(f"checkpoint {path}: {name} cannot be read: {error.strerror}") from error
        if seen != expected:
            raise CheckpointError(
                f"checkpoint {path}: {name} is damaged (sha256 {seen[:12]}..., expected {expected[:12]}...)"
            )
    return content


def _is_ours(folder: Path) -> bool:
    """Whether a checkpoint folder holds nothing but what `write` puts there."""
    return all(entry.name in (*_TENSORS, STATE) and entry.is_file() for entry in os.scandir(folder))


def _errno(error: OSError | SafetensorError) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    # The library reports errors of the system as text: "I/O error: No space left on device (os error 28)".
    found = re.search(r"os error (\d+)", str(error))
    return int(found[1]) if found else None


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Clones break shared storage, which safetensors refuses.
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
