"""CSV and Parquet files and plain tables of numbers, with errors that name file and line; no channels and no units."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.readers.tables.encoding import text_blocks, text_encoding
    from imu_video.readers.tables.numbers import number_table, numbers_between
    from imu_video.readers.tables.table import Table
    from imu_video.readers.tables.times import PER_SECOND, TimeUnit, iso_seconds

__all__ = [
    "PER_SECOND",
    "Table",
    "TimeUnit",
    "iso_seconds",
    "number_table",
    "numbers_between",
    "text_blocks",
    "text_encoding",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "encoding": ["text_blocks", "text_encoding"],
        "numbers": ["number_table", "numbers_between"],
        "table": ["Table"],
        "times": ["PER_SECOND", "TimeUnit", "iso_seconds"],
    },
)
