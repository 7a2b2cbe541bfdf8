"""Recordings to windows of fixed length on a regular grid; clips and skeletons paired by time stamp; no files."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from imu_video.config import Config
from imu_video.errors import RecordingError
from imu_video.recordings.prepare import Conditioned, SignalConfig, condition, prepare_stream
from imu_video.recordings.signal import resample_to_grid
from imu_video.types import IMU_CHANNELS, FrameSource, ImuStream, Recording, Segment, SkeletonTrack, Window

_NEAR = 1.5  # frame periods: a clip time without a frame this close has no frame
_MAX_GRID = 50_000_000


class WindowConfig(Config):
    """Cutting of recordings into windows.

    Args:
        seconds: window length; T = round(seconds * rate_hz) samples.
        stride_s: distance of window starts in ``sliding`` mode, rounded to whole samples; the window length when None.
        rate_hz: common rate of all devices.
        mode: ``sliding`` along the recording, or ``whole``: one window per recording (for trials), its middle part if
            the recording is longer, padded with NaN on both sides if it is shorter.
        min_measured: smallest fraction of samples with a value in any channel; a device below it is left out of the
            window. In ``whole`` mode only samples within the recording are counted.
        label_coverage: fraction of the window that one label must cover, and more than any other; else the label is
            None.
        max_gap_s: longest gap between IMU samples that is interpolated.
        clip_fps: frames per second of clips; no clips when None.
        clip_size: side in pixels of the square clips, even; the short side is scaled to it and the centre is kept.
        skeleton_fps: frames per second of skeletons; no skeletons when None.
    """

    seconds: float = Field(default=4.0, gt=0, le=3600)
    stride_s: float | None = Field(default=None, gt=0)
    rate_hz: float = Field(default=50.0, gt=0, le=10_000)
    mode: Literal["sliding", "whole"] = "sliding"
    min_measured: float = Field(default=0.8, gt=0, le=1)
    label_coverage: float = Field(default=0.5, ge=0.5, le=1)
    max_gap_s: float = Field(default=0.1, ge=0)
    clip_fps: float | None = Field(default=None, gt=0, le=240)
    clip_size: int = Field(default=128, ge=16, le=2048)
    skeleton_fps: float | None = Field(default=None, gt=0, le=1000)

    @model_validator(mode="after")
    def _lengths(self) -> WindowConfig:
        if self.samples < 2:
            raise ValueError(f"a window of {self.seconds} s at {self.rate_hz} Hz has {self.samples} samples")
        if self.mode == "whole" and self.stride_s is not None:
            raise ValueError("stride_s belongs to mode 'sliding'; leave it out")
        if self.clip_fps is not None and (self.clip_size % 2 or round(self.seconds * self.clip_fps) < 1):
            raise ValueError(f"clip_size {self.clip_size} must be even and a clip must have a frame")
        if self.skeleton_fps is not None and round(self.seconds * self.skeleton_fps) < 1:
            raise ValueError(f"a skeleton of {self.seconds} s at {self.skeleton_fps} Hz has no frame")
        return self

    @property
    def samples(self) -> int:
        """T, samples per window."""
        return round(self.seconds * self.rate_hz)

    @property
    def stride_samples(self) -> int:
        """Samples between the starts of two windows."""
        return max(1, round((self.seconds if self.stride_s is None else self.stride_s) * self.rate_hz))


def cut(
    recording: Recording,
    config: WindowConfig,
    *,
    signal: SignalConfig | None = None,
    note: Callable[[str, Conditioned], None] | None = None,
) -> Iterator[Window]:
    """Cut one recording into windows.

    All devices are resampled once, on one grid that starts at the first sample of the earliest device; every window
    start lies on that grid. Clip frame i is the frame nearest to ``start + i / clip_fps``; a window without a frame
    within 1.5 periods of the video has no clip. The same holds for further cameras, each with its own frame times.
    Skeletons are interpolated linearly and are missing beyond 1.5 periods. In ``whole`` mode the first and the last
    frame are repeated before and after the video.

    Args:
        recording: IMU devices with or without video and skeleton.
        config: window length, rates and rules.
        signal: signal conditioning before the cut; None = no conditioning.
        note: called with every placement and its conditioned signal, before the first window.

    Yields:
        Windows in time order; windows without any device are skipped. Devices always have all six canonical channels.

    Raises:
        RecordingError: a time span too long to be a recording, or an unreadable video.

    Example:
        >>> t = np.arange(500) / 100
        >>> stream = ImuStream(placement="waist", times=t, values=np.ones((6, 500)))
        >>> recording = Recording(dataset="d", subject="s", name="r", imu=(stream,))
        >>> [w.start for w in cut(recording, WindowConfig(seconds=2.0))]
        [0.0, 2.0]
    """
    begin, length, firsts = _layout(recording, config)
    steps = signal or SignalConfig()
    devices: dict[str, np.ndarray] = {}
    made_up: dict[str, np.ndarray] = {}
    for stream in recording.imu:
        on_grid = _on_grid(prepare_stream(stream, steps), begin, length, config)
        conditioned = condition(on_grid, config.rate_hz, steps)
        devices[stream.placement], made_up[stream.placement] = conditioned.values, conditioned.made_up
        if note is not None:
            note(stream.placement, conditioned)
    begins = np.asarray(firsts, dtype=np.int64)
    lows, highs = np.clip(begins, 0, length), np.clip(begins + config.samples, 0, length)
    worn = {p: _share(np.isfinite(x).any(axis=0), lows, highs) >= config.min_measured for p, x in devices.items()}
    filled = {p: _share(marks, lows, highs) > 0 for p, marks in made_up.items()}
    pieces = {placement: _Pieces(values, firsts, config.samples) for placement, values in devices.items()}
    covering = _Covering(recording.segments)
    for number, first in enumerate(firsts):
        imu = {placement: pieces[placement][number] for placement, there in worn.items() if there[number]}
        if not imu:
            continue
        start = begin + first / config.rate_hz
        low, high = begin + int(lows[number]) / config.rate_hz, begin + int(highs[number]) / config.rate_hz
        yield Window(
            key=f"{recording.dataset}-{recording.name}-{number:05d}",
            recording=recording.name,
            subject=recording.subject,
            session=recording.session,
            start=start,
            imu=imu,
            clip=_clip(recording.video, start, config),
            views=_views(recording.views, start, config),
            skeleton=_skeleton(recording.skeleton, start, config),
            label=_label(covering.between(low, high), low, high, config.label_coverage),
            tags=dict(recording.tags),
            flags=tuple(sorted(f"{placement}:filled" for placement in imu if filled[placement][number])),
        )


def window_count(recording: Recording, config: WindowConfig) -> int:
    """Number of windows that `cut` considers in a recording, including those that it skips without a device.

    Raises:
        RecordingError: a time span too long to be a recording.
    """
    return len(_layout(recording, config)[2])


def _layout(recording: Recording, config: WindowConfig) -> tuple[float, int, Sequence[int]]:
    """Start of the grid in seconds, its length in samples, and the first sample of every window."""
    begin = min(float(s.times[0]) for s in recording.imu)
    # The last sample covers one more period; without it a recording of exactly one window would be too short.
    end = max(float(s.times[-1]) + s.period for s in recording.imu)
    length = math.floor((end - begin) * config.rate_hz + 0.5)
    if length > _MAX_GRID:
        raise RecordingError(
            f"recording {recording.name!r}: time stamps span {(end - begin) / 3600:.1f} hours",
            hint="check the time unit, or split the recording where the clock jumps",
        )
    if config.mode == "whole":
        return begin, length, [(length - config.samples) // 2]
    return begin, length, range(0, length - config.samples + 1, config.stride_samples)


def _on_grid(stream: ImuStream, begin: float, length: int, config: WindowConfig) -> np.ndarray:
    """(6, length) float32 in canonical channel order."""
    values = resample_to_grid(
        stream.times,
        stream.values,
        rate_hz=config.rate_hz,
        start=begin,
        samples=length,
        max_gap_s=config.max_gap_s,
    )
    out = np.full((len(IMU_CHANNELS), length), np.nan, dtype=np.float32)
    out[[IMU_CHANNELS.index(c) for c in stream.channels]] = values
    return out


def _share(marks: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
    """(W,) fraction of marked samples in low .. high of each window; 0 for an empty one."""
    before = np.concatenate([[0], np.cumsum(marks)])
    return np.asarray((before[highs] - before[lows]) / np.maximum(highs - lows, 1))


class _Pieces:
    """The windows of one device, (C, T) each, NaN where they lie outside the signal; copied in blocks."""

    _BYTES = 1 << 21  # a block that fits the processor's cache, so that overlapping windows read memory only once

    def __init__(self, values: np.ndarray, firsts: Sequence[int], size: int) -> None:
        self._values, self._firsts, self._size = values, firsts, size
        self._count = max(1, self._BYTES // (values.itemsize * len(values) * size))
        self._begin, self._copied = 0, np.empty((0, len(values), size), values.dtype)

    def __getitem__(self, number: int) -> np.ndarray:
        if not self._begin <= number < self._begin + len(self._copied):
            self._begin, self._copied = number, self._copy(self._firsts[number : number + self._count])
        piece: np.ndarray = self._copied[number - self._begin]
        return piece

    def _copy(self, firsts: Sequence[int]) -> np.ndarray:
        length = self._values.shape[1]
        out = np.empty((len(firsts), len(self._values), self._size), dtype=self._values.dtype)
        if firsts[0] >= 0 and firsts[-1] + self._size <= length:
            views = np.lib.stride_tricks.sliding_window_view(self._values, self._size, axis=1)
            out[:] = views[:, firsts[0] : firsts[-1] + 1 : _step(firsts)].swapaxes(0, 1)
            return out
        out[:] = np.nan
        for piece, first in zip(out, firsts, strict=True):
            low, high = max(0, first), min(length, first + self._size)
            piece[:, low - first : high - first] = self._values[:, low:high]
        return out


def _step(firsts: Sequence[int]) -> int:
    return firsts[1] - firsts[0] if len(firsts) > 1 else 1


class _Covering:
    """Labelled segments, sorted so that those overlapping a window are found quickly."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = sorted(segments, key=lambda segment: (segment.start, segment.end))
        self._starts = [segment.start for segment in self._segments]
        self._reached = list(accumulate((segment.end for segment in self._segments), max))

    def between(self, start: float, end: float) -> Sequence[Segment]:
        """The segments that may overlap start .. end, and few others."""
        return self._segments[bisect_right(self._reached, start) : bisect_left(self._starts, end)]


def _label(segments: Sequence[Segment], start: float, end: float, coverage: float) -> str | None:
    """The label that covers most of the window, if it covers enough of it and no other label covers as much."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for segment in segments:
        low, high = max(segment.start, start), min(segment.end, end)
        if low < high:
            spans.setdefault(segment.label, []).append((low, high))
    shares = sorted(((_union(s) / (end - start), label) for label, s in spans.items()), reverse=True)
    if not shares or shares[0][0] < coverage - 1e-9:
        return None
    if len(shares) > 1 and shares[1][0] > shares[0][0] - 1e-9:
        return None
    return shares[0][1]


def _union(spans: list[tuple[float, float]]) -> float:
    total, reached = 0.0, -math.inf
    for low, high in sorted(spans):
        total += max(0.0, high - max(low, reached))
        reached = max(reached, high)
    return total


# ------------------------------------------------------------------------------------------------ pairing by time


def _moments(start: float, fps: float, times: np.ndarray, config: WindowConfig) -> np.ndarray | None:
    """Times of a window's frames, clamped to the track in ``whole`` mode; None if the track does not reach them."""
    wanted = start + np.arange(round(config.seconds * fps)) / fps
    if config.mode == "whole":
        wanted = np.clip(wanted, times[0], times[-1])
    period = float(np.median(np.diff(times))) if len(times) > 1 else 1 / fps
    nearest = times[nearest_index(times, wanted)]
    return wanted if np.all(np.abs(nearest - wanted) <= _NEAR * period + 1e-9) else None


def nearest_index(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index of the entry of increasing ``times`` nearest to each given time; the earlier one of two equally near.

    Example:
        >>> nearest_index(np.array([0.0, 1.0, 5.0]), np.array([0.4, 2.9, 9.0])).tolist()
        [0, 1, 2]
    """
    right = np.clip(np.searchsorted(times, wanted), 1, max(1, len(times) - 1))
    left = right - 1
    right = np.minimum(right, len(times) - 1)
    return np.where(np.abs(times[right] - wanted) < np.abs(wanted - times[left]), right, left)


def _clip(video: FrameSource | None, start: float, config: WindowConfig) -> np.ndarray | None:
    if video is None or config.clip_fps is None or len(video.times) == 0:
        return None
    wanted = _moments(start, config.clip_fps, video.times, config)
    if wanted is None:
        return None
    indices = nearest_index(video.times, wanted)
    frames = np.empty((len(indices), config.clip_size, config.clip_size, 3), dtype=np.uint8)
    unique, place = np.unique(indices, return_inverse=True)
    for first in range(0, len(unique), 8):  # a few frames per read, since the frames of a user's video can be large
        small = square(video.read(unique[first : first + 8].tolist()), config.clip_size)
        for offset, frame in enumerate(small):
            frames[place == first + offset] = frame
    return frames


def _views(views: Mapping[str, FrameSource], start: float, config: WindowConfig) -> dict[str, np.ndarray]:
    clips = {name: _clip(video, start, config) for name, video in sorted(views.items())}
    return {name: clip for name, clip in clips.items() if clip is not None}


def square(frames: np.ndarray, size: int) -> np.ndarray:
    """Scale the short side to ``size`` pixels (area interpolation, anti-aliased) and keep the central square.

    Args:
        frames: (F, H, W, 3) uint8.
        size: side of the result in pixels.

    Returns:
        (F, size, size, 3) uint8.

    Example:
        >>> square(np.zeros((2, 48, 64, 3), np.uint8), 32).shape
        (2, 32, 32, 3)
    """
    height, width = frames.shape[1:3]
    scale = size / min(height, width)
    tall, wide = max(size, round(height * scale)), max(size, round(width * scale))
    top, left = (tall - size) // 2, (wide - size) // 2
    out = np.empty((len(frames), size, size, 3), dtype=np.uint8)
    for frame, target in zip(frames, out, strict=True):
        if (tall, wide) != (height, width):
            pixels = torch.from_numpy(np.array(frame)).permute(2, 0, 1)[None]  # uint8: torch rounds and clips in place
            scaled = torch.nn.functional.interpolate(pixels, size=(tall, wide), mode="bilinear", antialias=True)
            frame = scaled[0].permute(1, 2, 0).numpy()
        target[:] = frame[top : top + size, left : left + size]
    return out


def _skeleton(track: SkeletonTrack | None, start: float, config: WindowConfig) -> np.ndarray | None:
    if track is None or config.skeleton_fps is None or len(track.times) == 0:
        return None
    wanted = _moments(start, config.skeleton_fps, track.times, config)
    if wanted is None:
        return None
    flat = track.joints.reshape(len(track.times), -1)
    moved = np.stack([np.interp(wanted, track.times, column) for column in flat.T], axis=1)
    return moved.reshape(len(wanted), len(track.names), 3).astype(np.float32)
