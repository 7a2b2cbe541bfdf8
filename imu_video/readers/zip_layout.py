"""The layout of a ZIP archive, checked entry by entry before anything is unpacked; contents are read by members.py.

A ZIP file is listed by a directory at its end, and a reader that trusts the directory alone does not notice entries
that the directory lost, or opens the last archive inside a truncated archive of archives in place of the whole one.
Here every byte before the directory must belong to a listed entry, and every entry must say of itself what the
directory says of it (APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.9, 4.3.12 and 4.3.16).
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import BinaryIO

LARGEST_MEMBER = 1 << 30
"""Largest unpacked size of a member in bytes; a day at 100 Hz has a third of this."""
LARGEST_TOTAL = 1 << 36
"""Largest unpacked size of all members in bytes."""
LARGEST_RATIO = 1000
"""Largest ratio of unpacked to packed size; numbers as text pack by a factor of 3 to 20, repeated lines by 200."""
MOST_MEMBERS = 10_000
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    RuntimeError,
    NotImplementedError,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    KeyError,
    IndexError,
    TypeError,
)
"""What zipfile raises for bytes that it cannot read."""
METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
"""Compression methods that are read: the two whose unpacked size can be limited while they are unpacked."""

_LOCAL, _CENTRAL, _END = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s4H2IH")
_DESCRIPTORS = (0, 12, 16, 20, 24)  # bytes after the data of an entry whose sizes were not known when it began
_ENCRYPTED, _STREAMED, _UTF8 = 1, 8, 1 << 11


@dataclass(frozen=True, slots=True)
class _Listed:
    """One row of the directory; ``raw`` is the name as stored."""

    raw: bytes
    flags: int


class LayoutFault(Exception):
    """Bytes of an archive that contradict each other; the message continues ``ARCHIVE: ``."""


def check_layout(archive: zipfile.ZipFile, file: BinaryIO, size: int) -> None:
    """Check that the directory lists every entry of an archive, and that the entries agree with it.

    Args:
        archive: the archive, opened.
        file: its bytes.
        size: number of bytes.

    Raises:
        LayoutFault: the directory is incomplete, an entry differs from it, entries overlap, or a limit is exceeded.
    """
    entries = archive.infolist()
    if len(entries) > MOST_MEMBERS:
        raise LayoutFault(f"{len(entries)} members, expected at most {MOST_MEMBERS}")
    total = sum(entry.file_size for entry in entries)
    if total > LARGEST_TOTAL:
        raise LayoutFault(f"its members unpack to {total} bytes, expected at most {LARGEST_TOTAL}")
    listed = _directory(archive, file, size)
    if len(listed) != len(entries):
        raise LayoutFault(f"its directory has {len(listed)} entries, of which {len(entries)} can be read")
    pairs = sorted(zip(entries, listed, strict=True), key=lambda pair: pair[0].header_offset)
    starts = [entry.header_offset for entry, _ in pairs] + [archive.start_dir]
    reached, before = 0, ""
    for (entry, row), start, following in zip(pairs, starts, starts[1:], strict=False):
        _check_gap(file, reached, start, before)
        reached, before = _check_entry(entry, row, file), entry.filename
        if row.flags & _STREAMED and following - reached in _DESCRIPTORS:
            reached = following
    _check_gap(file, reached, archive.start_dir, before)


def check_member(entry: zipfile.ZipInfo) -> None:
    """Check that a member can be unpacked within the limits.

    Raises:
        LayoutFault: too large, or compressed by a method that is not read.
    """
    if entry.compress_type not in METHODS:
        raise LayoutFault(
            f"compressed by method {entry.compress_type}, expected {' or '.join(METHODS.values())}; "
            "unpack the archive and zip it again"
        )
    if entry.file_size > LARGEST_MEMBER or entry.file_size > LARGEST_RATIO * max(entry.compress_size, 1000):
        raise LayoutFault(
            f"unpacks from {entry.compress_size} to {entry.file_size} bytes, "
            f"expected at most {LARGEST_MEMBER} bytes and a factor of {LARGEST_RATIO}"
        )


def unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The content of a member: exactly as many bytes as listed, with the checksum listed.

    Raises:
        LayoutFault: see `check_member`; or the content has another length.
        zipfile.BadZipFile, zlib.error, RuntimeError: damaged or encrypted.
    """
    check_member(entry)
    with archive.open(entry) as file:
        content = file.read(entry.file_size + 1)  # a limit also bounds what zlib makes of a wrong size
    if len(content) != entry.file_size:
        raise LayoutFault(f"unpacks to {len(content)} bytes, expected {entry.file_size}")
    return content


def _directory(archive: zipfile.ZipFile, file: BinaryIO, size: int) -> list[_Listed]:
    """The rows of the directory as stored, up to the record that ends it."""
    file.seek(archive.start_dir)
    data = file.read(size - archive.start_dir)
    rows, at = [], 0
    while data[at : at + 4] == b"PK\x01\x02" and at + _CENTRAL.size <= len(data):
        head = _CENTRAL.unpack_from(data, at)
        name, extra, comment = head[10:13]
        rows.append(_Listed(raw=data[at + _CENTRAL.size : at + _CENTRAL.size + name], flags=head[3]))
        at += _CENTRAL.size + name + extra + comment
    if data[at : at + 4] not in (b"PK\x05\x06", b"PK\x06\x06", b"PK\x05\x05"):
        raise LayoutFault(f"its directory breaks off after {len(rows)} entries")
    end = data.find(b"PK\x05\x06", at)
    if end < 0 or end + _END.size > len(data):
        raise LayoutFault("the end of its directory is missing")
    count = _END.unpack_from(data, end)[4]
    if count not in (len(rows), 0xFFFF):  # ZIP64 has the number elsewhere
        raise LayoutFault(f"its directory has {len(rows)} entries, expected {count}")
    return rows


def _check_gap(file: BinaryIO, begin: int, end: int, after: str) -> None:
    """Refuse bytes between entries that are not padding."""
    place = f"after member {after!r}" if after else "at its start"
    if begin > end:
        raise LayoutFault(f"member {after!r} overlaps what follows it")
    file.seek(begin)
    while begin < end:
        piece = file.read(min(1 << 20, end - begin))
        if not piece or piece.strip(b"\x00"):
            raise LayoutFault(f"{end - begin} bytes {place} belong to no member that its directory lists")
        begin += len(piece)


def _check_entry(entry: zipfile.ZipInfo, row: _Listed, file: BinaryIO) -> int:
    """Compare the header of an entry with the directory; returns the position after its data."""
    where = f"member {entry.filename!r}"
    file.seek(entry.header_offset)
    data = file.read(_LOCAL.size)
    if len(data) < _LOCAL.size or data[:4] != b"PK\x03\x04":
        raise LayoutFault(f"{where} does not begin where its directory says")
    _, _, flags, method, _, _, crc, packed, size, name, extra = _LOCAL.unpack(data)
    raw = file.read(name)
    same = {"name": (raw, row.raw), "compression": (method, entry.compress_type)}
    same["encryption"] = (flags & _ENCRYPTED, row.flags & _ENCRYPTED)
    if not raw.isascii():
        same["encoding of names"] = (flags & _UTF8, row.flags & _UTF8)
    if not flags & _STREAMED:  # otherwise these follow the data
        same["checksum"] = (crc, entry.CRC)
        if 0xFFFFFFFF not in (packed, size):  # otherwise these are in the ZIP64 field
            same["packed size"], same["size"] = (packed, entry.compress_size), (size, entry.file_size)
    for what, (own, expected) in same.items():
        if own != expected:
            raise LayoutFault(f"{where}: its {what} is {own!r}, but {expected!r} in the directory")
    if entry.is_dir() and entry.file_size:
        raise LayoutFault(f"{where} is a folder of {entry.file_size} bytes, expected a folder to be empty")
    return entry.header_offset + _LOCAL.size + name + extra + entry.compress_size
