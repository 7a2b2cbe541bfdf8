"""Every file of a folder is used, refused or counted: names of all kinds, files that fit in two ways, and the rest."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest

from imu_video.datasets.folder import Folder
from imu_video.errors import ConfigError, RecordingError
from tests.datasets.folder.studies import declare

PLAIN = {"imu": "{subject}/{recording}.csv"}


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def folder(root: Path, **changes: Any) -> Folder:
    return Folder(root=str(declare(root, **{"files": PLAIN, **changes})))


def names(source: Folder) -> dict[str, str]:
    """Recording -> its IMU file."""
    return {p.name: next(iter(p.imu.values())).relative_to(source.root).as_posix() for p in source._planned}


def test_names_with_spaces_dots_umlauts_and_upper_case_endings(tmp_path: Path) -> None:
    composed, split = (unicodedata.normalize(form, "Žaneta") for form in ("NFC", "NFD"))
    touch(tmp_path, "s01/walk.csv", "s01/walk.2.csv", "s01/wash hand _Hip_2023-04-10T15.44.57.csv", f"{split}/sit.CSV")
    source = folder(tmp_path)
    assert source.subjects() == ["s01", composed]
    assert names(source) == {
        "Zaneta-sit": f"{split}/sit.CSV",
        "s01-walk": "s01/walk.csv",
        "s01-walk_2": "s01/walk.2.csv",
        "s01-wash_hand__Hip_2023-04-10T15_44_57": "s01/wash hand _Hip_2023-04-10T15.44.57.csv",
    }
    assert source.notes == ()
    files = {"imu": "{subject}/{recording}_{placement}_*.csv"}
    (tmp_path / "s01" / "walk.csv").rename(tmp_path / "s01" / "walk_HIP_2.csv")
    source = folder(tmp_path, files=files, placements={"Hip": None})
    assert sorted(names(source)) == ["s01-walk", "s01-wash_hand"]
    assert "s01/walk.2.csv" in source.notes[0]


@pytest.mark.parametrize(
    ("files", "present", "message", "hint"),
    [
        (PLAIN, ["p1/2-walk.csv", "p1-2/walk.csv"], "p1/2-walk.csv and .*p1-2/walk.csv .* 'p1-2-walk'", "rename"),
        (PLAIN, ["s/walk.2.csv", "s/walk_2.csv"], "walk_2.csv and .*walk.2.csv both become .* 's-walk_2'", "rename"),
        (PLAIN, ["s/a.csv", "s/a.CSV"], "both become the recording 's-a'", "ignore"),
        (
            {"imu": "{subject}_{recording}.csv"},
            ["s1_walk_up.csv"],
            "subject 's1', recording 'walk_up' or as subject 's1_walk', recording 'up'",
            r'variables: \{subject: "\[\^_-\]\+"\}` it is read as subject \'s1\'',
        ),
        (
            {**PLAIN, "labels": "{subject}/{recording}.l*.csv"},
            ["s/a.csv", "s/a.lab.csv", "s/a.label.csv"],
            "a second file fits files.labels",
            "ignore",
        ),
        (
            {"imu": "{subject}/{recording}_a.csv", "labels": "{subject}/a_{recording}.csv"},
            ["s/a_a.csv"],
            "fits files.imu .* and files.labels",
            "different",
        ),
        ({"imu": "{subject}_{placement}.csv"}, ["s_ankle.csv"], "placement 'ankle' is not declared", "'ignore'"),
    ],
)
def test_what_fits_in_two_ways_is_refused(
    tmp_path: Path, files: dict[str, str], present: list[str], message: str, hint: str
) -> None:
    touch(tmp_path, *present)
    with pytest.raises(RecordingError, match=message) as error:
        folder(tmp_path, files=files)
    assert error.match(hint)


def test_hints_on_ambiguous_names_help_when_they_are_obeyed(tmp_path: Path) -> None:
    touch(tmp_path, "p1-2-walk.csv")
    for subject, name in (("[^_-]+", "p1"), ("p1-2", "p1-2")):
        files = {"imu": "{subject}-{recording}.csv", "variables": {"subject": subject}}
        assert folder(tmp_path, files=files).subjects() == [name]
    with pytest.raises(ConfigError, match="not a regular expression"):
        folder(tmp_path, files={**files, "variables": {"subject": "["}})
    with pytest.raises(ConfigError, match="unknown variable 'subjet'; did you mean 'subject'"):
        folder(tmp_path, files={**files, "variables": {"subjet": ".*"}})


def test_label_files_beside_the_imu_files_are_no_recordings(tmp_path: Path) -> None:
    touch(tmp_path, "s/walk.csv", "s/walk_labels.csv", "s/sit_labels.csv", "s/walk.MP4")
    files = {**PLAIN, "labels": "{subject}/{recording}_labels.csv", "video": "{subject}/{recording}.mp4"}
    source = folder(tmp_path, files=files)
    assert names(source) == {"s-walk": "s/walk.csv"}
    (planned,) = source._planned
    assert planned.labels == tmp_path / "s" / "walk_labels.csv"
    assert planned.video is not None
    assert planned.video.file == "s/walk.MP4"
    assert source.notes[0] == "1 label files of no recording: 's/sit_labels.csv'"
    # the other way round: the IMU files have the longer name
    files = {"imu": "{subject}/{recording}_imu.csv", "labels": "{subject}/{recording}.csv", "optional": ["labels"]}
    touch(tmp_path, "t/walk_imu.csv", "t/walk.csv")
    assert names(folder(tmp_path, files=files)) == {"t-walk": "t/walk_imu.csv"}


def test_other_files_are_counted_or_ignored_as_declared(tmp_path: Path) -> None:
    touch(tmp_path, "s1/a.csv", "S1/a.csv", "s1/deep/er.csv", "notes.md", "old/b.csv", "x.bak", ".hidden.csv")
    touch(tmp_path, "out/index.json", "out/train-000000.tar", "out/left_out.csv")
    source = folder(tmp_path, ignore=["old/", "*.bak"])
    assert source.subjects() == ["S1", "s1"]
    assert source.notes == (
        "1 file that looks like a table or video fits no pattern or entry of dataset.yaml: 's1/deep/er.csv' (`ignore:` "
        "excludes files)",
        "used: 3 of 7 files; not used: 2 named by `ignore`; 1 like tables or videos; others: 1 .md",
        "the subjects 'S1' and 's1' differ only in case, separators or leading zeros; if they are one subject, use one "
        "name, or its windows can be in training and test",
    )


def test_a_list_of_recordings_counts_the_rest_and_refuses_one_file_twice(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv", "b.csv", unicodedata.normalize("NFD", "ä.csv"))
    entry = {"subject": "s", "name": "r", "imu": {"Wrist": "a.csv"}}
    other = {"subject": "t", "name": "q", "imu": {"wrist": unicodedata.normalize("NFC", "ä.csv")}}
    source = folder(tmp_path, files=None, recordings=[entry, other])
    assert (
        "1 file that looks like a table or video fits no pattern or entry of dataset.yaml: 'b.csv'" in source.notes[0]
    )
    with pytest.raises(RecordingError, match=r"a\.csv: used twice: placement 'wrist' of 'r' and 'q'"):
        folder(tmp_path, files=None, recordings=[entry, {**other, "imu": {"wrist": "a.csv"}}])


def test_files_of_several_kinds_under_one_declaration(tmp_path: Path) -> None:
    touch(tmp_path, "s/a.csv", "s/b.parquet")
    source = folder(tmp_path, files={"imu": ["{subject}/{recording}.csv", "{subject}/{recording}.parquet"]})
    assert names(source) == {"s-a": "s/a.csv", "s-b": "s/b.parquet"}
    touch(tmp_path, "s/a.parquet")
    with pytest.raises(RecordingError, match=r"a\.parquet and .*a\.csv both become the recording 's-a'"):
        folder(tmp_path, files={"imu": ["{subject}/{recording}.csv", "{subject}/{recording}.parquet"]})
