"""Features of a source as a table: one row per window and device, or per window; written block by block."""

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


def mean_over_devices(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per window: the mean feature of its devices, as `EncoderBundle.encode` gives it of several devices.

    ``placement`` joins the devices (``waist+wrist``), ``measured`` is their mean; other facts are those of the window.

    Args:
        frame: from `frame_of`, with the devices of a window in consecutive rows.

    Example:
        >>> import pandas as pd
        >>> facts = {"subject": "s", "session": "1", "recording": "r", "start_s": [0.0, 0.0, 2.0]}
        >>> frame = pd.DataFrame({**facts, "placement": ["waist", "wrist", "waist"], "f0": [1.0, 3.0, 5.0]})
        >>> mean_over_devices(frame)[["placement", "f0"]].values.tolist()
        [['waist+wrist', 2.0], ['waist', 5.0]]
    """
    keys = frame[["subject", "session", "recording", "start_s"]]
    first = np.flatnonzero((keys != keys.shift()).any(axis=1).to_numpy())
    number = np.diff(np.append(first, len(frame)))
    out = frame.iloc[first].reset_index(drop=True)
    names = frame["placement"].tolist()
    out["placement"] = ["+".join(names[i : i + n]) for i, n in zip(first.tolist(), number.tolist(), strict=True)]
    averaged = [c for c in frame.columns if c == "measured" or (c.startswith("f") and c[1:].isdigit())]
    sums = np.add.reduceat(frame[averaged].to_numpy(np.float64), first, axis=0)
    kinds = frame.dtypes[averaged].to_dict()
    out[averaged] = sums / number[:, None]
    return out.astype(kinds)


def write_features(
    bundle: EncoderBundle,
    blocks: Iterator[Windows],
    out: Path,
    *,
    batch_size: int = 256,
    mean_devices: bool = False,
    note: Callable[[Windows], None] | None = None,
) -> int:
    """Compute the features of all windows and write them to a Parquet or CSV file, atomically.

    Args:
        bundle: the encoder.
        blocks: from `open_windows`.
        out: file to write, ending in ``.parquet`` or ``.csv``; its folder is created.
        batch_size: windows per forward pass.
        mean_devices: one row per window, see `mean_over_devices`; otherwise one per window and device.
        note: called with every block before its features are computed.

    Returns:
        Number of rows.

    Raises:
        ConfigError: another ending, or Parquet without pyarrow.

    Example:
        >>> import tempfile
        >>> from imu_video import load_encoder
        >>> from imu_video.types import IMU_CHANNELS
        >>> x = np.random.default_rng(0).normal(0, 1, (2, 6, 250)).astype(np.float32)
        >>> x[:, 2] += 9.8
        >>> facts, start = {name: np.full(2, "") for name in FACTS}, np.array([0.0, 5.0])
        >>> windows = Windows(x=x, rate_hz=50, seconds=5.0, channels=IMU_CHANNELS, start=start, facts=facts)
        >>> write_features(load_encoder("imu-video/small"), iter([windows]), Path(tempfile.mkdtemp()) / "features.csv")
        2
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
            frame = frame_of(windows, features)
            frame = mean_over_devices(frame) if mean_devices else frame
            append(frame)
            rows += len(frame)
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
