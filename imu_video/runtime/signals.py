"""Signals with which users and schedulers end a job, and handlers for the time of a block; the jobs are elsewhere.

Without a handler each of them ends the process in the middle of its work: no temporary folder is removed and no
checkpoint written. Slurm sends the signal of ``--signal`` (often SIGUSR1) before the time limit, other schedulers
SIGUSR2 or SIGXCPU; SIGHUP comes from a closed terminal, SIGALRM from ``timeout -s ALRM`` and timers.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]

STOP: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGALRM")
    if hasattr(signal, name)  # Windows has the first two only
)
"""Signals that ask a job to end."""

_ALWAYS = (signal.SIGTERM, signal.SIGINT)
_installed: list[Handler] = []


class Stopped(SystemExit):
    """A stop signal ended the command; its exit code is 128 + the number of the signal, as that of shells.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name


@contextlib.contextmanager
def handled(handler: Handler, numbers: Sequence[signal.Signals] = STOP) -> Iterator[None]:
    """Install a handler for stop signals inside the block; the previous ones are restored afterwards.

    A signal that is ignored stays ignored, because ``nohup`` protects a job from SIGHUP in that way, and a handler of
    the calling program stays. Only SIGTERM and SIGINT are replaced in any case. Outside the main thread, to which
    Python delivers all signals, nothing is installed.

    Args:
        handler: called with the number and the current frame.
        numbers: signals to handle.

    Example:
        >>> import os
        >>> seen = []
        >>> with handled(lambda number, frame: seen.append(number)):
        ...     os.kill(os.getpid(), signal.SIGTERM)
        >>> seen == [signal.SIGTERM]
        True
    """
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            current = signal.getsignal(number)
            if number in _ALWAYS or current is signal.SIG_DFL or current in _installed:
                before[number] = current
    _installed.append(handler)
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, previous in before.items():
            # None: installed by other code than Python's, which can only be kept by not touching it again.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
        _installed.remove(handler)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Raise `Stopped` where a stop signal arrives in the block, so that temporary folders are removed on the way out.

    SIGINT raises KeyboardInterrupt, as everywhere in Python. Further signals raise again: a clean-up that hangs, or a
    library that drops the exception, cannot keep the process running.

    Raises:
        Stopped: a stop signal arrived.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    with handled(stop, [number for number in STOP if number != signal.SIGINT]):
        yield


def left_to_the_parent() -> None:
    """Ignore stop signals in a worker process whose parent handles them; SIGTERM still ends it.

    A terminal and a scheduler signal all processes of a job. A worker that ended by itself would look like a fault.
    """
    for number in STOP:
        if number != signal.SIGTERM:  # with which the pool of the parent ends its workers
            signal.signal(number, signal.SIG_IGN)


def stop_signal(code: int) -> signal.Signals | None:
    """The stop signal that an exit code of a process states, None for other codes.

    Args:
        code: 128 + n, or -n (`subprocess`) where the signal itself ended the process.

    Example:
        >>> stop_signal(143).name, stop_signal(-signal.SIGTERM).name, stop_signal(1)
        ('SIGTERM', 'SIGTERM', None)
    """
    number = -code if code < 0 else code - 128
    return next((one for one in STOP if one == number), None)
