"""WISDM 51: bouts, damaged lines, the layout of the full set; units are in test_layout.py."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.datasets.wisdm51_watch import Wisdm51Watch
from imu_video.errors import RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.wisdm51_watch(tmp_path)
    return tmp_path


def test_a_recording_per_bout(tree: Path) -> None:
    """No window crosses a change of activity, and two bouts of one activity are not one."""
    source = Wisdm51Watch(root=str(tree))
    assert source.subjects() == ["1600", "1637"]
    found = list(source.recordings(["1637"]))
    assert [(r.name, r.segments[0].label, r.imu[0].values.shape) for r in found] == [
        ("1637-A-1", "walking", (3, 80)),
        ("1637-B-1", "jogging", (3, 40)),
        ("1637-A-2", "walking", (3, 40)),
        ("1637-M-1", "kicking", (3, 40)),
    ]
    np.testing.assert_allclose(np.diff(found[0].imu[0].times), 1 / 20)


def test_lines_that_are_not_as_documented(tree: Path, trees: ModuleType) -> None:
    path = tree / "data_1600_accel_watch.txt"
    whole = path.read_text()
    path.write_text(whole.replace("1600,B,", "1600,N,", 1))
    with pytest.raises(RecordingError, match=r"line 81: activity 'N', expected one of A, B, C, D, E, M"):
        list(Wisdm51Watch(root=str(tree)).recordings())
    path.write_text(whole.replace("1600,B,", "1601,B,", 1))
    with pytest.raises(RecordingError, match=r"line 81: subject '1601', expected 1600"):
        list(Wisdm51Watch(root=str(tree)).recordings())
    trees.text(path, [("1600", "A", 10**15, 0.1, 9.8, 0.2)] * 40, end=";")
    with pytest.raises(RecordingError, match=r"data_1600_accel_watch\.txt"):
        list(Wisdm51Watch(root=str(tree)).recordings())


def test_one_bout_may_be_vigorous_but_not_the_subject(tree: Path, trees: ModuleType) -> None:
    """Subject 1637 of the original jogs at a median of 2.1 g."""
    still, jogging = (0.1, 9.8, 0.2), (0.1, 21.0, 0.2)
    path = tree / "data_1600_accel_watch.txt"
    trees.text(path, [("1600", a, *v) for a, v in (("A", still), ("B", jogging), ("D", still)) for _ in range(40)])
    assert len(list(Wisdm51Watch(root=str(tree)).recordings(["1600"]))) == 3
    trees.text(path, [("1600", "B", *jogging)] * 40, end=";")
    with pytest.raises(RecordingError, match=r"2\.14 g when read as m/s\^2"):
        list(Wisdm51Watch(root=str(tree)).recordings(["1600"]))
