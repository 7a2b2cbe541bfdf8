"""Checkpoints as folders of safetensors and JSON, written atomically; the caller chooses their content.

RUN/checkpoints/step-00000200/  model.safetensors   student, projectors, losses (never the teacher)
                                optimizer.safetensors
                                state.json          state, identity, sha256 of the two files, digest of itself
RUN/checkpoints/latest, best    one line each: the name of a folder

A folder is filled under a temporary name, synced and renamed; then `latest` is replaced. Whatever moment a process is
killed at, `latest` names a complete checkpoint. A damaged one is an error, never a reason to pick another silently.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from imu_video.config import digest
from imu_video.errors import CheckpointError
from imu_video.runtime.files import atomic_folder, file_sha256, remove_leftovers, temporary_path, write_atomic
from imu_video.types import JsonDict

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


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

    Example:
        >>> import tempfile, torch
        >>> store = CheckpointStore(Path(tempfile.mkdtemp()) / "checkpoints", keep=1)
        >>> _ = store.write(5, Checkpoint(model={"w": torch.ones(2)}, optimizer={}, state={"step": 5}))
        >>> store.read(store.resolve("latest")).state
        {'step': 5}
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def write(self, step: int, checkpoint: Checkpoint, *, best: bool = False) -> Path:
        """Write one checkpoint, point `latest` (and `best`) to it, then delete old ones.

        A complete checkpoint of the same step is kept unchanged: a step determines its weights.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / step_name(step)
        if not target.exists():
            with atomic_folder(target) as partial:
                save_file(_plain(checkpoint.model), partial / MODEL)
                save_file(_plain(checkpoint.optimizer), partial / OPTIMIZER)
                content = {
                    "state": checkpoint.state,
                    "sha256": {name: file_sha256(partial / name) for name in (MODEL, OPTIMIZER)},
                }
                (partial / STATE).write_text(json.dumps({**content, "digest": digest(content, length=64)}, indent=1))
        # `latest` comes last: if the process is killed before, the next start removes the folder and repeats its steps.
        if best:
            self._point("best", target.name)
        self._point("latest", target.name)
        self._retain()
        return target

    def read(self, path: Path, *, optimizer: bool = True) -> Checkpoint:
        """Read and verify one checkpoint folder.

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        hint = (
            "resume from another one with --resume RUN/checkpoints/step-...; "
            f"available: {', '.join(self.names()) or 'no checkpoint'}"
        )
        content = read_state(path, hint=hint)
        for name, expected in content["sha256"].items():
            file = path / name
            if not file.is_file():
                raise CheckpointError(f"checkpoint {path}: {name} is missing", hint=hint)
            if (seen := file_sha256(file)) != expected:
                raise CheckpointError(
                    f"checkpoint {path}: {name} is damaged (sha256 {seen[:12]}..., expected {expected[:12]}...)",
                    hint=hint,
                )
        try:
            model = load_file(path / MODEL)
            moments = load_file(path / OPTIMIZER) if optimizer else {}
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"checkpoint {path} cannot be read: {error}", hint=hint) from error
        return Checkpoint(model=model, optimizer=moments, state=content["state"])

    def resolve(self, which: str) -> Path:
        """Folder of ``latest``, ``best`` or a step number.

        Raises:
            CheckpointError: no such checkpoint.
        """
        name = step_name(int(which)) if which.isdigit() else self.pointer(which)
        if name is None or not (self.folder / name).is_dir():
            raise CheckpointError(
                f"{self.folder}: no checkpoint {which!r}"
                + (f" ({name} does not exist)" if name and not which.isdigit() else ""),
                hint=f"available: {', '.join(self.names()) or 'no checkpoint'}",
            )
        return self.folder / name

    def pointer(self, which: str) -> str | None:
        """The folder name in `latest` or `best`, None before the first checkpoint."""
        file = self.folder / which
        return file.read_text(encoding="utf-8").strip() if file.is_file() else None

    def names(self) -> list[str]:
        """Complete checkpoints, oldest first."""
        return sorted(p.name for p in self.folder.glob("step-*") if p.is_dir()) if self.folder.is_dir() else []

    def clean(self) -> None:
        """Remove leftovers of a killed process: incomplete folders, and a newer one that `latest` does not name yet."""
        latest = self.pointer("latest") or ""
        unannounced = [self.folder / name for name in self.names() if name > latest]
        remove_leftovers(self.folder)
        for folder in unannounced:
            shutil.rmtree(folder)

    def _point(self, which: str, name: str) -> None:
        write_atomic(self.folder / which, name + "\n")

    def _retain(self) -> None:
        names = self.names()
        stay = {*names[-self.keep :], self.pointer("best"), self.pointer("latest")}
        for name in names:
            if name not in stay:
                # Renamed first: a half-deleted folder must not look like a checkpoint.
                doomed = temporary_path(self.folder / name)
                os.replace(self.folder / name, doomed)
                shutil.rmtree(doomed)


def step_name(step: int) -> str:
    """Folder name of a step's checkpoint.

    Example:
        >>> step_name(200)
        'step-00000200'
    """
    return f"step-{step:08d}"


def read_state(path: Path, *, hint: str | None = None) -> JsonDict:
    """The verified content of a checkpoint's state.json: ``state`` and ``sha256``.

    Raises:
        CheckpointError: missing or damaged.
    """
    try:
        content: dict[str, Any] = json.loads((path / STATE).read_text(encoding="utf-8"))
        claimed = content.pop("digest")
        intact = digest(content, length=64) == claimed and {"state", "sha256"} <= content.keys()
    except OSError as error:
        raise CheckpointError(f"checkpoint {path}: {STATE}: {error.strerror}", hint=hint) from error
    except (ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"checkpoint {path}: {STATE} is damaged", hint=hint) from error
    if not intact:
        raise CheckpointError(f"checkpoint {path}: {STATE} is damaged", hint=hint)
    return content


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Clones break shared storage, which safetensors refuses.
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
