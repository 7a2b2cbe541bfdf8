"""Clips for a live teacher: ClipReader against bare decord on the same bytes, frames and number of workers.

The bare ways hold every clip's bytes in memory beforehand and decode with `get_batch` or one call a frame;
ours also reads the bytes from the tar, checks header and checksum, and puts the frames into one batch.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from common import compare, heading, made_folder, parser, scratch

from imu_video.shards.reading.clips import ClipReader
from imu_video.shards.reading.pipeline import SampleReader
from imu_video.shards.schema import Index

BATCH = 32


def ways(index: Index, frames: list[int], workers: int) -> dict[str, Callable[[], int]]:
    """The alternatives, each over all clips in one shuffled order."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    clips = ClipReader(index, "train", frames=frames, workers=workers)
    rows = np.random.default_rng(0).permutation(len(clips))
    stored = SampleReader(index, "train", {"video"})
    data = [stored.member(int(row), "video.mp4") for row in rows]
    pool = ThreadPoolExecutor(workers)

    def reader(one: bytes) -> decord.VideoReader:
        return decord.VideoReader(io.BytesIO(one), ctx=decord.cpu(0), num_threads=1)

    def ours() -> int:
        return sum(len(clips.read(rows[i : i + BATCH])) for i in range(0, len(rows), BATCH))

    def batch() -> int:
        return len(list(pool.map(lambda one: reader(one).get_batch(frames).asnumpy(), data)))

    def singly() -> int:
        return len(list(pool.map(lambda one: [video[i].asnumpy() for video in [reader(one)] for i in frames], data)))

    return {"ClipReader": ours, "decord, get_batch": batch, "decord, frame by frame": singly}


def main(folder: Path, clips: int, size: int, repeats: int) -> None:
    """Make a folder and compare, with one and two workers."""
    frames = [2, 8, 13, 20, 26]
    heading(f"{clips} clips of 30 frames of {size} x {size} pixels, frames {frames}")
    index = made_folder(folder / "data", clips, clip=(30, size), steps=50)
    for workers in (1, 2):
        print(f"{workers} workers")
        against = {"ClipReader": "decord, get_batch", "decord, frame by frame": "decord, get_batch"}
        compare(ways(index, frames, workers), repeats=repeats, unit="clips", against=against)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--clips", type=int, default=192)
    arguments.add_argument("--size", type=int, default=128)
    options = arguments.parse_args()
    with scratch() as temporary:
        main(temporary, options.clips, options.size, options.repeats)
