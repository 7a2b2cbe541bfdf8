"""Damaged videos by seed, and a run over many of them in children that may die; the tests are in test_clips.py.

    python -P tests/faults/mutate_clips.py clips 0 100000      # clips as shards store them
    python -P tests/faults/mutate_clips.py sources 0 20000     # source videos: containers and codecs of cameras
    python -P tests/faults/mutate_clips.py clips 17 1 --print  # one seed, in this process

The same seed gives the same bytes for the same versions of PyAV and NumPy. A child decodes many videos and notes the
seed before each one; where it dies, hangs (CPU time without a new seed) or needs too much memory, the seed is printed
and a new child goes on with the next one. Exit status 1 if there was any such seed.
"""

from __future__ import annotations

import argparse
import io
import json
import mmap
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

HANG_S = 120
"""Seconds of CPU time of a child for one video, after which it hangs; usual are 5 ms."""
MEMORY = 1 << 30
"""Bytes that one video may add to the peak memory of a child."""
LIMIT = 3 << 30
"""Bytes that a child may allocate, as those of the library: 2 GiB and what the frames need."""
EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


# --------------------------------------------------------------------------------------------------- intact videos


def pictures(count: int, height: int, width: int, seed: int) -> np.ndarray:
    """(F, H, W, 3) uint8: a moving pattern with some noise, so that every frame has data of its own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    out = np.empty((count, height, width, 3), np.uint8)
    for i in range(count):
        wave = 127 + 100 * np.sin((x + 3 * i) / 7) * np.cos((y - 2 * i) / 9)
        out[i] = np.clip(wave[..., None] + rng.integers(-12, 13, (height, width, 3)), 0, 255)
    return out


def encoded(ending: str, codec: str, pix_fmt: str = "yuv420p", **options: str) -> bytes:
    """A source video of 24 frames, or b"" where this build of PyAV lacks the encoder."""
    os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder otherwise reports its settings
    import av

    buffer = io.BytesIO()
    try:
        with av.open(buffer, "w", format=ending) as file:
            stream: Any = file.add_stream(codec, rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt = 96, 64, pix_fmt
            stream.codec_context.time_base = Fraction(1, 25)
            stream.codec_context.thread_count = 1
            for i, pixels in enumerate(pictures(24, 64, 96, 5)):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
    except (av.FFmpegError, ValueError):
        return b""
    return buffer.getvalue()


@cache
def intact(kind: str) -> tuple[bytes, ...]:
    """The videos that are mutated: ``clips`` as shards store them, ``sources`` as cameras write them."""
    from imu_video.modalities.mp4 import encode_mp4

    if kind == "clips":
        shapes = [(12, 32, 32), (20, 64, 64), (30, 48, 96), (3, 128, 128)]
        return tuple(encode_mp4(pictures(*shape, seed=i), 10, crf=24) for i, shape in enumerate(shapes))
    x264, x265 = "keyint=8:scenecut=0:threads=1", "keyint=8:scenecut=0:pools=none:frame-threads=1:log-level=none"
    made = (
        encoded("mp4", "libx264", **{"x264-params": f"{x264}:bframes=2"}),
        encoded("matroska", "libx264", **{"x264-params": f"{x264}:bframes=3:open-gop=1"}),
        encoded("mpegts", "libx264", **{"x264-params": f"{x264}:bframes=0"}),
        encoded("avi", "libx264", **{"x264-params": f"{x264}:bframes=0"}),
        encoded("mp4", "libx265", **{"x265-params": f"{x265}:bframes=3"}),
        encoded("matroska", "libx265", "yuv420p10le", **{"x265-params": f"{x265}:bframes=2"}),
        encoded("avi", "mpeg4", bf="2", g="8"),
        encoded("mp4", "mpeg4", g="8"),
        encoded("mov", "mjpeg", "yuvj420p"),
        encoded("avi", "mjpeg", "yuvj420p"),
        encoded("mpegts", "mpeg2video", g="8"),
        encoded("webm", "libvpx", g="8", deadline="realtime", **{"cpu-used": "8"}),
        encoded("webm", "libvpx-vp9", g="8", deadline="realtime", **{"cpu-used": "8"}),
        encoded("webm", "libsvtav1", g="8", preset="12"),
        encoded("mp4", "libsvtav1", g="8", preset="12"),
        encoded("mov", "prores_ks", "yuv422p10le"),
        encoded("matroska", "ffv1"),
    )
    return tuple(data for data in made if data)


# ------------------------------------------------------------------------------------------------------- mutations


def boxes(data: bytes | bytearray, begin: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Type, begin and end of every box of an MP4 file, in order, parents before children."""
    end = len(data) if end is None else end
    while begin + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, begin)
        stop = min(begin + size, end) if size >= 8 else end
        yield kind, begin, stop
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"dinf", b"mvex", b"moof", b"traf"):
            yield from boxes(data, begin + 8, stop)
        elif kind == b"stsd":
            yield from boxes(data, begin + 16, stop)
        elif kind in (b"avc1", b"hvc1", b"hev1", b"av01", b"vp09", b"mp4v", b"jpeg"):
            yield from boxes(data, begin + 86, stop)
        begin = stop


def sps(width: int, height: int) -> bytes:
    """A sequence parameter set (H.264, 7.3.2.1.1) of a picture size in pixels, baseline profile, one reference."""
    bits = ""

    def golomb(value: int) -> str:
        text = f"{value + 1:b}"
        return "0" * (len(text) - 1) + text

    for value in (0, 0, 2, 1):  # id, frame number and order count lengths, reference frames
        bits += golomb(value)
    bits += "0" + golomb(max(width // 16 - 1, 0)) + golomb(max(height // 16 - 1, 0)) + "1" + "1" + "0" + "0" + "1"
    bits += "0" * (-len(bits) % 8)
    return bytes((0x67, 66, 0xC0, 62)) + int(bits, 2).to_bytes(len(bits) // 8, "big")


def _huge(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Another picture size in the sample entry and in the parameter sets of an H.264 clip."""
    sides = (0, 16, 4096, 16384, 32768, 65520)
    width, height = int(rng.choice(sides)), int(rng.choice(sides))
    for kind, begin, end in list(boxes(data)):
        if kind == b"avc1" and end - begin > 36:
            struct.pack_into(">HH", data, begin + 32, min(width, 65535), min(height, 65535))
        elif kind == b"tkhd" and end - begin >= 92:
            struct.pack_into(">II", data, end - 8, width << 16 & 0xFFFFFFFF, height << 16 & 0xFFFFFFFF)
        elif kind == b"avcC" and end - begin > 24:
            length = struct.unpack_from(">H", data, begin + 14)[0]
            new = sps(width, height).ljust(length, b"\0")[:length]
            data[begin + 16 : begin + 16 + length] = new
    return data


def _field(data: bytearray, rng: np.random.Generator) -> bytearray:
    """An extreme value in a 32 bit field of a box, or near the head of another container."""
    found = [(b, e) for k, b, e in boxes(data) if k not in (b"mdat", b"moov", b"trak", b"mdia", b"minf", b"stbl")]
    begin, end = found[rng.integers(len(found))] if found else (0, min(len(data), 2048))
    if len(found) < 5:
        begin, end = 0, min(len(data), 2048)
    if end - begin >= 8:
        at = begin + 4 * int(rng.integers((end - begin) // 4)) if rng.random() < 0.8 else int(rng.integers(begin, end))
        data[at : at + 4] = struct.pack(">I", EXTREMES[rng.integers(len(EXTREMES))])
    return data


def _table(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A count, size or scale that promises too much or nothing: sample tables, time scales, edit lists."""
    places = {b"stsz": (12, 16), b"stts": (12, 16, 20), b"stsc": (12, 16, 20), b"stco": (12, 16), b"ctts": (12, 16, 20)}
    places |= {b"mdhd": (20, 24), b"mvhd": (20, 24), b"elst": (12, 16, 20, 24), b"stss": (12, 16), b"tkhd": (20, 28)}
    found = [(k, b, e) for k, b, e in boxes(data) if k in places]
    for _ in range(int(rng.integers(1, 4))):
        if found:
            kind, begin, end = found[rng.integers(len(found))]
            at = begin + int(rng.choice(places[kind]))
            if at + 4 <= end:
                struct.pack_into(">I", data, at, EXTREMES[rng.integers(len(EXTREMES))])
    return data


def _promise(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Tables that agree with each other about a huge number of samples of one size."""
    count = int(rng.choice([10**5, 10**7, 170_000_000, 0x7FFFFFFF, 0xFFFFFFFF]))
    for kind, begin, end in list(boxes(data)):
        if kind == b"stsz" and end - begin >= 20:
            struct.pack_into(">II", data, begin + 12, int(rng.choice([0, 1, 64])), count)
        elif kind == b"stts" and end - begin >= 24:
            struct.pack_into(">III", data, begin + 12, 1, count, 512)
        elif kind == b"stsc" and end - begin >= 28:
            struct.pack_into(">IIII", data, begin + 12, 1, 1, count, 1)
    return data


def _edit_list(data: bytearray, rng: np.random.Generator) -> bytearray:
    """An edit list of several rows in the first track, with extreme durations and media times."""
    rows = int(rng.choice([1, 2, 30]))
    listed = b"".join(
        struct.pack(">IIHH", *(EXTREMES[i] for i in rng.integers(len(EXTREMES), size=2)), int(rng.integers(0, 3)), 0)
        for _ in range(rows)
    )
    elst = struct.pack(">I4sII", 16 + len(listed), b"elst", 0, rows) + listed
    edts = struct.pack(">I4s", 8 + len(elst), b"edts") + elst
    at = next((end for kind, _, end in boxes(data) if kind == b"tkhd"), None)
    if at is None:
        return data
    for kind, begin, end in list(boxes(data)):
        if kind in (b"moov", b"trak") and begin < at <= end:
            struct.pack_into(">I", data, begin, end - begin + len(edts))
    return data[:at] + edts + data[at:]


def _size(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Another size of a box."""
    found = list(boxes(data))
    if found:
        _, begin, end = found[rng.integers(len(found))]
        size = int(
            rng.choice([0, 1, 7, 8, end - begin - 1, end - begin + 1, 2 * (end - begin), 0x7FFFFFFF, 0xFFFFFFFF])
        )
        struct.pack_into(">I", data, begin, size & 0xFFFFFFFF)
    return data


def _flip(data: bytearray, rng: np.random.Generator) -> bytearray:
    for _ in range(int(rng.choice([1, 1, 2, 5, 20, 100]))):
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return data


def _bytes(data: bytearray, rng: np.random.Generator) -> bytearray:
    at, length = int(rng.integers(len(data))), int(rng.choice([1, 2, 4, 16, 64, 512]))
    new = bytes(length) if rng.random() < 0.3 else rng.bytes(length)
    return data[:at] + new + data[at + length :]


def _cut(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[: int(rng.integers(1, len(data)))]


def _remove(data: bytearray, rng: np.random.Generator) -> bytearray:
    at = int(rng.integers(len(data)))
    return data[:at] + data[at + int(rng.integers(1, 1 + len(data) // 4)) :]


def _swap(data: bytearray, rng: np.random.Generator) -> bytearray:
    a, b, c = sorted(int(i) for i in rng.integers(len(data), size=3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _insert(data: bytearray, rng: np.random.Generator) -> bytearray:
    at, length = int(rng.integers(len(data))), int(rng.choice([1, 3, 16, 200]))
    return data[:at] + (data[at : at + length] if rng.random() < 0.5 else rng.bytes(length)) + data[at:]


KEPT = {"sources": (21522,), "clips": ()}
"""Seeds that once failed: a table of streams that contradicts itself made PyAV raise IndexError."""
Change = Callable[[bytearray, np.random.Generator], bytearray]
ANY: tuple[Change, ...] = (_flip, _flip, _bytes, _cut, _remove, _swap, _insert)
MP4: tuple[Change, ...] = (_field, _table, _promise, _edit_list, _size, _huge)


def mutated(kind: str, seed: int) -> tuple[int, bytes]:
    """The damaged video of a seed, and the number of the intact one in `intact`."""
    rng = np.random.default_rng([seed, 29])
    videos = intact(kind)
    which = int(rng.integers(len(videos)))
    data = bytearray(videos[which])
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        if len(data) < 16:
            break
        changes = (*ANY, *MP4, *MP4) if data[4:8] == b"ftyp" else (*ANY, _field)
        data = changes[int(rng.integers(len(changes)))](data, rng) or bytearray(b"\0")
    return which, bytes(data)


# --------------------------------------------------------------------------------------------------------- outcome


@cache
def known(kind: str) -> list[np.ndarray]:
    """Frames of the intact videos."""
    from imu_video.modalities.video_file import VideoPictures

    videos = [VideoPictures(data) for data in intact(kind)]
    return [video.read(range(len(video))) for video in videos]


def outcome(kind: str, which: int, data: bytes, path: Path) -> str:
    """What the decoder makes of a video: ``whole``, ``other frames`` or ``refused: REASON``; other errors escape.

    It runs in this process, as in the children of the library (`modalities.video_child`), with the same limits.

    Args:
        kind: see `intact`; clips are decoded as those of a shard, whose size is known, other videos as files.
        which: number of the intact video.
        data: the damaged one.
        path: a file to write, for videos.
    """
    from imu_video.modalities.video_child import decode_clip
    from imu_video.modalities.video_file import VideoPictures
    from imu_video.modalities.video_packets import VideoFault

    truth = known(kind)[which]
    try:
        if kind == "clips":
            frames = decode_clip({"frames": None, "size": list(truth.shape[1:3])}, data, np.empty)[1]
        else:
            path.write_bytes(data)
            video = VideoPictures(str(path))
            assert video.times.shape == (len(video),)
            frames = video.read(range(min(len(video), 400)))
            video.read([len(video) - 1, 0])
    except VideoFault as fault:
        return "refused: " + "".join("#" if c.isdigit() else c for c in str(fault).split(", at ")[0])
    return "whole" if np.array_equal(frames, truth) else "other frames"


def _serve(kind: str, start: int, count: int, place: Path) -> None:
    """Child: decode the videos of some seeds; the seed in work stands in the first 8 bytes of a shared file."""
    import logging

    import av

    av.logging.set_level(av.logging.PANIC)
    logging.disable(logging.CRITICAL)
    known(kind)
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    with place.open("r+b") as file:
        shared = mmap.mmap(file.fileno(), 16)
    tally: Counter[str] = Counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seed = start
    for seed in range(start, start + count):
        struct.pack_into("<q", shared, 0, seed)
        try:
            result = outcome(kind, *mutated(kind, seed), place.with_suffix(".video"))
        except Exception as error:
            result = f"ESCAPED {type(error).__name__}: {str(error)[:60]}"
            print(f"seed {seed}: {result}", file=sys.stderr, flush=True)
        tally[result] += 1
        now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if (now - peak) * 1024 > MEMORY:
            print(f"seed {seed}: MEMORY {(now - peak) // 1024} MiB, {result}", file=sys.stderr, flush=True)
            tally["MEMORY"] += 1
            break
        peak = max(now, peak)
    print(json.dumps([seed + 1, tally]), flush=True)


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(kind: str, start: int, count: int, *, piece: int = 2000) -> Counter[str]:
    """Decode the videos of many seeds in children; returns how many ended how, with ``DIED``, ``HUNG``, ``MEMORY``."""
    total: Counter[str] = Counter()
    seed, end = start, start + count
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "seed"
        while seed < end:
            place.write_bytes(bytes(16))
            words = [kind, str(seed), str(min(piece, end - seed)), "--serve", str(place)]
            child = subprocess.Popen([sys.executable, "-P", __file__, *words], stdout=subprocess.PIPE, text=True)
            last, since, hung = -1, 0.0, False
            while child.poll() is None:
                time.sleep(0.5)
                now, used = struct.unpack("<q", place.read_bytes()[:8])[0], _cpu_seconds(child.pid)
                if now != last:
                    last, since = now, used
                elif used - since > HANG_S:
                    hung = True
                    child.kill()
            text = child.communicate()[0]
            if child.returncode == 0:
                seed, tally = json.loads(text)
                total.update(tally)
            elif child.returncode > 0:
                raise RuntimeError(f"a fault of this script: child ended with {child.returncode}")
            else:
                at = struct.unpack("<q", place.read_bytes()[:8])[0]
                kind_of = "HUNG" if hung else f"DIED of signal {-child.returncode}"
                print(f"seed {at}: {kind_of}", file=sys.stderr, flush=True)
                total[kind_of] += 1
                total["whole, refused or other, of a child that ended"] += at - seed
                seed = at + 1
            print(f"{seed - start} of {count}", file=sys.stderr, flush=True)
    return total


def main() -> int:
    """Command line, see the head of this file."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("kind", choices=["clips", "sources"])
    arguments.add_argument("start", type=int)
    arguments.add_argument("count", type=int)
    arguments.add_argument("--serve", type=Path)
    arguments.add_argument("--print", action="store_true")
    options = arguments.parse_args()
    if options.serve:
        _serve(options.kind, options.start, options.count, options.serve)
        return 0
    if options.print:
        with tempfile.TemporaryDirectory() as folder:
            print(outcome(options.kind, *mutated(options.kind, options.start), Path(folder) / "video"))
        return 0
    total = run(options.kind, options.start, options.count)
    for what, number in total.most_common():
        print(f"{number:8d} {what}")
    return int(any(what.split()[0] in ("DIED", "HUNG", "MEMORY", "ESCAPED") for what in total))


if __name__ == "__main__":
    sys.exit(main())
