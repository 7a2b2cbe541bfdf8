"""CMU-MMAC: serial numbers, frame times, undeclared units, damaged files; units are in test_layout.py."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from imu_video.datasets.cmu_mmac import CmuMmac
from imu_video.errors import RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.cmu_mmac(tmp_path)
    return tmp_path


FILE = "S07_Brownie_3DMGX1/2794_01-30_16_30_49-time.txt"


def test_units_by_serial_number_and_recipes(tree: Path) -> None:
    source = CmuMmac(root=str(tree))
    assert source.subjects() == ["S07", "S08"]
    first, second = source.recordings()
    assert (first.segments[0].label, second.segments[0].label) == ("brownie", "eggs")
    assert {s.placement for s in first.imu} == set(source.placements)
    assert all(s.channels == ("acc_x", "acc_y", "acc_z") for s in first.imu), "nothing says that Roll is a rate"
    declared = next(CmuMmac(root=str(tree), gyr_unit="rad/s").recordings())
    assert declared.imu[0].values.shape == (6, 300)


def test_frames_have_the_times_of_the_log_from_the_first_frame_of_the_clip(tree: Path) -> None:
    first, second = CmuMmac(root=str(tree)).recordings()
    assert "video" in first.streams
    assert len(first.streams["video"].times) == 60
    assert first.streams["video"].times[:2] == pytest.approx([5 / 30, 6 / 30], abs=1e-6)
    assert "video" not in second.streams
    assert next(CmuMmac(root=str(tree), video=False).recordings()).streams == {}


def test_clock_faults_are_repaired_and_told(tree: Path) -> None:
    lines = (tree / FILE).read_text().splitlines()
    broken = lines[10].rsplit("\t", 2)
    (tree / FILE).write_text("\n".join([*lines[:10], f"{broken[0]}\tERROR_7\tERROR", *lines[11:]]))
    recording = next(CmuMmac(root=str(tree)).recordings())
    assert recording.tags["clock"] == "repaired, 1 samples"
    assert len(next(s for s in recording.imu if s.placement == "left_arm").times) == 299


def test_damaged_files(tree: Path) -> None:
    whole = (tree / FILE).read_text()
    (tree / FILE).write_text(whole.replace("Accel_Y", "AccelY"))
    with pytest.raises(RecordingError, match=r"2794_.*: no column 'Accel_Y'"):
        next(CmuMmac(root=str(tree)).recordings())
    (tree / FILE).write_text(whole)
    with pytest.raises(RecordingError, match=r"(?s)read as mg.*the numbers look like g"):
        next(CmuMmac(root=str(tree), acc_unit="mg").recordings())
    (tree / "S07_Brownie_Video/STime7150991-time-synch.txt").write_text("nothing\n")
    with pytest.raises(RecordingError, match=r"no line 'Frame:N ... hh_mm_ss_fffffff' from frame 5 on"):
        next(CmuMmac(root=str(tree)).recordings())
