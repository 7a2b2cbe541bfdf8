"""Labelled windows out of a data folder: rows, facts and teacher rows stay together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.data.windows import LabelledWindows, load_windows
from imu_video.config import validate
from imu_video.errors import ConfigError, ShardError
from imu_video.registry import load_plugin
from imu_video.shards.building.build import BuildConfig, build
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.schema import Index
from imu_video.testing import write_folder
from imu_video.types import Window

PLUGIN = Path(__file__).parents[2] / "e2e" / "eval_people.py"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    load_plugin(PLUGIN)
    config = {
        "dataset": {"name": "eval_people", "people": 3},
        "window": {"seconds": 2, "rate_hz": 32, "stride_s": 2},
        "splits": {"subjects": {"train": ["s0"], "test": ["s1", "s2"]}},
    }
    return build(validate(config, BuildConfig, source="test"), tmp_path_factory.mktemp("data") / "d")


class Teacher:
    """A teacher cache whose feature of sample i is (i, i)."""

    fingerprint = "f00d"

    def __init__(self, index: Index) -> None:
        self.index = index

    def rows(self, split: str) -> np.ndarray:
        return np.repeat(np.arange(self.index.split(split).samples)[:, None], 2, axis=1).astype(np.float16)


def test_rows_facts_and_signals_belong_together(index: Index) -> None:
    windows = load_windows(index, splits=["test", "train"], teacher=Teacher(index))
    assert len(windows) == 3 * 4 * 4 * 2  # people, activities, windows, devices
    assert windows.classes == ("jump", "run", "sit", "walk")
    assert (windows.dataset, windows.digest, windows.rate_hz) == ("eval_people", index.digest, 32.0)
    assert sorted(np.unique(windows.facts["split"]).tolist()) == ["test", "train"]
    columns = {split: open_columns(index, split) for split in ("test", "train")}
    for row in range(0, len(windows), 7):
        own, i = columns[windows.facts["split"][row]], int(windows.sample[row])
        expected = own.imu[i, own.device(str(windows.facts["placement"][row]))]
        assert np.array_equal(windows.x[row], expected, equal_nan=True)
        assert own.labels[i] == windows.classes[windows.labels[row]]
        assert own.subjects[i] == windows.subject[row]
        assert own.recordings[i] == windows.recording[row]
        assert own.start[i] == windows.start[row]
        assert own.tags[i]["device"] == windows.facts["device"][row]
        assert windows.teacher is not None
        assert windows.teacher[row].tolist() == [i, i]


def test_a_device_without_a_sensor_keeps_its_rows_as_nan(index: Index) -> None:
    windows = load_windows(index, splits=["test"])
    lost = windows.subject == "s1"
    assert np.isnan(windows.x[lost, 3:]).all()
    assert np.isfinite(windows.x[lost, :3]).all()
    assert np.isfinite(windows.x[~lost]).all()


def test_placements_and_order_of_take(index: Index) -> None:
    windows = load_windows(index, splits=["test"], placements=["wrist"])
    assert set(windows.facts["placement"]) == {"wrist"}
    some = windows.take(np.array([5, 2]))
    assert np.array_equal(some.x[1], windows.x[2], equal_nan=True)
    assert some.recording.tolist() == [windows.recording[5], windows.recording[2]]


def test_unknown_names_are_refused(index: Index) -> None:
    with pytest.raises(ConfigError, match="split 'tets' is not in the data; did you mean 'test'"):
        load_windows(index, splits=["tets"])
    with pytest.raises(ConfigError, match="did you mean 'wrist'"):
        load_windows(index, splits=["test"], placements=["wristt"])


def test_arrays_of_different_lengths_are_refused(windows: LabelledWindows) -> None:
    with pytest.raises(ShardError, match=r"'labels': 3"):
        replace(windows, labels=windows.labels[:3])
    with pytest.raises(ShardError, match=r"expected \(N, C, T\)"):
        replace(windows, x=windows.x.transpose(0, 2, 1))


def test_a_tag_with_the_name_of_a_built_in_fact_has_a_prefix(tmp_path: Path) -> None:
    """Data built from published lists has the part of the list in a tag `split`."""
    rng = np.random.default_rng(0)
    some = [
        Window(
            key=f"made-{part}",
            recording=f"clip_{part}",
            subject="day",
            session="1",
            start=0.0,
            imu={"head": (rng.normal(size=(6, 32)) + np.eye(6)[2][:, None] * 9.8).astype(np.float32)},
            streams={},
            label=f"class_{part}",
            tags={"split": part},
        )
        for part in ("train", "val")
    ]
    windows = load_windows(write_folder(tmp_path / "d", {"all": some}, rate_hz=32), splits=["all"])
    assert windows.rows(splits=["all"], where={"tag_split": "val"}).tolist() == [1]
    assert set(windows.facts["split"].tolist()) == {"all"}
