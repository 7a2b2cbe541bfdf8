"""SmartFallMM: devices, groups, no pairing without a table, faults of the originals; units are in test_layout.py."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.datasets.smartfallmm import JOINTS, SmartFallMM
from imu_video.errors import ConfigError, RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.smartfallmm(tmp_path)
    return tmp_path


def test_a_recording_per_device_and_trial(tree: Path) -> None:
    source = SmartFallMM(root=str(tree))
    assert source.subjects() == ["old_S02", "young_S29", "young_S30"]
    found = list(source.recordings(["old_S02"]))
    assert [(r.name, r.imu[0].placement, r.segments[0].label) for r in found] == [
        ("old_S02A04T03_meta_hip", "hip", "stepping_up"),
        ("old_S02A04T03_meta_wrist", "wrist_meta", "stepping_up"),
        ("old_S02A04T03_phone", "pocket", "stepping_up"),
        ("old_S02A04T03_watch", "wrist", "stepping_up"),
    ]
    assert {r.tags["group"] for r in found} == {"old"}
    assert all(not r.streams for r in found)
    assert SmartFallMM(root=str(tree), group="young", devices=["watch"]).subjects() == ["young_S29", "young_S30"]
    with pytest.raises(ConfigError, match="unknown device 'wrist'"):
        SmartFallMM(root=str(tree), devices=["wrist"])


def test_skeletons_are_not_paired_without_a_synchronisation(tree: Path) -> None:
    with pytest.raises(ConfigError, match="no clock and cannot be paired") as caught:
        SmartFallMM(root=str(tree), skeleton=True)
    assert "dataset.pairs=PAIRS.csv" in str(caught.value)
    pairs = tree / "pairs.csv"
    pairs.write_text(
        "recording,offset_s,stretch,score\nyoung_S29A01T01_watch,0.5,1.1,0.95\nyoung_S29A01T01_phone,0.5,1.1,0.4\n"
    )
    # Obeying the hint attaches the skeletons that score high, and no others.
    found = {r.name: r for r in SmartFallMM(root=str(tree), skeleton=True, pairs=str(pairs)).recordings()}
    assert [n for n, r in found.items() if "skeleton" in r.streams] == ["young_S29A01T01_watch"]
    watch = found["young_S29A01T01_watch"]
    assert watch.tags["sync"] == "score 0.95"
    np.testing.assert_allclose(watch.streams["skeleton"].times[[0, -1]], [0.5, 0.5 + 1.1 * 39 / 30])
    for line, message in (
        ("young_S29A01T09_watch,0,1,1", "no recording 'young_S29A01T09_watch'; did you mean"),
        ("young_S29A01T01_watch,0,0,1", r"line 2: offset_s 0\.0, stretch 0\.0"),
        ("young_S29A01T01_watch,0,1,1\nyoung_S29A01T01_watch,0,1,1", "line 3: .* is in the table twice"),
    ):
        pairs.write_text(f"recording,offset_s,stretch,score\n{line}\n")
        with pytest.raises(ConfigError, match=message):
            SmartFallMM(root=str(tree), skeleton=True, pairs=str(pairs))


def test_skeletons_have_a_nominal_clock_of_their_own(tree: Path) -> None:
    source = SmartFallMM(root=str(tree), skeleton_fps=15)
    track = source.skeleton("young_S29A01T01_watch")
    assert track is not None
    assert track.joints.shape == (40, 32, 3)
    assert track.times[1] == pytest.approx(1 / 15)
    assert track.joints[3, JOINTS.index("head")] == pytest.approx([0.081, 0.082, 0.083])
    assert source.skeleton("young_S29A01T02") is None


def test_faults_of_the_originals(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A header in a few files, times of day without a date, swapped columns, another sensor's values, one row."""
    young = tree / "young/accelerometer"
    trial = "S29A01T01.csv"
    hip = young / "meta_hip" / trial
    hip.write_text("epoch (ms),time (-11:00),elapsed (s),x-axis (g),y-axis (g),z-axis (g)\n" + hip.read_text())
    phone = young / "phone" / trial
    phone.write_text("".join(line.split(" ")[1] + "\n" for line in phone.read_text().splitlines()))
    watch = young / "watch" / trial
    watch.write_text("".join("9.8,13.50.22.969,-3.1,0.4\n" for _ in range(40)))
    wrist = young / "meta_wrist" / trial
    rows = [line.split(",") for line in wrist.read_text().splitlines()]
    wrist.write_text("".join(",".join([*row[:3], "80.5", *row[4:]]) + "\n" for row in rows))
    (young / "phone" / "S30A14T02.csv").write_text("2023-03-27 14:35:05.762,9.8,0.1,0.2\n")
    names = [r.name for r in SmartFallMM(root=str(tree), group="young").recordings()]
    assert names == [
        "young_S29A01T01_meta_hip",
        "young_S29A01T01_phone",
        *(f"young_S30A14T02_{device}" for device in ("meta_hip", "meta_wrist", "watch")),
    ]
    assert "meta_wrist/S29A01T01.csv: the median acceleration is 80.5 g, expected 0.5 .. 4 g" in caplog.text
    assert "watch/S29A01T01.csv, line 1: time is '9.8', expected date and time of day" in caplog.text
    with pytest.raises(RecordingError, match="median acceleration is 80"):
        list(SmartFallMM(root=str(tree), group="young", unreadable="raise").recordings())


def test_pasted_passages_are_put_in_order(tree: Path, trees: ModuleType) -> None:
    """Rows of one passage twice and of an earlier one after a later one: sorted, the copies left out."""
    path = tree / "old/accelerometer/meta_hip/S02A04T03.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[30:], *lines[:40]]) + "\n")
    recording = next(SmartFallMM(root=str(tree), group="old").recordings())
    assert recording.tags["clock"] == "repaired, 1 samples"
    np.testing.assert_allclose(recording.imu[0].times, np.arange(len(lines)) / 25, atol=1e-6)
    np.testing.assert_allclose(recording.imu[0].values[:, 0], trees.acc(3) * trees.G)
