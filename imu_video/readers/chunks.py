"""Compressed blocks of containers, unpacked up to the size that they state; no container."""

from __future__ import annotations

import bz2
import importlib
import io
from typing import Any

from imu_video.errors import ConfigError

LARGEST_CHUNK = 1 << 30
_LARGEST_RATIO = 2000
KNOWN = ("", "none", "bz2", "lz4", "zstd")


def unpack(data: bytes, *, method: str, size: int, reader: str) -> bytes:
    """The content of a compressed block.

    Args:
        data: the compressed bytes.
        method: one of `KNOWN`; empty or ``none`` for bytes that are not compressed.
        size: bytes that it should have once unpacked.
        reader: name of the reader, for the error about a missing package.

    Raises:
        ValueError: damaged, of another size, too large, or an unknown method.
        ConfigError: the package of the method is not installed.

    Example:
        >>> unpack(bz2.compress(b"abc" * 100), method="bz2", size=300, reader="rosbag") == b"abc" * 100
        True
    """
    if size > LARGEST_CHUNK or size > _LARGEST_RATIO * max(len(data), 1024):
        raise ValueError(f"a block of {len(data)} bytes that unpacks to {size}")
    found = data if method in ("", "none") else _unpacked(data, method, size, reader)
    if len(found) != size:
        raise ValueError(f"a block that unpacks to {len(found)} bytes, expected {size}")
    return found


def _unpacked(data: bytes, method: str, size: int, reader: str) -> bytes:
    if method not in KNOWN:
        raise ValueError(f"compression {method!r}, expected one of {', '.join(KNOWN[1:])}")
    module: Any = None
    try:
        if method in ("lz4", "zstd"):
            module = importlib.import_module("lz4.frame" if method == "lz4" else "zstandard")
    except ImportError as error:
        raise ConfigError(
            f"the reader {reader} needs a package for blocks compressed by {method} ({error})",
            hint="pip install 'imu-video[readers]'",
        ) from error
    try:
        if method == "bz2":
            return bz2.BZ2Decompressor().decompress(data, size + 1)
        if method == "lz4":
            return bytes(module.LZ4FrameDecompressor().decompress(data, size + 1))
        # Reads one byte more than stated, so that a longer block is detected; the size in the frame is not used.
        return bytes(module.ZstdDecompressor().stream_reader(io.BytesIO(data)).read(size + 1))
    # Each package has an error of its own for damaged bytes.
    except Exception as error:
        raise ValueError(f"a block that {method} cannot unpack ({error})") from error
