"""Terminal output of the three commands: errors with exit codes, tables, lines; no commands.

Everything that a command prints passes here, and is shown as plain text: names of data are no markup, control
characters in them are shown as escapes, and values of environment variables that a config names as their references.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TextIO

from imu_video.errors import ImuVideoError
from imu_video.runtime.children import without_working_folder
from imu_video.runtime.disks import explain
from imu_video.runtime.references import masked, restored
from imu_video.runtime.signals import Stopped, stoppable
from imu_video.runtime.text import plain, plain_json


def run(app: Callable[[], object]) -> None:
    """Run a typer app; a known error becomes one message on stderr and its exit code, never a traceback."""
    # OpenMP threads spin by default while they wait for each other. As soon as another process runs on the machine, a
    # training step takes ten times as long (2 cores: 2.9 s instead of 0.29 s); sleeping threads cost nothing. OpenMP
    # reads the variable when torch is loaded, so it is set before that. A value that the user has set is kept.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with without_working_folder(), stoppable():
            app()
    except ImuVideoError as error:
        say_error(error.message, hint=error.hint)
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        explained = explain(error)
        if explained is None:  # a library's own type: its traceback is needed
            sys.excepthook = _show_traceback
            raise
        message, hint, code = explained
        say_error(message, hint=hint)
        raise SystemExit(code) from None
    except Stopped as stopped:
        sys.stderr.write(f"stopped by {stopped.name}\n")
        raise
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None
    except Exception:
        sys.excepthook = _show_traceback
        raise


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table to stdout: with borders in a terminal, tab-separated in a pipe; cells are plain text."""
    if not sys.stdout.isatty():
        lines = ["\t".join(map(_shown, row)) for row in (columns, *rows)]
        _write(sys.stdout, "".join(f"{line}\n" for line in lines))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # A cell given as a string would be parsed: `[walk]` as a style, `[/x]` as an error, `:dog:` as a picture.
    drawn = Table(title=None if title is None else Text(_shown(title)), title_justify="left", header_style="bold")
    for column in columns:
        drawn.add_column(Text(_shown(column)))
    for row in rows:
        drawn.add_row(*(Text(_shown(cell)) for cell in row))
    Console().print(drawn)


def say(*lines: str) -> None:
    """Print lines to stdout and flush them, so that the reader of a pipe receives them immediately.

    Args:
        lines: one per line; a line break in one of them is shown as an escape, since a name may contain it.
    """
    _write(sys.stdout, "".join(f"{_shown(line)}\n" for line in lines))
    sys.stdout.flush()


def say_json(value: Any) -> None:
    """Print a JSON document to stdout."""
    _write(sys.stdout, f"{plain_json(restored(value), indent=2)}\n")
    sys.stdout.flush()


def say_error(message: str, *, hint: str | None = None) -> None:
    """Print an error to stderr: the message, and the hint on its own line.

    Args:
        message: further lines are indented by four columns, so that no name in it can forge a hint.
        hint: one line.
    """
    first, *more = message.split("\n")
    indented = [line if line.startswith("    ") else f"    {line}" for line in more]
    lines = [f"error: {first}", *indented, *([] if hint is None else [f"  try: {hint}"])]
    _write(sys.stderr, "".join(f"{_shown(line)}\n" for line in lines))


def warn(first: str, *more: str) -> None:
    """Print a warning to stderr.

    Args:
        first: the warning.
        more: further lines, such as a traceback; none of them can be taken for a warning of its own.
    """
    _write(sys.stderr, f"warning: {_shown(first)}\n" + "".join(f"    {_shown(line)}\n" for line in more))


def relay(text: str) -> None:
    """Print the output of a child process to stderr, line by line as plain text."""
    _write(sys.stderr, plain(masked(text), lines=True))


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback; the message of an error of another library may contain names of data."""
    relay("".join(traceback.format_exception(kind, error, trace)))


def _shown(text: object) -> str:
    return plain(masked(str(text)))


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:  # a terminal or pipe whose encoding lacks a character
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
