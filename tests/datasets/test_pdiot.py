"""PDIoT: devices, signals, stamps that are not real, repeated files; units are in test_layout.py."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.datasets.pdiot import Pdiot
from imu_video.errors import RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.pdiot(tmp_path)
    return tmp_path


def test_a_recording_per_file_with_its_signal(tree: Path) -> None:
    source = Pdiot(root=str(tree))
    assert source.subjects() == ["s1", "s15"]
    found = {r.name: r for r in source.recordings(["s1"])}
    assert {n: (r.imu[0].placement, r.segments[0].label, r.tags["signal"]) for n, r in found.items()} == {
        "s1_respeck_normalWalking_breathingNormal": ("chest", "walking", "breathing"),
        "s1_respeck_sitting_coughing": ("chest", "sitting", "coughing"),
        "s1_thingy_normalWalking_breathingNormal": ("pocket", "walking", "breathing"),
    }
    np.testing.assert_allclose(np.diff(found["s1_respeck_sitting_coughing"].imu[0].times), 1 / 25)


def test_stamps_are_not_the_time_of_recording(tree: Path) -> None:
    path = tree / "Respeck/s1/s1_respeck_sitting_coughing.csv"
    path.write_text(path.read_text().replace(",1697606085,", ",1697606086,"))
    with pytest.raises(RecordingError, match=r"coughing\.csv, line 4: the stamp steps by 41, expected 40"):
        list(Pdiot(root=str(tree)).recordings(["s1"]))


def test_repeated_files_under_two_labels_have_none(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = tree / "Thingy/s15/s15_thingy_normalWalking_breathingNormal.csv"
    first.with_name("s15_thingy_sitting_breathingNormal.csv").write_bytes(first.read_bytes())
    found = {r.name: r for r in Pdiot(root=str(tree)).recordings(["s15"])}
    twins = [found[f"s15_thingy_{activity}_breathingNormal"] for activity in ("normalWalking", "sitting")]
    assert [(r.segments, r.tags["label"], r.tags.get("same_as")) for r in twins] == [
        ((), "ambiguous", None),
        ((), "ambiguous", "s15_thingy_normalWalking_breathingNormal"),
    ]
    assert "pdiot: 1 files repeat the content of another one (tag same_as)" in caplog.text
    assert len(list(Pdiot(root=str(tree), repeated="drop").recordings(["s15"]))) == len(found) - 1


def test_unknown_names(tree: Path) -> None:
    path = tree / "Respeck/s1/s1_respeck_sitting_coughing.csv"
    path.rename(path.with_name("s1_respeck_flying_coughing.csv"))
    with pytest.raises(RecordingError, match=r"activity 'flying' and signal 'coughing', expected one of sitting"):
        Pdiot(root=str(tree))
