"""Columns of Parquet files by their types; needs the extra ``parquet``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers.tables.messages import guarded, need_columns
from imu_video.readers.tables.times import posix_seconds


@dataclass(frozen=True, eq=False)
class Moments:
    """A column of time stamps or durations.

    Args:
        seconds: (rows,) POSIX seconds or seconds; NaN where missing.
        local: whether it holds time stamps without a zone.
        kind: its type, for messages.
    """

    seconds: np.ndarray
    local: bool
    kind: str


def read_parquet(path: Path, wanted: Sequence[str]) -> dict[str, np.ndarray | Moments]:
    """Columns as float64 or integers, as object with texts, or as `Moments`.

    The index that pandas makes of some columns is ignored: they are columns as all others.

    Raises:
        RecordingError: a damaged file, or a column that is missing, occurs twice, or is of a kind that tables do not
            have: lists, structures, times of day.
        ConfigError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigError(f"{path}: reading Parquet needs pyarrow", hint="pip install 'imu-video[parquet]'") from error
    with guarded(path, "Parquet file"), pq.ParquetFile(path) as file:
        need_columns(path, wanted, list(file.schema_arrow.names))
        table = file.read(columns=list(wanted))
        return {name: _values(path, name, table.column(table.schema.names.index(name))) for name in wanted}


def _values(path: Path, name: str, column: Any) -> np.ndarray | Moments:
    import pyarrow as pa
    import pyarrow.types as kinds

    kind = column.type
    if kinds.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if kinds.is_timestamp(kind) or kinds.is_date(kind):
        stamps = column if kinds.is_timestamp(kind) else column.cast(pa.timestamp("ms"))
        local = getattr(kind, "tz", None) is None
        unit = stamps.type.unit
        plain = stamps.cast(pa.int64()).cast(pa.timestamp(unit))
        return Moments(posix_seconds(_with_missing(plain, f"datetime64[{unit}]")), local, str(kind))
    if kinds.is_duration(kind):
        return Moments(posix_seconds(_with_missing(column, f"timedelta64[{kind.unit}]")), False, str(kind))
    if kinds.is_integer(kind) and column.null_count == 0:
        return np.asarray(column.to_numpy(), dtype=np.uint64 if str(kind) == "uint64" else np.int64)
    if kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind) or kinds.is_null(kind):
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
    if kinds.is_string(kind) or kinds.is_large_string(kind) or str(kind) == "string_view":
        return np.array(["" if value is None else value for value in column.to_pylist()], dtype=object)
    if kinds.is_boolean(kind):
        return np.array(["" if v is None else str(v).lower() for v in column.to_pylist()], dtype=object)
    raise RecordingError(
        f"{path}: column {name!r} has the type {kind}, expected numbers, texts, time stamps or durations",
        hint="convert it before writing the file",
    )


def _with_missing(column: Any, kind: str) -> np.ndarray:
    parts = [np.asarray(chunk.to_numpy(zero_copy_only=False)).astype(kind) for chunk in column.chunks]
    return np.concatenate([*parts, np.empty(0, dtype=kind)])
