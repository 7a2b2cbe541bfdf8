"""Columns of Parquet files as frames of pandas; needs the extra ``parquet``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers.tables.text import need_columns


def read_parquet(path: Path, wanted: list[str]) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigError(f"{path}: reading Parquet needs pyarrow", hint="pip install 'imu-video[parquet]'") from error
    try:
        need_columns(path, wanted, pq.read_schema(path).names)
        frame = pq.read_table(path, columns=wanted).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise RecordingError(f"{path}: not a readable Parquet file: {str(error).strip()}") from error
    return frame.reset_index(drop=True)
