"""CAPTURE-24: label schemes, clock faults, damaged files; units are in test_layout.py."""

from __future__ import annotations

import gzip
from pathlib import Path
from types import ModuleType

import pytest

from imu_video.datasets.capture24 import Capture24
from imu_video.errors import RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.capture24(tmp_path)
    return tmp_path


def test_label_schemes_of_the_dictionary(tree: Path) -> None:
    source = Capture24(root=str(tree))
    assert source.subjects() == ["P001", "P002"]
    assert source.labels == ("sleep", "walking")
    recording = next(source.recordings())
    assert [(s.label, s.start, s.end) for s in recording.segments] == [("sleep", 0.0, 2.0), ("walking", 4.0, 6.0)]
    other = Capture24(root=str(tree), scheme="Walmsley2020")
    assert [s.label for s in next(other.recordings()).segments] == ["sleep", "light"]
    with pytest.raises(RecordingError, match="no column 'label:Doherty2018'"):
        Capture24(root=str(tree), scheme="Doherty2018")


def test_clock_faults_are_repaired_and_told(tree: Path) -> None:
    path = tree / "capture24/P001.csv.gz"
    header, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    lines[300], lines[301] = lines[301], lines[300]
    path.write_bytes(gzip.compress("\n".join([header, *lines, lines[-1]]).encode()))
    recording = next(Capture24(root=str(tree)).recordings())
    assert recording.tags["clock"] == "repaired, 2 samples"
    assert len(recording.imu[0].times) == 600


def test_damaged_files(tree: Path) -> None:
    path = tree / "capture24/P001.csv.gz"
    whole = path.read_bytes()
    path.write_bytes(gzip.compress(gzip.decompress(whole).replace(b"7030 sleeping", b"7031 dozing")))
    with pytest.raises(
        RecordingError, match=r"annotation '7031 dozing;MET 0.95' is not in annotation-label-dictionary"
    ):
        next(Capture24(root=str(tree)).recordings())
    path.write_bytes(gzip.compress(gzip.decompress(whole).replace(b"2016-11-13 02:18:01.0", b"yesterday at 2:18:01.0")))
    with pytest.raises(RecordingError, match=r"P001\.csv\.gz, line 102: time 'time' is 'yesterday"):
        next(Capture24(root=str(tree)).recordings())
    path.write_bytes(whole[:200])
    with pytest.raises(RecordingError, match=r"P001\.csv\.gz: a damaged .gz file"):
        next(Capture24(root=str(tree)).recordings())
    (tree / "capture24/annotation-label-dictionary.csv").unlink()
    with pytest.raises(RecordingError, match="no file annotation-label-dictionary"):
        Capture24(root=str(tree))
