"""Axivity AX3 and AX6 (.cwa): 512-byte blocks, each with its own checksum; damaged blocks are skipped and counted.

Written from the documentation of the format by the Open Movement project (AX3 technical notes, Axivity and Newcastle
University). A block counts as damaged when its mark, its length, its checksum or its time stamp is wrong, or when its
layout differs from that of the other blocks. The blocks around it are used, and its samples remain a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imu_video.errors import RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.blocks import block_times
from imu_video.readers.files import check_zone, read_bytes, start_of
from imu_video.registry import readers

_HEADER = 1024
_BLOCK = 512
_CHUNK = 4096  # blocks decoded at once: bounds the memory beside the result
_AX6 = 0x64


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Common properties of all blocks of a file."""

    rate_hz: float
    axes: int
    packed: bool

    @property
    def capacity(self) -> int:
        return 120 if self.packed else 240 // self.axes


@readers.register("axivity")
class Axivity(Reader):
    """Files of Axivity AX3 (acceleration) and AX6 (acceleration and angular rate) loggers.

    Args:
        timezone: where the device was set up (``Europe/Berlin``); it writes local time and no zone. None reads it as
            UTC.

    Example:
        >>> readers.build("axivity").formats
        ('.cwa',)
    """

    name = "axivity"
    title = "Axivity AX3, AX6"
    formats = (".cwa",)
    reads = "acceleration; angular rate (AX6)"
    gravity = "included (accelerometer without filter)"
    clock = "first sample; local time of the device, read as UTC without `timezone`"
    url = "https://github.com/openmovementproject/openmovement/blob/master/Docs/ax3/ax3-technical.md"
    tested_on = "real files"

    def __init__(self, *, timezone: str | None = None) -> None:
        self.timezone = check_zone(timezone, reader=self.name)

    def read(self, path: Path) -> Reading:
        """All undamaged blocks of the file."""
        raw = np.frombuffer(read_bytes(path), dtype=np.uint8)
        blocks, notes = _blocks(raw, path)
        layout, usable, starts, counts = _usable(blocks, path)
        if damaged := len(blocks) - len(usable):
            notes.insert(0, f"{damaged} of {len(blocks)} blocks damaged: skipped")
        found = block_times(starts, counts, rate_hz=layout.rate_hz, source=str(path))
        if found.dropped:
            notes.append(f"{found.dropped} of {len(blocks)} blocks out of order in time: skipped")
        if found.gaps:
            notes.append(f"gaps between blocks: {found.gaps}, together {found.gap_s:.1f} s")
        kept = usable[found.kept]
        start, tags = start_of(float(found.times[0]), self.timezone)
        times = found.times
        times -= times[0]
        header = raw[:_HEADER]
        ax6 = header[4] == _AX6 or layout.axes > 3
        tags["device"] = "Axivity AX6" if ax6 else "Axivity AX3"
        tracks = _tracks(blocks, kept, counts[found.kept], layout, times, path)
        device = DeviceReading(name="ax6" if ax6 else "ax3", tracks=tracks, gravity=True)
        return Reading(devices=(device,), tags=tags, notes=tuple(notes), start_utc=start)

    def recognises(self, path: Path) -> str | None:
        """The mark and length of the header block."""
        try:
            with path.open("rb") as file:
                head = file.read(4)
        except OSError:
            return None
        return "begins with the header block of an Axivity logger (MD)" if head == b"MD\xfc\x03" else None


def _blocks(raw: np.ndarray, path: Path) -> tuple[np.ndarray, list[str]]:
    """The data blocks as (N, 512), and notes; blocks of another file are no Axivity file."""
    if len(raw) < _HEADER + _BLOCK:
        raise RecordingError(
            f"{path}: {len(raw)} bytes, expected a header block of {_HEADER} and data blocks of {_BLOCK}",
            hint="copy the file from the device again",
        )
    body = raw[_HEADER:]
    whole = len(body) // _BLOCK
    blocks = body[: whole * _BLOCK].reshape(whole, _BLOCK)
    marked = np.count_nonzero((blocks[:, 0] == 0x41) & (blocks[:, 1] == 0x58))
    if bytes(raw[:2]) != b"MD" and not marked:
        raise RecordingError(
            f"{path}: not a file of an Axivity logger: it begins with {bytes(raw[:2])!r}, expected b'MD'",
            hint="name the reader of the device that wrote it; `imu-video list readers` lists them",
        )
    rest = len(body) - whole * _BLOCK
    return blocks, [f"the last {rest} bytes are no complete block: skipped"] if rest else []


def _usable(blocks: np.ndarray, path: Path) -> tuple[_Layout, np.ndarray, np.ndarray, np.ndarray]:
    """Layout of the file, indices of undamaged blocks, and their start times and sample counts."""
    sums = np.zeros(len(blocks), dtype=np.uint32)
    for first in range(0, len(blocks), _CHUNK):
        words = np.ascontiguousarray(blocks[first : first + _CHUNK]).view("<u2")
        sums[first : first + _CHUNK] = words.sum(axis=1, dtype=np.uint32) & 0xFFFF

    def field(offset: int, kind: str) -> np.ndarray:
        width = int(np.dtype(kind).itemsize)
        return np.ascontiguousarray(blocks[:, offset : offset + width]).view(kind)[:, 0].astype(np.int64)

    rate, shape, offset = field(24, "u1"), field(25, "u1"), field(26, "<i2")
    counts, fraction, stamp = field(28, "<u2"), field(4, "<u2"), _seconds(field(14, "<u4"))
    sound = (field(0, "<u2") == 0x5841) & (field(2, "<u2") == 508) & (sums == 0) & (counts > 0) & np.isfinite(stamp)
    if not sound.any():
        raise RecordingError(
            f"{path}: none of its {len(blocks)} blocks has a valid checksum and time stamp",
            hint="copy the file from the device again",
        )
    old = rate == 0  # firmware before rates were coded: the field of the offset holds the rate in Hz
    keys = (shape << 32) | (rate << 16) | np.where(old, offset & 0xFFFF, 0)
    values, repeats = np.unique(keys[sound], return_counts=True)
    usual = int(values[np.argmax(repeats)])
    layout = _layout(usual >> 32, usual >> 16 & 0xFF, usual & 0xFFFF, path)
    usable = np.flatnonzero(sound & (keys == usual) & (counts <= layout.capacity))
    if not len(usable):
        raise RecordingError(f"{path}: its blocks declare more samples than the {layout.capacity} that fit in a block")
    exact = (fraction & 0x8000) != 0
    part = np.where(exact, (fraction & 0x7FFF) / 32768.0, 0.0)
    # The stored offset refers to the whole second as if the rate were the nominal one; this recovers the sample at
    # which second and fraction were read.
    read_at = np.where(old, 0, offset) + np.where(exact, np.floor(part * layout.rate_hz), 0)
    starts = stamp + part - read_at / layout.rate_hz
    return layout, usable, starts[usable], counts[usable]


def _layout(shape: int, rate: int, old_rate: int, path: Path) -> _Layout:
    axes, packing = shape >> 4, shape & 0x0F
    if axes not in (3, 6, 9) or packing not in (0, 2) or (packing == 0 and axes != 3):
        raise RecordingError(
            f"{path}: blocks of {axes} axes in packing {packing}, expected 3, 6 or 9 axes in packing 2, or 3 in 0"
        )
    rate_hz = 3200 / (1 << (15 - (rate & 0x0F))) if rate else float(old_rate)
    if not 0 < rate_hz <= 3200:
        raise RecordingError(f"{path}: a sampling rate of {rate_hz:g} Hz, expected 0 .. 3200 Hz")
    return _Layout(rate_hz=rate_hz, axes=axes, packed=packing == 0)


def _seconds(packed: np.ndarray) -> np.ndarray:
    """POSIX seconds of packed date and time, as if they were UTC; NaN where they are no date.

    Example:
        >>> _seconds(np.array([(20 << 26) | (2 << 22) | (1 << 17) | (12 << 12) | (30 << 6) | 5, 0])).tolist()
        [1580560205.0, nan]
    """
    year, month, day = 2000 + (packed >> 26), packed >> 22 & 0x0F, packed >> 17 & 0x1F
    hour, minute, second = packed >> 12 & 0x1F, packed >> 6 & 0x3F, packed & 0x3F
    good = (month >= 1) & (month <= 12) & (day >= 1) & (hour < 24) & (minute < 60) & (second < 60)
    months = np.where(good, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    days = (months.astype("datetime64[D]") - np.datetime64("1970-01-01")).astype(np.int64) + day - 1
    same = (np.datetime64("1970-01-01") + days).astype("datetime64[M]") == months  # 31 February is no date
    return np.where(good & same, days * 86400.0 + hour * 3600 + minute * 60 + second, np.nan)


def _tracks(
    blocks: np.ndarray, kept: np.ndarray, counts: np.ndarray, layout: _Layout, times: np.ndarray, path: Path
) -> dict[str, Track]:
    scales = np.ascontiguousarray(blocks[kept, 18:20]).view("<u2")[:, 0]
    acc_scale = 1.0 / (1 << (8 + (scales >> 13).astype(np.int64)))
    acc = np.empty((3, len(times)), dtype=np.float32)
    gyr = np.empty((3, len(times)), dtype=np.float32) if layout.axes > 3 else None
    gyr_scale = 8000.0 / (1 << (scales >> 10 & 7).astype(np.int64)) / 32768
    done = 0
    for first in range(0, len(kept), _CHUNK):
        part = slice(first, first + _CHUNK)
        data = np.ascontiguousarray(blocks[kept[part], 30:510])
        there = np.arange(layout.capacity)[None, :] < counts[part, None]
        samples = _unpack(data) if layout.packed else data.view("<i2").reshape(len(data), -1, layout.axes)
        end = done + int(there.sum())
        place = 0 if gyr is None else 3
        acc[:, done:end] = (samples[..., place : place + 3] * acc_scale[part, None, None])[there].T
        if gyr is not None:
            gyr[:, done:end] = (samples[..., :3] * gyr_scale[part, None, None])[there].T
        done = end
    tracks = {"acc": Track(times=times, values=acc, unit="g")}
    if gyr is not None:
        if np.any((scales >> 10 & 7) == 0):
            raise RecordingError(f"{path}: a block with angular rate does not state its range")
        tracks["gyr"] = Track(times=times, values=gyr, unit="deg/s")
    return tracks


def _unpack(data: np.ndarray) -> np.ndarray:
    """Three 10-bit numbers with a common exponent per 32-bit word: (N, 480) bytes to (N, 120, 3).

    Example:
        >>> word = (1 << 30) | (256 << 20) | (0x3FF << 10) | 5  # exponent 1: all values times two
        >>> _unpack(np.full((1, 120), word, dtype="<u4").view(np.uint8))[0, 0].tolist()
        [10, -2, 512]
    """
    words = data.view("<u4")
    axes = np.stack([words & 0x3FF, words >> 10 & 0x3FF, words >> 20 & 0x3FF], axis=-1).astype(np.int32)
    axes -= (axes >> 9) << 10
    return axes << (words >> 30).astype(np.int32)[..., None]
