"""DSADS: segments put together again, gaps, damaged files; units are in test_layout.py."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from imu_video.datasets.dsads import Dsads
from imu_video.errors import RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.dsads(tmp_path)
    return tmp_path


def test_segments_are_put_together_and_a_missing_one_is_a_gap(tree: Path) -> None:
    source = Dsads(root=str(tree))
    assert source.subjects() == ["p1", "p2"]
    first, second = source.recordings(["p1"])
    assert (first.name, second.name) == ("p1-a01", "p1-a12")
    assert (first.segments[0].label, second.segments[0].label) == ("sitting", "running_on_treadmill")
    times = first.imu[0].times
    assert len(times) == 3 * 125
    assert times[250] - times[249] == pytest.approx(5 + 1 / 25), "s03 is not there"
    assert [s.placement for s in first.imu] == ["chest", "right_wrist", "left_wrist", "right_knee", "left_knee"]


def test_damaged_files(tree: Path) -> None:
    path = tree / "data/a01/p1/s02.txt"
    whole = path.read_text()
    path.write_text("\n".join(whole.splitlines()[:60]))
    with pytest.raises(RecordingError, match=r"s02\.txt: 60 rows, expected 125"):
        next(Dsads(root=str(tree)).recordings())
    path.write_text(whole.replace(",", ";", 44))
    with pytest.raises(RecordingError, match=r"s02\.txt, line 1: .* expected 45 finite numbers"):
        next(Dsads(root=str(tree)).recordings())
    (tree / "data/a20/p1").mkdir(parents=True)
    (tree / "data/a20/p1/s01.txt").write_text(whole)
    with pytest.raises(RecordingError, match=r"activity 20, expected 1 .. 19"):
        Dsads(root=str(tree))
