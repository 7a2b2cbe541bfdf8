"""Compressed blocks: every method, and blocks that are larger than they say."""

from __future__ import annotations

import bz2

import pytest

from imu_video.readers.chunks import unpack

DATA = bytes(range(256)) * 40


def packed(method: str) -> bytes:
    if method == "none":
        return DATA
    if method == "bz2":
        return bz2.compress(DATA)
    module = pytest.importorskip("lz4.frame" if method == "lz4" else "zstandard", reason="needs the extra readers")
    return bytes(module.compress(DATA) if method == "lz4" else module.ZstdCompressor().compress(DATA))


@pytest.mark.parametrize("method", ["none", "bz2", "lz4", "zstd"])
def test_methods(method: str) -> None:
    block = packed(method)
    assert unpack(block, method=method, size=len(DATA), reader="mcap") == DATA
    for size in (len(DATA) - 1, len(DATA) + 1):
        with pytest.raises(ValueError, match="unpacks to"):
            unpack(block, method=method, size=size, reader="mcap")
    if method != "none":
        with pytest.raises(ValueError, match="unpack"):
            unpack(block[: len(block) // 2], method=method, size=len(DATA), reader="mcap")


def test_a_block_that_would_fill_the_memory_is_not_unpacked() -> None:
    with pytest.raises(ValueError, match="a block of 10240 bytes that unpacks to 2147483648"):
        unpack(DATA, method="zstd", size=1 << 31, reader="mcap")
    with pytest.raises(ValueError, match="compression 'brotli'"):
        unpack(DATA, method="brotli", size=len(DATA), reader="mcap")


def test_no_more_than_the_stated_size_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    module = pytest.importorskip("lz4.frame", reason="needs the extra readers")

    class Counting:
        def decompress(self, data: bytes, limit: int) -> bytes:
            asked.append(limit)
            return bytes(limit)

    monkeypatch.setattr(module, "LZ4FrameDecompressor", Counting)
    with pytest.raises(ValueError, match="unpacks to 101 bytes, expected 100"):
        unpack(DATA, method="lz4", size=100, reader="rosbag")
    assert asked == [101]
