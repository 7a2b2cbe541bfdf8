"""Script: checkpoints on a disk that is really full: a small tmpfs of this process alone (``unshare -rm``).

unshare -rm python full_disk.py FOLDER               saves with 0, 4, 8 ... KiB left; prints a JSON of counts
unshare -rm python full_disk.py FOLDER CONFIG        `imu-pretrain launch` whose disk is filled in its fifth batch
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import torch

from imu_video.errors import GuardStop
from imu_video.types import PairBatch
from pretrain.checkpoints.store import CheckpointStore
from pretrain.cli import main
from pretrain.training.augment import Augmenter
from tests.faults.interrupted_saves import Save, made

PAGE = 4096


def fill(folder: Path, left: int) -> None:
    """Take all space but ``left`` bytes."""
    with open(folder / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE))
        except OSError:
            pass
        file.truncate(max(0, file.tell() // PAGE * PAGE - left))


def sweep(folder: Path) -> dict[str, Any]:
    """A save with every number of pages left, from none to enough."""
    result: dict[str, Any] = {"tried": 0, "right": 0, "wrong": [], "written": 0}
    for pages in range(200):
        at = folder / str(pages)
        at.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(at)], check=True)
        Save().prepare(at)
        fill(at, pages * PAGE)
        result["tried"] += 1
        store, told = CheckpointStore(at / "checkpoints"), ""
        try:
            Save().act(at)
        except GuardStop as stop:
            told = stop.message
        written = not told or "step-00000006 is complete, but `latest` cannot be written" in told
        try:
            assert not told or "No space left on device" in told, told
            assert written or "the newest complete one is step-00000004" in told, told
            assert store.newest() == store.folder / ("step-00000006" if written else "step-00000004")
            assert not [path.name for path in at.rglob(".*")], "leftovers"
            (at / "filler").unlink()
            Save().check(at)
            result["right"] += 1
        except Exception:
            result["wrong"].append(f"{pages} pages left: {traceback.format_exc(limit=-2)}")
        subprocess.run(["umount", str(at)], check=True)
        result["written"] += not told
        if result["written"] == 3:  # more space changes nothing
            break
    return result


def launch(folder: Path, config: str) -> None:
    """Train on a tmpfs that is filled in batch 4."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "none", str(folder)], check=True)
    real = Augmenter.training

    def training(self: Augmenter, batch: PairBatch, number: int) -> PairBatch:
        if number == 4:
            fill(folder, 0)
        return real(self, batch, number)

    Augmenter.training = training  # type: ignore[method-assign]
    sys.argv = ["imu-pretrain", "launch", config, "--run", str(folder / "run")]
    try:
        main()
    finally:
        store = CheckpointStore(folder / "run" / "checkpoints")
        newest = store.newest()
        print(json.dumps({"newest": None if newest is None else newest.name}), flush=True)
        (folder / "filler").unlink()
        Augmenter.training = real  # type: ignore[method-assign]
        with contextlib.suppress(SystemExit):
            main()
        print(json.dumps({"again": store.resolve("latest").name}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    assert made(1, 1).model
    if len(sys.argv) > 2:
        launch(Path(sys.argv[1]), sys.argv[2])
    else:
        print(json.dumps(sweep(Path(sys.argv[1]))))
