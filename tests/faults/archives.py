"""Damage to ZIP archives by seed: bytes, headers, directory, nesting, names, encryption, sizes; reads nothing."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable

import numpy as np

from tests.faults.mutate import damaged_bytes

EXTREMES = (0, 1, 8, 12, 14, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
_CENTRAL = ((6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (34, 2), (38, 4), (42, 4))
_LOCAL = ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2))
_END = ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2))


def rows_of(data: bytes | bytearray) -> list[tuple[int, int]]:
    """Begin and end of every row of the directory of an intact archive."""
    at = struct.unpack_from("<I", data, data.rfind(b"PK\x05\x06") + 16)[0]
    rows = []
    while data[at : at + 4] == b"PK\x01\x02":
        end = at + 46 + sum(struct.unpack_from("<3H", data, at + 28))
        rows.append((at, end))
        at = end
    return rows


def members_of(data: bytes) -> dict[str, bytes]:
    """Names and contents of an intact archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive of members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _edit(rng: np.random.Generator, data: bytearray, at: int, size: int) -> None:
    old = int.from_bytes(data[at : at + size], "little")
    near = (old ^ (1 << int(rng.integers(8 * size))), old + 1, old - 1, int(rng.integers(1 << 16)))
    choices = (*near, *EXTREMES)
    data[at : at + size] = (choices[int(rng.integers(len(choices)))] % (1 << 8 * size)).to_bytes(size, "little")


def _directory_field(rng: np.random.Generator, data: bytes) -> bytes:
    changed, rows = bytearray(data), rows_of(data)
    begin = rows[int(rng.integers(len(rows)))][0]
    for _ in range(int(rng.choice([1, 1, 2]))):
        offset, size = _CENTRAL[int(rng.integers(len(_CENTRAL)))]
        _edit(rng, changed, begin + offset, size)
    return bytes(changed)


def _header_field(rng: np.random.Generator, data: bytes) -> bytes:
    changed, rows = bytearray(data), rows_of(data)
    begin = struct.unpack_from("<I", data, rows[int(rng.integers(len(rows)))][0] + 42)[0]
    offset, size = _LOCAL[int(rng.integers(len(_LOCAL)))]
    _edit(rng, changed, begin + offset, size)
    return bytes(changed)


def _end_field(rng: np.random.Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    offset, size = _END[int(rng.integers(len(_END)))]
    _edit(rng, changed, changed.rfind(b"PK\x05\x06") + offset, size)
    return bytes(changed)


def _lost_rows(rng: np.random.Generator, data: bytes) -> bytes:
    """A directory without some of its rows, whose end record agrees with what is left."""
    rows, end = rows_of(data), data.rfind(b"PK\x05\x06")
    lost = set(rng.choice(len(rows), int(rng.integers(1, len(rows) + 1)), replace=False).tolist())
    kept = b"".join(data[a:b] for i, (a, b) in enumerate(rows) if i not in lost)
    last = bytearray(data[end:])
    struct.pack_into("<2HI", last, 8, len(rows) - len(lost), len(rows) - len(lost), len(kept))
    return data[: rows[0][0]] + kept + bytes(last)


def _link(rng: np.random.Generator, data: bytes) -> bytes:
    changed, rows = bytearray(data), rows_of(data)
    kind = int(rng.choice([0o120777, 0o040755, 0o010644, 0o020644]))
    struct.pack_into("<I", changed, rows[int(rng.integers(len(rows)))][0] + 38, kind << 16)
    return bytes(changed)


def _encrypted(rng: np.random.Generator, data: bytes) -> bytes:
    changed, rows = bytearray(data), rows_of(data)
    begin = rows[int(rng.integers(len(rows)))][0]
    local = struct.unpack_from("<I", data, begin + 42)[0]
    changed[begin + 8] |= 1
    if rng.random() < 0.7:
        changed[local + 6] |= 1
    return bytes(changed)


def _twice(rng: np.random.Generator, data: bytes) -> bytes:
    """Two members of one name, or two names for one member, or rows that overlap."""
    members, rows, end = members_of(data), rows_of(data), data.rfind(b"PK\x05\x06")
    if rng.random() < 0.5:
        name = list(members)[int(rng.integers(len(members)))]
        buffer = io.BytesIO(data)
        import warnings

        with warnings.catch_warnings(), zipfile.ZipFile(buffer, "a") as archive:
            warnings.simplefilter("ignore")
            archive.writestr(name, members[name][: len(members[name]) // 2])
        return buffer.getvalue()
    a, b = rows[int(rng.integers(len(rows)))]
    last = bytearray(data[end:])
    struct.pack_into("<2HI", last, 8, len(rows) + 1, len(rows) + 1, rows[-1][1] - rows[0][0] + b - a)
    return data[: rows[-1][1]] + data[a:b] + bytes(last)


def _around(rng: np.random.Generator, data: bytes) -> bytes:
    other = packed({"other/readme.txt": b"another archive"})
    ways = (data + other, other + data, data + rng.bytes(100), rng.bytes(100) + data, data + bytes(512))
    return ways[int(rng.integers(len(ways)))]


def _nested(rng: np.random.Generator, data: bytes) -> bytes:
    """The archive inside another one, complete or cut off: never read as if it were the outer one."""
    inner = packed({"other.txt": b"x" * 50}, zipfile.ZIP_STORED)
    outer = packed({"a.zip": inner, "whole.zip": data, "b.zip": inner}, zipfile.ZIP_STORED)
    at = outer.rfind(b"PK\x01\x02")
    return outer if rng.random() < 0.3 else outer[: int(rng.integers(len(outer) // 2, at))]


def _other_method(rng: np.random.Generator, data: bytes) -> bytes:
    """Other compression; ZIP64 fields; extra fields."""
    members = members_of(data)
    if rng.random() < 0.6:
        return packed(members, int(rng.choice([zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_STORED])))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(content)
    return buffer.getvalue()


def _names(rng: np.random.Generator, data: bytes) -> bytes:
    """One name absolute, out of the archive, in another encoding, with a drive, or behind a folder."""
    members = members_of(data)
    chosen = list(members)[int(rng.integers(len(members)))]
    prefixes = ("/", "../", "../../../../tmp/", "C:\\", "./", "//server/", "a/../", "\\")
    prefix = prefixes[int(rng.integers(len(prefixes)))]
    return packed({(prefix if name == chosen else "") + name: content for name, content in members.items()})


def _bomb(rng: np.random.Generator, data: bytes) -> bytes:
    """One member that unpacks to far more than the archive has, or says so."""
    members = members_of(data)
    chosen = list(members)[int(rng.integers(len(members)))]
    if rng.random() < 0.5:
        return packed({**members, chosen: bytes(20_000_000)})
    changed = bytearray(data)
    for begin, _ in rows_of(data):
        struct.pack_into("<I", changed, begin + 24, 0xFFFFFFF0)
        struct.pack_into("<I", changed, struct.unpack_from("<I", data, begin + 42)[0] + 22, 0xFFFFFFF0)
    return bytes(changed)


def _empty(rng: np.random.Generator, data: bytes) -> bytes:
    return [packed({}), b"", data[:4], b"PK\x03\x04" + bytes(200)][int(rng.integers(4))]


Way = Callable[[np.random.Generator, bytes], bytes]
WAYS: tuple[Way, ...] = (
    _directory_field, _directory_field, _directory_field, _header_field, _header_field, _end_field, _lost_rows, _link,
    _encrypted, _twice, _around, _nested, _other_method, _names, _bomb, _empty,
)  # fmt: skip


def damaged_archive(data: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """A ZIP archive with one fault, in its bytes (a third) or in its structure.

    Returns:
        Name of the fault, and the bytes; some faults keep every member (ZIP64 fields, bytes appended).
    """
    if rng.random() < 1 / 3:
        return damaged_bytes(data, rng)
    way = WAYS[int(rng.integers(len(WAYS)))]
    return way.__name__[1:], way(rng, data)
