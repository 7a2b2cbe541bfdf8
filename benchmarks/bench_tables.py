"""CSV files read with every row checked against a bare `pandas.read_csv` of the same columns."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
from common import compare, heading, parser

from imu_video.readers.tables import Table

COLUMNS = ["t", "ax", "ay", "az", "gx", "gy", "gz"]


def contents(rows: int) -> dict[str, tuple[bytes, int]]:
    """Files by description, each with its number of columns."""
    values = np.random.default_rng(0).normal(size=(rows, 8))
    table = pd.DataFrame(np.column_stack([np.arange(rows) / 100, values]), columns=[*COLUMNS, "u", "v"])
    plain = table[COLUMNS].to_csv(index=False, float_format="%.5f").encode()
    return {
        "every column wanted": (plain, 7),
        "two more columns": (table.to_csv(index=False, float_format="%.5f").encode(), 9),
        "quoted fields": (table[COLUMNS].to_csv(index=False, float_format="%.5f", quoting=1).encode(), 7),
        "10 s": (plain[: plain.index(b"\n10.00000,") + 1], 7),
    }


def main(rows: int, repeats: int) -> None:
    """Compare for each kind of file."""
    for name, (content, columns) in contents(rows).items():
        heading(f"{name}: {len(content) / 1e6:.1f} MB of CSV with {columns} columns, 7 are read")
        count = content.count(b"\n") - 1

        def ours(content: bytes = content, count: int = count) -> int:
            table = Table(Path("x.csv"), COLUMNS, content=content)
            table.increasing_seconds("t", "s")
            for column in COLUMNS[1:]:
                table.numbers(column)
            return count

        def bare(content: bytes = content, count: int = count) -> int:
            pd.read_csv(io.BytesIO(content), usecols=COLUMNS)
            return count

        compare(
            {"Table": ours, "pandas.read_csv": bare}, repeats=repeats, unit="rows", against={"Table": "pandas.read_csv"}
        )


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--rows", type=int, default=60_000)
    options = arguments.parse_args()
    main(options.rows, options.repeats)
