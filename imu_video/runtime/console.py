"""What the three commands share: one rich console, errors as exit codes, tables; no command is defined here."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence

from imu_video.errors import ImuVideoError
from imu_video.runtime.children import without_working_folder


def run(app: Callable[[], object]) -> None:
    """Run a typer app; a known error becomes one message on stderr and its exit code, never a traceback."""
    # Threads of torch's that wait for each other spin by default: as soon as anything else runs on the machine, a step
    # takes ten times as long (2 cores: 2.9 s instead of 0.29 s). Asleep they cost nothing. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with without_working_folder():
            app()
    except ImuVideoError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        if error.errno is None:
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = (
            "free some space, or name a folder on another disk" if full else "name a path that you may read and write"
        )
        where = f"{error.filename}: " if error.filename is not None else ""
        sys.stderr.write(f"error: {where}{error.strerror}\n  try: {hint}\n")
        raise SystemExit(4 if full else 2) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table to stdout: drawn in a terminal, tab-separated when piped."""
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
    """Print one line to stdout at once."""
    sys.stdout.write(message + "\n")
    sys.stdout.flush()
