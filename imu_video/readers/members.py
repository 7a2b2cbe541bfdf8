"""An export as named files in memory: a ZIP archive, a folder, or one file; nothing is extracted to disk."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from imu_video.errors import RecordingError

LARGEST_MEMBER = 1 << 30
"""Largest unpacked size of a member in bytes; a day at 100 Hz has a third of this."""
LARGEST_RATIO = 1000
"""Largest ratio of unpacked to packed size; numbers as text pack by a factor of 3 to 20, repeated lines by 200."""
MOST_MEMBERS = 10_000
_DAMAGED = (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError, ValueError)


class Members:
    """The files of an export by name, read into memory one at a time.

    Names are those inside the archive or folder with ``/`` between parts. They are never used as paths on disk;
    hidden files and ``__MACOSX`` are left out. A ZIP archive inside the archive is not opened.

    Args:
        path: a ZIP archive, a folder (with its sub-folders), or one file of any other kind.

    Raises:
        RecordingError: no such file, or a ZIP archive that cannot be read.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "Gyroscope.csv").write_text("time,x")
        >>> Members(folder).names, Members(folder).read("Gyroscope.csv")
        (('Gyroscope.csv',), b'time,x')
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: dict[str, Callable[[], bytes]] = {}
        try:
            if path.is_dir():
                self._folder(path)
            elif head(path, 4) == b"PK\x03\x04" or zipfile.is_zipfile(path):
                self._archive(path)
            else:
                self._read[path.name] = lambda: _bounded(path)
                path.stat()
        except _DAMAGED as error:
            raise RecordingError(
                f"{path}: " + ("no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"),
                hint="copy or export the file again",
            ) from error
        self.names: tuple[str, ...] = tuple(sorted(self._read))

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            RecordingError: it is damaged, encrypted or too large.
        """
        try:
            return self._read[name]()
        except _DAMAGED as error:
            raise RecordingError(
                f"{self.where(name)}: cannot be read: {error}", hint="copy or export the file again"
            ) from error

    def where(self, name: str) -> str:
        """Path of a file for messages: ``walk.zip/Gyroscope.csv``."""
        return f"{self.path}/{name}" if name != self.path.name or self.path.is_dir() else str(self.path)

    def find(self, name: str) -> str | None:
        """The full name of the file with this last part, without regard to case; the least nested one.

        Example:
            >>> import tempfile
            >>> folder = Path(tempfile.mkdtemp())
            >>> (folder / "meta").mkdir()
            >>> _ = (folder / "meta" / "time.csv").write_text("x")
            >>> Members(folder).find("time.csv")
            'meta/time.csv'
        """
        alike = [n for n in self.names if PurePosixPath(n).name.lower() == name.lower()]
        return min(alike, key=lambda n: (n.count("/"), n)) if alike else None

    def _folder(self, root: Path) -> None:
        for path in sorted(root.rglob("*")):
            relative = path.relative_to(root)
            if path.is_file() and not _hidden(relative.parts):
                self._read[relative.as_posix()] = lambda file=path: _bounded(file)  # type: ignore[misc]
                if len(self._read) > MOST_MEMBERS:
                    raise RecordingError(
                        f"{root}: more than {MOST_MEMBERS} files below this folder, expected one export",
                        hint="name the folder of one export",
                    )

    def _archive(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        if len(entries) > MOST_MEMBERS:
            raise RecordingError(f"{path}: {len(entries)} members, expected at most {MOST_MEMBERS}")
        for entry in entries:
            name = entry.filename.replace("\\", "/").lstrip("/")
            if entry.is_dir() or _hidden(PurePosixPath(name).parts) or stat.S_ISLNK(entry.external_attr >> 16):
                continue
            if name in self._read:
                raise RecordingError(f"{path}: two members are called {name!r}", hint="export the recording again")
            self._read[name] = lambda member=entry: _member(path, member)  # type: ignore[misc]


def _hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _bounded(path: Path) -> bytes:
    size = path.stat().st_size
    if size > LARGEST_MEMBER:
        raise RecordingError(f"{path}: {size} bytes, expected at most {LARGEST_MEMBER}")
    return path.read_bytes()


def _member(path: Path, entry: zipfile.ZipInfo) -> bytes:
    if entry.file_size > LARGEST_MEMBER or entry.file_size > LARGEST_RATIO * max(entry.compress_size, 1000):
        raise RecordingError(
            f"{path}: member {entry.filename!r} unpacks from {entry.compress_size} to {entry.file_size} bytes, "
            f"expected at most {LARGEST_MEMBER} bytes and a factor of {LARGEST_RATIO}"
        )
    with zipfile.ZipFile(path) as archive:
        return archive.read(entry)


def head(path: Path, size: int = 4096) -> bytes:
    """The first bytes of a file; empty for a folder or a file that cannot be read. Never raises.

    Example:
        >>> head(Path("no such file"))
        b''
    """
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""


def names_in(path: Path) -> tuple[str, ...]:
    """Names of the files of an export; empty where it cannot be read. Never raises.

    Example:
        >>> names_in(Path("no such file"))
        ()
    """
    try:
        return Members(path).names
    except RecordingError:
        return ()
