"""Bytes of a text file as clean UTF-8 lines: encoding, byte order mark, line ends, NUL bytes; no fields."""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np

from imu_video.errors import RecordingError

IN_MEMORY = 1 << 26
"""Bytes of a text file that is read at once; larger ones are read in blocks."""
_BLOCK = 1 << 17  # bytes of a block, which stay in the cache of a processor while they are checked and parsed
_LONGEST = 1 << 24  # bytes of a line
_RETURN, _FEED = ord("\r"), ord("\n")
_MARKS = (  # the mark of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)


def text_encoding(name: str) -> str:
    """The encoding if it is one of text.

    Args:
        name: an encoding of Python, such as ``utf-16``, ``latin-1`` or ``cp1252``.

    Raises:
        ValueError: an unknown encoding, or one of bytes.

    Example:
        >>> text_encoding("latin-1")
        'latin-1'
    """
    try:
        if "t,x\n1".encode(name).decode(name) == "t,x\n1":
            return name
    except (LookupError, UnicodeError, ValueError):
        pass
    raise ValueError(f"unknown text encoding {name!r}; known are for example utf-8, utf-16, latin-1 and cp1252")


def text_blocks(path: Path, content: bytes | None = None, *, encoding: str | None = None) -> Iterator[bytes]:
    r"""Whole lines of a text file as UTF-8 without a byte order mark, each ended by ``\n`` or ``\r\n``.

    Args:
        path: the file, plain or ``.gz``.
        content: its bytes, if they are already in memory; they are not decompressed.
        encoding: of the file; UTF-8 when None. A byte order mark of UTF-8 is accepted in any case.

    Raises:
        RecordingError: another encoding than declared, NUL bytes, a line of more than 16 MiB, or a damaged .gz file.

    Example:
        >>> b"".join(text_blocks(Path("x.csv"), b"t,x\r1,2"))
        b't,x\n1,2\n'
    """
    for number, block in enumerate(_lines(_decoded(path, _raw(path, content), encoding), path)):
        damaged = b"\0" in block
        if damaged or (encoding is None and not block.isascii()):
            before = islice(_lines(_decoded(path, _raw(path, content), encoding), path), number)
            if damaged:
                _refuse_nuls(path, block, before)
            _require_utf8(path, block, before)
        yield block


def _raw(path: Path, content: bytes | None) -> Iterator[bytes]:
    if content is not None:
        start = 0
        while start < len(content):
            end = content.rfind(b"\n", start, start + _BLOCK) + 1 or start + _BLOCK
            yield content[start:end]
            start = end
        return
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path, "rb") as file:
                yield from _pieces(file)
        else:
            with path.open("rb") as file:
                yield from _pieces(file)
    except (OSError, EOFError, zlib.error) as error:
        what = "a damaged .gz file" if path.suffix.lower() == ".gz" else "not readable"
        raise RecordingError(
            f"{path}: {what}: {getattr(error, 'strerror', None) or error}", hint="copy the file again"
        ) from error


def _pieces(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    while piece := file.read(_BLOCK):
        yield piece


def _decoded(path: Path, pieces: Iterator[bytes], encoding: str | None) -> Iterator[bytes]:
    """Pieces as UTF-8 if an encoding is declared, otherwise as they are; without a byte order mark."""
    decoder = None
    for number, piece in enumerate(pieces):
        if number == 0:
            if piece.startswith(codecs.BOM_UTF8):
                piece, encoding = piece[len(codecs.BOM_UTF8) :], None
            elif encoding is None:
                _refuse_wide(path, piece)
            if encoding is not None:
                decoder = codecs.getincrementaldecoder(encoding)("strict")
        if decoder is None:
            yield piece
            continue
        try:
            text = decoder.decode(piece)
        except UnicodeError as error:
            raise _not_this(path, encoding or "", error) from error
        yield text.removeprefix("\ufeff").encode() if number == 0 else text.encode()
    if decoder is not None:
        try:
            yield decoder.decode(b"", final=True).encode()
        except UnicodeError as error:
            raise _not_this(path, encoding or "", error) from error


def _not_this(path: Path, encoding: str, error: UnicodeError) -> RecordingError:
    return RecordingError(
        f"{path}: not text in the declared encoding {encoding}: {str(error).splitlines()[0][:100]}",
        hint="correct `encoding`, or remove it for a file in UTF-8",
    )


def _lines(pieces: Iterator[bytes], path: Path) -> Iterator[bytes]:
    """Pieces cut after the last line end, with every line end as ``\\n``."""
    rest, held = b"", b""
    for piece in pieces:
        piece = held + piece
        held = b""
        if b"\r" in piece:
            if piece.endswith(b"\r"):  # its "\n" may be in the next piece
                piece, held = piece[:-1], b"\r"
            if not _paired(piece):  # "\r\n" is known to all parsers
                piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = piece.rfind(b"\n") + 1
        if end == 0:
            rest += piece
            if len(rest) > _LONGEST:
                raise RecordingError(
                    f"{path}: a line of more than {_LONGEST >> 20} MiB, expected a table of text lines",
                    hint="check that the file is not a binary file with a wrong name",
                )
            continue
        yield rest + piece[:end] if rest else piece[:end]
        rest = piece[end:]
    rest += b"\n" if held else b""
    if rest:
        yield rest if rest.endswith(b"\n") else rest + b"\n"


def count_lines(block: bytes) -> int:
    """Number of line feeds, five times as fast as ``bytes.count``."""
    return int(np.count_nonzero(np.frombuffer(block, dtype=np.uint8) == _FEED))


def _paired(piece: bytes) -> bool:
    """Whether every carriage return is followed by a line feed."""
    text = np.frombuffer(piece, dtype=np.uint8)
    returns = text == _RETURN
    return not returns[-1] and int(np.count_nonzero(returns)) == int(
        np.count_nonzero(returns[:-1] & (text[1:] == _FEED))
    )


def _refuse_wide(path: Path, start: bytes) -> None:
    for mark, name, spoken in _MARKS:
        if start.startswith(mark):
            raise RecordingError(
                f"{path}: the file is {spoken} text, expected UTF-8",
                hint=f"save it as UTF-8 (in a spreadsheet: 'CSV UTF-8'), or declare `encoding: {name}`",
            )
    start = start[:4096]
    for odd, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros, others = start[odd::2].count(0), start[1 - odd :: 2].count(0)
        # every other byte is NUL in ASCII characters of two bytes
        if len(start) >= 8 and zeros > 0.7 * len(start[odd::2]) and others == 0:
            raise RecordingError(
                f"{path}: the file looks like UTF-16 text without a byte order mark, expected UTF-8",
                hint=f"save it as UTF-8, or declare `encoding: {name}`",
            )


def _refuse_nuls(path: Path, block: bytes, before: Iterator[bytes]) -> NoReturn:
    # loggers allocate a file in advance, so that NULs at the end deserve advice of their own
    first = block.index(b"\0")
    number = 1 + sum(map(count_lines, before)) + block.count(b"\n", 0, first)
    run = re.compile(rb"\0+").match(block, first)
    assert run is not None
    count = run.end() - run.start()
    at_end = not block[run.end() :].strip(b"\0\n")
    raise RecordingError(
        f"{path}, line {number}: {count} NUL byte{'s' * (count > 1)}"
        + (" at the end of the file" if at_end else " inside the text"),
        hint=(
            "the recording was not closed; remove the NUL bytes and an incomplete last line: "
            f"tr -d '\\000' < {path.name} > fixed.csv"
            if at_end
            else "the file is damaged or not a text file; copy it again from the device"
        ),
    )


def _require_utf8(path: Path, block: bytes, before: Iterator[bytes]) -> None:
    try:
        block.decode("utf-8")
    except UnicodeDecodeError as error:
        number = 1 + sum(map(count_lines, before)) + block.count(b"\n", 0, error.start)
        byte = block[error.start]
        begin = block.rfind(b"\n", 0, error.start) + 1
        context = block[max(begin, error.start - 15) : error.start + 15].split(b"\n")
        # the piece of the line with the byte; Windows-1252 is what Western European devices and spreadsheets write
        seen = context[0].decode("cp1252", errors="replace")
        raise RecordingError(
            f"{path}, line {number}: byte 0x{byte:02x} is not UTF-8; read as cp1252 (Latin-1) it is in {seen!r}",
            hint="save the file as UTF-8, or declare `encoding: cp1252` (or the encoding in which these letters "
            "are right)",
        ) from error
