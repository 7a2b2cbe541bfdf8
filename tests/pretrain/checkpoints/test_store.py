"""Checkpoints: whole or absent, verified when read, and never more than asked for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from imu_video.errors import CheckpointError
from imu_video.runtime import files
from imu_video.types import JsonDict
from pretrain.checkpoints import store as module
from pretrain.checkpoints.store import MODEL, OPTIMIZER, STATE, Checkpoint, CheckpointStore


def made(step: int, best: int | None = None) -> Checkpoint:
    """A checkpoint whose state records the step of the best validation."""
    weight = torch.full((2, 3), float(step))
    return Checkpoint(
        model={"w": weight, "view": weight[:, ::2]},  # not contiguous, shared storage
        optimizer={"w/exp_avg": weight + 1, "w/step": torch.tensor(float(step))},
        state=state_of(step, best),
    )


def state_of(step: int, best: int | None = None) -> JsonDict:
    score = None if best is None else {"rule": "loss", "value": 1.0 / best, "step": best}
    return {"state": {"step": step, "best": score}}


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", keep=2)


def test_out_and_back(store: CheckpointStore) -> None:
    store.write(7, made(7))
    read = store.read(store.resolve("latest"))
    assert torch.equal(read.model["w"], torch.full((2, 3), 7.0))
    assert read.model["view"].shape == (2, 2)
    assert read.optimizer["w/step"].shape == ()
    assert read.state == state_of(7)
    assert store.read(store.resolve("7"), optimizer=False).optimizer == {}


def test_nothing_is_a_pickle(store: CheckpointStore) -> None:
    folder = store.write(1, made(1))
    assert sorted(p.name for p in folder.iterdir()) == sorted([MODEL, OPTIMIZER, STATE])
    for file in folder.glob("*.safetensors"):
        header = int.from_bytes(file.read_bytes()[:8], "little")
        json.loads(file.read_bytes()[8 : 8 + header])


def test_the_newest_and_the_best_stay(store: CheckpointStore) -> None:
    for step in range(1, 7):
        store.write(step, made(step, best=2 if step > 1 else None))
    assert store.names() == ["step-00000002", "step-00000005", "step-00000006"]
    assert store.resolve("best").name == "step-00000002"


@pytest.mark.parametrize("victim", [MODEL, OPTIMIZER, STATE])
def test_one_changed_byte_is_an_error(store: CheckpointStore, victim: str) -> None:
    folder = store.write(3, made(3))
    data = bytearray((folder / victim).read_bytes())
    data[-20] ^= 1
    (folder / victim).write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"{victim} is damaged") as caught:
        store.read(folder)
    assert "no complete checkpoint is left" in str(caught.value.hint)
    store.write(2, made(2))  # an older one that is complete
    with pytest.raises(CheckpointError, match=rf"{victim} is damaged") as caught:
        store.newest()
    assert f"--resume {store.folder / 'step-00000002'}" in str(caught.value.hint)


def test_a_missing_file_is_an_error(store: CheckpointStore) -> None:
    folder = store.write(3, made(3))
    (folder / OPTIMIZER).unlink()
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors is missing"):
        store.read(folder)


def test_asking_for_what_is_not_there_lists_what_is(store: CheckpointStore) -> None:
    store.write(3, made(3))
    for which in ("best", "4"):
        with pytest.raises(CheckpointError, match="no checkpoint") as caught:
            store.resolve(which)
        assert "step-00000003" in str(caught.value)


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the code under test may catch it."""


@pytest.mark.parametrize("moment", range(4))
def test_a_kill_at_any_moment_leaves_latest_whole(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Killed before the folder's rename, before that of `latest`, at the first sync, or while weights are written."""
    store.write(1, made(1))
    survivor = 2 if moment == 1 else 1  # a complete checkpoint that `latest` does not name yet is found again
    calls = {"replace": 0}
    real_replace, real_save, real_sync = os.replace, module.save_file, files.sync_tree

    def replace(a: Any, b: Any) -> None:
        if moment in (0, 1) and calls["replace"] == moment:
            raise Killed
        calls["replace"] += 1
        real_replace(a, b)

    def save(tensors: Any, path: Path) -> None:
        if moment == 3 and path.name == OPTIMIZER:
            path.write_bytes(b"half")
            raise Killed
        real_save(tensors, path)

    def sync(path: Path) -> None:
        if moment == 2:
            raise Killed
        real_sync(path)

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "replace", replace)
        patched.setattr(module, "save_file", save)
        patched.setattr(files, "sync_tree", sync)
        with pytest.raises(Killed):
            store.write(2, made(2))
    assert store.pointer("latest") == "step-00000001"
    assert store.read(store.resolve("latest")).state == state_of(survivor)
    files.remove_leftovers(store.folder)
    store.settle(store.resolve("latest"))
    assert store.names() == [f"step-{step:08d}" for step in range(1, survivor + 1)]
    assert store.pointer("latest") == store.names()[-1]
    store.write(2, made(2))
    assert store.read(store.resolve("latest")).state == state_of(2)
    assert sorted(p.name for p in store.folder.iterdir()) == ["latest", "step-00000001", "step-00000002"]
