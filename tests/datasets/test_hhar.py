"""HHAR: devices, both clocks, unknown models, damaged tables; units are in test_layout.py."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.datasets.hhar import Hhar
from imu_video.errors import RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.hhar(tmp_path)
    return tmp_path


def test_a_recording_each_device(tree: Path) -> None:
    source = Hhar(root=str(tree))
    assert source.subjects() == list("abcdefghi"), "the set's nine users, known without reading 40 million rows"
    recordings = list(source.recordings(["a"]))
    assert [(r.name, r.imu[0].placement, r.tags["model"]) for r in recordings] == [
        ("a-nexus4_1", "waist", "nexus4"),
        ("a-gear_1", "wrist", "gear"),
    ]
    assert [s.label for s in recordings[0].segments] == ["stand", "stairsup"], "null carries no label"
    assert list(source.recordings(["i"])) == []


def test_samples_delivered_in_bunches_are_spread_out(tree: Path) -> None:
    """Ten deliveries a second of 20 samples each: the model's rate places them, and labels stay where they belong."""
    arrival = next(Hhar(root=str(tree)).recordings(["a"]))
    steps = np.diff(arrival.imu[0].times)
    assert steps.min() >= 0.9 / 200 - 1e-6
    assert steps.max() < 0.02
    creation = next(Hhar(root=str(tree), clock="creation").recordings(["a"]))
    assert np.diff(creation.imu[0].times) == pytest.approx(1 / 200, abs=1e-4)
    for one, two in zip(arrival.segments, creation.segments, strict=True):
        assert one.label == two.label
        assert one.end - one.start == pytest.approx(two.end - two.start, abs=0.1)


def test_a_creation_clock_in_another_unit_is_refused(tree: Path) -> None:
    path = tree / "Activity recognition exp/Phones_accelerometer.csv"
    header, *lines = path.read_text().splitlines()
    fields = [line.split(",") for line in lines]
    path.write_text("\n".join([header, *(",".join([*f[:2], f[2][:-3], *f[3:]]) for f in fields)]))
    with pytest.raises(RecordingError, match=r"dataset\.clock=arrival"):
        next(Hhar(root=str(tree), clock="creation").recordings(["a"]))


def test_damaged_tables(tree: Path) -> None:
    path = tree / "Activity recognition exp/Watch_gyroscope.csv"
    whole = path.read_text()
    path.write_text(whole.replace(",Creation_Time", ",Created"))
    with pytest.raises(RecordingError, match=r"Watch_gyroscope\.csv: not a table of HHAR"):
        next(Hhar(root=str(tree)).recordings(["a"]))
    path.write_text(whole.replace(",0.3,", ",?,", 1))
    with pytest.raises(RecordingError, match=r"Watch_gyroscope\.csv: not a table of HHAR"):
        next(Hhar(root=str(tree)).recordings(["a"]))
    path.write_text(whole)
    other = tree / "Activity recognition exp/Phones_accelerometer.csv"
    other.write_text(other.read_text().replace("nexus4,", "nexus9,"))
    with pytest.raises(RecordingError, match="model 'nexus9', expected one of nexus4"):
        next(Hhar(root=str(tree)).recordings(["a"]))
