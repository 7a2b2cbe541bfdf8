"""A newcomer's trial on folders of different apps and of plain tables: init, fill in the marked keys, check, build."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.datasets.folder import Folder
from imu_video.datasets.proposal import write_proposal
from imu_video.errors import ConfigError
from imu_video.modalities.mp4 import encode_mp4
from imu_video.shards.building.build import BuildConfig, build
from imu_video.shards.building.check import check_recordings

SECONDS = 8
PEOPLE = ("anna", "bert")
KNOWN = {"licence": "CC0-1.0", "files.offset_s": "0.5"}
"""What the newcomer knows, by key; placements are further below."""


@pytest.fixture(scope="module")
def files() -> ModuleType:
    """The files of the readers' tests, some seconds longer: units are told from means over seconds."""
    path = Path(__file__).resolve().parents[1] / "readers" / "files.py"
    spec = importlib.util.spec_from_file_location("newcomer_files", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.SAMPLES = SECONDS * 50 + 1
    module.TIMES = np.arange(module.SAMPLES) / 50
    return module


def table_and_video(files: ModuleType, folder: Path) -> None:
    """A CSV file of no app, with a video and labels beside it."""
    gravity, linear, rate = files.turning()
    columns = {"t_ms": [round(t * 1000) for t in files.TIMES]}
    columns |= {f"acc_{axis}": row / 9.80665 for axis, row in zip("xyz", gravity + linear, strict=True)}
    columns |= {f"gyr_{axis}": np.degrees(row) for axis, row in zip("xyz", rate, strict=True)}
    (folder / "walk_wrist.csv").write_text(files.csv_text(columns))
    pictures = np.random.default_rng(0).integers(0, 256, (7 * 5, 32, 48, 3), dtype=np.uint8)
    (folder / "walk.mp4").write_bytes(encode_mp4(pictures, 5))
    (folder / "walk_labels.csv").write_text("start,end,label\n0,4000,walk\n4000,8000,sit\n")


def separate_sensors(files: ModuleType, folder: Path) -> None:
    """Two CSV files of no app that form one device, each on its own clock."""
    gravity, linear, rate = files.turning()
    for name, late, values in (("acc", 0.0, gravity + linear), ("gyro", 0.004, np.degrees(rate))):
        columns = {"time": files.TIMES + late} | dict(zip("xyz", values, strict=True))
        (folder / f"walk_{name}.csv").write_text(files.csv_text(columns))


STUDIES: dict[str, tuple[Callable[[ModuleType, Path], object], dict[str, str], set[str]]] = {
    # folder: how its files are made, the newcomer's placements, the placements of the data folder
    "sensor_logger": (
        lambda files, folder: files.sensor_logger(folder, "zip", platform="ios"),
        {"TODO_phone": "pocket", "TODO_watch": "left_wrist", "TODO_headphones": "head"},
        {"pocket", "left_wrist", "head"},
    ),
    "phyphox": (lambda files, folder: files.phyphox(folder, "zip"), {"TODO": "waist"}, {"waist"}),
    "dot": (lambda files, folder: files.xsens_dot(folder), {"TODO": "shank"}, {"shank"}),
    "watch": (lambda files, folder: files.core_motion(folder), {"TODO": "right_wrist"}, {"right_wrist"}),
    "table": (table_and_video, {}, {"wrist"}),
    "sensors": (separate_sensors, {"TODO": "thigh"}, {"thigh"}),
}


def fill_in(declaration: Path, marks: tuple[tuple[int, str], ...], placements: dict[str, str]) -> None:
    """Replace every mark in its own line, as a person with an editor does."""
    lines = declaration.read_text().split("\n")
    for line, key in marks:
        word = re.search(r"TODO(_\w+)?", lines[line - 1])
        assert word is not None
        lines[line - 1] = lines[line - 1].replace(word[0], KNOWN.get(key) or placements[word[0]], 1)
    declaration.write_text("\n".join(lines))


@pytest.mark.parametrize("name", STUDIES)
def test_init_fill_in_check_build(files: ModuleType, tmp_path: Path, name: str) -> None:
    make, placements, expected = STUDIES[name]
    root = tmp_path / name
    for person in PEOPLE:
        (root / person).mkdir(parents=True)
        make(files, root / person)
    declaration, proposal = write_proposal(root)
    assert proposal.recordings == 2
    assert proposal.unused == ()
    asked = {key for _, key in proposal.marks if not key.startswith("placements.")}
    assert asked == {"licence", *(("files.offset_s",) if name == "table" else ())}, "the data determines the units"
    with pytest.raises(ConfigError, match=r"dataset\.yaml, line 4: licence is not filled in yet") as error:
        Folder(root=str(root))
    assert "terms of these recordings" in (error.value.hint or "")
    fill_in(declaration, proposal.marks, placements)
    config = BuildConfig.model_validate(
        {
            "dataset": {"name": "folder", "root": str(root)},
            "window": {"seconds": 2.0, "stride_s": 2.0, "rate_hz": 50, "clip_fps": 2, "clip_size": 32},
            "splits": {"subjects": {"train": ["anna"], "test": ["bert"]}},
        }
    )
    report = check_recordings(config)
    assert report.faults == ()
    index = build(config, tmp_path / "data")
    assert set(index.placements) == expected
    assert index.build.recordings == 2
    assert sum(index.splits[split].samples for split in ("train", "test")) == 2 * SECONDS // 2
    gravity = np.linalg.norm(next(Folder(root=str(root)).recordings()).imu[0].values[:3], axis=0)
    assert np.nanmedian(gravity) == pytest.approx(9.8, abs=0.5)
    with pytest.raises(ConfigError, match="exists; `imu-video init` does not overwrite it"):
        write_proposal(root)
