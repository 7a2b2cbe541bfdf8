"""Made-up recordings and data folders for the examples; real data take their place without another change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from imu_video.modalities import ClipSpec
from imu_video.shards.schema import Index
from imu_video.testing import write_folder
from imu_video.types import Window

SECONDS, RATE_HZ, CLIP_FPS = 2.0, 50, 8
CLIP = ClipSpec(fps=CLIP_FPS, frames=int(SECONDS * CLIP_FPS), height=32, width=32)
TEMPO_HZ = {"sit": 0.0, "walk": 1.8, "jog": 2.8}


def window(rng: np.random.Generator, label: str) -> tuple[np.ndarray, np.ndarray]:
    """One window (6, T) in m/s^2 and rad/s, and a clip (F, H, W, 3) of a bar that moves at the same tempo."""
    time = np.arange(int(SECONDS * RATE_HZ)) / RATE_HZ
    swing = np.sin(2 * np.pi * TEMPO_HZ[label] * rng.normal(1, 0.05) * time + rng.uniform(0, 6))
    imu = rng.normal(0, 0.3, (6, len(time)))
    imu[2] += 9.81 + 3 * swing
    imu[4] += 1.5 * swing
    clip = np.full((int(SECONDS * CLIP_FPS), 32, 32, 3), 40, np.uint8)
    for frame, at in zip(clip, np.linspace(0, len(time) - 1, len(clip)).astype(int), strict=True):
        left = int(14 + 10 * swing[at])
        frame[:, left : left + 4] = 220
    return imu.astype(np.float32), clip


def data_folder(root: str | Path, *, subjects: int = 4, windows_per_class: int = 8) -> Index:
    """Write a data folder with IMU windows, clips and labels, as `imu-video build` does from recordings."""

    def split(name: str) -> Iterator[Window]:
        for subject in range(subjects):
            rng = np.random.default_rng([len(name), subject])
            for i in range(windows_per_class * len(TEMPO_HZ)):
                label = list(TEMPO_HZ)[i % len(TEMPO_HZ)]
                imu, clip = window(rng, label)
                yield Window(
                    key=f"{name}{subject}-{i:04d}",
                    recording=f"{name}{subject}-day{1 + i % 2}",
                    subject=f"{name}{subject}",
                    session="1",
                    start=SECONDS * i,
                    imu={"right_wrist": imu},
                    streams={"video": clip},
                    label=label,
                )

    splits = {name: split(name) for name in ("train", "val", "test")}
    return write_folder(root, splits, rate_hz=RATE_HZ, dataset="made-up", specs={"video": CLIP})
