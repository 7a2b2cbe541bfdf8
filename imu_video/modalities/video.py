"""Video as a modality: frames nearest to requested times, small square clips, MP4 members; the codec is in mp4.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Protocol

import numpy as np
import torch
from pydantic import Field

from imu_video.arguments import Positive
from imu_video.errors import ConfigError, ShardError
from imu_video.modalities.base import Curve, Drawing, Modality, Parts, StreamSpec, nearest_index
from imu_video.modalities.mp4 import decode_mp4, encode_mp4
from imu_video.registry import modalities

_AT_ONCE = 8  # frames in memory at full size


class FrameSource(Protocol):
    """Frames of a video on the recording's clock, read by index on demand."""

    @property
    def times(self) -> np.ndarray:
        """(F,) float64 seconds of each frame, increasing."""

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Return the named frames as (F, H, W, 3) uint8 RGB."""


class RetimedFrames:
    """A video with corrected times; frames are read from the original.

    Args:
        video: the original.
        correct: maps its times to the corrected ones.
    """

    def __init__(self, video: FrameSource, correct: Callable[[np.ndarray], np.ndarray]) -> None:
        self._video = video
        self._correct = correct

    @property
    def times(self) -> np.ndarray:
        """(F,) float64 seconds on the corrected clock."""
        return self._correct(np.asarray(self._video.times))

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Return the named frames as (F, H, W, 3) uint8 RGB."""
        return self._video.read(indices)


class ClipSpec(StreamSpec):
    """Specification of the folder's clips: frames per second, frames F, stored height H and width W in pixels."""

    height: int
    width: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(F, H, W, 3)."""
        return (self.frames, self.height, self.width, 3)

    @property
    def text(self) -> str:
        return f"{super().text}, {self.height} x {self.width}"


@modalities.register("video")
class Video(Modality):
    """Square clips of a video: the frame nearest to each time, the short side scaled to ``size``, centre-cropped.

    A recording may have further cameras (``video.depth``, ``video.exo``), each with its own frame times.

    Args:
        fps: frames per second of clips, above 0; ``window.clip_fps`` allows up to 240. None: no clips.
        size: side of the clips in pixels, in [16, 2048] and even.

    Shapes: (F, H, W, 3) uint8 RGB; stored as H.264 in MP4, and decoded when frames are requested.
    """

    name: ClassVar[str] = "video"
    axes: ClassVar[str] = "F H W 3"
    unit: ClassVar[str] = "RGB, 0..255"
    dtype: ClassVar[str] = "uint8"
    extension: ClassVar[str] = "mp4"
    limit: ClassVar[int] = 1 << 30
    parts: ClassVar[Parts] = "several"
    part: ClassVar[str] = "camera"
    noun: ClassVar[str] = "clip"
    spec: ClassVar[type[StreamSpec]] = ClipSpec
    in_columns: ClassVar[bool] = False
    drawing: ClassVar[Drawing] = "frames"
    index_key: ClassVar[str | None] = "clip"
    parts_key: ClassVar[str | None] = "views"  # name in the stored format; the code says `camera`
    window_keys: ClassVar[Mapping[str, str]] = {"fps": "clip_fps", "size": "clip_size"}
    alignment_rank: ClassVar[int | None] = 1

    def __init__(self, *, fps: Positive | None = None, size: Annotated[int, Field(ge=16, le=2048)] = 128) -> None:
        super().__init__(fps=fps)
        self.size = size

    def check_window(self, seconds: float) -> None:
        if self.fps is not None and (self.size % 2 or round(seconds * self.fps) < 1):
            raise ValueError(f"clip_size {self.size} must be even and a clip must have a frame")

    def sample(self, stream: FrameSource, times: np.ndarray) -> np.ndarray:
        indices = nearest_index(stream.times, times)
        frames = np.empty((len(indices), self.size, self.size, 3), dtype=np.uint8)
        unique, place = np.unique(indices, return_inverse=True)
        for first in range(0, len(unique), _AT_ONCE):  # a few at a time: frames of a user's video can be large
            small = square(stream.read(unique[first : first + _AT_ONCE].tolist()), self.size)
            for offset, frame in enumerate(small):
                frames[place == first + offset] = frame
        return frames

    def describe(self, stream: Any, values: np.ndarray) -> ClipSpec:
        if self.fps is None:
            raise ConfigError("clips have no rate", hint="window.clip_fps=10")
        frames, height, width = values.shape[:3]
        # The codec needs even sides and repeats the last row or column of an odd one.
        return ClipSpec(fps=self.fps, frames=frames, height=height + height % 2, width=width + width % 2)

    def retimed(self, stream: FrameSource, correct: Callable[[np.ndarray], np.ndarray]) -> RetimedFrames:
        return RetimedFrames(stream, correct)

    def motion(
        self, stream: FrameSource, placements: Sequence[str], segments: Sequence[np.ndarray]
    ) -> Sequence[Sequence[Curve]]:
        from imu_video.modalities.picture_motion import picture_motion  # loads scipy, which only sync needs

        curves = [picture_motion(stream, indices) for indices in segments]
        return [curves] * len(placements)  # a camera observes the same motion for every device

    def check_stream(self, stream: FrameSource) -> str | None:
        frames = stream.read([0])
        if frames.ndim == 4 and frames.shape[0] == 1 and frames.shape[3] == 3 and frames.dtype == np.uint8:
            return None
        return f"read([0]) must be (1, H, W, 3) uint8, got {frames.dtype} {frames.shape}"

    def encode(self, values: np.ndarray, spec: StreamSpec | None) -> bytes:
        if spec is None:
            raise ValueError("a clip needs the rate that it is encoded with")
        return encode_mp4(values, spec.fps)

    def decode(self, data: bytes, name: str, spec: StreamSpec) -> bytes:
        """The MP4 bytes unchanged: most readers need few frames, which `select` decodes."""
        return data

    def verify(self, data: bytes, name: str, spec: StreamSpec) -> None:
        if data[4:8] != b"ftyp":
            raise ShardError(f"member {name!r}: not an MP4 file")

    def select(self, stored: bytes, frames: Sequence[int]) -> np.ndarray:
        return decode_mp4(stored, frames)

    @classmethod
    def lacking(cls, part: str) -> str:
        return f"view {part}" if part else "clip"  # names in the stored format


def square(frames: np.ndarray, size: int) -> np.ndarray:
    """Scale the short side to ``size`` pixels (area-true, anti-aliased) and crop the central square.

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
