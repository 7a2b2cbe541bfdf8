"""A small folder with clips, skeletons, two devices and quality flags."""

from __future__ import annotations

import numpy as np
import pytest

from imu_video.modalities import ClipSpec, SkeletonSpec
from imu_video.shards.schema import Index
from imu_video.testing import write_folder
from imu_video.types import Window

LABELS = ("walk", "sit </script><img src=x onerror=alert(1)>")
PEOPLE = {"train": ("p0", "p1"), "test": ("p2",)}


def _window(split: str, subject: str, number: int) -> Window:
    rng = np.random.default_rng([number, ord(subject[1])])
    grey = np.linspace(20, 200, 20).astype(np.uint8)
    imu = {"waist": rng.normal(size=(6, 100)).astype(np.float32)}
    imu["waist"][:, :5] = np.nan
    if number % 2:
        imu["wrist"] = rng.normal(size=(6, 100)).astype(np.float32)
    return Window(
        key=f"d-{subject}-{number:05d}",
        recording=f"r-{subject}",
        subject=subject,
        session="1",
        start=2.0 * number,
        imu=imu,
        streams={
            "video": np.broadcast_to(grey[:, None, None, None], (20, 32, 32, 3)).copy() if number else None,
            "skeleton": rng.normal(size=(20, 4, 3)).astype(np.float32),
        },
        label=LABELS[number % 2],
        tags={"camera": "front"},
        flags=("waist:flat",) if number == 3 else (),
        sync={"offset_s": 0.25, "drift_ppm": 0.0, "score": 0.8} if number == 1 else None,
    )


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Three people, five windows each of 2 s: 100 samples, 20 frames of growing grey."""
    windows = {
        split: [_window(split, subject, number) for subject in people for number in range(5)]
        for split, people in PEOPLE.items()
    }
    root = tmp_path_factory.mktemp("browse") / "data"
    return write_folder(
        root,
        windows,
        rate_hz=50,
        dataset="d",
        specs={
            "video": ClipSpec(fps=10, frames=20, height=32, width=32),
            "skeleton": SkeletonSpec(fps=10, frames=20, joints=("head", "hip", "foot", "hand")),
        },
        shard_samples=4,
    )
