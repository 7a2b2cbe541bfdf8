"""MP4 encoding and decoding of short clips, and MP4 files as a FrameSource; resizing and sampling are elsewhere.

Both are read by video_file.py, which verifies the time of every frame, in child processes (video_child.py).
"""

from __future__ import annotations

import io
import logging
import shlex
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import RecordingError, ShardError
from imu_video.modalities import video_child
from imu_video.modalities.video_packets import Remedy, VideoFault

logger = logging.getLogger(__name__)
GOP = 4
"""Frames between key frames of an encoded clip: any frame is at most three decoded frames away."""

_X264 = {
    "keyint": GOP,
    "min-keyint": GOP,
    "scenecut": 0,
    "bframes": 0,
    "threads": 1,
    "lookahead-threads": 1,
    "cpu-independent": 1,
    "colorprim": "smpte170m",
    "transfer": "smpte170m",
    "colormatrix": "smpte170m",
}


def encode_mp4(frames: np.ndarray, fps: float, *, crf: int = 20) -> bytes:
    """Encode a clip as H.264 in MP4, the same bytes for the same frames on every run.

    One thread, fixed settings, key frames every `GOP` frames, no B-frames, 8 bit 4:2:0 in BT.601. That chroma format
    needs even sides: an odd height or width gains one row or column, a copy of the last one, so that no pixel is lost.

    Args:
        frames: (F, H, W, 3) uint8 RGB, F >= 1.
        fps: frames per second, > 0; 1..60 is usual.
        crf: constant rate factor, 0 (lossless luma) .. 51; 20 is visually close to the source.

    Returns:
        The file as bytes; `decode_mp4` reads it.

    Raises:
        ValueError: frames of another shape or type, or fps <= 0.

    Example:
        >>> data = encode_mp4(np.zeros((3, 32, 48, 3), np.uint8), fps=10)
        >>> decode_mp4(data).shape
        (3, 32, 48, 3)
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape or frames.dtype != np.uint8:
        raise ValueError(f"frames must be (F, H, W, 3) uint8 with F >= 1, got {frames.shape} {frames.dtype}")
    if not fps > 0:
        raise ValueError(f"fps must be positive, got {fps}")
    import av
    from av.codec.context import Flags

    even = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    buffer = io.BytesIO()
    options = {"preset": "veryfast", "crf": str(crf), "x264-params": ":".join(f"{k}={v}" for k, v in _X264.items())}
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.height, stream.width = even.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= Flags.bitexact
        for frame in even:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def decode_mp4(data: bytes, indices: Sequence[int] | None = None) -> np.ndarray:
    """Decode a clip from memory.

    Args:
        data: an MP4 file.
        indices: frames to return, in any order, repeats allowed; all frames when None.

    Returns:
        (F, H, W, 3) uint8 RGB.

    Raises:
        ShardError: the bytes are not a readable video, are damaged, end the decoder, or hold no frame of that index.
    """
    try:
        return video_child.clip(data, indices)
    except (VideoFault, IndexError) as error:
        raise ShardError(f"clip of {len(data)} bytes cannot be decoded: {error}") from error


def decode_into(data: bytes, indices: Sequence[int], out: np.ndarray) -> None:
    """Decode frames of a clip in memory into a given array, without a copy of the whole.

    Args:
        data: an MP4 file.
        indices: frames, in any order, repeats allowed.
        out: (F, H, W, 3) uint8, F as many as ``indices``.

    Raises:
        ShardError: the bytes are not a readable video, are damaged, end the decoder, or hold no frame of that index
            and size.
    """
    try:
        video_child.clip(data, indices, out)
    except (VideoFault, IndexError) as error:
        raise ShardError(f"clip of {len(data)} bytes cannot be decoded: {error}") from error


class Mp4Source:
    """A video file as a FrameSource: real time stamp of every frame, frames decoded and verified on demand.

    The file is opened at first use, in a child process: a file that ends its decoder (SIGSEGV, a loop without end, too
    much memory) is an error that names it. Frames are not resized.

    Args:
        path: any container and codec that FFmpeg reads.
        offset_s: seconds on the recording's clock at which the first frame was taken; of a video that was trimmed by an
            edit list, at which the list starts.

    Raises:
        RecordingError: the file is missing (at once), is not a readable video, or has no times of its frames (at
            first use); the hint is the command that makes it readable.

    Example:
        >>> size = Path("walk.mp4").write_bytes(encode_mp4(np.zeros((20, 48, 64, 3), np.uint8), 10))
        >>> source = Mp4Source("walk.mp4", offset_s=1.5)
        >>> source.read([0, 10]).shape
        (2, 48, 64, 3)
    """

    def __init__(self, path: str | Path, offset_s: float = 0.0) -> None:
        self.path = Path(path)
        self.offset_s = float(offset_s)
        self._times: np.ndarray | None = None
        self._stamp: list[int] = []
        if not self.path.is_file():
            raise RecordingError(f"video {self.path}: no such file", hint="correct its path or leave the video out")

    @property
    def times(self) -> np.ndarray:
        """(F,) float64 seconds of each frame on the recording's clock, from the file's own presentation time stamps."""
        if self._times is None:
            try:
                times, notes, self._stamp = video_child.opened(self.path)
            except VideoFault as fault:
                raise self._error(fault) from fault
            for note in notes:
                logger.warning("video %s: %s", self.path, note)
            self._times = times + self.offset_s
        return self._times

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Return the named frames as (F, H, W, 3) uint8 RGB.

        Raises:
            RecordingError: a frame is damaged or not at its time, or the file has no such frame.
        """
        _ = self.times  # opened, and its frames are listed
        try:
            return video_child.frames_of(self.path, self._stamp, indices)
        except VideoFault as fault:
            raise self._error(fault) from fault
        except IndexError as error:
            raise RecordingError(f"video {self.path}: {error}") from error

    def _error(self, fault: VideoFault) -> RecordingError:
        size = self.path.stat().st_size if self.path.is_file() else 0
        return RecordingError(f"video {self.path} ({size} bytes): {fault}", hint=remedy_for(self.path, fault.remedy))


def remedy_for(path: Path, remedy: Remedy) -> str:
    """The next step for a refused video, with the FFmpeg command written for its path.

    Example:
        >>> remedy_for(Path("my walk.avi"), "re-encode")
        "ffmpeg -i 'my walk.avi' -map 0:v:0 -c:v libx264 -crf 18 'my walk.fixed.mp4'"
    """
    if remedy == "replace":
        return "play it; if it does not play, copy it from its source again or leave it out"
    source, target = shlex.quote(str(path)), shlex.quote(str(path.with_name(f"{path.stem}.fixed.mp4")))
    if remedy == "re-encode":
        return f"ffmpeg -i {source} -map 0:v:0 -c:v libx264 -crf 18 {target}"
    return (
        f"copy the file from the camera again, or keep what is readable: ffmpeg -i {source} -map 0:v:0 -c copy {target}"
    )
