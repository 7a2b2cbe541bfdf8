"""WEAR: visits of one person, video, labels, damaged files; units are in test_layout.py."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from imu_video.datasets.wear import Wear
from imu_video.errors import RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.wear(tmp_path)
    return tmp_path


def test_visits_of_one_person_are_one_person(tree: Path) -> None:
    source = Wear(root=str(tree))
    assert source.subjects() == ["s00", "s01"]
    assert [(r.name, r.subject, r.session) for r in source.recordings()] == [
        ("sbj_0", "s00", "1"),
        ("sbj_18", "s00", "2"),
        ("sbj_1", "s01", "1"),
    ]


def test_labels_and_video(tree: Path) -> None:
    recording = next(Wear(root=str(tree)).recordings())
    assert [(s.label, round(s.start, 2), round(s.end, 2)) for s in recording.segments] == [
        ("jogging", 1.0, 2.0),
        ("push-ups (complex)", 2.2, 3.2),
    ]
    assert all(s.channels == ("acc_x", "acc_y", "acc_z") for s in recording.imu)
    assert "video" in recording.streams
    assert recording.streams["video"].read([3]).shape == (1, 32, 32, 3)
    assert next(Wear(root=str(tree), video=False).recordings()).streams == {}


def test_a_watch_that_was_lost_is_left_out(tree: Path) -> None:
    path = tree / "raw/inertial/50hz/sbj_1.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *(",".join([(f := line.split(","))[0], "", "", "", *f[4:]]) for line in lines)]))
    (recording,) = Wear(root=str(tree)).recordings(["s01"])
    assert [s.placement for s in recording.imu] == ["right_ankle", "left_ankle", "left_wrist"]


def test_empty_rows_keep_their_place_in_time(tree: Path) -> None:
    path = tree / "raw/inertial/50hz/sbj_1.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *("1" + 13 * "," if 20 <= k < 30 else line for k, line in enumerate(lines))]))
    (recording,) = Wear(root=str(tree)).recordings(["s01"])
    assert recording.imu[0].times[-1] == pytest.approx(159 / 50)
    assert recording.segments[0].start == pytest.approx(1.0)


def test_damaged_files(tree: Path) -> None:
    path = tree / "raw/inertial/50hz/sbj_1.csv"
    whole = path.read_text()
    path.write_text(whole.replace("jogging", "joging", 1))
    with pytest.raises(RecordingError, match=r"sbj_1\.csv, line 52: label 'joging'"):
        list(Wear(root=str(tree)).recordings(["s01"]))
    path.write_text(whole.replace("0.97", "nought", 1))
    with pytest.raises(RecordingError, match=r"sbj_1\.csv, line 2: .* expected a number"):
        list(Wear(root=str(tree)).recordings(["s01"]))
