"""Files and folders that are whole or absent: atomic writing, syncing, checksums; file formats are defined elsewhere.

There is one order of operations for everything that is written: write under a temporary name beside the target, sync
the content, rename, sync the folder that holds the name. A reader then sees the old content or the new, never a part,
even after a power failure. A process that is killed leaves temporary names behind, ``.NAME.tmp-<8 hex digits>``, which
no reader takes for a result and which `remove_leftovers` deletes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

# The whole form: a user's own file `.env.old-2024` in an output folder is not ours to delete.
_LEFTOVER = re.compile(r"\..+\.(tmp|old)-[0-9a-f]{8}", re.DOTALL)


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def temporary_path(target: Path) -> Path:
    """A name beside ``target`` that no other process uses; on the same disk, so that renaming it is atomic.

    Example:
        >>> temporary_path(Path("data/index.json")).name[:16]
        '.index.json.tmp-'
    """
    return target.with_name(f".{target.name}.tmp-{secrets.token_hex(4)}")


def sync_file(path: Path) -> None:
    """Wait until the disk has the content of a closed file."""
    # Windows syncs only what is open for writing; elsewhere a file without write permission can be synced, too.
    with path.open("rb" if os.name == "posix" else "r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable, where the platform can open a folder."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_tree(folder: Path) -> None:
    """Sync every file and folder below ``folder``, and ``folder`` itself."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():  # stored in its folder, which is synced; what it points to may be missing or not ours
            continue
        if path.is_dir():
            sync_folder(path)
        else:
            sync_file(path)
    sync_folder(folder)


def move_file(temporary: Path, target: Path, *, sync: bool = True) -> None:
    """Give a finished file its name, replacing a file of that name.

    Args:
        temporary: complete and closed, on the disk of ``target``.
        target: the name to give.
        sync: survive a power failure; without it only other processes are considered.
    """
    if sync:
        sync_file(temporary)
    os.replace(temporary, target)
    if sync:
        sync_folder(target.parent)


class AtomicFile:
    """A binary file that takes its name when it is committed; `open_atomic` where one block of code writes it.

    Args:
        path: final name; its folder exists.
        sync: survive a power failure. Not needed for what is checked by a hash before it is used.
        buffering: bytes held before they are written, as for `open`.

    Example:
        >>> import tempfile
        >>> atomic = AtomicFile(Path(tempfile.mkdtemp()) / "a.bin")
        >>> _ = atomic.file.write(b"content")
        >>> atomic.path.exists(), atomic.commit(), atomic.path.read_bytes()
        (False, None, b'content')
    """

    def __init__(self, path: Path, *, sync: bool = True, buffering: int = -1) -> None:
        self.path = path
        self._sync = sync
        self._temporary = temporary_path(path)
        self.file: BinaryIO = self._temporary.open("wb", buffering=buffering)

    def commit(self) -> None:
        """Sync the file, close it and rename it."""
        if self._sync:
            self.file.flush()
            os.fsync(self.file.fileno())
        self.file.close()
        os.replace(self._temporary, self.path)
        if self._sync:
            sync_folder(self.path.parent)

    def discard(self) -> None:
        """Remove what was written; does nothing after `commit`."""
        self.file.close()
        self._temporary.unlink(missing_ok=True)


@contextmanager
def open_atomic(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a file that takes its name when the block ends without an error, and leaves nothing otherwise.

    Args:
        path, sync: see `AtomicFile`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "rows.bin"
        >>> with open_atomic(path) as file:
        ...     _ = file.write(bytes(8))
        >>> path.stat().st_size
        8
    """
    atomic = AtomicFile(path, sync=sync)
    try:
        yield atomic.file
        atomic.commit()
    finally:
        atomic.discard()


def write_atomic(path: Path, data: bytes | str, *, sync: bool = True) -> None:
    """Write a small file so that a reader sees the old content or the new, never a part.

    Args:
        path: its folder exists.
        data: bytes, or text that is written as UTF-8.
        sync: survive a power failure.
    """
    with open_atomic(path, sync=sync) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def atomic_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """A new folder to write into, which takes its name when the block ends without an error.

    Args:
        target: final name; the folder that holds it is made.
        replace: a folder of that name is removed, once the new one is complete; otherwise it must be absent or empty.

    Yields:
        The temporary folder. Its files need not be synced one by one.

    Raises:
        OSError: ``target`` exists and may not be replaced.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "encoder"
        >>> with atomic_folder(target) as folder:
        ...     _ = (folder / "config.json").write_text("{}")
        >>> [path.name for path in target.iterdir()]
        ['config.json']
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = temporary_path(target)
    folder.mkdir()
    try:
        yield folder
        sync_tree(folder)
        move_folder(folder, target, replace=replace)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def move_folder(temporary: Path, target: Path, *, replace: bool = False) -> None:
    """Give a finished folder its name.

    A folder of that name steps aside first and is removed last, because no system call exchanges two folders on every
    platform; where the second rename fails it is put back.

    Args:
        temporary: complete and synced, on the disk of ``target``.
        target: the name to give.
        replace: whether ``target`` may exist with content.

    Raises:
        OSError: ``target`` exists and may not be replaced; a file never is, a link to a folder is, without its content.
    """
    if replace and target.exists() and not target.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target))
    old = target.with_name(f".{target.name}.old-{secrets.token_hex(4)}")
    aside = replace and target.exists()
    if aside:
        os.rename(target, old)
    try:
        os.replace(temporary, target)
    except OSError:
        if aside:
            os.rename(old, target)
        raise
    sync_folder(target.parent)
    remove(old)


def is_leftover(name: str) -> bool:
    """Whether a file name is one that a killed process left.

    Example:
        >>> is_leftover(".index.json.tmp-0a1b2c3d"), is_leftover("index.json")
        (True, False)
    """
    return _LEFTOVER.fullmatch(name) is not None


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left anywhere below ``folder``; no other process may write there meanwhile."""
    for path in [path for path in folder.rglob(".*") if is_leftover(path.name)]:
        remove(path)


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it exists; a link is removed, not what it points to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
