"""Members of ZIP files read into memory; nothing is extracted, and member names are never used as paths."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from imu_video.errors import RecordingError

LARGEST_MEMBER = 1 << 30
"""Largest unpacked size of a member in bytes; a day at 100 Hz has a third of this."""


def zip_members(path: Path, ending: str, *, deep: bool = True) -> Iterator[tuple[str, bytes]]:
    """Names without folders and contents of the members with an ending, in the order of their names.

    A member of an archive inside the archive is called ``INNER.zip/MEMBER``.

    Args:
        path: the archive.
        ending: file name ending of the members to read, ``.csv``.
        deep: also read ZIP files inside the archive, one level deep.

    Raises:
        RecordingError: not a ZIP file, a damaged or encrypted member, or one larger than `LARGEST_MEMBER`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield from _members(archive, str(path), ending, deep)
    except (zipfile.BadZipFile, OSError) as error:
        raise RecordingError(f"{path}: not a readable ZIP file: {error}", hint="download the file again") from error


def _members(archive: zipfile.ZipFile, where: str, ending: str, deep: bool) -> Iterator[tuple[str, bytes]]:
    for member in sorted(archive.infolist(), key=lambda m: m.filename):
        name = PurePosixPath(member.filename.replace("\\", "/")).name
        if member.is_dir() or name.startswith(".") or "__MACOSX" in member.filename:
            continue
        inner = deep and name.lower().endswith(".zip")
        if not inner and not name.lower().endswith(ending):
            continue
        if member.file_size > LARGEST_MEMBER:
            raise RecordingError(
                f"{where}: {member.filename!r} unpacks to {member.file_size} bytes, expected at most {LARGEST_MEMBER}"
            )
        try:
            content = archive.read(member)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:
            raise RecordingError(f"{where}: member {member.filename!r} is damaged: {error}") from error
        if not inner:
            yield name, content
            continue
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as nested:
                for inside, found in _members(nested, f"{where}, {name}", ending, deep=False):
                    yield f"{name}/{inside}", found
        except zipfile.BadZipFile as error:
            raise RecordingError(f"{where}: member {name!r} is not a ZIP file: {error}") from error
