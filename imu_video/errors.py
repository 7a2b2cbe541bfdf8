"""Every error a user can meet, each with a hint and an exit code; none is handled here (see console.py)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ImuVideoError(Exception):
    """An error whose message names what was seen and expected, and whose hint names the next thing to try.

    Args:
        message: what is wrong: file or key, value seen, value expected.
        hint: the next command or edit to try; shown on its own line.

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
    """A config, argument or component name that cannot be used."""

    exit_code = 2


class DataError(ImuVideoError):
    """Input data that cannot be used; the base of the more specific data errors."""

    exit_code = 3


class RecordingError(DataError):
    """A raw recording (IMU file, video, skeleton, its declaration) that cannot be read as declared."""


class ShardError(DataError):
    """A shard folder whose index or members are missing, damaged or inconsistent."""


class TeacherCacheError(DataError):
    """Cached teacher embeddings that are missing or belong to another teacher or other shards."""


class CheckpointError(DataError):
    """A checkpoint or exported encoder that is missing, damaged or made by another config."""


class LeakageError(DataError):
    """A split or episode in which training and test share subjects or recordings."""


class GuardStop(ImuVideoError):
    """A run stopped by one of its own guards (non-finite loss, disk space)."""

    exit_code = 4


class ParityError(ImuVideoError):
    """An exported artefact that does not reproduce what it was exported from."""

    exit_code = 5


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest known word, or the list of known words.

    Example:
        >>> nearest("batchsize", ["batch_size", "seed"])
        "; did you mean 'batch_size'?"
    """
    choices = sorted(known)
    close = difflib.get_close_matches(word, choices, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(choices) or 'none'}"
