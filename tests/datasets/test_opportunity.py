"""Opportunity: runs, label tracks, lost samples, damaged files; units are in test_layout.py."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.datasets.opportunity import Opportunity
from imu_video.errors import RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.opportunity(tmp_path)
    return tmp_path


def test_runs_and_label_tracks(tree: Path) -> None:
    source = Opportunity(root=str(tree))
    assert source.subjects() == ["S1", "S4"]
    assert [(r.name, r.session) for r in source.recordings()] == [
        ("S1-ADL1", "ADL1"),
        ("S1-Drill", "Drill"),
        ("S4-ADL5", "ADL5"),
    ]
    first = next(source.recordings())
    assert [s.label for s in first.segments] == ["stand", "walk", "lie"]
    assert np.isnan(first.imu[0].values[:, 10]).all(), "the hip sample that the radio lost"
    assert first.imu[0].channels == ("acc_x", "acc_y", "acc_z")
    gestures = next(Opportunity(root=str(tree), track="gestures").recordings())
    assert [s.label for s in gestures.segments] == ["open_door_1", "toggle_switch"]


def test_clock_faults_and_damaged_files(tree: Path) -> None:
    path = tree / "OpportunityUCIDataset/dataset/S4-ADL5.dat"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[50]]))
    assert next(Opportunity(root=str(tree)).recordings(["S4"])).tags["clock"] == "repaired, 2 samples"
    path.write_text("\n".join([*lines[:3], lines[3] + " 1", *lines[4:]]))
    with pytest.raises(RecordingError, match=r"S4-ADL5\.dat, line 4: .* has 251 fields, expected 250"):
        next(Opportunity(root=str(tree)).recordings(["S4"]))
