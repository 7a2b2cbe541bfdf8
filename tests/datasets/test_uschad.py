"""USC-HAD: trials, the misspelt field, damaged files; units are in test_layout.py."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.io import savemat

from imu_video.datasets.uschad import UscHad
from imu_video.errors import RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.uschad(tmp_path)
    return tmp_path


def test_trials(tree: Path) -> None:
    source = UscHad(root=str(tree))
    assert source.subjects() == ["s01", "s13"]
    assert [(r.name, r.segments[0].label, r.tags["trial"]) for r in source.recordings()] == [
        ("s01-a01-t1", "walking_forward", "1"),
        ("s01-a12-t5", "elevator_down", "5"),
        ("s13-a06-t2", "running_forward", "2"),
    ]


def test_damaged_files(tree: Path) -> None:
    path = tree / "USC-HAD/Subject1/a1t1.mat"
    savemat(path, {"sensor_readings": np.zeros((10, 5))})
    with pytest.raises(RecordingError, match=r"a1t1\.mat: sensor_readings has shape \(10, 5\), expected \(n, 6\)"):
        next(UscHad(root=str(tree)).recordings())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RecordingError, match=r"a1t1\.mat: not a readable MATLAB file"):
        next(UscHad(root=str(tree)).recordings())
    savemat(path, {"sensor_readings": np.tile([9.8, 0.1, 0.2, 0, 0, 0], (10, 1))})
    with pytest.raises(RecordingError, match=r"(?s)a1t1\.mat, right_hip: .* read as g.*look like m/s\^2"):
        next(UscHad(root=str(tree)).recordings())
