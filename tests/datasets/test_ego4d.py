"""Ego4D: people, faults of clock and accelerometer, offsets, published lists, damaged files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.datasets.ego4d import Ego4d
from imu_video.errors import ConfigError, LeakageError, RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.ego4d(tmp_path)
    return tmp_path


def rewrite(tree: Path, uid: str, change: Callable[[list[list[str]]], list[list[str]]]) -> None:
    """Change the rows of an IMU file."""
    path = tree / f"v2/imu/{uid}.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *map(",".join, change([line.split(",") for line in lines]))]))


def test_people_and_scenarios(tree: Path, trees: ModuleType) -> None:
    source = Ego4d(root=str(tree))
    assert source.subjects() == ["p7", "unknown-o1"], "who is not known is nobody else"
    first, second = source.recordings()
    assert [s.label for s in first.segments] == ["Cooking"]
    assert second.segments == (), "two scenarios are no label"
    assert (first.name, first.tags["device"]) == (trees.UIDS[0], "GoPro Hero 7")
    assert "video" in first.streams
    assert "video" not in second.streams
    assert next(Ego4d(root=str(tree), videos=None).recordings()).streams == {}


def test_an_offset_that_was_measured_moves_the_video(tree: Path, trees: ModuleType) -> None:
    recording = next(Ego4d(root=str(tree), offsets_s={trees.UIDS[0]: 0.75}).recordings())
    assert "video" in recording.streams
    assert recording.streams["video"].times[0] == pytest.approx(0.75)
    assert recording.tags["sync"] == "offset given"
    assert next(Ego4d(root=str(tree)).recordings()).tags["sync"] == "as distributed"
    with pytest.raises(ConfigError, match="offsets_s names 'x', which has no IMU file"):
        Ego4d(root=str(tree), offsets_s={"x": 1.0})


def test_clock_faults_are_repaired_and_told(tree: Path, trees: ModuleType) -> None:
    def change(rows: list[list[str]]) -> list[list[str]]:
        for row in rows[:10]:
            row[2] = ""  # trimmed from the canonical video
        rows[50], rows[51] = rows[51], rows[50]
        return [*rows, rows[-1]]

    rewrite(tree, trees.UIDS[0], change)
    recording = next(Ego4d(root=str(tree)).recordings())
    assert recording.tags["clock"] == "repaired, 12 samples"
    assert recording.imu[0].times[0] == pytest.approx(0.05)
    assert len(recording.imu[0].times) == 590


def test_sensors_that_alternate(tree: Path, trees: ModuleType) -> None:
    rewrite(tree, trees.UIDS[0], lambda rows: [r if i % 2 else [*r[:6], "", "", ""] for i, r in enumerate(rows)])
    device = next(Ego4d(root=str(tree)).recordings()).imu[0]
    assert np.isfinite(device.values[0]).sum() == 300
    assert np.isfinite(device.values[3]).sum() == 600


def test_accelerometers_that_cannot_be_believed_are_left_out_and_told(tree: Path, trees: ModuleType) -> None:
    """As in the sample that the set's own documentation shows: z repeats y."""
    rewrite(tree, trees.UIDS[0], lambda rows: [[*r[:8], r[7]] for r in rows])
    recording = next(Ego4d(root=str(tree)).recordings())
    assert recording.tags["acc"] == "left out: two axes repeat each other"
    assert recording.imu[0].channels == ("gyr_x", "gyr_y", "gyr_z")
    rewrite(tree, trees.UIDS[0], lambda rows: [[*r[:6], "0.1", "0.2", "0.3"] for r in rows])
    assert next(Ego4d(root=str(tree)).recordings()).tags["acc"] == "left out: no gravity"


def test_published_lists(
    tree: Path, trees: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tree / "lists").mkdir()
    for split, uid in zip(("train", "val", "test"), trees.UIDS, strict=False):
        (tree / f"lists/{split}.txt").write_text(f"{uid}\tBaking\n")
    lists = str(tree / "lists")
    with pytest.raises(RecordingError, match=r"train\.txt: 1 entries, expected 1110"):
        Ego4d(root=str(tree), lists=lists)
    monkeypatch.setattr("imu_video.datasets.ego4d.COMODO", {"train": 1, "val": 1, "test": 1})
    found = list(Ego4d(root=str(tree), lists=lists).recordings())
    assert [(r.segments[0].label, r.tags["split"]) for r in found] == [("Baking", "train"), ("Baking", "val")]
    absent = f"ego4d: 1 of 3 listed recordings have no files, the first: {trees.UIDS[2]}"
    assert caplog.messages == [absent]
    assert [r.tags["split"] for r in Ego4d(root=str(tree), lists=lists, split="val").recordings()] == ["val"]
    assert caplog.messages == [absent], "the part that is read is complete"
    (tree / "lists/test.txt").write_text(f"{trees.UIDS[0]}\tBaking\n")
    with pytest.raises(LeakageError, match=r"test\.txt, line 1: .* is already in train"):
        Ego4d(root=str(tree), lists=lists)
    (tree / "lists/test.txt").write_text("no tab\n")
    with pytest.raises(RecordingError, match=r"test\.txt, line 1: 'no tab' is not an entry"):
        Ego4d(root=str(tree), lists=lists)
    (tree / "lists/test.txt").unlink()
    with pytest.raises(RecordingError, match=r"(?s)no list .*test\.txt.*obtain the COMODO lists"):
        Ego4d(root=str(tree), lists=lists)


def test_damaged_files(tree: Path, trees: ModuleType) -> None:
    path = tree / f"v2/imu/{trees.UIDS[0]}.csv"
    whole = path.read_text()
    path.write_text(whole.replace("gyro_y", "gyroY"))
    with pytest.raises(RecordingError, match="no column 'gyro_y'"):
        next(Ego4d(root=str(tree)).recordings())
    rewritten = whole.splitlines()
    path.write_text("\n".join([*rewritten[:3], rewritten[3].replace("0.3", "0.3x", 1), *rewritten[4:]]))
    with pytest.raises(RecordingError, match=r"\.csv, line 4: .* expected a number"):
        next(Ego4d(root=str(tree)).recordings())
    (tree / "ego4d.json").write_text("{}")
    with pytest.raises(RecordingError, match="no list 'videos'"):
        Ego4d(root=str(tree))
    (tree / "ego4d.json").write_text('{"videos": []}')
    with pytest.raises(RecordingError, match=r"ego4d\.json has no video"):
        Ego4d(root=str(tree))
    (tree / "ego4d.json").unlink()
    with pytest.raises(RecordingError, match=r"(?si)ego4d\.json: no such file.*contains the subjects"):
        Ego4d(root=str(tree))
