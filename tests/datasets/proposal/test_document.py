"""The proposed declaration: valid YAML, marks that stop a build, nothing written over a file."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from imu_video.config import validate
from imu_video.datasets.folder import Declaration, Folder
from imu_video.datasets.proposal import propose, write_proposal
from imu_video.errors import ConfigError, RecordingError
from imu_video.modalities.mp4 import encode_mp4


def filled(text: str, **words: str) -> Declaration:
    """The declaration with every mark replaced: placements by themselves in lower case, other values as given."""
    for mark, word in words.items():
        text = text.replace(f"{mark}: TODO", f"{mark}: {word}")
    text = re.sub(r"\bTODO(_\w+)?(?=:)", lambda m: f"place{(m[1] or '').lower()}", text)
    return validate(yaml.safe_load(text), Declaration, source="proposal")


def test_files_of_several_kinds_become_one_recording(files: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "s1").mkdir()
    files.phyphox(tmp_path / "s1", "zip")
    files.core_motion(tmp_path / "s1")
    files.sensor_logger(tmp_path / "s1", "json", platform="ios").rename(tmp_path / "s1" / "late.json")
    proposal = propose(tmp_path)
    config = filled(proposal.text, licence="CC0")
    assert config.recordings is not None
    assert len(config.recordings) == 1
    assert config.recordings[0].subject == "s1"
    assert len(config.recordings[0].imu) == 5, "phyphox, the watch, and three devices of Sensor Logger"
    assert len(config.placements) == 5
    assert "pocket, ..." in proposal.text


def test_what_a_reader_asks_for_is_a_mark(files: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "s1").mkdir()
    path = files.sensor_logger(tmp_path / "s1", "folder", platform="ios")
    for name in ("Metadata", "AccelerometerUncalibrated", "WristMotion", "Headphone"):
        (path / f"{name}.csv").unlink()
    proposal = propose(tmp_path)
    assert "reader: {name: sensor_logger, platform: TODO}" in proposal.text
    assert "iPhone or an Android phone" in proposal.text
    assert [key for _, key in proposal.marks] == ["licence", "imu.reader.platform", "placements.TODO"]


def test_a_flat_folder_and_its_video(files: ModuleType, tmp_path: Path) -> None:
    files.phyphox(tmp_path, "zip").rename(tmp_path / "Morning walk.zip")
    (tmp_path / "GX01.MP4").write_bytes(encode_mp4(files.np.zeros((4, 32, 48, 3), files.np.uint8), 2))
    (tmp_path / "notes.docx").write_bytes(b"PK")
    proposal = propose(tmp_path)
    keys = [key for _, key in proposal.marks]
    assert keys == [
        "licence",
        "placements.TODO",
        "recordings[0].subject",
        "recordings[0].imu.TODO",
        "recordings[0].video.offset_s",
    ]
    assert "clock: recording" in proposal.text
    assert proposal.unused == ("notes.docx",)
    assert "not used by this declaration: notes.docx" in proposal.text
    config = filled(proposal.text, licence="CC0", subject="anna", offset_s="1.5")
    assert config.recordings is not None
    assert config.recordings[0].name == "Morning_walk"


def test_names_cannot_break_out_of_a_comment(files: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "s1\nlicence: stolen\nx"
    folder.mkdir()
    files.phyphox(folder, "zip")
    proposal = propose(tmp_path)
    assert not any(line.startswith("licence: stolen") for line in proposal.text.splitlines())
    assert yaml.safe_load(proposal.text)["licence"] == "TODO"


def test_labels_in_another_unit_and_labels_that_fit_two(files: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "s1").mkdir()
    files.physics_toolbox(tmp_path / "s1", "walk.csv")
    labels = tmp_path / "s1" / "walk.labels.csv"
    labels.write_text("from,to,activity\n100,1900,walk\n")
    assert re.search(r"unit: ms +# guess: from 100 to 1900; the IMU's clock runs from 0 to 2 s", propose(tmp_path).text)
    labels.write_text("from,to,activity\n0.5,0.9,walk\n")
    assert "  unit: s " in propose(tmp_path).text
    labels.write_text("from,to,activity\n5000,90000,walk\n")
    assert "which fits no unit" in propose(tmp_path).text


def test_nothing_is_written_over_a_file(files: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no such folder"):
        propose(tmp_path / "none")
    (tmp_path / "readme.md").write_text("x")
    with pytest.raises(RecordingError, match=r"no IMU file is recognised; the folder contains readme\.md"):
        propose(tmp_path)
    (tmp_path / "s1").mkdir()
    files.xsens_dot(tmp_path / "s1")
    path, proposal = write_proposal(tmp_path)
    assert path.read_text() == proposal.text
    with pytest.raises(ConfigError, match="does not overwrite it"):
        write_proposal(tmp_path)
    assert path.read_text() == proposal.text
    with pytest.raises(ConfigError, match=r"line 4: licence is not filled in yet \(TODO\), and 1 more: line \d+"):
        Folder(root=str(tmp_path))
