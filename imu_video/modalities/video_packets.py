"""Packets of a video file in decoding order, found again by position; decoding and times are in video_file.py."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from imu_video.runtime.native import alive

Remedy = Literal["re-encode", "copy", "replace"]
"""What helps with a refused file: new frames and times, a complete copy of the file, or another file."""

MOST_PIXELS = 1 << 26
"""Most pixels of a frame, 8192 x 8192; a header that promises more is refused before memory is allocated for it."""
_PASS_OVER = 64  # packets that are read and dropped instead of a seek
_NESTED = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
_MOST_BOXES = 100_000  # of one box; a fragmented file has two per second
_LARGEST_TABLE = 1 << 26  # bytes; eight per frame of a variable rate
_SEEK_EARLIER = (0, 1, 4, 16)  # key frames: a demuxer seeks by decoding or presentation time, or lands a little late


class VideoFault(Exception):
    """A video, or one frame of it, that cannot be read or verified.

    Args:
        reason: what is wrong, in words of ours; no text of a decoder.
        at: seconds after the first frame, where known.
        remedy: what helps.
    """

    def __init__(self, reason: str, *, at: float | None = None, remedy: Remedy = "re-encode") -> None:
        super().__init__(reason if at is None else f"{reason}, at {at:.3f} s of the video")
        self.remedy: Remedy = remedy


@dataclass(frozen=True, slots=True)
class ListedPacket:
    """Time stamps of one packet in ticks of the stream; ``shown`` is False where its frame is not presented."""

    pts: int | None
    dts: int | None
    key: bool
    shown: bool


class VideoPackets:
    """The packets of the main video stream: the first one marked as default, or else the first; no cover pictures.

    Args:
        source: path of a file, or the bytes of one (whose packets are then kept in memory).

    Attributes:
        listed: every packet in decoding order.
        position_of: position in ``listed`` by presentation time.
        notes: facts for users, such as further video streams.

    Raises:
        VideoFault: not a video, cut off, or without a decoder.
    """

    def __init__(self, source: str | bytes) -> None:
        check_tables(source)
        self._source = source
        self._position = 0  # in `listed`, of the next packet
        self.notes: list[str] = []
        self._kept: list[Any] | None = [] if isinstance(source, bytes) else None
        self._open()
        self.listed = self._scan()
        self.position_of: dict[int | None, int] = {packet.pts: i for i, packet in enumerate(self.listed)}

    @property
    def codec(self) -> Any:
        """The decoder; another one after the file had to be opened again."""
        return self.stream.codec_context

    @property
    def base(self) -> Fraction:
        """Seconds per tick of the time stamps."""
        return Fraction(self.stream.time_base)

    @property
    def container(self) -> str:
        """Names of the container's format (``mov,mp4,m4a,3gp,3g2,mj2``, ``avi``)."""
        return str(self._container.format.name)

    @property
    def in_memory(self) -> bool:
        """Whether any packet is reached without a seek."""
        return self._kept is not None

    def start(self, position: int) -> None:
        """Make the packet at a position of ``listed`` the next one, with a decoder that has seen none.

        Raises:
            VideoFault: the file cannot be read there.
        """
        self.codec.flush_buffers()
        if self.in_memory or self._position <= position <= self._position + _PASS_OVER:
            pass
        elif not (position and any(self._seek(position, earlier) for earlier in _SEEK_EARLIER)):
            self._open()
        if self.in_memory:
            self._position = position
        while self._position < position:
            if self.next() is None:
                raise VideoFault("the file ends earlier than before: it has changed", remedy="copy")

    def next(self) -> Any:
        """The next packet, or None at the end.

        Raises:
            VideoFault: the file cannot be read there.
        """
        alive()
        if self._kept is not None:
            packet = self._kept[self._position] if self._position < len(self._kept) else None
        else:
            with understood("it cannot be read further", remedy="copy"):
                packet = next(self._demuxer, None)
        self._position += packet is not None
        return packet

    def _open(self) -> None:
        import av

        file = io.BytesIO(self._source) if isinstance(self._source, bytes) else self._source
        with understood("it is not a readable video", remedy="replace"):
            # genpts: containers that store decoding times alone get presentation times where they follow from them.
            self._container: Any = av.open(
                file, metadata_errors="replace", options={"fflags": "+genpts", "max_pixels": str(MOST_PIXELS)}
            )
            self.stream = self._choose()
            width, height = self.codec.width, self.codec.height
            if width * height > MOST_PIXELS:
                raise VideoFault(f"its frames have {width} x {height} pixels, expected at most {MOST_PIXELS} in all")
        # One thread: callers run one process per core, and threads delay the report of a damaged packet.
        self.codec.thread_count = 1
        self.codec.options = {**self.codec.options, "max_pixels": str(MOST_PIXELS)}
        self._demuxer = self._packets()
        self._position = 0

    def _packets(self) -> Iterator[Any]:
        return (packet for packet in self._container.demux(self.stream) if packet.size)

    def _choose(self) -> Any:
        from av.stream import Disposition

        streams = [s for s in self._container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise VideoFault("it has no video stream", remedy="copy")
        chosen = next((s for s in streams if s.disposition & Disposition.default), streams[0])
        if chosen.codec_context is None or not chosen.time_base:
            raise VideoFault("there is no decoder for its video stream")
        if len(streams) > 1 and not self.notes:
            sizes = ", ".join(f"{s.codec_context.width} x {s.codec_context.height}" for s in streams)
            self.notes.append(f"{len(streams)} video streams ({sizes}): number {streams.index(chosen) + 1} is used")
        return chosen

    def _scan(self) -> list[ListedPacket]:
        vp8 = self.codec.name in ("vp8", "libvpx")  # stores frames that are only referred to as packets of their own
        found = []
        with understood("it cannot be read to its end", remedy="copy"):
            for packet in self._demuxer:
                alive()
                shown = not packet.is_discard and not (vp8 and not memoryview(packet)[0] & 16)
                found.append(ListedPacket(packet.pts, packet.dts, packet.is_keyframe, shown))
                if self._kept is not None:
                    self._kept.append(packet)
        listed = len(self.stream.index_entries) if "mp4" in self.container else 0
        if len(found) < listed:
            raise VideoFault(f"the file is cut off: it lists {listed} frames and holds {len(found)}", remedy="copy")
        if not found:
            raise VideoFault("it has no frames", remedy="copy")
        self._position = len(found)
        return found

    def _seek(self, position: int, earlier: int) -> bool:
        """Seek to a key frame; True if the demuxer is not beyond the position, which its next packet tells."""
        keys = [i for i, packet in enumerate(self.listed[: position + 1]) if packet.key]
        aim = self.listed[keys[max(len(keys) - 1 - earlier, 0)]] if keys else self.listed[0]
        tick = aim.pts if aim.dts is None else aim.dts
        if tick is None:
            return False
        with understood("it cannot be read there", remedy="copy"):
            self._container.seek(tick, stream=self.stream, backward=True)
            first = next(self._packets(), None)
        at = None if first is None else self.position_of.get(first.pts)
        if first is None or at is None or at > position:
            return False
        self._demuxer = _chain(first, self._packets())
        self._position = at
        return True


def check_tables(source: str | bytes) -> None:
    """Refuse an MP4 or MOV file whose tables list more frames than it has bytes, before memory is allocated for them.

    Raises:
        VideoFault: such tables (ISO/IEC 14496-12, 8.7.3), or the file cannot be opened.
    """
    with (
        understood("it cannot be opened", remedy="copy"),
        io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file,
    ):
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if file.read(8)[4:] in (b"ftyp", b"moov", b"wide", b"free", b"mdat", b"skip"):
            _check_boxes(file, 0, size, size, 0)


def _check_boxes(file: BinaryIO, begin: int, end: int, size: int, depth: int) -> None:
    boxes = 0
    while begin + 8 <= end and boxes < _MOST_BOXES:
        boxes += 1
        file.seek(begin)
        length, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if length == 1:
            wide = file.read(8)
            length, head = (struct.unpack(">Q", wide)[0], 16) if len(wide) == 8 else (0, 16)
        stop = end if length < head else min(begin + length, end)
        if kind in _NESTED and depth < len(_NESTED):
            _check_boxes(file, begin + head, stop, size, depth + 1)
        elif kind in (b"stsz", b"stz2", b"stts"):
            file.seek(begin + head)
            content = file.read(12 if kind != b"stts" else min(stop - begin - head, _LARGEST_TABLE))
            if len(content) < 12:
                count = 0
            elif kind == b"stts":
                count = int(np.frombuffer(content[8:][: (len(content) - 8) // 8 * 8], ">u4")[::2].sum(dtype=np.uint64))
            else:
                count = struct.unpack(">I", content[8:])[0]
            if count > size:
                raise VideoFault(f"its tables are damaged: they list {count} frames in {size} bytes")
        begin = stop


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def decoder_faults() -> tuple[type[Exception], ...]:
    """What PyAV raises for bytes that it cannot read."""
    import av

    known = (ValueError, OSError, MemoryError, RuntimeError, ArithmeticError, EOFError, LookupError, TypeError)
    return (av.FFmpegError, *known)


@contextmanager
def understood(reason: str, *, remedy: Remedy = "re-encode") -> Iterator[None]:
    """Turn what PyAV raises within the block into a VideoFault with a reason in our words."""
    try:
        yield
    except decoder_faults() as error:
        import av

        # FFmpeg also gives this number for damaged bytes; the file itself is opened by `check_tables` first.
        if isinstance(error, PermissionError) and not isinstance(error, av.FFmpegError):
            raise VideoFault("permission denied", remedy="copy") from error
        raise VideoFault(reason, remedy=remedy) from error
