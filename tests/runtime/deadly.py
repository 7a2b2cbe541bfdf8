"""Functions that end their process, and a decoder that does so for some files; for the tests of child processes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.runtime import native

Answer = tuple[dict[str, Any], np.ndarray | None]


def answer(arguments: Mapping[str, Any], data: bytes, room: native.Room) -> Answer:
    array = room((2, len(data)), np.uint8)
    array[:] = np.frombuffer(data, np.uint8)
    print("a library that prints")
    return {"pid": os.getpid(), "twice": arguments["x"] * 2}, array


def refuse(arguments: Mapping[str, Any], data: bytes, room: native.Room) -> Answer:
    error = ValueError("no such thing")
    error.remedy = "copy"  # type: ignore[attr-defined]
    raise error


def allocate(arguments: Mapping[str, Any], data: bytes, room: native.Room) -> Answer:
    return {"sum": float(np.ones(arguments["bytes"], np.uint8)[-1])}, None


def die(arguments: Mapping[str, Any], data: bytes, room: native.Room) -> Answer:
    """End this process in a given way; with ``once``, only if that file does not exist yet."""
    once, way = arguments.get("once"), arguments["way"]
    if once is not None:
        if Path(once).exists():
            return {"way": way}, None
        Path(once).touch()
    if way == "abort":
        os.abort()
    elif way == "loop":
        native.HANG_S = 0
        native._renewed = 0.0
        native.alive()
        while True:
            pass
    elif way == "exit":
        sys.stderr.write("a line\nno more memory\n")
        sys.stderr.flush()
        os._exit(1)
    os.kill(os.getpid(), getattr(signal, way))
    raise AssertionError


def _planted(arguments: Mapping[str, Any], path: str) -> None:
    for way in ("abort", "SIGSEGV", "SIGKILL", "loop"):
        if way in path:
            die({"way": way}, b"", None)  # type: ignore[arg-type]


def open_video(arguments: Mapping[str, Any], data: bytes, room: native.Room) -> Answer:
    """The real decoder, which dies where the name of the file says so."""
    from imu_video.modalities import video_child

    _planted(arguments, Path(arguments["path"]).name)
    return video_child.open_video(arguments, data, room)


def read_video(arguments: Mapping[str, Any], data: bytes, room: native.Room) -> Answer:
    from imu_video.modalities import video_child

    _planted(arguments, Path(arguments["path"]).name)
    return video_child.read_video(arguments, data, room)


def decode_clip(arguments: Mapping[str, Any], data: bytes, room: native.Room) -> Answer:
    """The real decoder, which dies on clips of three frames."""
    from imu_video.modalities import video_child

    answer = video_child.decode_clip({**arguments, "frames": None}, data, room)
    if len(answer[1]) == 3:
        os.abort()
    return video_child.decode_clip(arguments, data, room)
