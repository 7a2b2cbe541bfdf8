"""Lost pointers, damaged and foreign folders, full disks, readers beside a writer."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from imu_video.errors import CheckpointError, GuardStop
from pretrain.checkpoints import store as module
from pretrain.checkpoints.store import MODEL, Checkpoint, CheckpointStore, step_name

LOST = {
    "kept": None,
    "missing": b"",
    "empty": b"\n",
    "garbage": bytes(range(128, 160)),
    "outside": b"../../secret\n",
    "absent": b"step-00000099\n",
    "older": b"step-00000002\n",
}


def made(step: int, best: int | None = None) -> Checkpoint:
    """A checkpoint whose state records the step of the best validation."""
    score = None if best is None else {"rule": "mrr", "value": best / 10, "step": best}
    weight = torch.full((2,), float(step))
    return Checkpoint(model={"w": weight}, optimizer={"w/step": weight}, state={"state": {"step": step, "best": score}})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of steps 2 (the best), 4 and 6; read only."""
    store = CheckpointStore(tmp_path_factory.mktemp("written") / "checkpoints", keep=2)
    for step in (2, 4, 6):
        store.write(step, made(step, best=2))
    return store.folder


@pytest.fixture
def store(written: Path, tmp_path: Path) -> CheckpointStore:
    """A copy of them."""
    return CheckpointStore(shutil.copytree(written, tmp_path / "checkpoints"), keep=2)


def lose(store: CheckpointStore, which: str, how: str) -> None:
    content = LOST[how]
    if content == b"":
        (store.folder / which).unlink()
    elif content is not None:
        (store.folder / which).write_bytes(content)


def damage(store: CheckpointStore, step: int) -> None:
    file = store.folder / step_name(step) / MODEL
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(("latest", "best"), [*((how, "kept") for how in LOST), *(("kept", how) for how in LOST)])
def test_lost_pointers_are_found_again(store: CheckpointStore, latest: str, best: str, logged: Any) -> None:
    lose(store, "latest", latest)
    lose(store, "best", best)
    start = store.newest()
    assert start == store.folder / "step-00000006"
    assert store.resolve("best").name == "step-00000002"  # also for a reader, who repairs nothing
    store.settle(start)
    assert store.names() == ["step-00000002", "step-00000004", "step-00000006"]
    assert (store.pointer("latest"), store.pointer("best")) == ("step-00000006", "step-00000002")
    told = [str(store.folder / "latest") in line for line in logged.lines]
    assert sum(told) == (latest != "kept")
    assert len(logged.lines) == (latest != "kept") + (best not in ("kept", "older"))


def test_without_any_checkpoint_a_pointer_is_an_error_and_none_is_a_new_run(store: CheckpointStore) -> None:
    for name in store.names():
        shutil.rmtree(store.folder / name)
    with pytest.raises(CheckpointError, match="contains no checkpoint") as caught:
        store.newest()
    assert "--run NEW" in str(caught.value.hint)
    (store.folder / "latest").unlink()
    assert store.newest() is None


def test_a_best_that_is_gone_falls_back_to_the_best_that_is_left(store: CheckpointStore, logged: Any) -> None:
    store.write(8, made(8, best=8))  # retention removes 4 and 2, which is the best no more
    assert store.names() == ["step-00000006", "step-00000008"]
    store.keep = 3
    store.write(10, made(10, best=10))
    shutil.rmtree(store.folder / "step-00000010")
    store.settle(store.folder / "step-00000008")
    assert (store.pointer("latest"), store.pointer("best")) == ("step-00000008", "step-00000008")
    assert "names step-00000010, which does not exist" in logged.lines[-1]
    shutil.rmtree(store.folder / "step-00000008")
    store.settle(store.folder / "step-00000006")
    assert not os.path.lexists(store.folder / "best")  # of the steps that are left, none was a best
    with pytest.raises(CheckpointError, match=r"the best was step 2, whose folder is gone"):
        store.resolve("best")


@pytest.mark.parametrize("latest", ["kept", "missing", "older"])
def test_hints_lead_from_damage_to_the_newest_complete_one(store: CheckpointStore, latest: str) -> None:
    lose(store, "latest", latest)
    for damaged, complete in ((6, 4), (4, 2)):
        damage(store, damaged)
        with pytest.raises(CheckpointError, match="is damaged") as caught:
            store.read(store.resolve("latest"))
        assert f"--resume {store.folder / step_name(complete)} continues" in str(caught.value.hint)
    store.settle(store.folder / "step-00000002")
    assert sorted(p.name for p in (store.folder / "set-aside-1").iterdir()) == ["step-00000004", "step-00000006"]
    assert (store.names(), store.pointer("latest")) == (["step-00000002"], "step-00000002")
    store.write(4, made(4, best=2))
    store.settle(store.folder / "step-00000002")
    assert [p.name for p in (store.folder / "set-aside-2").iterdir()] == ["step-00000004"]


def test_a_damaged_folder_of_the_step_that_is_written_is_set_aside(store: CheckpointStore) -> None:
    damage(store, 6)
    store.write(6, made(6, best=2))
    assert store.fault(store.folder / "step-00000006") is None
    assert (store.folder / "set-aside-1" / "step-00000006" / MODEL).exists()


def test_a_copy_under_another_step_is_no_checkpoint_of_that_step(store: CheckpointStore) -> None:
    shutil.copytree(store.folder / "step-00000006", store.folder / "step-00000009")
    with pytest.raises(CheckpointError, match=r"step-00000009: its content is of step 6"):
        store.newest()


def test_what_others_put_there_stays(store: CheckpointStore, tmp_path: Path) -> None:
    """Copies, notes, a checkpoint with a file of the user, a link to another disk."""
    shutil.copytree(store.folder / "step-00000002", store.folder / "step-00000002-backup")
    (store.folder / "step-7").mkdir()
    (store.folder / "step-00000005").write_text("a file")
    (store.folder / "notes.txt").write_text("mine")
    (store.folder / "step-00000004" / "notes.txt").write_text("mine, too")
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(store.folder / "step-00000002", tmp_path / "elsewhere" / "step-00000001")
    (store.folder / "step-00000001").symlink_to(tmp_path / "elsewhere" / "step-00000001")
    before = {p.name for p in store.folder.iterdir()}
    for step in (8, 10, 12):
        store.write(step, made(step, best=2))
    after = {p.name for p in store.folder.iterdir()}
    assert before - after == {"step-00000006"}
    assert (store.folder / "step-00000004" / "notes.txt").exists()
    assert (tmp_path / "elsewhere" / "step-00000001" / MODEL).exists()
    assert store.newest() == store.folder / "step-00000012"


def test_a_folder_in_the_place_of_a_pointer_is_set_aside(store: CheckpointStore) -> None:
    (store.folder / "latest").unlink()
    (store.folder / "latest").mkdir()
    (store.folder / "latest" / "mine").touch()
    store.write(8, made(8, best=2))
    assert store.pointer("latest") == "step-00000008"
    assert (store.folder / "set-aside-1" / "latest" / "mine").exists()


@pytest.mark.parametrize("fails", [1, 2])
@pytest.mark.parametrize("text", ["I/O error: No space left on device (os error 28)", "I/O error: Permission denied"])
def test_a_failed_write_is_one_error_and_leaves_the_earlier_ones(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, fails: int, text: str
) -> None:
    real, calls = module.save_file, itertools.count(1)

    def save(tensors: Any, path: Path) -> None:
        if next(calls) == fails:
            path.write_bytes(b"half")
            raise SafetensorError(text)
        real(tensors, path)

    monkeypatch.setattr(module, "save_file", save)
    with pytest.raises(GuardStop, match=r"step 8 cannot be written.* one is step-00000006") as caught:
        store.write(8, made(8, best=2))
    assert caught.value.exit_code == 4
    assert ("free some space" in str(caught.value.hint)) == ("os error 28" in text)
    assert "continues after step 6" in str(caught.value.hint)
    monkeypatch.undo()
    assert sorted(p.name for p in store.folder.iterdir()) == ["best", "latest", *store.names()]
    assert store.write(8, made(8, best=2)).name == "step-00000008"


def test_an_old_checkpoint_that_cannot_be_deleted_is_told(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, logged: Any
) -> None:
    real = os.replace

    def refuse(source: Path, target: Path) -> None:
        if source.name == "step-00000004":
            raise OSError(errno.EBUSY, "busy")
        real(source, target)

    monkeypatch.setattr(module.os, "replace", refuse)
    store.write(8, made(8, best=2))
    assert "cannot be deleted: busy" in logged.lines[-1]
    assert store.pointer("latest") == "step-00000008"


def test_a_reader_beside_a_writer_meets_no_error(store: CheckpointStore) -> None:
    """Checkpoints are written and deleted in a thread while another store reads; `tests/faults` reads 500 times."""
    store.keep = 1
    done = threading.Event()

    def write() -> None:
        for step in range(7, 15):
            store.write(step, made(step, best=step - step % 3))
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    reader = CheckpointStore(store.folder)
    while not done.is_set():
        for which in ("latest", "best"):
            path, checkpoint = reader.load(which)
            assert path.name == step_name(checkpoint.state["state"]["step"])
    thread.join()


@pytest.mark.parametrize("which", ["latest", "best"])
def test_a_checkpoint_that_is_replaced_while_it_is_read(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    real, steps = module.file_sha256, iter((8, 10))

    def replaced(path: Path) -> str:
        if (step := next(steps, None)) is not None and "step-" in path.parent.name:
            monkeypatch.setattr(module, "file_sha256", real)
            CheckpointStore(store.folder, keep=1).write(step, made(step, best=step))
            monkeypatch.setattr(module, "file_sha256", replaced)
        return real(path)

    monkeypatch.setattr(module, "file_sha256", replaced)
    path, checkpoint = store.load(which)
    assert (path.name, checkpoint.state["state"]["step"]) == ("step-00000010", 10)


def test_a_pointer_to_what_was_never_the_best_is_removed(store: CheckpointStore, logged: Any) -> None:
    shutil.rmtree(store.folder / "step-00000002")
    for content in ("step-00000004", "garbage"):
        (store.folder / "best").write_text(content)
        store.settle(store.folder / "step-00000006")
        assert not os.path.lexists(store.folder / "best")
        assert "is removed until a checkpoint is the best again" in logged.lines[-1]
    store.settle(store.folder / "step-00000006")
    assert len(logged.lines) == 2
