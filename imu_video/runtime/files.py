"""Atomic files and folders: writing, syncing, checksums; no file formats.

All writers use the same order of operations: write under a temporary name in the folder of the target, sync the
content, rename, sync the folder. A reader then finds the old or the new content but never a part of it, even after a
power failure. A killed process leaves temporary names, ``.NAME.tmp-<owner>-<8 hex digits>`` (without the owner in
earlier versions), which readers ignore. `remove_leftovers` deletes all of them, `remove_dead_leftovers` only those
whose process has ended (`owners`).

Temporary names are created exclusively, so that a file or link which another user planted is never written to. What is
published has the permissions that the umask gives, whichever library wrote it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from imu_video.runtime import owners

# The whole form: a user's own file `.env.old-2024` in an output folder is not ours to delete.
_LEFTOVER = re.compile(
    r"\.(?P<name>.+)\.(?P<kind>tmp|old)-(?:(?P<owner>[0-9a-f]{8}-[0-9a-f]{1,8}-[0-9a-f]{1,16})-)?[0-9a-f]{8}",
    re.DOTALL,
)
_CUT = "~"  # ends a name that was shortened, whose original is therefore unknown
_NAME_BYTES = 100  # with the owner 140: some encrypted file systems end names at 143 bytes
ABANDONED_S = 86_400.0
"""Seconds without a change after which a temporary name of another machine, or without an owner, is left over."""


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def temporary_path(target: Path) -> Path:
    """A unique name in the folder of ``target``; on the same disk, so that the rename is atomic.

    The name states the calling process. Create it exclusively: ``open(path, "xb")`` or ``path.mkdir()``.

    Example:
        >>> temporary_path(Path("data/index.json")).name[:16]
        '.index.json.tmp-'
    """
    return target.with_name(f".{_short(target.name)}.tmp-{owners.owner()}-{secrets.token_hex(4)}")


def aside_path(target: Path) -> Path:
    """A unique name for a folder that is to be replaced."""
    return target.with_name(f".{_short(target.name)}.old-{owners.owner()}-{secrets.token_hex(4)}")


def _short(name: str) -> str:
    """The name, shortened so that a file system accepts it with an owner behind it."""
    whole = os.fsencode(name)
    return name if len(whole) <= _NAME_BYTES else whole[: _NAME_BYTES - 1].decode(errors="ignore") + _CUT


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
        self.file: BinaryIO = self._temporary.open("xb", buffering=buffering)

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
        with contextlib.suppress(OSError):  # on a full disk the rest of the buffer cannot be written here either
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
    with temporary_folder(target) as folder:
        yield folder
        apply_umask(folder)
        sync_tree(folder)
        move_folder(folder, target, replace=replace)


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """Create a folder beside ``target`` for the time of the block; those of killed processes are removed first.

    Args:
        target: name for which the folder is needed; its parent folder is created if needed.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "encoder"
        >>> with temporary_folder(target) as folder:
        ...     folder.parent == target.parent, folder.is_dir()
        (True, True)
        >>> list(target.parent.iterdir())
        []
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_dead_leftovers(target.parent, name=target.name)
    folder = temporary_path(target)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def apply_umask(folder: Path) -> None:
    """Give everything in a finished folder the permissions that ``open`` and ``mkdir`` would have given.

    Libraries that write by way of their own temporary files (safetensors) create them for their user alone; with an
    ordinary umask no other user could then read the result.

    Args:
        folder: created by ``mkdir``, so that its own permissions are those of the umask, or of the access control list
            that replaces the umask in its parent.
    """
    if os.name != "posix":
        return
    usual = folder.stat().st_mode & 0o777
    for path in folder.rglob("*"):
        state = path.lstat()
        if stat.S_ISDIR(state.st_mode):
            wanted = usual
        elif stat.S_ISREG(state.st_mode) and state.st_nlink == 1:  # a second name is a file outside, and not ours
            wanted = usual & 0o666
        else:
            continue
        if state.st_mode & 0o777 != wanted:
            with contextlib.suppress(OSError):  # a disk without permissions of its own (FAT, some network shares)
                path.chmod(stat.S_IMODE(state.st_mode) & ~0o777 | wanted)


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
    old = aside_path(target)
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
    """Whether something else has that name; one call, because another writer may remove the folder between two."""
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


def is_free(target: Path) -> bool:
    """Whether a new folder can take a name: nothing has it, or an empty folder.

    A link is something, wherever it leads: another user may have placed it, and a folder cannot be renamed onto it.

    Example:
        >>> is_free(Path("no such folder")), is_free(Path("/"))
        (True, False)
    """
    try:
        return stat.S_ISDIR(target.lstat().st_mode) and not any(target.iterdir())
    except FileNotFoundError:
        return True


def is_leftover(name: str) -> bool:
    """Whether a file name is a temporary name, of a running or a killed process.

    Example:
        >>> is_leftover(".index.json.tmp-0a1b2c3d"), is_leftover("index.json")
        (True, False)
        >>> is_leftover(temporary_path(Path("index.json")).name)
        True
    """
    return _LEFTOVER.fullmatch(name) is not None


def leftover_of(name: str) -> str | None:
    """The name for which a temporary name was made, shortened if it is long; None for other names.

    Example:
        >>> leftover_of(".index.json.tmp-0a1b2c3d"), leftover_of("index.json")
        ('index.json', None)
    """
    match = _LEFTOVER.fullmatch(name)
    return None if match is None else match["name"]


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of killed processes below ``folder``; no other process may write there at that time."""
    for path in _leftovers(folder):
        _remove_leftover(path)


def remove_dead_leftovers(folder: Path, *, name: str | None = None, abandoned_s: float = ABANDONED_S) -> None:
    """Remove temporary files of killed processes, while other processes may be writing to the same folder.

    A temporary name states its process. If that process has ended, the file is removed. Names of other machines and of
    earlier versions, of which this machine cannot tell, are removed ``abandoned_s`` seconds after the last change.
    Files that cannot be removed, for example those of another user, are left.

    Args:
        folder: is searched with all its subfolders; need not exist.
        name: only temporary names of this target, in ``folder`` itself.
        abandoned_s: see above.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> temporary_path(folder / "index.json").touch()
        >>> remove_dead_leftovers(folder)  # this process still runs
        >>> len(list(folder.iterdir()))
        1
    """
    for path in _leftovers(folder) if name is None else _leftovers_of(folder, _short(name)):
        with contextlib.suppress(OSError):
            if _is_dead(path, abandoned_s):
                _remove_leftover(path)


def _leftovers(folder: Path) -> list[Path]:
    """Temporary names below a folder; links are not followed, and nothing is looked for inside a leftover."""
    found = []
    for root, folders, names in os.walk(folder):
        found += [Path(root, name) for name in (*folders, *names) if is_leftover(name)]
        folders[:] = [name for name in folders if not is_leftover(name)]
    return found


def _leftovers_of(folder: Path, name: str) -> list[Path]:
    with contextlib.suppress(OSError):
        return [
            folder / found
            for found in os.listdir(folder)
            if (match := _LEFTOVER.fullmatch(found)) is not None and match["name"] == name
        ]
    return []


def _is_dead(path: Path, abandoned_s: float) -> bool:
    match = _LEFTOVER.fullmatch(path.name)
    running = owners.runs(match["owner"]) if match is not None and match["owner"] else None
    if running is not None:
        return not running
    # The clock of the disk, because that of this machine may differ from that of the machine which wrote the file.
    with tempfile.TemporaryFile(dir=path.parent) as probe:
        now = os.fstat(probe.fileno()).st_mtime
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
    changed = max(_changed(path), *map(_changed, inside), 0.0)
    return now - changed > abandoned_s


def _changed(path: Path) -> float:
    try:
        state = path.lstat()
    except FileNotFoundError:
        return 0.0
    return max(state.st_mtime, state.st_ctime)  # a copy can carry the time of its original


def _remove_leftover(path: Path) -> None:
    """Remove a temporary file or folder; a folder that was set aside and never replaced gets its name back."""
    match = _LEFTOVER.fullmatch(path.name)
    if match is not None and match["kind"] == "old":
        target = path.with_name(match["name"])
        if not os.path.lexists(target):
            # Killed between the two renames of `move_folder`: this is the only complete content of that name.
            if not match["name"].endswith(_CUT):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(path, target)
            return
    remove(path)


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it exists; a link is removed, its target is not."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
