"""Archives and folders as named files in memory: names, limits, damage."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from imu_video.errors import RecordingError
from imu_video.readers import members
from imu_video.readers.members import Members, head, names_in


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in files.items():
            out.writestr(name, content)
    return path


def test_archive_and_folder_have_the_same_names(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "a.zip", {"walk/Gyroscope.csv": b"t", "meta/time.csv": b"m", "__MACOSX/._x": b"", ".h": b""}
    )
    (tmp_path / "b" / "walk").mkdir(parents=True)
    (tmp_path / "b" / "walk" / "Gyroscope.csv").write_bytes(b"t")
    assert Members(path).names == ("meta/time.csv", "walk/Gyroscope.csv")
    assert Members(tmp_path / "b").names == ("walk/Gyroscope.csv",)
    assert Members(path).read("walk/Gyroscope.csv") == Members(tmp_path / "b").read("walk/Gyroscope.csv") == b"t"
    assert Members(path).find("gyroscope.CSV") == "walk/Gyroscope.csv"
    assert Members(path).find("Accelerometer.csv") is None


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"none\.zip: no such file"):
        Members(tmp_path / "none.zip")
    path = archive(tmp_path / "a.zip", {"x.csv": b"0123456789" * 100})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(RecordingError, match=r"a\.zip: cannot be read"):
        Members(path)
    assert names_in(path) == ()
    path.write_bytes(content.replace(content[35:38], b"\xff\xff\xff"))
    with pytest.raises(RecordingError, match=r"a\.zip/x\.csv: cannot be read"):
        Members(path).read("x.csv")


def test_limits_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = archive(tmp_path / "bomb.zip", {"x.csv": bytes(3_000_000)})
    with pytest.raises(RecordingError, match=r"unpacks from \d+ to 3000000 bytes"):
        Members(bomb).read("x.csv")
    monkeypatch.setattr(members, "MOST_MEMBERS", 2)
    many = archive(tmp_path / "many.zip", {f"{i}.csv": b"" for i in range(3)})
    with pytest.raises(RecordingError, match="3 members, expected at most 2"):
        Members(many)
    (tmp_path / "third").write_bytes(b"")
    with pytest.raises(RecordingError, match="more than 2 files below"):
        Members(tmp_path)


def test_looking_never_raises(tmp_path: Path) -> None:
    assert head(tmp_path) == b""
    assert head(tmp_path / "none") == b""
    assert names_in(tmp_path / "none") == ()
