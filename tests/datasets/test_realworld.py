"""RealWorld: archives inside archives, parts, clock faults, damaged archives; units are in test_layout.py."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.datasets.realworld import RealWorld
from imu_video.errors import RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.realworld(tmp_path)
    return tmp_path


DATA = "realworld2016_dataset/proband1/data"


def test_activities_parts_and_placements(tree: Path) -> None:
    source = RealWorld(root=str(tree))
    assert source.subjects() == ["p01", "p02"]
    recordings = list(source.recordings(["p01"]))
    assert [(r.name, r.segments[0].label) for r in recordings] == [
        ("p01-jumping-1", "jumping"),
        ("p01-jumping-2", "jumping"),
        ("p01-walking-1", "walking"),
    ]
    assert [len(r.imu) for r in recordings] == [1, 1, 7]
    assert recordings[0].imu[0].channels == ("acc_x", "acc_y", "acc_z"), "no gyroscope archive, no such channels"
    walking = recordings[2].imu[0]
    assert walking.times[0] == 0.0
    assert walking.times[1] == pytest.approx(0.007, abs=1e-6), "the gyroscope's first sample, on the common clock"


def archive(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as out:
        for name, content in members.items():
            out.writestr(name, content)


def test_nothing_is_extracted_whatever_a_member_is_called(tree: Path) -> None:
    with zipfile.ZipFile(tree / DATA / "acc_walking_csv.zip") as before:
        content = before.read("acc_walking_chest.csv")
    archive(tree / DATA / "acc_walking_csv.zip", {"../../../../acc_walking_chest.csv": content})
    (tree / DATA / "gyr_walking_csv.zip").unlink()
    files = sorted(tree.rglob("*"))
    with pytest.raises(RecordingError, match=r"acc_walking_csv\.zip: member '\.\./.*' leads out of the archive"):
        list(RealWorld(root=str(tree)).recordings(["p01"]))
    assert sorted(tree.rglob("*")) == files
    assert not (tree.parent / "acc_walking_chest.csv").exists()


def test_clock_faults_are_repaired_and_told(tree: Path) -> None:
    lines = b"id,attr_time,attr_x,attr_y,attr_z\n1,100,0,9.8,0\n2,140,0,9.8,0\n3,120,0,9.8,0\n4,140,0,9.8,0\n"
    archive(tree / DATA / "acc_walking_csv.zip", {"acc_walking_chest.csv": lines})
    (tree / DATA / "gyr_walking_csv.zip").unlink()
    last = list(RealWorld(root=str(tree)).recordings(["p01"]))[-1]
    assert last.imu[0].times.round(3).tolist() == [0.0, 0.02, 0.04]
    assert last.tags["clock"] == "repaired, 2 samples"


def test_damaged_archives(tree: Path) -> None:
    path = tree / DATA / "acc_walking_csv.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordingError, match=r"acc_walking_csv\.zip: cannot be read: File is not a zip"):
        list(RealWorld(root=str(tree)).recordings(["p01"]))
    spoiled = bytearray(whole)
    spoiled[len("acc_walking_chest.csv") + 60] ^= 0xFF
    path.write_bytes(spoiled)
    with pytest.raises(RecordingError, match=r"acc_walking_csv\.zip/acc_walking_chest\.csv: cannot be read"):
        list(RealWorld(root=str(tree)).recordings(["p01"]))
    archive(path, {"acc_walking_hand.csv": b"x"})
    with pytest.raises(RecordingError, match=r"member 'acc_walking_hand\.csv', expected acc_ACTIVITY_PLACEMENT"):
        list(RealWorld(root=str(tree)).recordings(["p01"]))
    archive(path, {"acc_walking_1_csv.zip": b"no archive"})
    with pytest.raises(RecordingError, match=r"acc_walking_csv\.zip/acc_walking_1_csv\.zip: cannot be read"):
        list(RealWorld(root=str(tree)).recordings(["p01"]))
    archive(path, {"acc_walking_head.csv": b"id,attr_time,attr_x,attr_y\n1,100,0,9.8\n"})
    with pytest.raises(RecordingError, match=r"acc_walking_head\.csv: no column 'attr_z'"):
        list(RealWorld(root=str(tree)).recordings(["p01"]))


def test_members_that_unpack_to_too_much_are_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imu_video.readers.zip_layout.LARGEST_MEMBER", 1000)
    with pytest.raises(RecordingError, match=r"unpacks from .* bytes, expected at most"):
        list(RealWorld(root=str(tree)).recordings(["p02"]))


def test_extracted_archives_are_read_too(tree: Path) -> None:
    before = {r.name: r.imu[0].values for r in RealWorld(root=str(tree)).recordings(["p02"])}
    for path in sorted(tree.rglob("proband2/data/*_csv.zip")):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(path.with_suffix(""))
        path.unlink()
    after = {r.name: r.imu[0].values for r in RealWorld(root=str(tree)).recordings(["p02"])}
    assert before.keys() == after.keys() == {"p02-walking-1"}
    assert np.array_equal(before["p02-walking-1"], after["p02-walking-1"], equal_nan=True)


def test_two_members_for_one_device_are_refused(tree: Path) -> None:
    with zipfile.ZipFile(tree / DATA / "acc_walking_csv.zip") as before:
        content = before.read("acc_walking_chest.csv")
    archive(tree / DATA / "acc_walking_csv.zip", {"acc_walking_chest.csv": content, "acc_climbing_chest.csv": content})
    with pytest.raises(RecordingError, match="second one of chest in the same part"):
        list(RealWorld(root=str(tree)).recordings(["p01"]))
