"""Videos and clips decoded in child processes (`runtime.native`): a damaged file that ends a decoder costs that file.

The functions with ``room`` run in the child; the others are called by `modalities.mp4`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.modalities.video_file import VideoPictures
from imu_video.modalities.video_packets import VideoFault
from imu_video.runtime.native import ChildDied, Refused, Room, allow_memory, call
from imu_video.runtime.workers import WorkerLost

SERVICE = __name__  # module of the functions that run in the child; tests name another one
_OPEN = 4  # videos that a child keeps open: the cameras of one recording
_BYTES_PER_PIXEL = 96  # 16 reference frames of 12 bits, and 8 frames of RGB at a time


def clip(data: bytes, frames: Sequence[int] | None, out: np.ndarray | None = None) -> np.ndarray:
    """Frames of a clip in memory.

    Args:
        data: a video file.
        frames: numbers of frames; all when None.
        out: (F, H, W, 3) uint8 to fill.

    Returns:
        (F, H, W, 3) uint8 RGB, ``out`` if given.

    Raises:
        VideoFault: the clip, or one of these frames, cannot be read; or its decoder died.
        IndexError: no such frame, or none requested.
    """
    size = None if out is None else list(out.shape[1:3])
    arguments = {"frames": None if frames is None else [int(i) for i in frames], "size": size}
    found = _asked("decode_clip", arguments, f"a clip of {len(data)} bytes", data, out)[1]
    assert found is not None
    return found


def opened(path: Path) -> tuple[np.ndarray, list[str], list[int]]:
    """Times and notes of a video file, see `VideoPictures`, and size and time of the file, which `frames_of` compares.

    Raises:
        VideoFault: it cannot be read, or its decoder died.
    """
    answer, times = _asked("open_video", {"path": str(path.absolute())}, f"video {path}")
    assert times is not None
    return times, answer["notes"], answer["stamp"]


def frames_of(path: Path, stamp: list[int], frames: Sequence[int]) -> np.ndarray:
    """Frames of a video file that was `opened` before.

    Raises:
        VideoFault: a frame is damaged or not at its time, the file has changed since, or its decoder died.
        IndexError: no such frame.
    """
    arguments = {"path": str(path.absolute()), "stamp": stamp, "frames": [int(i) for i in frames]}
    found = _asked("read_video", arguments, f"video {path}")[1]
    assert found is not None
    return found


def _asked(
    name: str, arguments: Mapping[str, Any], what: str, data: bytes = b"", out: np.ndarray | None = None
) -> tuple[dict[str, Any], np.ndarray | None]:
    try:
        return call(f"{SERVICE}:{name}", arguments, data, out)
    except Refused as refused:
        kind, text = refused.facts["kind"], str(refused)
        if kind == "IndexError":
            raise IndexError(text) from None
        if kind == "VideoFault":
            raise VideoFault(text, remedy=refused.facts["remedy"]) from None
        raise VideoFault(f"its decoder raised {kind}: {text}") from None
    except ChildDied as died:
        if died.outside:
            raise WorkerLost(
                f"the decoder of {what} was {died}, twice: out of memory, or killed",
                hint="use fewer --workers; finished work is kept",
            ) from died
        raise VideoFault(f"decoder {died}") from died


# ------------------------------------------------------------------------------------------------------ in the child

_videos: dict[str, tuple[list[int], VideoPictures]] = {}


def decode_clip(arguments: Mapping[str, Any], data: bytes, room: Room) -> tuple[dict[str, Any], np.ndarray]:
    """See `clip`."""
    video = VideoPictures(data)
    size = arguments["size"]
    # Before memory is allocated for what a header promises; a display matrix may turn the frame.
    if size is not None and sorted((video.height, video.width)) != sorted(size):
        raise VideoFault(f"frames have {video.width} x {video.height} pixels, expected {size[1]} x {size[0]}")
    _allow(video)
    found = video.read(range(len(video)) if arguments["frames"] is None else arguments["frames"], make=room)
    if size is not None and list(found.shape[1:3]) != size:
        raise VideoFault(f"frames have {found.shape[2]} x {found.shape[1]} pixels, expected {size[1]} x {size[0]}")
    return {}, found


def open_video(arguments: Mapping[str, Any], data: bytes, room: Room) -> tuple[dict[str, Any], np.ndarray]:
    """See `opened`."""
    stamp, video = _video(arguments["path"], None)
    times = room(video.times.shape, np.float64)
    times[:] = video.times
    return {"notes": list(video.notes), "stamp": stamp}, times


def read_video(arguments: Mapping[str, Any], data: bytes, room: Room) -> tuple[dict[str, Any], np.ndarray]:
    """See `frames_of`."""
    _, video = _video(arguments["path"], arguments["stamp"])
    return {}, video.read(arguments["frames"], make=room)


def _video(path: str, stamp: list[int] | None) -> tuple[list[int], VideoPictures]:
    facts = os.stat(path)
    now = [facts.st_size, facts.st_mtime_ns]
    if stamp is not None and now != stamp:
        raise VideoFault("the file has changed since it was opened", remedy="copy")
    known = _videos.pop(path, None)
    if known is None or known[0] != now:
        known = None
        while len(_videos) >= _OPEN:
            del _videos[next(iter(_videos))]
        known = (now, VideoPictures(path))
    _videos[path] = known  # the last one used is the last one to be closed
    _allow(known[1])
    return known


def _allow(video: VideoPictures) -> None:
    allow_memory(_BYTES_PER_PIXEL * video.height * video.width)
