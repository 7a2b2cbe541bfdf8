"""The errors that users can meet, each with a hint and an exit code; `runtime.console` prints them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class ImuVideoError(Exception):
    """Base of all errors of the toolkit: a message with the value seen and expected, and a hint with the next step.

    Args:
        message: what is wrong: file or config key, value seen, value expected.
        hint: the next command or edit to try; printed on its own line.

    Example:
        >>> str(ShardError("index.json lists no shards", hint="run `imu-video verify data`"))
        'index.json lists no shards\\n  try: run `imu-video verify data`'
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  try: {self.hint}" if self.hint else self.message


class ConfigError(ImuVideoError):
    """An invalid config, argument or component name."""

    exit_code = 2


class DataError(ImuVideoError):
    """Invalid input data; base of the more specific data errors."""

    exit_code = 3


class RecordingError(DataError):
    """A raw recording (IMU file, video, skeleton, declaration) that cannot be read as declared."""


class ShardError(DataError):
    """A data folder whose index or shards are missing, damaged or inconsistent."""


class TeacherCacheError(DataError):
    """A feature cache that is missing, or that belongs to another teacher or to other shards."""


class CheckpointError(DataError):
    """A checkpoint or exported encoder that is missing, damaged or written by another config."""


class LeakageError(DataError):
    """A split or episode in which training and test share subjects or recordings."""


class GuardStop(ImuVideoError):
    """A run that one of its guards stopped: non-finite loss, disk space."""

    exit_code = 4


class ParityError(ImuVideoError):
    """An exported model whose outputs differ from those of the model it was exported from."""

    exit_code = 5


_collected: ContextVar[list[ImuVideoError] | None] = ContextVar("collected", default=None)


@contextmanager
def collecting() -> Iterator[list[ImuVideoError]]:
    """Collect the errors that `report` is given instead of raising the first; for commands that list all faults.

    Example:
        >>> with collecting() as faults:
        ...     for number in (1, 2):
        ...         report(RecordingError(f"file {number} is empty"))
        >>> [fault.message for fault in faults]
        ['file 1 is empty', 'file 2 is empty']
    """
    found: list[ImuVideoError] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def report(error: ImuVideoError, *further: ImuVideoError) -> None:
    """Raise an error, or add it to those of `collecting`; the caller must be able to go on without its subject.

    Args:
        error: the error.
        further: errors of the same kind, which are only collected.
    """
    found = _collected.get()
    if found is None:
        raise error
    found += [error, *further]


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest known word, or the list of known words.

    Example:
        >>> nearest("BatchSize", ["batch_size", "seed"])
        "; did you mean 'batch_size'?"
    """
    choices = sorted(known)
    by_lower = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(word, choices, n=1) or difflib.get_close_matches(word.lower(), by_lower, n=1)
    if close:
        return f"; did you mean {by_lower.get(close[0], close[0])!r}?"
    return f"; known: {', '.join(choices) or 'none'}"
