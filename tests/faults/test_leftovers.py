"""Writers killed with everything written under a temporary name: the next writer removes it and finishes its own."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imu_video.runtime import files
from imu_video.runtime.files import is_leftover
from imu_video.shards.features.embed import embed
from imu_video.shards.reading import columns
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.index import load_index, write_index
from imu_video.shards.remote import Cache
from tests.faults.conftest import Score
from tests.shards.conftest import make_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="forks"),
]
KILLS = 20


def fetched(root: Path) -> None:
    def fetch(target: Path) -> None:
        temporary = files.temporary_path(target)
        temporary.write_bytes(bytes(1000))
        files.move_file(temporary, target)

    Cache(root / "cache", size=10_000, in_use_s=0).get(root / "cache" / "a.tar", 1000, fetch)


def encoder(root: Path) -> None:
    with files.atomic_folder(root / "encoder", replace=True) as folder:
        (folder / "model.safetensors").write_bytes(bytes(1000))


WRITERS: dict[str, Callable[[Path], Any]] = {
    "columns": lambda root: open_columns(load_index(root), "train"),
    "teacher features": lambda root: embed(load_index(root), {"name": "tiny", "dim": 8}),
    "index": lambda root: write_index(load_index(root), root),
    "cached file": fetched,
    "encoder folder": encoder,
}
RENAMES = (os.replace, os.rename)


def left(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if is_leftover(path.name)]


def killed_before_rename(work: Callable[[], Any], number: int) -> bool:
    """Do the work in a child that is killed before one of its renames; whether it came to that."""
    pid = os.fork()
    if pid == 0:
        done = 0

        def wrapped(rename: Callable[..., None]) -> Callable[..., None]:
            def call(*arguments: Any, **options: Any) -> None:
                nonlocal done
                done += 1
                if done == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                rename(*arguments, **options)

            return call

        os.replace, os.rename = (wrapped(rename) for rename in RENAMES)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("name", WRITERS)
def test_the_next_writer_removes_what_a_killed_one_left(name: str, tmp_path: Path, score: Score) -> None:
    assert columns.remove_dead_leftovers is files.remove_dead_leftovers
    work, seen = WRITERS[name], 0
    with score(f"killed before a rename of {name}: the next writer leaves nothing") as case:
        for number in range(1, KILLS + 1):
            root = tmp_path / str(number)
            make_folder(root, {"train": 8, "val": 4})
            if number % 2 == 0 and name == "encoder folder":
                encoder(root)
            if not killed_before_rename(lambda root=root: work(root), number):  # type: ignore[misc]
                break
            seen += bool(left(root))
            for part in ("columns", "teachers"):  # what is complete would not be written again
                for folder in (root / part).glob("[!.]*"):
                    shutil.rmtree(folder)
            work(root)
            case.add(not left(root), f"rename {number}: {left(root)}")
    assert seen, "no kill left anything: nothing was tested"
