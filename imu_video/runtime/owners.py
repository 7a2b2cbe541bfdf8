"""Process that made a temporary name, and whether it still runs; nothing is created or removed here.

A process identifier alone identifies nothing: it is used again, and other machines and containers that share a folder
count their own. A name therefore carries three numbers: where identifiers are counted (boot and namespace), the
identifier, and the start time of the process. On another machine or in another container its state is unknown.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import platform
import re
import sys
import uuid
from pathlib import Path

_FORM = re.compile(r"(?P<place>[0-9a-f]{8})-(?P<pid>[0-9a-f]{1,8})-(?P<start>[0-9a-f]{1,16})")
_UNKNOWN = "0" * 8


def owner() -> str:
    """This process, as it is written into a temporary name: ``<place>-<identifier>-<start time>``, hex numbers.

    Example:
        >>> runs(owner())
        True
    """
    return _owner_of(os.getpid())


# A forked child has another identifier, so that it does not inherit its parent's entry.
@functools.lru_cache(maxsize=8)
def _owner_of(pid: int) -> str:
    return f"{_place()}-{pid:x}-{_started(pid)[0]:x}"


def runs(name: str) -> bool | None:
    """Whether the process of `owner` still runs; None where this machine cannot tell.

    Args:
        name: result of `owner`, also of another process or machine.
    """
    match = _FORM.fullmatch(name)
    if match is None or match["place"] in (_UNKNOWN, "") or match["place"] != _place():
        return None
    pid, start = int(match["pid"], 16), int(match["start"], 16)
    try:
        # Not the existence of /proc/PID: it can be hidden from other users. Signal 0 checks and sends nothing.
        os.kill(pid, 0)
    except (OSError, OverflowError) as error:
        if not (isinstance(error, OSError) and error.errno == errno.EPERM):
            return False
    now, ended = _started(pid)
    return not ended and (not now or not start or now == start)


@functools.lru_cache(maxsize=1)
def _place() -> str:
    """Eight hex digits for the boot and the namespace in which this process has its identifier; zeros if unknown."""
    try:
        if sys.platform == "linux":
            if os.readlink("/proc/self") != str(os.getpid()):
                return _UNKNOWN  # /proc of another namespace: the numbers there belong to other processes
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
            text = boot + os.readlink("/proc/self/ns/pid")
        elif os.name == "posix":
            text = f"{platform.node()} {uuid.getnode()}"
        else:
            return _UNKNOWN  # on Windows, signal 0 is Ctrl-C
    except OSError:
        return _UNKNOWN
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _started(pid: int) -> tuple[int, bool]:
    """Start time of a process in clock ticks after the boot, 0 if unknown; and whether it has ended (a zombie)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        # The second field is the name of the program in brackets, which may itself contain spaces and brackets.
        fields = text.rpartition(")")[2].split()
        return int(fields[19]), fields[0] in ("Z", "X")
    except (OSError, ValueError, IndexError):
        return 0, False
