"""Parts of the error messages of tables, and the guard that turns any other error into one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imu_video.errors import ImuVideoError, RecordingError, nearest

_SHOWN = 40  # characters of a value in a message


def shown(value: object) -> str:
    """A value of a file in quotation marks, cut where it is long.

    Example:
        >>> shown("9,81"), len(shown("x" * 500))
        ("'9,81'", 45)
    """
    text = str(value)
    short = repr(text[:_SHOWN])
    # control characters and other unprintable ones take four to ten characters each in a message
    return short[: _SHOWN + 2] + "..." if len(text) > _SHOWN or len(short) > _SHOWN + 2 else short


@contextmanager
def guarded(path: Path, kind: str = "table") -> Iterator[None]:
    """Turn every error of a parser into a RecordingError with the file; errors of this library pass.

    Args:
        path: the file that is read.
        kind: what it should be, for the message.

    Raises:
        RecordingError: any exception in the body.
    """
    try:
        yield
    except ImuVideoError:
        raise
    except Exception as error:  # a damaged file reaches any line of a parser, so no list of types is complete
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        reason = reason if len(reason) <= 200 else reason[:200] + "..."
        raise RecordingError(
            f"{path}: not a readable {kind}: {reason}", hint="copy the file again from the device, or export it again"
        ) from error


def need_columns(path: Path, wanted: Sequence[str], there: Sequence[str], *, hint: str | None = None) -> list[int]:
    """Positions of the wanted columns.

    Args:
        path: file, for the message.
        wanted: names of columns.
        there: names of all columns of the file; empty and repeated ones are accepted unless they are wanted.
        hint: advice if a column is missing; the list of the columns when None.

    Raises:
        RecordingError: a column that is missing or that occurs twice.
    """
    for column in wanted:
        if column not in there:
            named = [name for name in there if name]
            columns = ", ".join(map(shown, named[:30])) + (f" and {len(named) - 30} more" if named[30:] else "")
            raise RecordingError(
                f"{path}: no column {column!r}{nearest(column, named[:200])}",
                hint=hint or f"its columns are: {columns}",
            )
        if there.count(column) > 1:
            places = [str(number) for number, name in enumerate(there, 1) if name == column]
            raise RecordingError(
                f"{path}: the name {column!r} belongs to {len(places)} columns ({', '.join(places[:10])})",
                hint="rename one of them in the header; or declare the names of all columns (columns: [...]) and "
                "skip the header line (skip_rows)",
            )
    return [there.index(column) for column in wanted]
