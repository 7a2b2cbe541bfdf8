"""Display of the library's log records by a command: lines and a progress bar.

Every module logs to ``logging.getLogger(__name__)`` at level INFO. Python prints nothing below WARNING by default, so
the library is silent in a user's script. The three commands install `Screen` with `on_screen`; a script can do the
same::

    from imu_video.runtime.logging import on_screen

    with on_screen():
        build(config, "data/mine")
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from imu_video.runtime.console import say, warn
from imu_video.runtime.references import masked
from imu_video.runtime.text import plain

PACKAGES = ("imu_video", "pretrain", "eval")
"""Packages whose records `on_screen` shows. Other libraries keep their own levels and handlers."""
_LINES = 20  # number of progress lines per job if stderr is not a terminal


@dataclass(frozen=True)
class Progress:
    """Progress of a job; the attribute ``progress`` of its log records.

    Args:
        done: finished pieces, 0 <= done <= total.
        total: number of all pieces.
        unit: plural noun for the pieces: ``samples``.
        what: the last piece, or the current activity; may be empty.

    Example:
        >>> str(Progress(3, 12, "shards", "train-000002.tar"))
        '3/12 shards: train-000002.tar'
    """

    done: int
    total: int
    unit: str
    what: str = ""

    def __str__(self) -> str:
        return f"{self.done}/{self.total} {self.unit}{': ' if self.what else ''}{self.what}"


def log_progress(logger: logging.Logger, done: int, total: int, unit: str, what: str = "") -> None:
    """Log the progress of a job; cheap enough for every batch if the level INFO is disabled.

    Args:
        logger: logger of the calling module.
        done, total, unit, what: see `Progress`.
    """
    if logger.isEnabledFor(logging.INFO):
        state = Progress(done, total, unit, what)
        logger.info("%s", state, extra={"progress": state})


class Screen(logging.Handler):
    """Messages as lines on stdout, warnings on stderr; progress as a bar on stderr if that is a terminal, else lines.

    The streams are looked up for every record, because a program (or a test) may replace them at any time.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._bar: Any = None
        self._task: Any = None
        self._shown = -1

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        try:
            state = getattr(record, "progress", None)
            # A record is one line, whatever names it contains; only a traceback has further lines.
            text = self.format(record)
            lines = text.split("\n") if record.exc_info else [text]
            if record.levelno >= logging.WARNING:  # not among the results, which another program may read
                warn(*lines)
            elif not isinstance(state, Progress):
                say(*lines)
            elif sys.stderr.isatty():
                self._draw(state)
            else:
                self._print(state)
        except OSError:
            raise  # a closed pipe or a full disk ends the command, as it does for every other line
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Remove the bar from the screen."""
        self._end_bar()
        super().close()

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _print(self, state: Progress) -> None:
        # A line per fraction of the job, not per piece, keeps log files short for any number of pieces.
        part = state.done * _LINES // max(state.total, 1)
        if part != self._shown:
            self._shown = part
            say(str(state))

    def _draw(self, state: Progress) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[unit]}"),
                TimeRemainingColumn(),
                TextColumn("{task.description}", markup=False),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("", total=None, unit=state.unit)
            self._bar.start()
        self._bar.update(
            self._task, completed=state.done, total=state.total, unit=state.unit, description=plain(masked(state.what))
        )
        if state.done >= state.total:
            self._end_bar()  # the command prints its result next, which a live bar would garble


@contextmanager
def on_screen() -> Iterator[Screen]:
    """Show the INFO records of our packages inside the block; levels are restored afterwards.

    Example:
        >>> with on_screen():
        ...     logging.getLogger("imu_video.demo").info("reading %d files", 3)
        reading 3 files
    """
    screen = Screen()
    loggers = [logging.getLogger(name) for name in PACKAGES]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(screen)
        logger.setLevel(logging.INFO)
    try:
        yield screen
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.removeHandler(screen)
            logger.setLevel(level)
        screen.close()
