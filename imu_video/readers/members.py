"""An export as named files in memory: a ZIP archive, a folder, or one file; nothing is extracted to disk."""

from __future__ import annotations

import io
import re
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from imu_video.errors import RecordingError
from imu_video.readers.zip_layout import DAMAGED, LARGEST_MEMBER, MOST_MEMBERS, LayoutFault, check_layout, unpacked

_HINT = "copy or export the file again"
_MARKS = (b"PK\x03\x04", b"PK\x05\x06")  # a first entry, or the end of an archive without entries


class Members:
    """The files of an export by name, read into memory one at a time.

    Names are those inside the archive or folder with ``/`` between parts. They are never used as paths on disk;
    hidden files and ``__MACOSX`` are left out. A ZIP archive inside the archive is opened by `inside`. An archive is
    checked entry by entry when it is opened (`readers.zip_layout`): one whose directory is incomplete is refused.

    Args:
        path: a ZIP archive, a folder (with its sub-folders), or one file of any other kind.
        content: the bytes of an archive inside another one, which ``path`` names in messages.

    Raises:
        RecordingError: no such file, or a ZIP archive that cannot be read or lists two members of one name.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "Gyroscope.csv").write_text("time,x")
        >>> Members(folder).names, Members(folder).read("Gyroscope.csv")
        (('Gyroscope.csv',), b'time,x')
    """

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        self.path = path
        self._read: dict[str, Callable[[], bytes]] = {}
        try:
            if content is not None:
                self._archive(zipfile.ZipFile(io.BytesIO(content)), io.BytesIO(content), len(content))
            elif path.is_dir():
                self._folder(path)
            elif head(path, 4) in _MARKS or path.suffix.lower() == ".zip":
                with path.open("rb") as file:
                    self._archive(zipfile.ZipFile(path), file, path.stat().st_size)
            else:
                self._read[path.name] = lambda: _bounded(path)
                path.stat()
        except LayoutFault as fault:
            raise RecordingError(f"{path}: {fault}", hint=_HINT) from fault
        except DAMAGED as error:
            raise RecordingError(
                f"{path}: " + ("no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"),
                hint=_HINT,
            ) from error
        self.names: tuple[str, ...] = tuple(sorted(self._read))

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            RecordingError: it is damaged, encrypted, a symbolic link or too large.
        """
        try:
            return self._read[name]()
        except LayoutFault as fault:
            raise RecordingError(f"{self.where(name)}: {fault}", hint=_HINT) from fault
        except DAMAGED as error:
            raise RecordingError(f"{self.where(name)}: cannot be read: {error}", hint=_HINT) from error

    def inside(self, name: str) -> Members:
        """The files of a ZIP archive inside this one.

        Raises:
            RecordingError: it is damaged or not a ZIP archive.
        """
        return Members(Path(self.where(name)), self.read(name))

    def flat(self, ending: str, *, deep: bool = True) -> Iterator[tuple[str, bytes]]:
        """Names without folders and contents of the files with an ending, also of those in archives inside the archive.

        A file of an inner archive is called ``INNER.zip/NAME``; archives inside inner archives are not opened.

        Args:
            ending: of the names, in small letters: ``.csv``.
            deep: also open archives inside the archive.

        Raises:
            RecordingError: a file or an inner archive is damaged, or it has no such file.
        """
        plain = [name for name in self.names if name.lower().endswith(ending)]
        archives = [name for name in self.names if name.lower().endswith(".zip")] if deep else []
        if not plain and not archives:
            raise RecordingError(f"{self.path}: no file {ending} in it", hint=_HINT)
        for name in plain:
            yield PurePosixPath(name).name, self.read(name)
        for name in archives:
            for below, content in self.inside(name).flat(ending, deep=False):
                yield f"{PurePosixPath(name).name}/{below}", content

    def where(self, name: str) -> str:
        """Path of a file for messages: ``walk.zip/Gyroscope.csv``."""
        return f"{self.path}/{name}" if name != self.path.name or self.path.is_dir() else str(self.path)

    def find(self, name: str) -> str | None:
        """The full name of the file with this last part, without regard to case; the least nested one.

        Raises:
            RecordingError: several are equally little nested.

        Example:
            >>> import tempfile
            >>> folder = Path(tempfile.mkdtemp())
            >>> (folder / "meta").mkdir()
            >>> _ = (folder / "meta" / "time.csv").write_text("x")
            >>> Members(folder).find("time.csv")
            'meta/time.csv'
        """
        alike = [n for n in self.names if PurePosixPath(n).name.lower() == name.lower()]
        if not alike:
            return None
        depth = min(n.count("/") for n in alike)
        first, *others = sorted(n for n in alike if n.count("/") == depth)
        if others:
            raise RecordingError(
                f"{self.path}: {len(others) + 1} files are called {name} ({first}, {others[0]}), expected one",
                hint="name the folder or archive of one recording",
            )
        return first

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

    def _archive(self, archive: zipfile.ZipFile, file: BinaryIO, size: int) -> None:
        """List the members; the archive stays open as long as this object, so that its directory is read once."""
        check_layout(archive, file, size)
        for entry in archive.infolist():
            parts = PurePosixPath(entry.filename.replace("\\", "/").lstrip("/")).parts
            name = "/".join(parts)
            # Some programs write one leading `/`; two of them or a drive letter name another machine or disk.
            outside = entry.filename.startswith(("//", "\\\\")) or bool(parts and re.fullmatch(r"[A-Za-z]:", parts[0]))
            if ".." in parts or not parts or outside:
                raise LayoutFault(f"member {entry.filename!r} leads out of the archive, expected a name inside it")
            if entry.is_dir() or _hidden(parts):
                continue
            if name in self._read:
                raise LayoutFault(f"two members are called {name!r}, expected one")
            self._read[name] = lambda member=entry: _member(archive, member)  # type: ignore[misc]


def _hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _bounded(path: Path) -> bytes:
    size = path.stat().st_size
    if size > LARGEST_MEMBER:
        raise RecordingError(f"{path}: {size} bytes, expected at most {LARGEST_MEMBER}")
    return path.read_bytes()


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise LayoutFault("is a symbolic link, expected a file")
    return unpacked(archive, entry)


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
