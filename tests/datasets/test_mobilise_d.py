"""Mobilise-D on made-up nested MATLAB files in the original's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from imu_video.datasets.mobilise_d import MobiliseD
from imu_video.errors import ConfigError, RecordingError
from imu_video.registry import datasets
from imu_video.testing import check_dataset
from imu_video.types import GRAVITY


def trial(seconds: float, bouts: list[tuple[float, float]], **changes: Any) -> dict[str, Any]:
    count = round(100 * seconds)
    acc = np.tile([0.95, 0.0, -0.2], (count, 1))
    gyr = np.tile([90.0, 0.0, 0.0], (count, 1))
    sensor = {"Acc": acc, "Gyr": gyr, "Mag": gyr, "Fs": {"Acc": 100, "Gyr": 100, "Mag": 100}, **changes}
    micro = [{"Start": a, "End": b, "NumberStrides": 3} for a, b in bouts] or {"Start": [], "End": []}
    return {
        "StartDateTime": "2020-12-10T13:57:44.733+01:00",
        "SU": {"LowerBack": sensor},
        "Standards": {"INDIP": {"MicroWB": micro, "Fs": 100}},
    }


def write(root: Path, cohort: str, number: str, measures: dict[str, Any]) -> None:
    folder = root / "data" / "lab" / cohort / number
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / "data.mat", {"data": measures})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    two = {"Trial1": trial(8, [(1.0, 5.0)]), "Trial2": trial(9, [])}
    long = {"Trial1": trial(30, [(2.0, 6.0), (10.0, 20.0)])}
    write(tmp_path, "HA", "002", {"TimeMeasure1": {"Test11": long, "Test5": two}})
    write(tmp_path, "HA", "001", {"TimeMeasure1": {"Test5": two}, "TimeMeasure2": {"Test5": two}})
    write(tmp_path, "MS", "001", {"TimeMeasure1": {"Test5": two}})
    return tmp_path


def test_made_up_tree(tree: Path) -> None:
    check_dataset({"name": "mobilise_d", "root": str(tree)})
    source = datasets.build({"name": "mobilise_d", "root": str(tree / "data" / "lab")})
    assert source.subjects() == ["HA_001", "HA_002", "MS_001"]
    recordings = list(source.recordings())
    assert [r.name for r in recordings if r.subject == "HA_002"] == [
        "HA_002_TimeMeasure1_Test5_Trial1",
        "HA_002_TimeMeasure1_Test5_Trial2",
        "HA_002_TimeMeasure1_Test11_Trial1",
    ]
    assert [r.session for r in recordings if r.subject == "HA_001"] == ["TimeMeasure1"] * 2 + ["TimeMeasure2"] * 2
    assert recordings[-1].tags == {"population": "multiple_sclerosis", "test": "Test5"}
    long = recordings[6]
    np.testing.assert_allclose(long.imu[0].values[:, 4], [0.95 * GRAVITY, 0, -0.2 * GRAVITY, np.pi / 2, 0, 0])
    assert [(s.start, s.end, s.label) for s in long.segments] == [(2.0, 6.0, "walking"), (10.0, 20.0, "walking")]
    assert [len(r.segments) for r in recordings] == [1, 0, 1, 0, 1, 0, 2, 1, 0]
    assert next(MobiliseD(root=str(tree), reference="Stereophoto").recordings()).segments == ()


def test_faults(tree: Path) -> None:
    for changes, bouts, message in [
        ({"Acc": np.zeros((3, 800))}, [], r"TimeMeasure1\.Test5\.Trial1\.SU\.LowerBack: Acc has shape \(3, 800\)"),
        ({"Gyr": np.zeros((700, 3))}, [], r"Gyr \(700, 3\)"),
        ({"Fs": {"Acc": 50, "Gyr": 100}}, [], r"Fs\.Acc is 50, expected 100 Hz"),
        ({}, [(3.0, 12.0)], r"Standards\.INDIP: a bout from 3\.0 to 12\.0 s in 8\.00 s"),
    ]:
        write(tree, "HA", "001", {"TimeMeasure1": {"Test5": {"Trial1": trial(8, bouts, **changes)}}})
        with pytest.raises(RecordingError, match=message):
            next(MobiliseD(root=str(tree)).recordings())
    path = tree / "data" / "lab" / "HA" / "001" / "data.mat"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(RecordingError, match=r"data\.mat: not a readable MATLAB file"):
        next(MobiliseD(root=str(tree)).recordings())
    savemat(path, {"data": np.zeros(3)})
    with pytest.raises(RecordingError, match=r"'data' is .*expected a struct"):
        next(MobiliseD(root=str(tree)).recordings())
    source = MobiliseD(root=str(tree))
    path.unlink()
    with pytest.raises(RecordingError, match="no such file"):
        next(source.recordings())
    with pytest.raises(ConfigError, match="no subject 'MS_002'; did you mean 'MS_001'"):
        next(source.recordings(["MS_002"]))
    with pytest.raises(RecordingError, match=r"no files COHORT/NUMBER/data\.mat"):
        MobiliseD(root=str(tree.parent))
