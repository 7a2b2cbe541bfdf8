"""Script for tests: builds one folder many times, each time killed at another call that changes the disk, then resumed.

Runs in a process of its own that imports once and forks for every build. Prints one JSON line a kill point: what the
killed build left, what the resumed one said, and whether the bytes equal those of a build that nobody killed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imu_video.registry import load_plugin
from imu_video.shards.building.build import BuildConfig, build

CALLS = ("replace", "rename", "fsync", "unlink", "mkdir")
OUR_SIGNAL = signal.SIGKILL


def kill_at(number: int) -> None:
    """Make call number ``number`` of those that change the disk the last thing that this process does."""
    done = 0

    def wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal done
            done += 1
            if done == number:
                os.kill(os.getpid(), OUR_SIGNAL)
            return original(*args, **kwargs)

        return call

    for name in CALLS:
        setattr(os, name, wrapped(getattr(os, name)))


def in_child(work: Callable[[], object]) -> int:
    """Exit status of a forked process that does the work."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(9)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def content(folder: Path) -> str:
    """Hash of every file's name and bytes."""
    found = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        found.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def main(plugin: str, root: Path, config: dict[str, Any], step: int) -> None:
    load_plugin(plugin)
    os.fsync = lambda handle: None  # a killed process needs no disk, and the disk takes most of the time

    loaded = BuildConfig.model_validate(config)
    assert in_child(lambda: build(loaded, root / "whole")) == 0
    wanted, number = content(root / "whole"), 1
    while True:
        folder = root / f"killed-{number}"

        def killed(folder: Path = folder, number: int = number) -> None:
            kill_at(number)
            build(loaded, folder)

        def resumed(folder: Path = folder) -> None:
            notes: list[str] = []
            handler = logging.Handler(logging.INFO)
            handler.emit = lambda record: notes.append(record.getMessage()) if not hasattr(record, "progress") else None
            package = logging.getLogger("imu_video")
            package.addHandler(handler)
            package.setLevel(logging.INFO)
            build(loaded, folder)
            folder.with_suffix(".notes").write_text(json.dumps(notes))

        status = in_child(killed)
        left = folder.exists()
        again = in_child(resumed)
        notes = json.loads(folder.with_suffix(".notes").read_text())
        others = sorted(p.name for p in root.iterdir() if p.name.startswith(f"killed-{number}."))
        print(
            json.dumps(
                {
                    "call": number,
                    "killed": status == -OUR_SIGNAL,
                    "complete": left,
                    "resumed": again,
                    "notes": notes,
                    "same": content(folder) == wanted,
                    "others": others,
                }
            ),
            flush=True,
        )
        if status == 0:
            return
        number += step


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4]))
