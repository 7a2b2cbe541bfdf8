"""A build is subject-first, all or nothing, and the same for any number of workers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imu_video.config import load_config
from imu_video.errors import ConfigError, ImuVideoError, LeakageError, RecordingError, ShardError
from imu_video.modalities.mp4 import decode_mp4
from imu_video.shards.building import build as build_module
from imu_video.shards.building.assemble import refuse_overlap
from imu_video.shards.building.build import BuildConfig, already_built, build
from imu_video.shards.left_out import read_dropped
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.index import load_index
from imu_video.shards.reading.pipeline import read_samples
from imu_video.shards.reading.verify import verify

pytestmark = pytest.mark.usefixtures("tiny_plugin")


def config(**changes: Any) -> BuildConfig:
    raw: dict[str, Any] = {
        "dataset": {"name": "tiny_people"},
        "window": {"seconds": 1.0, "rate_hz": 20, "clip_fps": 5, "clip_size": 16, "skeleton_fps": 10},
        "splits": {"subjects": {"train": ["p0", "p1"], "val": ["p3"], "test": ["p2"]}},
        "shard_samples": 8,
    }
    return BuildConfig.model_validate({**raw, **changes})


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def built(tiny_plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build") / "data"
    build(config(), folder)
    return folder


def test_a_script_that_builds_sees_no_output(
    tiny_plugin: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    build(config(), tmp_path / "alone")
    build(config(), tmp_path / "two", workers=2, plugins=[tiny_plugin])
    assert capfd.readouterr() == ("", "")


def test_the_folder_holds_what_the_people_did(built: Path) -> None:
    index = load_index(built)
    assert verify(index).problems == []
    assert {name: split.samples for name, split in index.splits.items()} == {"train": 14, "val": 7, "test": 7}
    assert {name: split.subjects for name, split in index.splits.items()} == {
        "train": ("p0", "p1"),
        "val": ("p3",),
        "test": ("p2",),
    }
    assert [len(s.keys) for s in index.split("train").shards] == [8, 6]
    assert index.placements == ("right_wrist", "waist")
    assert index.labels == ("sit", "walk")
    assert index.tags == {"camera": ("front", "side")}
    assert index.channels == ("acc_x", "acc_y", "acc_z", "gyr_x", "gyr_y", "gyr_z")
    assert index.units["acc_y"] == "m/s^2"
    assert index.units["gyr_z"] == "rad/s"
    assert (index.rate_hz, index.window_s, index.samples_per_window) == (20, 1, 20)
    assert (index.licence, index.citation, index.url) == ("CC0-1.0", "Nobody, 2024", "https://example.org")
    assert "video" in index.streams
    assert index.streams["video"].model_dump() == {"fps": 5, "frames": 5, "height": 16, "width": 16}
    assert "skeleton" in index.streams
    assert index.streams["skeleton"].model_dump() == {"fps": 10, "frames": 10, "joints": ("head", "hip")}
    facts = index.build
    assert (facts.recordings, facts.windows, facts.dropped, facts.empty_recordings) == (8, 28, {}, 0)
    assert facts.without == {"clip": 7}
    assert facts.unused_subjects == ()
    assert facts.config["dataset"] == {"name": "tiny_people", "people": 4, "fault": "none", "cameras": False, "seed": 0}


def test_samples_carry_the_paired_clip_and_the_devices_that_measured(built: Path) -> None:
    index = load_index(built)
    samples = {s.key: s for s in read_samples(index, "train")}
    assert list(samples)[:5] == [f"tiny_people-walk_p0-{i:05d}" for i in range(4)] + ["tiny_people-sit_p0-00000"]
    third = samples["tiny_people-walk_p0-00002"]
    assert "video" in third.streams
    # 2.0 s .. 3.0 s at 5 frames a second are frames 20, 22, 24, 26, 28 of the video: grey 100, 110 ...
    np.testing.assert_allclose(
        decode_mp4(third.streams["video"]).mean(axis=(1, 2, 3)), [100, 110, 120, 130, 140], atol=2
    )
    assert third.meta["start"] == 2.0
    assert third.meta["label"] == "walk"
    assert sorted(samples["tiny_people-sit_p0-00000"].imu) == ["right_wrist", "waist"]
    assert sorted(samples["tiny_people-sit_p0-00001"].imu) == ["waist"]


def test_columns_are_there_before_anybody_asks(built: Path) -> None:
    assert sorted(p.name for p in (built / "columns").iterdir()) == ["test", "train", "val"]
    columns = open_columns(load_index(built), "train")
    assert columns.present.sum(axis=0).tolist() == [10, 14]
    assert len(set(columns.recording_id.tolist())) == 4


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_changes_no_byte(built: Path, tiny_plugin: Path, tmp_path: Path, workers: int) -> None:
    build(config(), tmp_path / "data", workers=workers, plugins=[tiny_plugin])
    assert tree(tmp_path / "data") == tree(built)
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_the_same_config_is_not_built_twice(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(built)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(build_module, "plan", refuse)
    assert build(config(), built) == load_index(built)
    # A default written out is the same config.
    again = config(dataset={"name": "tiny_people", "people": 4}, shard_samples=8)
    assert already_built(again, built) is not None
    assert tree(built) == before


def test_another_config_needs_force(built: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    build(config(), folder)
    other = config(shard_samples=4)
    with pytest.raises(ConfigError, match=r"was built from another config(.|\n)*--force"):
        build(other, folder)
    assert tree(folder) == tree(built)
    index = build(other, folder, force=True)
    assert len(index.split("train").shards) == 4
    assert load_index(folder) == index
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_folders_that_are_not_ours_are_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    for force in (False, True):
        with pytest.raises(ConfigError, match="exists and is not a data folder"):
            build(config(), tmp_path / "thesis", force=force)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="exists and is not a data folder"):
        build(config(), tmp_path / "file", force=True)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    assert build(config(), tmp_path / "empty").split("val").samples == 7


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dataset": {"name": "tiny_people", "fault": "other_subject"}}, LeakageError, "for subject 'p1'"),
        ({"dataset": {"name": "tiny_people", "fault": "same_name"}}, ShardError, "names are unique"),
        (
            {"dataset": {"name": "tiny_people", "fault": "same_name"}, "shard_samples": 7},
            LeakageError,
            "'(walk|sit)' is used by two subjects",
        ),
        ({"dataset": {"name": "tiny_people", "fault": "joints"}}, RecordingError, "skeleton is"),
        ({"splits": {"subjects": {"train": ["p0", "p1"], "val": ["p1"]}}}, LeakageError, "subject 'p1' is in split"),
        ({"splits": {"subjects": {"train": ["p9"]}}}, ConfigError, "no subject 'p9'"),
        ({"window": {"seconds": 9.0, "rate_hz": 20}}, ShardError, "4 of 4 recordings so far are shorter"),
        ({"dataset": {"name": "tiny_persons"}}, ConfigError, "did you mean 'tiny_people'"),
        ({"dataset": {"name": "tiny_people", "poeple": 3}}, ConfigError, "did you mean 'people'"),
        ({"dataset": {"name": "tiny_people", "people": "many"}}, ConfigError, "argument 'people'"),
    ],
)
def test_failures_leave_nothing_behind(
    tmp_path: Path, changes: dict[str, Any], error: type[ImuVideoError], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(config(**changes), tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_crash_keeps_the_folder_that_was_there(built: Path, tiny_plugin: Path, tmp_path: Path) -> None:
    build(config(), tmp_path / "data")
    crashing = config(dataset={"name": "tiny_people", "fault": "crash"})
    for workers in (1, 2):
        with pytest.raises(RuntimeError, match="sensor on fire"):
            build(crashing, tmp_path / "data", force=True, workers=workers, plugins=[tiny_plugin])
        assert [p.name for p in tmp_path.iterdir()] == ["data"]
    assert tree(tmp_path / "data") == tree(built)


def test_errors_of_a_worker_keep_type_and_hint(tiny_plugin: Path, tmp_path: Path) -> None:
    bad = config(dataset={"name": "tiny_people", "fault": "other_subject"})
    with pytest.raises(LeakageError, match="for subject") as caught:
        build(bad, tmp_path / "data", workers=2, plugins=[tiny_plugin])
    assert caught.value.hint == "recordings(subjects) of the dataset must yield the given subjects only"
    with pytest.raises(ConfigError, match="unknown dataset 'tiny_people'"):  # the workers do not know the plugin
        build(config(), tmp_path / "data", workers=2)
    assert list(tmp_path.iterdir()) == []


def test_windows_without_a_device_are_dropped_and_counted(tmp_path: Path) -> None:
    index = build(config(dataset={"name": "tiny_people", "fault": "lost"}), tmp_path / "data")
    assert index.split("train").samples == 7
    assert index.split("train").subjects == ("p0",)
    assert index.build.dropped == {"no device measured enough": 7}
    assert read_dropped(tmp_path / "data") == {
        "sit_p1": {"no device measured enough": [0.0, 1.0, 2.0]},
        "walk_p1": {"no device measured enough": [0.0, 1.0, 2.0, 3.0]},
    }
    assert index.build.windows == 28
    assert index.build.unused_subjects == ("p1",)
    assert verify(index).problems == []


def test_short_recordings_are_counted_not_hidden(tmp_path: Path) -> None:
    index = build(config(window={"seconds": 4.0, "rate_hz": 20}), tmp_path / "data")
    assert (index.build.recordings, index.build.empty_recordings) == (8, 4)
    assert "video" not in index.streams
    assert "skeleton" not in index.streams
    assert index.build.without == {"clip": 4, "skeleton": 4}


def test_the_seed_reaches_the_dataset_unless_it_has_its_own(built: Path, tmp_path: Path) -> None:
    assert config(seed=3).resolved()["dataset"]["seed"] == 3
    assert config(seed=3, dataset={"name": "tiny_people", "seed": 0}).resolved()["dataset"]["seed"] == 0
    other = build(config(seed=3), tmp_path / "data")
    assert other.digest != load_index(built).digest


def test_progress_counts_people(tmp_path: Path, logged: Any) -> None:
    build(config(), tmp_path / "data")
    assert logged.progress == [
        (1, 4, "train: p0, 7 windows"),
        (2, 4, "train: p1, 7 windows"),
        (3, 4, "val: p3, 7 windows"),
        (4, 4, "test: p2, 7 windows"),
    ]


def test_overlap_is_refused_whoever_made_the_splits() -> None:
    refuse_overlap({"train": ["a", "b"], "test": ["c"]})
    with pytest.raises(LeakageError, match="subject 'b' is in split 'train' and in split 'test'"):
        refuse_overlap({"train": ["a", "b"], "test": ["b"]})


def test_workers_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        build(config(), tmp_path / "data", workers=0)


def test_the_example_of_the_documentation_is_valid(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "guides" / "shards.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "build.yaml").write_text(example)
    loaded = load_config(tmp_path / "build.yaml", BuildConfig)
    assert loaded.dataset["name"] == "folder"
    assert loaded.window.samples == 200
    assert loaded.splits.names == ("train", "val", "test")


def test_a_path_that_the_system_refuses_is_named(tmp_path: Path) -> None:
    config = BuildConfig.model_validate({"dataset": {"name": "folder", "root": "x" * 5000}})
    with pytest.raises(ConfigError, match=r"dataset 'folder': xxx.*: File name too long") as refused:
        build(config, tmp_path / "out")
    assert len(refused.value.message) < 500
    assert "dataset.root" in str(refused.value.hint)
