"""Features of a source as a table: one row per window and device, written block by block."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from imu_video.errors import ConfigError
from imu_video.predict.sources import FACTS, Windows
from imu_video.runtime.files import open_atomic

if TYPE_CHECKING:
    import pandas as pd

    from imu_video.bundle.encoder import EncoderBundle

ENDINGS = (".parquet", ".csv")


def frame_of(windows: Windows, features: np.ndarray) -> pd.DataFrame:
    """One row per window and device: facts, ``start_s``, ``end_s``, ``measured``, and the features ``f0`` and on.

    Args:
        windows: N windows.
        features: (N, E).
    """
    import pandas as pd

    facts: dict[str, Any] = {name: windows.facts[name] for name in FACTS}
    facts |= {
        "start_s": windows.start,
        "end_s": windows.start + windows.seconds,
        "measured": np.isfinite(windows.x).mean(axis=(1, 2)),
    }
    columns = pd.DataFrame(np.asarray(features, np.float32), columns=[f"f{i}" for i in range(features.shape[1])])
    return pd.concat([pd.DataFrame(facts), columns], axis=1)


def write_features(
    bundle: EncoderBundle,
    blocks: Iterator[Windows],
    out: Path,
    *,
    batch_size: int = 256,
    note: Callable[[Windows], None] | None = None,
) -> int:
    """Compute the features of all windows and write them to a Parquet or CSV file, atomically.

    Args:
        bundle: the encoder.
        blocks: from `open_windows`.
        out: file to write, ending in ``.parquet`` or ``.csv``; its folder is created.
        batch_size: windows per forward pass.
        note: called with every block before its features are computed.

    Returns:
        Number of rows.

    Raises:
        ConfigError: another ending, or Parquet without pyarrow.
    """
    if out.suffix.lower() not in ENDINGS:
        raise ConfigError(f"{out}: expected a name that ends in {' or '.join(ENDINGS)}", hint="--out features.parquet")
    write = _parquet if out.suffix.lower() == ".parquet" else _csv
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = 0
    with open_atomic(out) as file, write(file) as append:
        for windows in blocks:
            if note is not None:
                note(windows)
            features = bundle.encode(
                windows.x, rate_hz=windows.rate_hz, channels=windows.channels, batch_size=batch_size
            )
            append(frame_of(windows, features))
            rows += len(windows)
    return rows


@contextmanager
def _csv(file: BinaryIO) -> Iterator[Callable[[pd.DataFrame], None]]:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    first = True

    def append(frame: pd.DataFrame) -> None:
        nonlocal first
        frame.to_csv(text, index=False, header=first, lineterminator="\n")
        first = False

    yield append
    text.flush()
    text.detach()  # the caller closes the file


@contextmanager
def _parquet(file: BinaryIO) -> Iterator[Callable[[pd.DataFrame], None]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ConfigError(
            "writing Parquet needs pyarrow", hint="pip install 'imu-video[parquet]', or --out features.csv"
        ) from error
    writer = None

    def append(frame: pd.DataFrame) -> None:
        nonlocal writer
        table = pa.Table.from_pandas(frame, preserve_index=False)
        if writer is None:
            writer = parquet.ParquetWriter(file, table.schema)
        writer.write_table(table.cast(writer.schema))

    yield append
    if writer is not None:
        writer.close()
