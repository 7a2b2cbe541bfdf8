"""Small data folders for the tests of this room, written straight from windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imu_video.modalities import ClipSpec, SkeletonSpec
from imu_video.registry import load_plugin
from imu_video.shards.building.build import BuildConfig
from imu_video.shards.schema import Index
from imu_video.testing import write_folder
from imu_video.types import Window

T, FRAMES, SIZE, JOINTS = 20, 3, 16, ("head", "hip", "foot", "hand")
PLACEMENTS = ("right_wrist", "waist")


def make_window(split: str, i: int) -> Window:
    """Window i of a split: every third lacks the wrist, every fourth the clip, every fifth skeleton and label."""
    rng = np.random.default_rng([len(split), i])
    imu = {"waist": rng.normal(size=(6, T)).astype(np.float32)}
    imu["waist"][:, :2] = np.nan
    if i % 3:
        imu["right_wrist"] = rng.normal(size=(6, T)).astype(np.float32)
    clip = np.full((FRAMES, SIZE, SIZE, 3), 10 * (i % 20), np.uint8) if i % 4 else None
    return Window(
        key=f"tiny-{split}-walk{i // 3}-{i:05d}",
        recording=f"{split}-walk{i // 3}",
        subject=f"{split}{i // 6}",
        session="1",
        start=1.5 * (i % 3),
        imu=imu,
        streams={"video": clip, "skeleton": rng.normal(size=(FRAMES, 4, 3)).astype(np.float32) if i % 5 else None},
        label="walk" if i % 2 else ("sit" if i % 5 else None),
        tags={"device": "abc"[i % 3]},
    )


def make_folder(root: Path, samples: Mapping[str, int], *, shard_samples: int = 4) -> Index:
    """Write a complete data folder of made-up windows."""
    windows = {split: [make_window(split, i) for i in range(count)] for split, count in samples.items()}
    return write_folder(
        root,
        windows,
        rate_hz=10,
        dataset="tiny",
        specs={
            "video": ClipSpec(fps=5, frames=FRAMES, height=SIZE, width=SIZE),
            "skeleton": SkeletonSpec(fps=5, frames=FRAMES, joints=JOINTS),
        },
        placements=PLACEMENTS,
        shard_samples=shard_samples,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Index:
    """A folder of 10 train samples in shards of 5 and 5 val samples."""
    return make_folder(tmp_path / "data", {"train": 10, "val": 5}, shard_samples=5)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """The same, shared by tests that only read."""
    return make_folder(tmp_path_factory.mktemp("shared") / "data", {"train": 40, "val": 5}, shard_samples=16)


@pytest.fixture(scope="session")
def folder_maker() -> Callable[..., Index]:
    """`make_folder`."""
    return make_folder


@pytest.fixture
def window_maker() -> Callable[[str, int], Window]:
    """`make_window`."""
    return make_window


@pytest.fixture(scope="session")
def people_config(tiny_plugin: Path) -> Callable[..., BuildConfig]:
    """Build config of ``tiny_people`` in three splits; keyword arguments replace sections."""

    def make(**changes: Any) -> BuildConfig:
        raw: dict[str, Any] = {
            "dataset": {"name": "tiny_people"},
            "window": {"seconds": 1.0, "rate_hz": 20, "clip_fps": 5, "clip_size": 16, "skeleton_fps": 10},
            "splits": {"subjects": {"train": ["p0", "p1"], "val": ["p3"], "test": ["p2"]}},
            "shard_samples": 8,
        }
        return BuildConfig.model_validate({**raw, **changes})

    return make


@pytest.fixture(scope="session")
def files_of() -> Callable[[Path], dict[str, bytes]]:
    """Relative path -> content of every file below a folder."""

    def tree(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return tree


@pytest.fixture(scope="session")
def tiny_plugin() -> Path:
    """Plugin file that registers the dataset ``tiny_people``; already loaded."""
    path = Path(__file__).parent / "tiny_dataset.py"
    load_plugin(path)
    return path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder of recordings: s01, s02 and s03, each 4 s of accelerations at 25 Hz, labelled from 0 to 2 s."""
    root = tmp_path / "study"
    for number in (1, 2, 3):
        folder = root / f"s0{number}"
        folder.mkdir(parents=True)
        rows = [f"{i / 25:.2f},{0.1 * number:.1f},{i % 7 * 0.1:.1f},9.81" for i in range(100)]
        (folder / "r.csv").write_text("\n".join(["t,ax,ay,az", *rows]) + "\n")
        (folder / "r.labels.csv").write_text("start,end,label\n0,2,walk\n")
    (root / "dataset.yaml").write_text(
        "dataset: study\n"
        "licence: CC0\n"
        "imu:\n"
        "  time: {column: t, unit: s}\n"
        "  channels: {acc_x: ax, acc_y: ay, acc_z: az}\n"
        "  units: {acc: m/s^2}\n"
        "placements: {waist: }\n"
        'files: {imu: "{subject}/{recording}.csv", labels: "{subject}/{recording}.labels.csv"}\n'
    )
    return root


@pytest.fixture
def study_config(study: Path) -> BuildConfig:
    """Build config of `study`: windows of 1 s, all subjects in one split."""
    return BuildConfig.model_validate(
        {
            "dataset": {"name": "folder", "root": str(study)},
            "window": {"seconds": 1.0, "rate_hz": 20},
            "splits": {"subjects": {"train": ["s01", "s02", "s03"]}},
        }
    )
