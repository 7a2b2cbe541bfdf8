"""Pictures of videos are what their time stamps say, in every container and codec that PyAV writes here."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from imu_video.errors import RecordingError, ShardError
from imu_video.modalities.mp4 import Mp4Source, decode_into, decode_mp4, encode_mp4
from imu_video.modalities.video_file import VideoPictures
from imu_video.modalities.video_packets import VideoFault

BITS = 8
SIDE = 16
"""Pixels of one block; a picture is BITS blocks wide and two high, the second row being the first one inverted."""
TICKS = 1000
"""Ticks per second in which presentation times are given."""


def picture(number: int, height: int = 2 * SIDE, width: int = BITS * SIDE) -> np.ndarray:
    """A grey picture (H, W, 3) uint8 with a number in binary blocks, bright for 1."""
    bits = np.array([number >> bit & 1 for bit in range(BITS)])
    blocks = np.kron(np.stack([bits, 1 - bits]), np.ones((SIDE, SIDE)))
    grey = np.full((height, width), 60.0)
    grey[: 2 * SIDE, : BITS * SIDE] = 40 + 170 * blocks
    return np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)


def number_of(frame: np.ndarray) -> int:
    """The number in a decoded picture; -1 where the two rows of blocks contradict each other."""
    grey = frame.mean(axis=-1)[: 2 * SIDE, : BITS * SIDE]
    blocks = grey.reshape(2, SIDE, BITS, SIDE)[:, 4:-4, :, 4:-4].mean(axis=(1, 3))
    bits = blocks[0] > blocks[1]
    certain = np.abs(blocks[0] - blocks[1]) > 60
    return int((bits << np.arange(BITS)).sum()) if certain.all() else -1


@dataclass(frozen=True)
class Kind:
    """How a video is written.

    Args:
        ending: of the file, which names the container.
        codec: name of an encoder.
        options: of the encoder.
        pix_fmt: pixel format.
        times: presentation time of each picture in ticks; 25 per second by default.
        size: width and height.
        streams: video streams, of which the first one carries numbers and the others are grey.
        container: options of the muxer.
    """

    ending: str
    codec: str
    options: dict[str, str] = field(default_factory=dict)
    pix_fmt: str = "yuv420p"
    times: Sequence[int] = tuple(range(0, 75 * 40, 40))
    size: tuple[int, int] = (BITS * SIDE, 2 * SIDE)
    streams: int = 1
    container: dict[str, str] = field(default_factory=dict)


def write(path: Path, kind: Kind) -> None:
    """Write the pictures 0, 1, 2, ... at the times of a kind.

    Raises:
        av.FFmpegError, ValueError: PyAV's build lacks the encoder.
    """
    import av

    width, height = kind.size
    with av.open(str(path), "w", options=kind.container) as file:
        made: list[Any] = []
        for _ in range(kind.streams):
            stream: Any = file.add_stream(kind.codec, rate=25, options=dict(kind.options))
            stream.width, stream.height, stream.pix_fmt = width, height, kind.pix_fmt
            stream.codec_context.time_base = (
                Fraction(1, 25) if kind.codec in ("mpeg4", "mpeg2video") else Fraction(1, TICKS)
            )
            stream.codec_context.thread_count = 1
            made.append(stream)
        for number, tick in enumerate(kind.times):
            for place, stream in enumerate(made):
                pixels = picture(number, height, width) if place == 0 else np.full((height, width, 3), 90, np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                base = stream.codec_context.time_base
                frame.pts, frame.time_base = round(Fraction(tick, TICKS) / base), base
                file.mux(stream.encode(frame))
        for stream in made:
            file.mux(stream.encode())


X = "keyint=12:min-keyint=12:scenecut=0:threads=1"
CLOSED = {"x264-params": f"{X}:bframes=2"}
OPEN = {"x264-params": f"{X}:bframes=3:open-gop=1"}
H265 = f"{X.replace('threads', 'pools')}:log-level=none:bframes=3"
VPX = {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "24", "cpu-used": "8", "deadline": "realtime"}
IRREGULAR = (0, 40, 90, 200, 230, 400, 410, 520, *range(600, 3000, 40))
EARLY = tuple(range(-1000, 2000, 40))
UNCUT = {"avoid_negative_ts": "disabled"}  # the MP4 writer then hides what is before 0 by an edit list
DEFAULT = {
    "H.264, closed GOP, MP4": Kind(".mp4", "libx264", CLOSED),
    "H.264, open GOP, MKV": Kind(".mkv", "libx264", OPEN),
    "H.264, edit list, MP4": Kind(".mp4", "libx264", CLOSED, times=EARLY, container=UNCUT),
    "H.264, variable rate, MP4": Kind(".mp4", "libx264", CLOSED, times=IRREGULAR),
    "MPEG-4, B-frames, AVI": Kind(".avi", "mpeg4", {"bf": "2", "g": "12"}),
    "MPEG-2, B-frames, TS": Kind(".ts", "mpeg2video", {"bf": "2", "g": "12"}),
    "VP9, WebM": Kind(".webm", "libvpx-vp9", VPX),
    "MJPEG, MOV": Kind(".mov", "mjpeg", {}, "yuvj420p"),
}
FURTHER = {
    "H.264, open GOP, MP4": Kind(".mp4", "libx264", OPEN),
    "H.264, open GOP, TS": Kind(".ts", "libx264", OPEN),
    "H.264, closed GOP, TS": Kind(".ts", "libx264", CLOSED),
    "H.264, closed GOP, MOV": Kind(".mov", "libx264", CLOSED),
    "H.264, no B-frames, AVI": Kind(".avi", "libx264", {"x264-params": f"{X}:bframes=0"}),
    "H.264, B-frames, AVI": Kind(".avi", "libx264", CLOSED),
    "H.264, fragmented MP4": Kind(".mp4", "libx264", CLOSED, container={"movflags": "frag_keyframe+empty_moov"}),
    "H.264, variable rate, MKV": Kind(".mkv", "libx264", CLOSED, times=IRREGULAR),
    "H.264, 10 bit, MP4": Kind(".mp4", "libx264", CLOSED, "yuv420p10le"),
    "H.264, odd size, MKV": Kind(".mkv", "libx264", CLOSED, "yuv444p", size=(131, 37)),
    "H.264, start at 5 s, MP4": Kind(".mp4", "libx264", CLOSED, times=range(5000, 8000, 40)),
    "H.264, start at 5 s, MKV": Kind(".mkv", "libx264", CLOSED, times=range(5000, 8000, 40)),
    "H.264, start at 5 s, TS": Kind(".ts", "libx264", CLOSED, times=range(5000, 8000, 40)),
    "H.264, two video streams, MKV": Kind(".mkv", "libx264", CLOSED, streams=2),
    "HEVC, closed GOP, MP4": Kind(".mp4", "libx265", {"x265-params": f"{H265}:open-gop=0", "preset": "ultrafast"}),
    "HEVC, open GOP, MP4": Kind(".mp4", "libx265", {"x265-params": f"{H265}:open-gop=1", "preset": "ultrafast"}),
    "HEVC, open GOP, MKV": Kind(".mkv", "libx265", {"x265-params": f"{H265}:open-gop=1", "preset": "ultrafast"}),
    "HEVC, 10 bit, MP4": Kind(".mp4", "libx265", {"x265-params": H265, "preset": "ultrafast"}, "yuv420p10le"),
    "HEVC, open GOP, edit list, MP4": Kind(
        ".mp4", "libx265", {"x265-params": f"{H265}:open-gop=1", "preset": "ultrafast"}, times=EARLY, container=UNCUT
    ),
    "MPEG-4, B-frames, MP4": Kind(".mp4", "mpeg4", {"bf": "2", "g": "12"}),
    "MPEG-4, no B-frames, AVI": Kind(".avi", "mpeg4", {"g": "12"}),
    "MPEG-2, B-frames, MKV": Kind(".mkv", "mpeg2video", {"bf": "2", "g": "12"}),
    "VP8, WebM": Kind(".webm", "libvpx", VPX),
    "AV1, MP4": Kind(".mp4", "libsvtav1", {"preset": "12", "g": "24"}),
    "ProRes, MOV": Kind(".mov", "prores_ks", {}, "yuv422p10le"),
    "MJPEG, AVI": Kind(".avi", "mjpeg", {}, "yuvj420p"),
}
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in FURTHER]


@pytest.mark.parametrize("name", [*DEFAULT, *SLOW])
def test_every_picture_is_at_its_time(name: str, tmp_path: Path) -> None:
    kind = {**DEFAULT, **FURTHER}[name]
    path = tmp_path / f"video{kind.ending}"
    try:
        write(path, kind)
    except (av.FFmpegError, ValueError) as error:
        pytest.skip(f"this build of PyAV does not write {name}: {error}")
    shown = [number for number, tick in enumerate(kind.times) if tick >= 0]
    expected = np.array([kind.times[number] for number in shown]) / 1000
    source = Mp4Source(path)
    np.testing.assert_allclose(source.times, expected - expected[0], atol=0.0015)  # TS counts in 1/90000 s, MKV in ms
    assert [number_of(frame) for frame in source.read(range(len(shown)))] == shown
    jumps = random.Random(0).sample(range(len(shown)), 12)
    assert [number_of(source.read([i])[0]) for i in jumps] == [shown[i] for i in jumps]
    for i in jumps[:3]:  # the first request of a newly opened file
        assert number_of(Mp4Source(path).read([i])[0]) == shown[i]


def test_the_numbers_are_told_apart() -> None:
    assert [number_of(picture(number)) for number in range(2**BITS)] == list(range(2**BITS))
    assert number_of(picture(5) // 2 + picture(6) // 2) == -1  # a mixture of two pictures is neither


def test_one_of_several_streams_is_used_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "two.mkv", FURTHER["H.264, two video streams, MKV"])
    source = Mp4Source(tmp_path / "two.mkv")
    assert len(source.times) == 75
    assert "two.mkv: 2 video streams (128 x 32, 128 x 32): number 1 is used" in caplog.text


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_rotation_of_a_phone_turns_the_pictures_upright(quarters: int, tmp_path: Path) -> None:
    write(tmp_path / "flat.mp4", Kind(".mp4", "libx264", CLOSED, times=(0, 40, 80)))
    data = (tmp_path / "flat.mp4").read_bytes()
    one, matrices = 1 << 16, {1: (0, 1, -1, 0), 2: (-1, 0, 0, -1), 3: (0, -1, 1, 0)}
    plain = b"".join(int(v).to_bytes(4, "big", signed=True) for v in (one, 0, 0, 0, one, 0, 0, 0, 1 << 30))
    a, b, c, d = (one * v for v in matrices[quarters])
    turned = b"".join(int(v).to_bytes(4, "big", signed=True) for v in (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    track = data.index(b"tkhd")
    place = data.index(plain, track)
    (tmp_path / "turned.mp4").write_bytes(data[:place] + turned + data[place + len(plain) :])
    flat, upright = (Mp4Source(tmp_path / name).read([2])[0] for name in ("flat.mp4", "turned.mp4"))
    # The matrix turns clockwise by so many quarters, numpy the other way round.
    np.testing.assert_array_equal(upright, np.rot90(flat, -quarters))


def test_what_was_cut_off_is_refused_with_a_command(tmp_path: Path) -> None:
    write(tmp_path / "a walk.mp4", Kind(".mp4", "libx264", CLOSED, container={"movflags": "faststart"}))
    data = (tmp_path / "a walk.mp4").read_bytes()
    (tmp_path / "a walk.mp4").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(RecordingError, match=r"a walk\.mp4.*cut off: it lists 75 frames and holds \d\d") as caught:
        _ = Mp4Source(tmp_path / "a walk.mp4").times
    assert f"ffmpeg -i '{tmp_path / 'a walk.mp4'}'" in str(caught.value.hint)


def test_a_damaged_picture_is_an_error_with_its_time(tmp_path: Path) -> None:
    """Other pictures are read: those before the damage, and those from the next key frame."""
    path = tmp_path / "walk.mkv"
    write(path, Kind(".mkv", "libx264", {"x264-params": f"{X}:bframes=0"}))
    with av.open(str(path)) as file:
        packet = [packet for packet in file.demux(video=0) if packet.size][20]
    data = bytearray(path.read_bytes())
    data[packet.pos + 8 : packet.pos + packet.size] = bytes(packet.size - 8)  # without the header of its block
    path.write_bytes(data)
    source = Mp4Source(path)
    for number in (20, 21):  # the second one refers to the first one
        with pytest.raises(
            RecordingError, match=rf"walk\.mkv.*frame {number} of 75 is damaged or missing, at 0\.8"
        ) as e:
            source.read([number])
        assert "-c:v libx264" in str(e.value.hint)
    assert [number_of(frame) for frame in source.read([19, 24, 74])] == [19, 24, 74]


def test_pictures_of_two_sizes_are_refused() -> None:
    with pytest.raises(VideoFault, match=r"not a readable video"):
        VideoPictures(b"")
    frames = np.zeros((2, 32, 48, 3), np.uint8)
    with pytest.raises(ShardError, match=r"frames \[2\] requested"):
        decode_mp4(encode_mp4(frames, 10), [2])
    for shape in ((1, 32, 32, 3), (1, 48, 32, 3)):
        with pytest.raises(ShardError, match=f"48 x 32 pixels, expected {shape[2]} x {shape[1]}"):
            decode_into(encode_mp4(frames, 10), [0], np.empty(shape, np.uint8))


FUZZ = """
import json, random, sys
import numpy as np
from imu_video.errors import ShardError
from imu_video.modalities.mp4 import decode_mp4, encode_mp4
frames = np.random.default_rng(0).integers(0, 255, (12, 32, 48, 3), dtype=np.uint8)
whole, counts = encode_mp4(frames, 10), {"refused": 0, "read": 0}
for seed in range(int(sys.argv[1])):
    rng, data = random.Random(seed), bytearray(whole)
    if seed % 4 == 0:
        data = data[: rng.randrange(len(data))]
    for _ in range(rng.choice((1, 2, 8)) if seed % 4 else 0):
        data[rng.randrange(len(data))] = rng.randrange(256)
    try:
        assert decode_mp4(bytes(data)).shape[1:] == (32, 48, 3)
        counts["read"] += 1
    except ShardError:
        counts["refused"] += 1
print(json.dumps(counts))
"""


@pytest.mark.parametrize("copies", [40, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_clips_are_read_or_refused_and_never_end_the_process(copies: int) -> None:
    """In a process of its own, because a decoder that fails may take the process with it."""
    command = [sys.executable, "-P", "-c", FUZZ, str(copies)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["refused"] + counts["read"] == copies
    assert counts["refused"] >= copies // 4


FILE_FUZZ = """
import json, logging, random, sys
from collections import Counter
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_video_file import DEFAULT, FURTHER, number_of, write
from imu_video.modalities.video_file import VideoPictures
from imu_video.modalities.video_packets import VideoFault
logging.disable(logging.CRITICAL)
kind, folder, counts = {**DEFAULT, **FURTHER}[sys.argv[2]], Path(sys.argv[3]), Counter()
write(folder / ("whole" + kind.ending), kind)
whole = (folder / ("whole" + kind.ending)).read_bytes()
for seed in range(int(sys.argv[4])):
    rng, data = random.Random(seed), bytearray(whole)
    if seed % 4 == 0:
        data = data[: rng.randrange(len(data))]
    for _ in range(rng.choice((1, 2, 8)) if seed % 4 else 0):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path = folder / ("damaged" + kind.ending)
    path.write_bytes(data)
    try:
        pictures = VideoPictures(str(path))
    except VideoFault:
        counts["files refused"] += 1
        continue
    counts["files opened"] += 1
    for i in range(len(pictures)):
        try:
            right = number_of(pictures.read([i])[0]) == round(pictures.times[i] * 25)
        except VideoFault:
            counts["pictures refused"] += 1
        else:
            counts["pictures right" if right else "pictures wrong"] += 1
print(json.dumps(counts))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["H.264, closed GOP, MP4", "H.264, closed GOP, TS", "HEVC, closed GOP, MP4", "MPEG-4, B-frames, AVI", "MJPEG, MOV"],
)
def test_damaged_files_are_read_or_refused_and_never_end_the_process(name: str, tmp_path: Path) -> None:
    """A changed byte that is a legal table or a legal picture cannot be noticed; the bound holds its share small."""
    command = [sys.executable, "-P", "-c", FILE_FUZZ, str(Path(__file__).parent), name, str(tmp_path), "100"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    print(name, counts)
    assert counts["files refused"] + counts["files opened"] == 100
    assert counts["pictures refused"] > 0
    assert counts.get("pictures wrong", 0) <= 0.1 * counts["pictures right"]
