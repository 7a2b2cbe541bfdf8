"""Ego-Exo4D with made-up glasses: takes, device time, lost frames, published lists, damaged files."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.datasets.egoexo4d import EgoExo4d
from imu_video.errors import ConfigError, RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.egoexo4d(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def glasses(trees: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imu_video.datasets.egoexo4d.aria_provider", trees.FakeAria)


def test_takes_with_a_vrs_file(tree: Path) -> None:
    source = EgoExo4d(root=str(tree))
    assert source.subjects() == ["p3", "p657"], "the third take has no VRS file here"
    assert source.labels == ("Bike Repair",)
    recording = next(source.recordings(["p657"]))
    assert (recording.name, recording.tags["university"]) == ("cmu_bike01_2", "cmu")
    assert [s.label for s in recording.segments] == ["Bike Repair"]
    by_task = EgoExo4d(root=str(tree), label="task_name")
    assert by_task.labels == ("Remove a Wheel",)


def test_video_and_imu_are_on_the_glasses_clock(tree: Path) -> None:
    """The take's rows 4 .. 43 of timesync.csv: frame 0 at 100 s + 4/30 of device time, which becomes 0."""
    recording = next(EgoExo4d(root=str(tree)).recordings(["p657"]))
    assert "video" in recording.streams
    times = recording.streams["video"].times
    assert len(times) == 40
    assert times == pytest.approx(np.arange(40) / 30, abs=1e-6), "the frame without a stamp lies between its neighbours"
    device = recording.imu[0].times
    assert device[0] == pytest.approx(0.0, abs=2e-3)
    assert device[-1] == pytest.approx(39 / 30, abs=2e-3)
    assert 1 / np.median(np.diff(device)) == pytest.approx(1000, rel=0.01)
    assert recording.tags["clock"] == "repaired, 2 samples", "two that the glasses marked as invalid"
    assert np.isnan(recording.imu[0].values[0]).sum() == 2
    left = next(EgoExo4d(root=str(tree), imu="left", video=False).recordings(["p657"]))
    assert 1 / np.median(np.diff(left.imu[0].times)) == pytest.approx(800, rel=0.01)
    assert "video" not in left.streams


def test_published_lists(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "lists").mkdir()
    for split, name in (("train", "cmu_bike01_2"), ("val", "cmu_bike01_3"), ("test", "cmu_bike01_9")):
        (tree / f"lists/{split}.txt").write_text(f"{name}\tCycling\n")
    lists = str(tree / "lists")
    with pytest.raises(RecordingError, match=r"train\.txt: 1 entries, expected 3495"):
        EgoExo4d(root=str(tree), lists=lists)
    monkeypatch.setattr("imu_video.datasets.egoexo4d.COMODO", {"train": 1, "val": 1, "test": 1})
    source = EgoExo4d(root=str(tree), lists=lists, split="val")
    assert source.subjects() == ["p3"]
    recording = next(source.recordings())
    assert (recording.tags["split"], recording.segments[0].label) == ("val", "Cycling")


def test_damaged_files(tree: Path, trees: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "imu_video.datasets.egoexo4d.aria_provider"
    monkeypatch.setattr(module, lambda: trees.FakeAria(labels=()))
    with pytest.raises(RecordingError, match="has no stream 'imu-right'"):
        next(EgoExo4d(root=str(tree)).recordings())
    monkeypatch.setattr(module, lambda: trees.FakeAria(start=500.0))
    with pytest.raises(RecordingError, match="no samples between"):
        next(EgoExo4d(root=str(tree)).recordings())
    (tree / "takes/cmu_bike01_3/aria01_noimagestreams.vrs").write_bytes(b"damaged")
    with pytest.raises(RecordingError, match="projectaria-tools cannot open it"):
        next(EgoExo4d(root=str(tree)).recordings())
    (tree / "captures/cmu_bike01/timesync.csv").write_text(",aria02_214-1_capture_timestamp_ns\n0,1\n")
    with pytest.raises(RecordingError, match="no column 'aria01_214-1_capture_timestamp_ns'"):
        next(EgoExo4d(root=str(tree)).recordings())
    (tree / "takes.json").write_text('[{"take_name": "x"}]')
    with pytest.raises(RecordingError, match="a take without a usable 'participant_uid'"):
        EgoExo4d(root=str(tree))
    (tree / "takes.json").write_text("{}")
    with pytest.raises(RecordingError, match="expected a list of takes"):
        EgoExo4d(root=str(tree))


def test_without_the_package_the_extra_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "projectaria_tools", None)
    with pytest.raises(ConfigError, match=r"(?s)needs the package projectaria-tools.*imu-video\[aria\]"):
        next(EgoExo4d(root=str(tree)).recordings())


def test_the_package_has_what_is_used_of_it() -> None:
    """The made-up glasses stand in for these names; no VRS file is at hand to read."""
    pytest.importorskip("projectaria_tools", reason="the extra aria is not installed")
    from projectaria_tools.core import data_provider, sensor_data

    for name in ("get_stream_id_from_label", "get_num_data", "get_imu_data_by_index"):
        assert hasattr(data_provider.VrsDataProvider, name)
    for name in ("capture_timestamp_ns", "accel_msec2", "gyro_radsec", "accel_valid", "gyro_valid"):
        assert hasattr(sensor_data.MotionData, name)
    assert data_provider.create_vrs_data_provider("/no/such/file.vrs") is None
