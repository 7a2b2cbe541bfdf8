"""Every shipped data config is valid: sections, dataset arguments, and splits that fit the subjects."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from imu_video.config import load_config
from imu_video.recordings.splits import assign
from imu_video.registry import datasets
from imu_video.shards.building.build import BuildConfig

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs" / "data").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_sections_and_arguments_fit(path: Path) -> None:
    config = load_config(path, BuildConfig)
    name, arguments = datasets.arguments(config.dataset, seed=config.seed)
    assert set(arguments) == set(inspect.signature(datasets.get(name)).parameters)
    assert config.window.samples > 16, "shorter than one patch of the shipped encoders"


def test_the_demo_keeps_its_groups_apart() -> None:
    config = load_config(ROOT / "studies" / "demo" / "configs" / "data.yaml", BuildConfig)
    world = datasets.build(config.dataset)
    splits = assign(world.subjects(), config.splits)
    assert {split: {s[0] for s in people} for split, people in splits.items()} == {
        "train": {"p"},
        "val": {"v"},
        "test": {"q", "s"},
    }
    assert sum(map(len, splits.values())) == len(world.subjects()), "a subject is recorded and never used"


def test_utd_mhad_follows_the_published_protocol() -> None:
    config = load_config("configs/data/utd_mhad.yaml", BuildConfig)
    people = [f"s{i}" for i in range(1, 9)]
    assert assign(people, config.splits) == {
        "train": ["s1", "s3", "s5"],
        "val": ["s7"],
        "test": ["s2", "s4", "s6", "s8"],
    }
