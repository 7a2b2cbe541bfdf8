"""MP4 encoding and decoding of short clips, and MP4 files as a FrameSource; resizing and sampling are elsewhere.

Clips are written with PyAV and read with decord. Both are imported on first use, so importing this module is fast.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import RecordingError, ShardError

GOP = 4
"""Frames between key frames of an encoded clip: any frame is at most three decoded frames away."""

_SINGLY: set[int] = set()  # widths whose padded rows decord's batch reader refuses, see `_rgb`

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
        ShardError: the bytes are not a readable video, or hold no frame of that index.
    """
    try:
        reader = _open(io.BytesIO(data))
        return _frames(reader, range(len(reader)) if indices is None else indices)
    except _faults() as error:
        raise ShardError(f"clip of {len(data)} bytes cannot be decoded: {_reason(error)}") from error


def decode_into(data: bytes, indices: Sequence[int], out: np.ndarray) -> None:
    """Decode frames of a clip in memory into a given array, without a copy of the whole.

    Args:
        data: an MP4 file.
        indices: frames, in any order, repeats allowed.
        out: (F, H, W, 3) uint8, F as many as ``indices``.

    Raises:
        ShardError: the bytes are not a readable video, or hold no frame of that index and size.
    """
    width = out.shape[2]
    try:
        reader = _open(io.BytesIO(data))
        if width not in _SINGLY:
            try:
                # One call for all frames: decord releases the GIL meanwhile, so threads decode in parallel.
                out[:] = reader.get_batch(list(indices)).asnumpy()
                return
            except _faults():
                out[:] = _frames(reader, indices)
                _SINGLY.add(width)  # the width is the cause: its other clips skip the batch reader
                return
        out[:] = _frames(reader, indices)
    except _faults() as error:
        raise ShardError(f"clip of {len(data)} bytes cannot be decoded: {_reason(error)}") from error


class Mp4Source:
    """A video file as a FrameSource: real time stamp of every frame, frames decoded on demand.

    The file is opened at first use and stays open; a pickled copy opens it again. Frames are not resized.

    Args:
        path: any container and codec that FFmpeg reads.
        offset_s: seconds on the recording's clock at which the first frame was taken.

    Raises:
        RecordingError: the file is missing (at once) or is not a readable video (at first use).

    Example:
        >>> size = Path("walk.mp4").write_bytes(encode_mp4(np.zeros((20, 48, 64, 3), np.uint8), 10))
        >>> source = Mp4Source("walk.mp4", offset_s=1.5)
        >>> source.read([0, 10]).shape
        (2, 48, 64, 3)
    """

    def __init__(self, path: str | Path, offset_s: float = 0.0) -> None:
        self.path = Path(path)
        self.offset_s = float(offset_s)
        self._reader: Any = None
        self._times: np.ndarray | None = None
        if not self.path.is_file():
            raise RecordingError(f"video {self.path}: no such file", hint="correct its path or leave the video out")

    @property
    def times(self) -> np.ndarray:
        """(F,) float64 seconds of each frame on the recording's clock, from the file's own presentation time stamps."""
        if self._times is None:
            reader = self._video()
            times = reader.get_frame_timestamp(list(range(len(reader))))[:, 0].astype(np.float64)
            if np.any(np.diff(times) <= 0):
                at = int(np.argmax(np.diff(times) <= 0)) + 1
                raise RecordingError(
                    f"video {self.path}: time stamps do not increase at frame {at} of {len(times)}",
                    hint="rewrite the file with `ffmpeg -i IN -c copy OUT.mp4`",
                )
            self._times = times + self.offset_s
        return self._times

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Return the named frames as (F, H, W, 3) uint8 RGB.

        Raises:
            RecordingError: the file cannot be decoded there, or has no such frame.
        """
        try:
            return _frames(self._video(), indices)
        except _faults() as error:
            raise RecordingError(f"video {self.path}: cannot read frames: {_reason(error)}") from error

    def _video(self) -> Any:
        if self._reader is None:
            try:
                self._reader = _open(str(self.path))
            except _faults() as error:
                raise RecordingError(
                    f"video {self.path} ({self.path.stat().st_size} bytes) is not a readable video",
                    hint="play it, or re-encode it with `ffmpeg -i IN -c:v libx264 OUT.mp4`",
                ) from error
        return self._reader

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None}


def _open(source: str | io.BytesIO) -> Any:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    reader = decord.VideoReader(source, ctx=decord.cpu(0), num_threads=1)
    if len(reader) == 0:
        raise RuntimeError("no frames")
    return reader


def _faults() -> tuple[type[Exception], ...]:
    """Exceptions that decord raises when frames are requested; its own error is not a RuntimeError."""
    import decord

    return (RuntimeError, IndexError, ValueError, decord.DECORDError)


def _frames(reader: Any, indices: Iterable[int]) -> np.ndarray:
    wanted = [int(i) for i in indices]
    outside = [i for i in wanted if not 0 <= i < len(reader)]
    if outside:
        raise IndexError(f"frames {outside} requested, the video has frames 0..{len(reader) - 1}")
    if not wanted:
        raise IndexError("no frames requested")
    unique = {i: _rgb(reader[i]) for i in sorted(set(wanted))}
    return np.stack([unique[i] for i in wanted])


def _rgb(frame: Any) -> np.ndarray:
    """One decoded frame as (H, W, 3).

    decord derives the number of channels from the padded row length, so that a width of 96 arrives as (H, 96, 4) and
    its batch reader fails; the pixels are intact at the start of each row.
    """
    array: np.ndarray = frame.asnumpy() if hasattr(frame, "asnumpy") else frame.numpy()
    height, width, channels = array.shape
    if channels == 3:
        return array
    return np.ascontiguousarray(array.reshape(height, width * channels)[:, : 3 * width].reshape(height, width, 3))


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
