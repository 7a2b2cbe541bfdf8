"""Errors of disks and file systems in words, with a next step and an exit code; `console` prints them."""

from __future__ import annotations

import errno
import os
import re

_STOPPED, _USAGE = 4, 2
_DISK = {
    errno.ENOSPC: "free some space, or choose a folder on another disk",
    errno.EDQUOT: "free some space of your quota, or choose a folder on another disk",
    errno.EROFS: "choose a folder on another disk, or mount this one for writing",
    errno.EIO: "the disk reports a fault: check it (`dmesg`), or choose a folder on another disk",
    errno.EFBIG: "raise the largest size of a file (`ulimit -f`), or choose a folder on another disk",
}
# numpy writes through C streams and reports no error number.
_INCOMPLETE = re.compile(r"\d+ requested and \d+ written")


def explain(error: OSError) -> tuple[str, str, int] | None:
    """Message, hint and exit code of an operating system's error; None for a library's own type of error.

    A disk that is full, read-only or broken ends a command with 4: what was finished is kept, and nothing in the
    command has to be corrected. Other errors are those of a path, and end it with 2.

    Args:
        error: as caught.

    Example:
        >>> explain(OSError(28, "No space left on device", "run/log.jsonl"))
        ('run/log.jsonl: No space left on device', 'free some space, or choose a folder on another disk', 4)
    """
    if error.errno is None:
        if _INCOMPLETE.search(str(error)):
            return f"a file could not be written: {error}", _DISK[errno.ENOSPC], _STOPPED
        return None
    where = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    message = f"{where}: {error.strerror}" if where else str(error.strerror or os.strerror(error.errno))
    if error.errno in _DISK:
        return message, _DISK[error.errno], _STOPPED
    if error.errno == errno.ELOOP:
        return message, "remove the link: files of this name are never written through links", _USAGE
    return message, "choose a path with read and write permission", _USAGE
