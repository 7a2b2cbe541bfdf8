"""Made-up studies of one declaration and small files, for the tests of the dataset `folder`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from imu_video.modalities.mp4 import encode_mp4

N = 400
RATE = 100


def table(*, acc: float = 1.0, gyr: float = 20.0, start: float = 0.0, per_second: float = 1000.0) -> pd.DataFrame:
    """Four seconds in g and deg/s with times in ms; y carries gravity, x counts the samples in thousandths."""
    rng = np.random.default_rng(0)
    data: dict[str, Any] = {"t": np.round((start + np.arange(N) / RATE) * per_second).astype(np.int64)}
    for i, axis in enumerate("xyz"):
        data[f"a{axis}"] = (rng.normal(0, 0.01, N) + (axis == "y")) * acc if i else np.arange(N) / 1000 * acc
    for axis in "xyz":
        data[f"g{axis}"] = rng.normal(0, gyr, N)
    return pd.DataFrame(data)


CHANNELS = {"acc_x": "ax", "acc_y": "ay", "acc_z": "az", "gyr_x": "gx", "gyr_y": "gy", "gyr_z": "gz"}


def declaration(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "dataset": "my-study",
        "licence": "CC-BY-4.0",
        "citation": "we, 2024",
        "imu": {"time": {"column": "t", "unit": "ms"}, "channels": CHANNELS, "units": {"acc": "g", "gyr": "deg/s"}},
        "placements": {"wrist": None},
        "files": {"imu": "{subject}/{recording}_{placement}.csv"},
    }
    return {k: v for k, v in {**base, **changes}.items() if v is not None}


def declare(root: Path, **changes: Any) -> Path:
    (root / "dataset.yaml").write_text(yaml.safe_dump(declaration(**changes)))
    return root


def put(root: Path, name: str, frame: pd.DataFrame | None = None, **options: Any) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = table() if frame is None else frame
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, **options)
    return path


def video(path: Path, frames: int = 30, fps: float = 10) -> None:
    pictures = np.zeros((frames, 32, 32, 3), np.uint8)
    pictures += (np.arange(frames) * 8).astype(np.uint8)[:, None, None, None]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_mp4(pictures, fps=fps))
