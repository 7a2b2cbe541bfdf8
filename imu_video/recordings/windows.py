"""Recordings to fixed-length windows on a regular grid, other modalities paired by time stamp; writes no files."""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from imu_video import registry
from imu_video.config import Config
from imu_video.errors import ConfigError, RecordingError
from imu_video.modalities.base import Modality, Span
from imu_video.recordings.prepare import Conditioned, SignalConfig, condition, prepare_stream
from imu_video.recordings.signal import resample_to_grid
from imu_video.types import IMU_CHANNELS, ImuStream, Recording, Segment, Window

# In samples, more than five days at 100 Hz: a longer span is a wrong time unit, and its arrays would fill the memory.
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
        streams: registered modality -> its arguments, ``{pressure: {fps: 20}}``, for modalities without keys of their
            own above.
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
    streams: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _without_empty_streams(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # The digest of a build config names its folder: configs that use no such modality keep the digest they had.
        return {key: value for key, value in dump(self).items() if key != "streams" or value}

    @model_validator(mode="after")
    def _lengths(self) -> WindowConfig:
        if self.samples < 2:
            raise ValueError(f"a window of {self.seconds} s at {self.rate_hz} Hz has {self.samples} samples")
        if self.mode == "whole" and self.stride_s is not None:
            raise ValueError("stride_s belongs to mode 'sliding'; leave it out")
        for modality in self.modalities.values():
            modality.check_window(self.seconds)
        return self

    @property
    def modalities(self) -> dict[str, Modality]:
        """Modalities that windows get, with their settings, by name.

        Raises:
            ConfigError: an unknown modality or argument, or one that has keys of its own in this section.
        """
        found: dict[str, Modality] = {}
        for name in registry.modalities.names():
            keys = registry.modalities.get(name).window_keys
            if keys and name in self.streams:
                raise ConfigError(
                    f"window.streams: {name} has keys of its own: {', '.join(f'window.{key}' for key in keys.values())}"
                )
            # Settings are passed as JSON, because the cache of `_modality` needs hashable arguments.
            if keys and getattr(self, keys["fps"]) is not None:
                found[name] = _modality(
                    name, json.dumps({argument: getattr(self, key) for argument, key in keys.items()})
                )
        for name, settings in self.streams.items():
            if name == "imu":
                raise ConfigError("window.streams: imu is cut at window.rate_hz")
            found[name] = _modality(name, json.dumps(settings))
        return found

    @property
    def samples(self) -> int:
        """T, samples per window."""
        return round(self.seconds * self.rate_hz)

    @property
    def stride_samples(self) -> int:
        """Samples between the starts of two windows."""
        return max(1, round((self.seconds if self.stride_s is None else self.stride_s) * self.rate_hz))


@lru_cache(maxsize=64)
def _modality(name: str, settings: str) -> Modality:
    """A modality with its settings as JSON. Cached here and not in the config, which workers unpickle before they load
    the plugin that registers the class.
    """
    modality: Modality = registry.modalities.build({"name": name, **json.loads(settings)})
    return modality


def cut(
    recording: Recording,
    config: WindowConfig,
    *,
    signal: SignalConfig | None = None,
    note: Callable[[str, Conditioned], None] | None = None,
) -> Iterator[Window]:
    """Cut one recording into windows.

    All devices are resampled once, on one grid that starts at the first sample of the earliest device; every window
    start lies on that grid. Each further stream is cut by its modality, by the stream's own times: sample i is taken at
    ``start + i / fps`` (a clip shows the nearest frame, a skeleton is interpolated linearly), and the window lacks the
    stream where no sample lies within 1.5 periods. In ``whole`` mode the moments before the first and after the last
    sample repeat that sample.

    Args:
        recording: IMU devices with or without further streams.
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
        prepared = prepare_stream(stream, steps)
        conditioned = condition(_on_grid(prepared, begin, length, config), config.rate_hz, steps)
        devices[stream.placement], made_up[stream.placement] = conditioned.values, conditioned.made_up
        if note is not None:
            note(stream.placement, replace(conditioned, clock=prepared.clock))
    begins = np.asarray(firsts, dtype=np.int64)
    # A window of mode `whole` may reach beyond the recording; only its part inside is counted.
    lows, highs = np.clip(begins, 0, length), np.clip(begins + config.samples, 0, length)
    worn = {p: _share(np.isfinite(x).any(axis=0), lows, highs) >= config.min_measured for p, x in devices.items()}
    filled = {p: _share(marks, lows, highs) > 0 for p, marks in made_up.items()}
    pieces = {placement: _Pieces(values, firsts, config.samples) for placement, values in devices.items()}
    covering = _Covering(recording.segments)
    modalities = config.modalities
    others = [
        (name, modalities[modality].cut, stream)
        for name, stream in sorted(recording.streams.items())
        if (modality := name.partition(".")[0]) in modalities
    ]
    for number, first in enumerate(firsts):
        imu = {placement: pieces[placement][number] for placement, there in worn.items() if there[number]}
        if not imu:
            continue
        start = begin + first / config.rate_hz
        span = Span(start=start, seconds=config.seconds, hold=config.mode == "whole")
        low, high = begin + int(lows[number]) / config.rate_hz, begin + int(highs[number]) / config.rate_hz
        yield Window(
            key=f"{recording.dataset}-{recording.name}-{number:05d}",
            recording=recording.name,
            subject=recording.subject,
            session=recording.session,
            start=start,
            imu=imu,
            streams={name: values for name, cutter, stream in others if (values := cutter(stream, span)) is not None},
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


def window_starts(recording: Recording, config: WindowConfig) -> np.ndarray:
    """(W,) starts in seconds of the windows that `cut` considers in a recording.

    Raises:
        RecordingError: a time span too long to be a recording.
    """
    begin, _, firsts = _layout(recording, config)
    return begin + np.asarray(firsts, dtype=np.int64) / config.rate_hz


def _layout(recording: Recording, config: WindowConfig) -> tuple[float, int, Sequence[int]]:
    """Start of the grid in seconds, its length in samples, and the first sample of every window."""
    begin = min(float(s.times[0]) for s in recording.imu)
    # The last sample covers one more period; without it a recording of exactly one window would be too short.
    end = max(float(s.times[-1]) + s.period for s in recording.imu)
    # Halves are rounded up: `round` takes the even neighbour, so the result would depend on the parity of the length.
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
    # Cumulative sums serve all windows at once; overlapping windows would sum the same samples repeatedly.
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
            # A strided view needs no copy per window; only windows that reach beyond the signal need the loop below.
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
        # The running maximum is sorted even where segments overlap, which the bisection in `between` requires.
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
    # The tolerance is for rounding: a label that covers exactly the required fraction is accepted.
    if not shares or shares[0][0] < coverage - 1e-9:
        return None
    # If two labels cover equally much, neither describes the window.
    if len(shares) > 1 and shares[1][0] > shares[0][0] - 1e-9:
        return None
    return shares[0][1]


def _union(spans: list[tuple[float, float]]) -> float:
    # Segments of one label may overlap; moments that are covered twice count once.
    total, reached = 0.0, -math.inf
    for low, high in sorted(spans):
        total += max(0.0, high - max(low, reached))
        reached = max(reached, high)
    return total
