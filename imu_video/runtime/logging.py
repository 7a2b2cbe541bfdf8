"""Log records of the library on the screen of a command: lines and a progress bar; what is logged is decided elsewhere.

Every module logs to ``logging.getLogger(__name__)`` at level INFO. Python prints nothing below WARNING by default, so
that the library is silent in a user's own script. The three commands install `Screen` with `on_screen`; a script that
wants the same lines does so, too::

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

from imu_video.runtime.console import say

PACKAGES = ("imu_video", "pretrain", "eval")
"""Packages whose records `on_screen` shows. Other libraries keep their own levels and handlers."""
_LINES = 20  # progress lines of one job where there is no terminal


@dataclass(frozen=True)
class Progress:
    """How far a job is; the attribute ``progress`` of its log records.

    Args:
        done: finished pieces, 0 <= done <= total.
        total: all pieces.
        unit: plural noun of a piece: ``samples``.
        what: the last piece, or what is being done; may be empty.

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
    """Log how far a job is. Costs next to nothing where INFO is off, so that it may be called for every batch.

    Args:
        logger: of the calling module.
        done, total, unit, what: see `Progress`.
    """
    if logger.isEnabledFor(logging.INFO):
        state = Progress(done, total, unit, what)
        logger.info("%s", state, extra={"progress": state})


class Screen(logging.Handler):
    """Messages as lines on stdout; progress as a bar on stderr where that is a terminal, else as about twenty lines.

    The streams are looked up for every record, because a program (or a test) may replace them meanwhile.
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
            if not isinstance(state, Progress):
                say(self.format(record))
            elif sys.stderr.isatty():
                self._draw(state)
            else:
                self._print(state)
        except OSError:
            raise  # a closed pipe or a full disk ends the command, as it does for every other line
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Take the bar off the screen."""
        self._end_bar()
        super().close()

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _print(self, state: Progress) -> None:
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
                TextColumn("{task.description}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("", total=None, unit=state.unit)
            self._bar.start()
        self._bar.update(self._task, completed=state.done, total=state.total, unit=state.unit, description=state.what)
        if state.done >= state.total:
            self._end_bar()  # what follows is the result of the command, which must not be drawn around a bar


@contextmanager
def on_screen() -> Iterator[Screen]:
    """Show the INFO records of our packages while the context is open; levels are put back afterwards.

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
