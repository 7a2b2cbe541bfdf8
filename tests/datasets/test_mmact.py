"""MMAct: clips, cameras, both forms of time, empty and damaged files; units are in test_layout.py."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.datasets.mmact import MMAct
from imu_video.errors import RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.mmact(tmp_path)
    return tmp_path


WHERE = "trimmed_acc/acc_phone_clip/subject1/scene1/session1"


def test_clips(tree: Path) -> None:
    source = MMAct(root=str(tree))
    assert source.subjects() == ["s01", "s20"]
    first, second = source.recordings()
    assert (first.name, first.segments[0].label) == ("s01-scene1-session1-carrying", "carrying")
    assert (second.session, second.tags["scene"], second.segments[0].label) == ("2", "3", "waving_hand")
    pocket, wrist = first.imu
    assert np.isfinite(pocket.values[0]).sum() == 200
    assert np.isfinite(pocket.values[3]).sum() == 100, "the gyroscope runs at half the rate"
    assert wrist.channels == ("acc_x", "acc_y", "acc_z")
    assert "video" in first.streams
    assert "video" not in second.streams
    assert next(MMAct(root=str(tree), camera="cam2").recordings()).streams.keys() == {"video"}
    assert next(MMAct(root=str(tree), camera=None).recordings()).streams == {}


def test_times_in_milliseconds(tree: Path) -> None:
    path = tree / WHERE / "Carrying.csv"
    path.write_text("\n".join(f"{1542708001000 + 10 * k},0,9.8,0" for k in range(100)))
    for name in ("acc_watch_clip", "gyro_clip"):
        (tree / WHERE.replace("acc_phone_clip", name) / "Carrying.csv").unlink()
    recording = next(MMAct(root=str(tree)).recordings())
    assert recording.imu[0].times[:3].round(3).tolist() == [0.0, 0.01, 0.02]


def test_clock_faults_are_repaired_and_told(tree: Path) -> None:
    path = tree / WHERE / "Carrying.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[1], lines[0], *lines[2:]]))
    assert next(MMAct(root=str(tree)).recordings()).tags["clock"] == "repaired, 1 samples"


def test_damaged_files(tree: Path) -> None:
    path = tree / WHERE / "Carrying.csv"
    whole = path.read_text()
    path.write_text(whole.replace("2018-11-20", "20/11/2018", 1))
    with pytest.raises(RecordingError, match=r"Carrying\.csv, line 1: time 'time' is '20/11/2018"):
        next(MMAct(root=str(tree)).recordings())
    path.rename(path.with_name("juggling.csv"))
    with pytest.raises(RecordingError, match="action 'juggling' is not an action of MMAct"):
        MMAct(root=str(tree))
