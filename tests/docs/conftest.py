"""The working folder in which the examples of docstrings and pages run: a small data folder with teacher features."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from imu_video.modalities import ClipSpec
from imu_video.shards import embed
from imu_video.testing import write_folder
from imu_video.types import Window

SECONDS, RATE, FPS, FRAMES, SIZE = 2.0, 50, 8, 16, 32
CLIP = ClipSpec(fps=FPS, frames=FRAMES, height=SIZE, width=SIZE)
# Windows per split. Examples state these numbers, so they are part of the documentation.
SAMPLES = {"train": 48, "val": 12, "test": 24}


def _windows(split: str) -> Iterator[Window]:
    for i in range(SAMPLES[split]):
        rng = np.random.default_rng([len(split), i])
        walking = i % 2 == 1
        time = np.arange(int(SECONDS * RATE)) / RATE
        swing = np.sin(2 * np.pi * 1.8 * time) * walking
        imu = rng.normal(0, 0.05, (6, len(time)))
        imu[2] += 9.81 + 3 * swing
        imu[4] += swing
        clip = np.full((FRAMES, SIZE, SIZE, 3), 40, np.uint8)
        for frame in range(FRAMES):
            left = int(14 + 10 * swing[frame * len(time) // FRAMES])
            clip[frame, :, left : left + 4] = 220
        yield Window(
            key=f"{split}-{i:04d}",
            recording=f"{split}{i // 6}-day1",
            subject=f"{split}{i // 6}",
            session="1",
            start=SECONDS * (i % 6),
            imu={"right_wrist": imu.astype(np.float32), "waist": imu.astype(np.float32)},
            streams={"video": clip},
            label="walk" if walking else "sit",
        )


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder: 48, 12 and 24 windows of 2 s at 50 Hz, two devices, clips, features of the teacher `tiny`."""
    folder = tmp_path_factory.mktemp("documented") / "demo"
    index = write_folder(
        folder, {split: _windows(split) for split in SAMPLES}, rate_hz=RATE, dataset="demo", specs={"video": CLIP}
    )
    embed(index, {"name": "tiny"})
    return folder


@pytest.fixture
def workplace(
    demo_folder: Path, write_study: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A working folder of its own that holds `data/demo`, the recordings `my-study` and a link to the `configs`."""
    write_study(tmp_path / "my-study")
    shutil.copytree(demo_folder, tmp_path / "data" / "demo")
    (tmp_path / "configs").symlink_to(Path(__file__).resolve().parents[2] / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def write_study() -> Callable[[Path], None]:
    """A function that writes a folder of own recordings: two subjects, two devices, CSV files and a declaration."""

    def write(root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        (root / "dataset.yaml").write_text(
            "dataset: my-study\nlicence: CC-BY-4.0\n"
            "imu:\n  time: {column: timestamp, unit: ms}\n"
            "  channels: {acc_x: ax, acc_y: ay, acc_z: az, gyr_x: gx, gyr_y: gy, gyr_z: gz}\n"
            "  units: {acc: g, gyr: deg/s}\n"
            "placements: {right_wrist: , waist: }\n"
            "files:\n  imu: '{subject}/{recording}_{placement}.csv'\n"
        )
        rng = np.random.default_rng(0)
        for subject in ("s01", "s02"):
            for placement in ("right_wrist", "waist"):
                rows = rng.normal(0, 0.01, (500, 6))
                rows[:, 2] += 1
                lines = [f"{20 * i}," + ",".join(f"{value:.5f}" for value in row) for i, row in enumerate(rows)]
                path = root / subject / f"walk_{placement}.csv"
                path.parent.mkdir(exist_ok=True)
                path.write_text("\n".join(["timestamp,ax,ay,az,gx,gy,gz", *lines]) + "\n")

    return write
