"""What all adapters of published layouts promise, on their made-up trees; and the parts that they share."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.cli.listing import facts_of
from imu_video.config import load_config
from imu_video.datasets.layout import (
    Device,
    Layout,
    TimedVideo,
    Track,
    files_like,
    read_json,
    segments_of,
    stream,
    streams_of,
)
from imu_video.errors import ConfigError, RecordingError
from imu_video.recordings.windows import WindowConfig, cut
from imu_video.registry import datasets
from imu_video.shards.building.build import BuildConfig, build

LAYOUTS = [name for name in datasets.names() if issubclass(datasets.get(name), Layout)]


@pytest.fixture(autouse=True)
def _no_glasses(trees: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imu_video.datasets.egoexo4d.aria_provider", trees.FakeAria)


def test_every_layout_has_a_tree(trees: ModuleType) -> None:
    assert sorted(trees.TREES) == LAYOUTS


@pytest.mark.parametrize("name", LAYOUTS)
def test_devices_measure_what_their_files_say(name: str, trees: ModuleType, tmp_path: Path) -> None:
    """Columns, units, signs and placements, one by one: device i lies as `trees.acc(i)` says."""
    source = datasets.build({"name": name, "root": str(tmp_path), **trees.TREES[name](tmp_path)})
    found = set()
    for recording in source.recordings():
        for device in recording.imu:
            found.add(device.placement)
            i = source.placements.index(device.placement)
            expected = dict(zip(("acc_x", "acc_y", "acc_z"), trees.acc(i) * trees.G, strict=True))
            expected |= dict(zip(("gyr_x", "gyr_y", "gyr_z"), trees.gyr(i), strict=True))
            for channel, values in zip(device.channels, device.values, strict=True):
                measured = values[np.isfinite(values)]
                assert len(measured) > 30
                np.testing.assert_allclose(measured, expected[channel], atol=2e-3, err_msg=f"{name}, {channel}")
    assert found == set(source.placements), "a placement of the set is in no recording"


@pytest.mark.parametrize("name", LAYOUTS)
def test_recordings_become_windows(name: str, trees: ModuleType, tmp_path: Path) -> None:
    source = datasets.build({"name": name, "root": str(tmp_path), **trees.TREES[name](tmp_path)})
    recording = next(source.recordings())
    window = next(cut(recording, WindowConfig(seconds=1.0, rate_hz=20)))
    assert set(window.imu) <= {device.placement for device in recording.imu}
    for values in window.imu.values():
        assert values.shape == (6, 20)
        assert np.isfinite(values[:3]).mean() > 0.9


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_shipped_config_builds_shards(name: str, trees: ModuleType, tmp_path: Path) -> None:
    """The config as it is, with shorter windows and everybody of the little tree in one split."""
    (tmp_path / "tree").mkdir()
    arguments = trees.TREES[name](tmp_path / "tree")
    config = load_config(f"configs/data/{name}.yaml", BuildConfig).model_dump()
    config["dataset"] |= {"root": str(tmp_path / "tree"), **arguments}
    config["window"] |= {"seconds": 1.0, "clip_size": 32}
    if config["window"]["mode"] == "sliding":
        config["window"]["stride_s"] = 1.0
    config["splits"] = {"fractions": {"test": 1.0}}
    index = build(BuildConfig.model_validate(config), tmp_path / "data")
    assert index.dataset == name
    assert index.licence == datasets.get(name).licence
    assert set(index.placements) <= set(datasets.get(name).placements)
    assert (index.streams.get("video") is not None) == ("video" in facts_of(datasets, name).streams)
    assert index.split("test").samples > 0
    assert not index.build.dropped or index.build.windows > sum(index.build.dropped.values())


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_without_the_files_says_what_is_missing(name: str, trees: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=f"{name}: no folder") as caught:
        datasets.build({"name": name, "root": str(tmp_path / "nowhere")})
    assert datasets.get(name).url in str(caught.value), "the hint says how to obtain the set"
    with pytest.raises(RecordingError, match=r"no files|No such file"):
        datasets.build({"name": name, "root": str(tmp_path)})
    source = datasets.build({"name": name, "root": str(tmp_path), **trees.TREES[name](tmp_path)})
    with pytest.raises(ConfigError, match="has no subject 'nobody'"):
        next(source.recordings(["nobody"]))


def test_files_are_found_at_any_depth_and_hidden_ones_are_not(tmp_path: Path) -> None:
    for name in ("a/Protocol/x1.dat", "Protocol/X2.dat", "__MACOSX/Protocol/x3.dat", "Protocol/.x4.dat", "x5.dat"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [match[1] for _, match in files_like(tmp_path, r"protocol/x(\d)\.dat")] == ["2", "1"]
    assert [match[1] for _, match in files_like(tmp_path / "Protocol", r"protocol/x(\d)\.dat")] == ["2"]


def test_sensors_with_clocks_of_their_own_are_joined() -> None:
    one = Track(times=np.array([0.0, 1.0]), values=np.ones((3, 2)), unit="g")
    two = Track(times=np.array([0.5, 1.0]), values=np.ones((3, 2)), unit="deg/s")
    device = stream("head", acc=one, gyr=two, source="f")
    assert device.times.tolist() == [0.0, 0.5, 1.0]
    assert np.isnan(device.values).tolist() == [[False, True, False]] * 3 + [[True, False, False]] * 3
    assert stream("head", acc=None, gyr=two, source="f").channels == ("gyr_x", "gyr_y", "gyr_z")
    with pytest.raises(RecordingError, match="no sensor, expected acceleration or angular rate"):
        stream("head", acc=None, source="f")
    with pytest.raises(RecordingError, match="times of acc do not increase"):
        stream("head", acc=Track(times=np.zeros(2), values=np.ones((3, 2)), unit="g"), source="f")
    with pytest.raises(RecordingError, match=r"(?s)f, head: median acceleration is .*does not determine the unit"):
        stream("head", acc=Track(times=np.arange(2.0), values=np.ones((3, 2)), unit="m/s^2"), source="f")


def test_devices_that_measured_nothing_are_left_out() -> None:
    table = np.concatenate([np.full((10, 3), np.nan), np.ones((10, 3))], axis=1)
    devices = [Device(placement="chest", acc=0, acc_unit="g"), Device(placement="wrist", acc=3, acc_unit="g")]
    assert [d.placement for d in streams_of(table, np.arange(10.0), devices, source="f")] == ["wrist"]
    with pytest.raises(RecordingError, match="f: no device has any value"):
        streams_of(table, np.arange(10.0), devices[:1], source="f")


def test_labels_end_at_gaps_and_unknown_codes_are_refused() -> None:
    times = np.concatenate([np.arange(5) / 10, 60 + np.arange(5) / 10])
    codes = np.array([1.0, 1, 1, 2, 2, 2, 2, 0, np.nan, 1])
    found = segments_of(times, codes, {1: "a", 2: "b"}, source="f")
    assert [(s.label, round(s.start, 1), round(s.end, 1)) for s in found] == [
        ("a", 0.0, 0.3),
        ("b", 0.3, 0.5),
        ("b", 60.0, 60.2),
        ("a", 60.4, 60.5),
    ]
    with pytest.raises(RecordingError, match=r"f, row 2: label 9, expected one of \[0, 1\]"):
        segments_of(times, np.array([1] + [9] * 9), {1: "a"}, source="f")


def test_frames_at_given_times(trees: ModuleType, tmp_path: Path) -> None:
    trees.clip(tmp_path / "v.mp4", frames=20)
    video = TimedVideo(tmp_path / "v.mp4", np.arange(30) / 7)
    assert len(video.times) == 20, "times beyond the last frame are not used"
    assert video.times[3] == pytest.approx(3 / 7)
    assert abs(int(video.read([3])[0, 16, 16, 0]) - 30) < 8
    with pytest.raises(RecordingError, match="do not increase"):
        TimedVideo(tmp_path / "v.mp4", np.zeros(3))


def test_broken_json(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"No such file or directory\n  try: obtain it"):
        read_json(tmp_path / "x.json", hint="obtain it")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(RecordingError, match="not readable as JSON"):
        read_json(tmp_path / "x.json", hint="obtain it")
