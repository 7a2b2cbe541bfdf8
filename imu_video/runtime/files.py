"""Atomic files and folders: writing, syncing, checksums; no file formats.

All writers use the same order of operations: write under a temporary name in the folder of the target, sync the
content, rename, sync the folder. A reader then finds the old or the new content but never a part of it, even after a
power failure. A killed process leaves temporary names, ``.NAME.tmp-<8 hex digits>``, which readers ignore and
`remove_leftovers` deletes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
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
    """A unique name in the folder of ``target``; on the same disk, so that the rename is atomic.

    Example:
        >>> temporary_path(Path("data/index.json")).name[:16]
        '.index.json.tmp-'
    """
    return target.with_name(f".{target.name}.tmp-{secrets.token_hex(4)}")


def sync_file(path: Path) -> None:
    """Write the content of a closed file to the disk and wait for it."""
    # Windows syncs only files that are open for writing; elsewhere a file without write permission can be synced, too.
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
    """Rename a finished file, replacing an existing file of that name.

    Args:
        temporary: complete and closed file, on the disk of ``target``.
        target: final name.
        sync: survive a power failure; otherwise the file is atomic only for other processes.
    """
    # The content first: a synced name of an unsynced file can be an empty file after a power failure.
    if sync:
        sync_file(temporary)
    os.replace(temporary, target)
    if sync:
        sync_folder(target.parent)


class AtomicFile:
    """A binary file that gets its final name in `commit`; use `open_atomic` if one block of code writes it.

    Args:
        path: final name; its folder must exist.
        sync: survive a power failure. Not needed for files that are checked by a hash before use.
        buffering: size of the write buffer in bytes, as for `open`.

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
        """Remove the temporary file; does nothing after `commit`."""
        self.file.close()
        self._temporary.unlink(missing_ok=True)


@contextmanager
def open_atomic(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a file that gets its final name when the block ends without an error and is removed otherwise.

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
    """Write a small file atomically: a reader finds the old or the new content but never a part of it.

    Args:
        path: final name; its folder must exist.
        data: bytes, or text that is written as UTF-8.
        sync: survive a power failure.
    """
    with open_atomic(path, sync=sync) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def atomic_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Create a folder that gets its final name when the block ends without an error and is removed otherwise.

    Args:
        target: final name; its parent folder is created if needed.
        replace: replace an existing folder when the new one is complete; otherwise ``target`` must be absent or empty.

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
    """Rename a finished folder.

    An existing folder is renamed first and removed last, because no system call exchanges two folders on every
    platform; if the second rename fails, it gets its name back. Of several writers that replace one folder at the same
    time each succeeds, and the last one's folder stays.

    Args:
        temporary: complete and synced folder, on the disk of ``target``.
        target: final name.
        replace: whether ``target`` may exist with content.

    Raises:
        OSError: ``target`` exists and may not be replaced; a file never is, a link to a folder is, without its content.
    """
    while not _moved(temporary, target, replace=replace):
        pass  # another writer put its folder there between our two renames: it is replaced in turn


def _moved(temporary: Path, target: Path, *, replace: bool) -> bool:
    """Try to rename a folder; False where another writer took the name of a folder that may be replaced."""
    if replace and _is_no_folder(target):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target))
    old = target.with_name(f".{target.name}.old-{secrets.token_hex(4)}")
    aside = replace and _set_aside(target, old)
    try:
        os.replace(temporary, target)
    except OSError as error:
        taken = replace and error.errno in (errno.ENOTEMPTY, errno.EEXIST) and temporary.exists()
        if not taken:
            if aside:
                os.rename(old, target)
            raise
        remove(old)  # the other writer's folder replaces it
        return False
    # The new name is durable before the old content is removed.
    sync_folder(target.parent)
    remove(old)
    return True


def _is_no_folder(target: Path) -> bool:
    """Whether something else has that name: one look, because another writer may take the folder away between two."""
    try:
        return not stat.S_ISDIR(target.stat().st_mode)
    except FileNotFoundError:
        return False


def _set_aside(target: Path, old: Path) -> bool:
    """Rename a folder that is to be replaced; False where there is none, or another writer renamed it first."""
    try:
        os.rename(target, old)
    except FileNotFoundError:
        return False
    return True


def is_leftover(name: str) -> bool:
    """Whether a file name is a temporary name of a killed process.

    Example:
        >>> is_leftover(".index.json.tmp-0a1b2c3d"), is_leftover("index.json")
        (True, False)
    """
    return _LEFTOVER.fullmatch(name) is not None


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of killed processes below ``folder``; no other process may write there at that time."""
    for path in [path for path in folder.rglob(".*") if is_leftover(path.name)]:
        remove(path)


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it exists; a link is removed, its target is not."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
