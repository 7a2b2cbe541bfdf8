"""A small folder with clips, skeletons, two devices and quality flags."""

from __future__ import annotations

import numpy as np
import pytest

from imu_video.shards.reading.index import load_index, write_index
from imu_video.shards.schema import BuildFacts, ClipSpec, Index, SkeletonSpec, SplitEntry
from imu_video.shards.write import ShardWriter, encode_window
from imu_video.types import IMU_CHANNELS, Window, channel_unit

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
        clip=np.broadcast_to(grey[:, None, None, None], (20, 32, 32, 3)).copy() if number else None,
        skeleton=rng.normal(size=(20, 4, 3)).astype(np.float32),
        label=LABELS[number % 2],
        tags={"camera": "front"},
        flags=("waist:flat",) if number == 3 else (),
        sync={"offset_s": 0.25, "drift_ppm": 0.0, "score": 0.8} if number == 1 else None,
    )


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Three people, five windows each of 2 s: 100 samples, 20 frames of growing grey."""
    root = tmp_path_factory.mktemp("browse") / "data"
    root.mkdir()
    splits = {}
    for split, people in PEOPLE.items():
        with ShardWriter(folder=root, split=split, shard_samples=4) as writer:
            for subject in people:
                for number in range(5):
                    writer.add(encode_window(_window(split, subject, number), dataset="d", clip_fps=10))
        splits[split] = SplitEntry(subjects=people, samples=5 * len(people), shards=tuple(writer.shards))
    index = Index(
        dataset="d",
        licence="CC0",
        citation="nobody",
        channels=IMU_CHANNELS,
        units={c: channel_unit(c) for c in IMU_CHANNELS},
        rate_hz=50,
        window_s=2,
        samples_per_window=100,
        placements=("waist", "wrist"),
        clip=ClipSpec(fps=10, frames=20, height=32, width=32),
        skeleton=SkeletonSpec(fps=10, frames=20, joints=("head", "hip", "foot", "hand")),
        build=BuildFacts(
            config={},
            config_digest="0" * 12,
            version="test",
            recordings=3,
            empty_recordings=0,
            windows=15,
            dropped={},
            without={"clip": 3},
            split_order=tuple(splits),
        ),
        labels=tuple(sorted(LABELS)),
        tags={"camera": ("front",)},
        splits=splits,
    )
    write_index(index, root)
    return load_index(root)
