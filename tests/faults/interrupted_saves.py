"""Script: a save, and the begin of a resumed run, killed or out of space at each of their file operations.

    python interrupted_saves.py SCENARIO MODE FOLDER     prints {"tried": ..., "right": ..., "wrong": [...]}

SCENARIO is ``save`` or ``begin``; MODE is ``kill`` (SIGKILL before the operation) or ``full`` (the operation fails with
ENOSPC). Each attempt is a fork of this process, so that torch is loaded once. Afterwards the same work is done again
and its result checked.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from imu_video.errors import GuardStop
from imu_video.runtime.files import remove_leftovers
from pretrain.checkpoints import store as store_module
from pretrain.checkpoints.store import Checkpoint, CheckpointStore, step_name
from pretrain.config import PretrainConfig
from pretrain.identity import identity
from pretrain.observe.trackers import JsonLines, open_trackers
from pretrain.runs.folder import RunFolder

CONFIG = PretrainConfig.model_validate({"data": {"root": "nowhere"}, "optim": {"steps": 10}})
IDENTITY = identity(CONFIG, data="0" * 12)
CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "os.link", "os.symlink"}
TAKES_SPACE = {"os.rename", "os.mkdir", "open", "fsync", "weights"}


def made(step: int, best: int) -> Checkpoint:
    """A checkpoint of some pages."""
    weight = torch.arange(20_000, dtype=torch.float32) + step
    state = {"identity": IDENTITY, "state": {"step": step, "best": {"rule": "mrr", "value": best / 10, "step": best}}}
    return Checkpoint(model={"w": weight}, optimizer={"w/exp_avg": weight}, state=state)


class Save:
    """Step 6, the new best, is written and replaces steps 2 and 4."""

    def prepare(self, folder: Path) -> None:
        store = CheckpointStore(folder / "checkpoints", keep=1)
        store.write(2, made(2, best=2))
        store.write(4, made(4, best=2))
        (folder / "checkpoints" / "step-00000002-copy").mkdir()

    def act(self, folder: Path) -> None:
        CheckpointStore(folder / "checkpoints", keep=1).write(6, made(6, best=6))

    def check(self, folder: Path) -> None:
        store = CheckpointStore(folder / "checkpoints", keep=1)
        start = store.newest()
        assert start is not None
        assert start.name in ("step-00000004", "step-00000006"), start
        assert store.fault(start) is None, store.fault(start)
        assert store.fault(store.resolve("best")) is None
        if start.name == "step-00000004":  # nothing has been replaced, so nothing may be missing
            assert store.names() == ["step-00000002", "step-00000004"], store.names()
            assert store.pointer("best") == "step-00000002"
        remove_leftovers(folder)
        store.settle(start)
        assert store.pointer("latest") == start.name
        self.act(folder)
        names = sorted(p.name for p in store.folder.iterdir())
        # An older one may remain where the process was killed before it was deleted; the next save deletes it.
        assert {"best", "latest", "step-00000002-copy", "step-00000006"} <= set(names), names
        store.write(8, made(8, best=8))
        names = sorted(p.name for p in store.folder.iterdir())
        assert names == ["best", "latest", "step-00000002-copy", "step-00000008"], names
        checkpoint = store.read(store.resolve("best"))
        assert torch.equal(checkpoint.model["w"], made(8, best=8).model["w"])


class Begin:
    """A run resumes from step 4 of 6: pointers lost, record damaged, a damaged line in the log."""

    def prepare(self, folder: Path) -> None:
        run = RunFolder(folder, keep=9)
        run.begin(CONFIG, IDENTITY, {}, start=None)
        for step in (2, 4, 6):
            run.store.write(step, made(step, best=2 if step < 6 else 6))
        log = JsonLines(run.log_file)
        for step in range(1, 8):
            log.log("train", step, {"loss": 1.0 / step})
        log.close()
        lines = run.log_file.read_bytes().splitlines(keepends=True)
        run.log_file.write_bytes(b"".join([*lines[:2], b"{damaged\n", *lines[2:]]))
        for which in ("latest", "best"):
            (run.store.folder / which).unlink()
        run.environment_file.write_text("{")

    def act(self, folder: Path) -> None:
        run = RunFolder(folder, keep=9)
        start = run.find_start(str(folder / "checkpoints" / "step-00000004"), IDENTITY)
        with run.lock():
            run.begin(CONFIG, IDENTITY, {}, start=start)
            for tracker in open_trackers(folder, "none", start=4, check=run.check):
                tracker.close()

    def check(self, folder: Path) -> None:
        self.act(folder)
        store = CheckpointStore(folder / "checkpoints")
        assert (store.names(), store.pointer("latest")) == (["step-00000002", "step-00000004"], "step-00000004")
        assert store.pointer("best") == "step-00000002"
        assert not store.fault(store.folder / "step-00000004")
        aside = [store.fault(path) for path in store.folder.glob(f"set-aside-*/{step_name(6)}")]
        assert aside == [None], aside
        kept = (folder / "log.jsonl").read_bytes().splitlines()
        assert [json.loads(line)["step"] for line in kept] == [1, 2, 3, 4]
        taken = {line for line in (folder / "log.set-aside.jsonl").read_bytes().splitlines() if line != b"{damaged"}
        assert sorted(json.loads(line)["step"] for line in taken) == [5, 6, 7]
        assert RunFolder(folder).read_environment()["launches"]
        leftovers = [path.name for path in folder.rglob(".*") if path.name != ".lock"]
        assert not leftovers, leftovers


def attempt(scenario: Any, mode: str, folder: Path, at: int) -> tuple[int, int]:
    """Do the work in a fork that is interrupted at operation ``at``: operations counted, and how it ended.

    Ends: 0 done, 4 the guard or a full disk, 9 killed, 1 anything else.
    """
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        code = 1
        try:
            code = _interrupted(scenario, mode, folder, at, lambda count: os.write(write, b"%d\n" % count))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(write)
    _, status = os.waitpid(child, 0)
    with os.fdopen(read) as pipe:
        counts = pipe.read().split()
    return int(counts[-1]) if counts else 0, 9 if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _interrupted(scenario: Any, mode: str, folder: Path, at: int, tell: Callable[[int], object]) -> int:
    count, on = 0, True

    def operation(kind: str) -> None:
        nonlocal count
        if not on or (mode == "full" and kind not in TAKES_SPACE):
            return
        count += 1
        if count == at:
            if mode == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).startswith(str(folder)):
            if arguments[2] & (os.O_WRONLY | os.O_RDWR):
                operation("open")
        elif event in CHANGES:
            operation(event)

    real_sync, real_save = os.fsync, store_module.save_file

    def sync(handle: int) -> None:
        operation("fsync")
        real_sync(handle)

    def save(tensors: Any, path: Path) -> None:
        path.write_bytes(b"half of it")
        operation("weights")
        path.unlink()
        real_save(tensors, path)

    os.fsync, store_module.save_file = sync, save
    sys.addaudithook(hook)
    try:
        scenario.act(folder)
    except GuardStop as stop:
        return 4 if "No space left" in stop.message else 1
    except OSError as error:
        return 4 if error.errno == errno.ENOSPC else 1
    finally:
        on = False
        tell(count)
    return 0


def sweep(scenario: Any, mode: str, folder: Path) -> dict[str, Any]:
    """Every operation in turn."""
    scenario.prepare(folder / "made")
    result: dict[str, Any] = {"tried": 0, "right": 0, "wrong": []}
    shutil.copytree(folder / "made", folder / "0")
    operations, ended = attempt(scenario, mode, folder / "0", 0)
    assert (ended, operations > 5) == (0, True), (ended, operations)
    for at in range(1, operations + 1):
        shutil.copytree(folder / "made", folder / str(at))
        _, ended = attempt(scenario, mode, folder / str(at), at)
        result["tried"] += 1
        try:
            # An old checkpoint that cannot be deleted, or a lock that cannot be described, is no failure of the work.
            assert ended == 9 if mode == "kill" else ended in (0, 4), f"ended {ended}"
            scenario.check(folder / str(at))
            result["right"] += 1
        except Exception:
            result["wrong"].append(f"{at} of {operations}: {traceback.format_exc(limit=-2)}")
        shutil.rmtree(folder / str(at))
    return result


if __name__ == "__main__":
    torch.set_num_threads(1)
    scenarios = {"save": Save(), "begin": Begin()}
    print(json.dumps(sweep(scenarios[sys.argv[1]], sys.argv[2], Path(sys.argv[3]))))
