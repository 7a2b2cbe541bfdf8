"""Terminal output of the three commands: errors with exit codes, tables, lines; no commands."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence

from imu_video.errors import ImuVideoError
from imu_video.runtime.children import without_working_folder


def run(app: Callable[[], object]) -> None:
    """Run a typer app; a known error becomes one message on stderr and its exit code, never a traceback."""
    # OpenMP threads spin by default while they wait for each other. As soon as another process runs on the machine, a
    # training step takes ten times as long (2 cores: 2.9 s instead of 0.29 s); sleeping threads cost nothing. OpenMP
    # reads the variable when torch is loaded, so it is set before that. A value that the user has set is kept.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with without_working_folder():
            app()
    except ImuVideoError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        # Without an errno it is not an error of the operating system but a library's own type; its traceback is needed.
        if error.errno is None:
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = (
            "free some space, or choose a folder on another disk"
            if full
            else "choose a path with read and write permission"
        )
        where = f"{error.filename}: " if error.filename is not None else ""
        sys.stderr.write(f"error: {where}{error.strerror}\n  try: {hint}\n")
        raise SystemExit(4 if full else 2) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table to stdout: with borders in a terminal, tab-separated in a pipe."""
    if not sys.stdout.isatty():
        sys.stdout.write("\t".join(columns) + "\n")
        sys.stdout.writelines("\t".join(str(cell) for cell in row) + "\n" for row in rows)
        return
    from rich.console import Console
    from rich.table import Table

    drawn = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        drawn.add_column(column)
    for row in rows:
        drawn.add_row(*(str(cell) for cell in row))
    Console().print(drawn)


def say(message: str) -> None:
    """Print one line to stdout and flush it, so that the reader of a pipe receives it immediately."""
    sys.stdout.write(message + "\n")
    sys.stdout.flush()
