"""Native code in child processes that may die; what is called there is defined by the callers.

A decoder or parser in C can end the process that runs it: SIGSEGV and SIGABRT are no exceptions. Here such code runs in
a child Python (`python -P`), one request at a time, and its death is an exception of the caller. Requests and answers
are JSON, with bytes beside it; arrays come back through memory that both processes map, so that a frame is copied once.
Nothing is pickled: a child that reads a manipulated file cannot send objects.

A child is bounded: memory by RLIMIT_DATA, and endless loops by RLIMIT_CPU, which is renewed whenever the code reports
progress (`alive`). CPU time does not run while a machine is busy with something else, so that no limit depends on load.
"""

from __future__ import annotations

import atexit
import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from imu_video.runtime.children import python
from imu_video.runtime.signals import left_to_the_parent

try:
    import resource
except ImportError:  # Windows has no limits of this kind
    resource = None  # type: ignore[assignment]

HANG_S = 120
"""Seconds of CPU time without progress after which a child ends itself with SIGXCPU; one packet takes milliseconds."""
MEMORY = 2 << 30
"""Bytes that a child may allocate beyond those of its start; see `allow_memory`."""
_HEAD = struct.Struct("<IQ")
_PIPE = 1 << 20
_ENDED_FROM_OUTSIDE = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGKILL", None), getattr(signal, "SIGHUP", None)}


class ChildDied(Exception):
    """The child that ran a request ended without an answer, twice.

    Args:
        number: the signal that ended it, or 0.
        text: the end of its error output.

    Attributes:
        outside: whether something else ended it (a signal that no code of its own raises): out of memory, or killed.
    """

    def __init__(self, number: int, text: str = "") -> None:
        self.number = number
        self.outside = ended_from_outside(number)
        super().__init__(f"{signal_text(number)}{': ' if text else ''}{text}")


class Refused(Exception):
    """What the called code raised; ``facts`` has the name of the class as ``kind``, its text and its attributes."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.facts = facts
        super().__init__(facts["text"])


class Room(Protocol):
    """Makes an array in the memory that both processes map; one per answer."""

    def __call__(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray: ...


def ended_from_outside(number: int) -> bool:
    """Whether a signal is one that other processes send (killed, out of memory), and no fault of the code that ran."""
    return number in _ENDED_FROM_OUTSIDE


def signal_text(number: int) -> str:
    """``signal 11 (SIGSEGV)``; CPU time without progress for SIGXCPU.

    Example:
        >>> signal_text(11)
        'ended by signal 11 (SIGSEGV)'
    """
    if not number:
        return "ended without an answer"
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"ended by signal {number}"
    endless = " after too much CPU time without progress" if name == "SIGXCPU" else ""
    return f"ended by signal {number} ({name}){endless}"


def call(
    target: str, arguments: Mapping[str, Any], data: bytes | memoryview = b"", out: np.ndarray | None = None
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Call a function in a child of this process; a child that dies is replaced and the call repeated once.

    Args:
        target: ``module:function``; called there as ``function(arguments, data, room)`` and returns a mapping for JSON
            and an array from ``room``, or None.
        arguments: for JSON.
        data: bytes.
        out: array to fill with the returned one, of the same shape and type.

    Returns:
        The mapping, and the array (``out`` if given).

    Raises:
        Refused: the function raised an exception.
        ChildDied: the child died twice.
    """
    for attempt in (1, 2):
        child = _take()
        try:
            answer = child.ask(target, arguments, data, out)
        except ChildDied:
            child.close()
            if attempt == 2:
                raise
        except Refused:
            _give(child)
            raise
        except BaseException:  # interrupted between request and answer
            child.close()
            raise
        else:
            _give(child)
            return answer
    raise AssertionError


# ---------------------------------------------------------------------------------------------------- in this process

_lock = threading.Lock()
_free: list[_Child] = []
_owner = os.getpid()


def _take() -> _Child:
    global _owner
    with _lock:
        if _owner != os.getpid():  # after a fork: the children belong to the parent
            _free.clear()
            _owner = os.getpid()
        if _free:
            return _free.pop()
    return _Child()


def _give(child: _Child) -> None:
    with _lock:
        _free.append(child)


@atexit.register
def close() -> None:
    """End the idle children of this process."""
    with _lock:
        while _free and _owner == os.getpid():
            _free.pop().close()


class _Child:
    """A child Python with a pipe in each direction and memory that both map."""

    def __init__(self) -> None:
        self._memory = _shared_file()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the child
        root = str(Path(__file__).resolve().parents[2])
        code = f"import sys; sys.path.append({root!r}); from imu_video.runtime import native; native.serve(sys.argv[1])"
        number = self._memory.fileno()
        # Libraries that would start a thread per core compete with the other children.
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            python("-c", code, str(number)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            pass_fds=(number,),
            env={**os.environ, **threads},
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to: Any = self._process.stdin
        self._from: Any = self._process.stdout
        for pipe in (self._to, self._from):
            _widen(pipe.fileno())
        self._map: mmap.mmap | None = None

    def ask(
        self, target: str, arguments: Mapping[str, Any], data: bytes | memoryview, out: np.ndarray | None
    ) -> tuple[dict[str, Any], np.ndarray | None]:
        try:
            _send(self._to.fileno(), {"target": target, "arguments": arguments}, data)
            facts, _ = _receive(self._from.fileno())
        except (EOFError, OSError, ValueError) as error:
            raise self._death() from error
        if "refused" in facts:
            raise Refused(facts["refused"])
        return facts["answer"], self._array(facts["array"], out)

    def close(self) -> None:
        """End the child; it has no state that would be lost."""
        self._process.kill()
        self._process.wait()
        for file in (self._to, self._from, self._memory, self._errors):
            file.close()

    def _death(self) -> ChildDied:
        for pipe in (self._to, self._from):
            pipe.close()  # a child that lives ends when it has no requests to wait for
        code = self._process.wait()
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(self._errors.tell() - 2000, 0))
        last = self._errors.read().decode(errors="replace").strip().rsplit("\n", 1)[-1]
        return ChildDied(-code if code < 0 else 0, last[:200])

    def _array(self, facts: Any, out: np.ndarray | None) -> np.ndarray | None:
        if facts is None:
            return None
        shape, dtype = tuple(facts[0]), np.dtype(facts[1])
        size = int(np.prod(shape)) * dtype.itemsize
        if self._map is None or len(self._map) < size:
            self._map = mmap.mmap(self._memory.fileno(), max(size, 1)) if size else None
        if self._map is None:
            return np.empty(shape, dtype)
        view: np.ndarray = np.frombuffer(self._map, dtype, size // dtype.itemsize).reshape(shape)
        if out is None:
            return view.copy()
        out[...] = view
        return out


def _shared_file() -> BinaryIO:
    """A file in memory without a name; on disk where the platform has no such files."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("imu-video"), "w+b")
    return tempfile.TemporaryFile()


def _widen(number: int) -> None:
    """Let a pipe hold a whole clip, so that its writer does not wait for each 64 KiB."""
    try:
        import fcntl

        fcntl.fcntl(number, fcntl.F_SETPIPE_SZ, _PIPE)
    except (ImportError, AttributeError, OSError):
        pass  # another platform, or the limit of this user's pipes


# ------------------------------------------------------------------------------------------------------- both sides


def _send(number: int, facts: Mapping[str, Any], data: bytes | memoryview = b"") -> None:
    text = json.dumps(facts).encode()
    _write(number, _HEAD.pack(len(text), len(data)) + text)
    _write(number, data)


def _write(number: int, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(number, rest) :]


def _receive(number: int) -> tuple[dict[str, Any], bytes]:
    text, data = _HEAD.unpack(_read(number, _HEAD.size))
    return json.loads(_read(number, text)), _read(number, data)


def _read(number: int, size: int) -> bytes:
    pieces, rest = [], size
    while rest:
        piece = os.read(number, min(rest, _PIPE))
        if not piece:
            raise EOFError
        pieces.append(piece)
        rest -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


# ------------------------------------------------------------------------------------------------------ in the child

_in_child = False
_renewed = 0.0
_base = 0


def alive() -> None:
    """Report progress: the child may use `HANG_S` seconds of CPU time from now on; nothing in any other process."""
    global _renewed
    if not _in_child or resource is None:
        return
    now = time.process_time()
    if now - _renewed >= 1 or not _renewed:
        _renewed = now
        resource.setrlimit(resource.RLIMIT_CPU, (int(now) + 1 + HANG_S, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def allow_memory(further: int = 0) -> None:
    """Limit what this child allocates to `MEMORY` and so many further bytes; nothing in any other process."""
    if not _in_child or resource is None:
        return
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = _base + MEMORY + further
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def serve(memory: str) -> None:
    """Answer requests from the standard input until it ends.

    Args:
        memory: file descriptor of the memory that both processes map.
    """
    global _in_child, _renewed, _base
    _in_child = True
    requests, answers = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2, 1)  # what a library prints is no answer
    left_to_the_parent()
    if resource is not None:
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    shared = _Shared(int(memory))
    while True:
        try:
            request, data = _receive(requests)
        except (EOFError, OSError):
            os._exit(0)  # the parent process ended, or needs this one no longer
        _renewed = 0.0
        alive()
        allow_memory()
        try:
            module, _, name = request["target"].partition(":")
            answer, array = getattr(import_module(module), name)(request["arguments"], data, shared.array)
            array_facts = None if array is None else [array.shape, array.dtype.str]
            _send(answers, {"answer": answer, "array": array_facts})
        except Exception as error:
            plain = {k: v for k, v in vars(error).items() if isinstance(v, str | int | float | None)}
            _send(answers, {"refused": {**plain, "kind": type(error).__name__, "text": str(error)}})


class _Shared:
    """The child's side of the memory that both map."""

    def __init__(self, number: int) -> None:
        self._number, self._map, self._size = number, None, 0  # type: tuple[int, Any, int]

    def array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        count = int(np.prod(shape))
        size = count * np.dtype(dtype).itemsize
        if size > self._size:
            os.ftruncate(self._number, size)
            self._map, self._size = mmap.mmap(self._number, size), size
        return np.frombuffer(self._map, dtype, count).reshape(shape) if size else np.empty(shape, dtype)
