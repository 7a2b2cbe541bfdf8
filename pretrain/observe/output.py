"""Standard output and error of a run whose reader may go away; what is printed is decided elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO


class LastingStream:
    """A text stream that drops its output as soon as nothing can be written any more, instead of raising.

    A closed pipe (``imu-pretrain launch ... | head -1``), a closed terminal or a full disk behind a redirection must
    not end hours of training: its metrics are in log.jsonl.

    Args:
        stream: the stream.
        lost: called once with the error of the first failed write.
    """

    def __init__(self, stream: TextIO, lost: Callable[[OSError], None]) -> None:
        self._stream, self._lost, self._gone = stream, lost, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        self._attempt(lambda: self._stream.writelines(lines))

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, action: Callable[[], object]) -> None:
        if self._gone:
            return
        try:
            action()
        except OSError as error:
            self._gone = True
            # What is still in the buffer is written when the interpreter ends, which must not fail a second time.
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)
            self._lost(error)


@contextlib.contextmanager
def lasting_output() -> Iterator[None]:
    """Let a run outlive the reader of its output; a warning goes to the other stream if that still works.

    Example:
        >>> with lasting_output():
        ...     print("step 1")
        step 1
    """
    before = sys.stdout, sys.stderr

    def note(name: str, other: int) -> Callable[[OSError], None]:
        def lost(error: OSError) -> None:
            why = f"{name} cannot be written ({error.strerror})"
            streams[other].write(f"warning: {why}; the run continues, see log.jsonl\n")
            streams[other].flush()

        return lost

    streams = (LastingStream(before[0], note("stdout", 1)), LastingStream(before[1], note("stderr", 0)))
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before
