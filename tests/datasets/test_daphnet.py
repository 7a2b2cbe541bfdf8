"""Daphnet on a made-up tree with the original's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imu_video.datasets.daphnet import Daphnet
from imu_video.errors import ConfigError, RecordingError
from imu_video.registry import datasets
from imu_video.testing import check_dataset
from imu_video.types import GRAVITY


def rows(count: int) -> list[list[int]]:
    """Whole milliseconds cut from 64 Hz, about 1000 mg on the vertical axis, annotations 0 1 1 2 1 by quarters."""
    stamps = np.floor(15 + np.arange(count) * 1000 / 64).astype(int)
    annotation = np.repeat([0, 1, 2, 1], count // 4)
    return [[int(t), 10, 1000, -5, 20, 990, 0, 5, 1005, 30, int(a)] for t, a in zip(stamps, annotation, strict=True)]


def write(path: Path, table: list[list[int]]) -> None:
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in table))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    folder.mkdir()
    for name in ("S02R01", "S01R02", "S01R01"):
        write(folder / f"{name}.txt", rows(320))
    return tmp_path


def test_made_up_tree(tree: Path) -> None:
    check_dataset({"name": "daphnet", "root": str(tree)})
    source = datasets.build({"name": "daphnet", "root": str(tree)})
    assert source.subjects() == ["S01", "S02"]
    recordings = list(source.recordings())
    assert [r.name for r in recordings] == ["S01R01", "S01R02", "S02R01"]
    first = recordings[0]
    assert [s.placement for s in first.imu] == ["ankle", "thigh", "trunk"]
    assert first.imu[0].channels == ("acc_x", "acc_y", "acc_z")
    np.testing.assert_allclose(np.diff(first.imu[0].times), 1 / 64, atol=1e-12)
    np.testing.assert_allclose(first.imu[1].values[:, 7], np.array([20, 990, 0]) * GRAVITY / 1000)
    assert [(s.label, round((s.start - 0.015) * 64), round((s.end - 0.015) * 64)) for s in first.segments] == [
        ("no_freeze", 80, 160),
        ("freeze", 160, 240),
        ("no_freeze", 240, 320),
    ]
    assert first.tags == {"population": "parkinson"}
    assert [r.name for r in Daphnet(root=str(tree / "dataset")).recordings(["S02"])] == ["S02R01"]


def test_a_gap_is_kept(tree: Path) -> None:
    table = rows(320)
    for row in table[100:]:
        row[0] += 500
    write(tree / "dataset" / "S01R01.txt", table)
    times = next(Daphnet(root=str(tree)).recordings()).imu[0].times
    assert np.diff(times).argmax() == 99
    assert np.diff(times).max() == pytest.approx(0.5156, abs=0.001)


def test_faults(tree: Path) -> None:
    path = tree / "dataset" / "S01R01.txt"
    source = Daphnet(root=str(tree))
    for damage, message in [
        (lambda t: t[40].__setitem__(10, 3), r"S01R01\.txt, line 41: annotation 3, expected 0, 1 or 2"),
        (lambda t: t[40].__setitem__(2, "x"), r"S01R01\.txt, line 41: .* has 11 fields, expected 11 finite numbers"),
        (lambda t: t[40].pop(), r"S01R01\.txt, line 41: .* has 10 fields, expected 11"),
        (lambda t: [row.pop() for row in t], r"S01R01\.txt, line 1: .* has 10 fields, expected 11"),
        (lambda t: t[40].__setitem__(0, t[39][0]), r"S01R01\.txt, line 41: time 624 ms after 624 ms"),
        (lambda t: t.clear(), r"S01R01\.txt: no rows"),
    ]:
        table = rows(320)
        damage(table)
        write(path, table)
        with pytest.raises(RecordingError, match=message):
            next(source.recordings())
    path.unlink()
    with pytest.raises(RecordingError, match=r"S01R01\.txt: no such file"):
        next(source.recordings())
    with pytest.raises(ConfigError, match="no subject 'S1'"):
        next(source.recordings(["S1"]))
    with pytest.raises(RecordingError, match=r"no files SxxRyy\.txt"):
        Daphnet(root=str(tree.parent))
    with pytest.raises(RecordingError, match="no folder"):
        Daphnet(root=str(tree / "nowhere"))
