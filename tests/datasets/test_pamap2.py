"""PAMAP2: sessions, lost samples, clock faults, damaged files; units are in test_layout.py."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.datasets.pamap2 import Pamap2
from imu_video.errors import RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.pamap2(tmp_path)
    return tmp_path


def test_recordings_and_labels(tree: Path) -> None:
    source = Pamap2(root=str(tree))
    assert source.subjects() == ["s101", "s102"]
    found = [(r.name, r.subject, r.session) for r in source.recordings()]
    assert found == [
        ("s101-optional", "s101", "2"),
        ("s101-protocol", "s101", "1"),
        ("s102-protocol", "s102", "1"),
    ]
    protocol = list(source.recordings(["s101"]))[1]
    assert [(s.label, round(s.start, 2), round(s.end, 2)) for s in protocol.segments] == [
        ("lying", 9.0, 10.0),
        ("rope_jumping", 11.0, 12.0),
    ]
    chest = next(s for s in protocol.imu if s.placement == "chest")
    assert np.isnan(chest.values[:, 5]).all(), "a sample that the radio lost stays missing"
    assert [r.session for r in Pamap2(root=str(tree), optional=False).recordings()] == ["1", "1"]
    assert Pamap2(root=str(tree / "PAMAP2_Dataset" / "Protocol")).subjects() == ["s101", "s102"]


def test_a_clock_that_goes_back_is_repaired_and_told(tree: Path) -> None:
    path = tree / "PAMAP2_Dataset/Protocol/subject102.dat"
    lines = path.read_text().splitlines()
    lines[20], lines[21] = lines[21], lines[20]
    path.write_text("\n".join([*lines, lines[-1]]) + "\n")
    (recording,) = Pamap2(root=str(tree)).recordings(["s102"])
    assert recording.tags["clock"] == "repaired, 2 samples"
    assert len(recording.imu[0].times) == 400


def test_damaged_files(tree: Path) -> None:
    path = tree / "PAMAP2_Dataset/Protocol/subject102.dat"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:7], " ".join(lines[7].split()[:50]), *lines[8:]]))
    with pytest.raises(RecordingError, match=r"subject102\.dat, line 8: .* has 50 fields, expected 54"):
        next(Pamap2(root=str(tree)).recordings(["s102"]))
    path.write_text("\n".join(lines).replace(" 24.0 ", " 23.0 "))
    with pytest.raises(RecordingError, match=r"subject102\.dat, row 301: label 23"):
        next(Pamap2(root=str(tree)).recordings(["s102"]))
