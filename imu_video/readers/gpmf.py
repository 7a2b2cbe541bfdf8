"""The telemetry track of GoPro cameras (GPMF): payloads of an MP4 file and the streams in them; no clocks.

Written from the GPMF documentation (https://github.com/gopro/gpmf-parser). A payload is a tree of entries: key, type,
size of an element, number of elements, data padded to four bytes. A stream (``STRM``) holds properties (scale, unit,
axes, clocks) and then its samples.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import RecordingError

_KINDS = {"b": "i1", "B": "u1", "s": ">i2", "S": ">u2", "l": ">i4", "L": ">u4", "f": ">f4", "d": ">f8", "j": ">i8",
          "J": ">u8", "q": ">i4", "Q": ">i8"}  # fmt: skip
_FIXED_POINT = {"q": 2.0**-16, "Q": 2.0**-32}
_MP4 = (b"ftyp", b"mdat", b"moov", b"free", b"wide", b"skip")


@dataclass(frozen=True, kw_only=True)
class Payload:
    """One sensor in one payload.

    Args:
        values: (n, axes) after scaling.
        first_sample: number of the first sample since the start of the recording, if the camera counts.
        mp4_s, mp4_end_s: begin and end of the payload in the video.
        tick_s, stamp_s: the camera's clock at the first sample: TICK (milliseconds) and STMP (microseconds).
        device: name of the camera.
        unit: of the samples, as written.
        title: name of the stream.
        axes: order and signs of the columns (ORIN): ``XzY``.
    """

    values: np.ndarray
    first_sample: int | None
    mp4_s: float
    mp4_end_s: float
    tick_s: float | None
    stamp_s: float | None
    device: str
    unit: str
    title: str
    axes: str


def payloads(path: Path, keys: tuple[str, ...]) -> tuple[int, dict[str, list[Payload]]]:
    """Number of payloads of the video, and those of the named streams in its order.

    Raises:
        RecordingError: no MP4 file, a damaged one, or one without telemetry.
    """
    found: dict[str, list[Payload]] = {key: [] for key in keys}
    total = 0
    unreadable: list[int] = []
    for begin, end, data in _packets(path, unreadable):
        total += 1
        for key in keys:
            part = payload(data, key, begin, end)
            if part is not None:
                found[key].append(part)
    if not total:
        raise RecordingError(
            f"{path}: no GoPro telemetry track",
            hint="use the original file of the camera; programs that cut or convert videos drop the track",
        )
    return total + sum(unreadable), found


def camera(path: Path) -> str | None:
    """Name of the camera in the first payload, maybe empty; None without telemetry.

    Raises:
        RecordingError: no MP4 file, or a damaged one.
    """
    for _, _, data in _packets(path, []):
        entries = [part for name, _, _, part in _entries(data) if name == "DEVC"]
        return next((_text(part) for device in entries for name, _, _, part in _entries(device) if name == "DVNM"), "")
    return None


def _packets(path: Path, unreadable: list[int]) -> Iterator[tuple[float, float, bytes]]:
    """Begin, end and content of the packets of the telemetry track; how many of those it lists cannot be read."""
    import av

    try:
        with path.open("rb") as file:  # checked here, because FFmpeg opens many other files, too
            if file.read(12)[4:8] not in _MP4:
                raise RecordingError(f"{path}: not an MP4 file")
        with av.open(str(path), "r", format="mov") as container:
            streams = [s for s in container.streams if s.type == "data"]
            if not streams:
                return
            counts = dict.fromkeys((s.index for s in streams), 0)
            for packet in container.demux(streams):
                base = packet.time_base
                if packet.size >= 8 and packet.pts is not None and base is not None:
                    data = bytes(packet)
                    if data[:4] == b"DEVC":
                        counts[packet.stream.index] += 1
                        begin = float(packet.pts * base)
                        yield begin, begin + float((packet.duration or 0) * base), data
            unreadable.extend(s.frames - counts[s.index] for s in streams if 0 < counts[s.index] < s.frames)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) and not path.exists() else str(error)
        raise RecordingError(f"{path}: cannot be read: {reason}", hint="copy the file from the camera again") from error


def payload(data: bytes, key: str, begin: float, end: float) -> Payload | None:
    """The samples of a stream with their properties; None if the payload does not hold them, or not in numbers."""
    for device in (part for name, _, _, part in _entries(data) if name == "DEVC"):
        title = ""
        for name, _, _, part in _entries(device):
            if name == "DVNM":
                title = _text(part)
            elif name == "STRM" and (found := _stream(part, key)) is not None:
                values, held = found
                return Payload(
                    values=values,
                    first_sample=None if held.get("TSMP") is None else held["TSMP"] - len(values),
                    mp4_s=begin,
                    mp4_end_s=end,
                    tick_s=None if held.get("TICK") is None else held["TICK"] / 1e3,
                    stamp_s=None if held.get("STMP") is None else held["STMP"] / 1e6,
                    device=title,
                    unit=held.get("SIUN", ""),
                    title=held.get("STNM", ""),
                    axes=held.get("ORIN", ""),
                )
    return None


def _stream(data: bytes, key: str) -> tuple[np.ndarray, dict[str, Any]] | None:
    held: dict[str, Any] = {}
    scale = np.ones(1)
    for name, kind, size, part in _entries(data):
        if name == key:
            values = _numbers(part, kind, size)
            if values is None or len(scale) not in (1, values.shape[1]) or not np.all(scale):
                return None
            return values / scale, held
        if name == "SCAL":
            found = _numbers(part, kind, size)
            scale = np.ones(1) if found is None else found.ravel()
        elif name in ("TSMP", "TICK") and len(part) == 4:
            held[name] = struct.unpack(">I", part)[0]
        elif name == "STMP" and len(part) == 8:
            held[name] = struct.unpack(">Q", part)[0]
        elif name in ("SIUN", "STNM", "ORIN"):
            held[name] = _text(part)
    return None


def _entries(data: bytes) -> Iterator[tuple[str, str, int, bytes]]:
    """Key, type, size of an element and content of the entries on one level, up to the first that does not fit."""
    place = 0
    while place + 8 <= len(data):
        name, kind, size, count = struct.unpack_from(">4sBBH", data, place)
        length = size * count
        if place + 8 + length > len(data) or not name.strip(b"\0"):
            return
        yield name.decode("latin-1"), chr(kind), size, data[place + 8 : place + 8 + length]
        place += 8 + length + -length % 4


def _numbers(data: bytes, kind: str, size: int) -> np.ndarray | None:
    """(n, elements) float64; None for a type without numbers."""
    letter = _KINDS.get(kind)
    if letter is None:
        return None
    width = np.dtype(letter).itemsize
    if not data or size < width or size % width:
        return None
    return np.frombuffer(data, dtype=letter).reshape(-1, size // width) * _FIXED_POINT.get(kind, 1.0)


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").split("\0")[0].strip()
