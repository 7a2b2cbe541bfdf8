"""Windows whose body positions are in separate rows, joined to windows of all channels, as HAROOD reads them."""

from __future__ import annotations

import numpy as np

from eval.data.array_declaration import ArrayDeclaration
from imu_video.errors import DataError


def join_rows(
    x: np.ndarray, y: np.ndarray, declared: ArrayDeclaration, *, source: str
) -> tuple[np.ndarray, np.ndarray, ArrayDeclaration]:
    """Join the rows that differ only in the column ``join``: the channels of its values follow each other.

    The k-th row of a subject and a position is the same window as the k-th row of that subject and any other position.

    Args:
        x: (N, C / P, T) windows of P positions.
        y: (N, columns) codes.
        declared: with ``join`` and all C channels.
        source: named in errors.

    Returns:
        (N / P, C, T) windows in the order of the first position's rows, their (N / P, columns - 1) codes, and the
        declaration without the column.

    Raises:
        DataError: another number of positions or rows, or rows of one window with different codes.
    """
    at = declared.columns.index(str(declared.join))
    positions = np.unique(y[:, at])
    expected = len(declared.channels) // x.shape[1]
    if len(positions) != expected:
        raise DataError(
            f"{source}: column {declared.join!r} has {len(positions)} values, expected {expected}: {x.shape[1]} "
            f"channels of each are joined to {len(declared.channels)}"
        )
    # Without a column of subjects the rows of a position belong to one unknown subject.
    subject = y[:, declared.columns.index("subject")] if "subject" in declared.columns else np.zeros(len(y), int)
    rows = np.empty((len(y) // expected, expected), dtype=np.int64)
    done = 0
    for one in dict.fromkeys(subject.tolist()):
        parts = [np.flatnonzero((subject == one) & (y[:, at] == position)) for position in positions]
        counts = [len(part) for part in parts]
        if len(set(counts)) != 1:
            raise DataError(
                f"{source}: subject {one} has {counts} rows of the values {positions.tolist()} of {declared.join!r}, "
                "expected the same number of each"
            )
        rows[done : done + counts[0]] = np.stack(parts, axis=1)
        done += counts[0]
    kept = [i for i in range(y.shape[1]) if i != at]
    codes = y[rows][:, :, kept]  # (N / P, P, columns - 1)
    differ = np.argwhere(codes != codes[:, :1])
    if len(differ):
        window, position, column = differ[0].tolist()
        first, second = rows[window, 0], rows[window, position]
        raise DataError(
            f"{source}: rows {first} and {second} are one window of two values of {declared.join!r}, but their "
            f"{declared.columns[kept[column]]} is {codes[window, 0, column]} and {codes[window, position, column]}"
        )
    order = np.argsort(rows[:, 0], kind="stable")
    joined = x[rows[order]].reshape(len(rows), len(declared.channels), x.shape[2])
    columns = [declared.columns[i] for i in kept]
    return joined, codes[order, 0], declared.model_copy(update={"columns": columns, "join": None})
