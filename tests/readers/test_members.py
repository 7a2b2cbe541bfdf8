"""Archives and folders as named files in memory: names, limits, damage."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest

from imu_video.errors import RecordingError
from imu_video.readers import members, zip_layout
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
    for module in (members, zip_layout):
        monkeypatch.setattr(module, "MOST_MEMBERS", 2)
    many = archive(tmp_path / "many.zip", {f"{i}.csv": b"" for i in range(3)})
    with pytest.raises(RecordingError, match="3 members, expected at most 2"):
        Members(many)
    (tmp_path / "third").write_bytes(b"")
    with pytest.raises(RecordingError, match="more than 2 files below"):
        Members(tmp_path)


def without_row(data: bytes, number: int) -> bytes:
    """An archive whose directory has lost a row; its end record agrees with what is left."""
    end = data.rfind(b"PK\x05\x06")
    at = begin = struct.unpack_from("<I", data, end + 16)[0]
    rows = []
    while data[at : at + 4] == b"PK\x01\x02":
        rows.append(data[at : at + 46 + sum(struct.unpack_from("<3H", data, at + 28))])
        at += len(rows[-1])
    del rows[number]
    last = bytearray(data[end:])
    struct.pack_into("<2HI", last, 8, len(rows), len(rows), sum(map(len, rows)))
    return data[:begin] + b"".join(rows) + bytes(last)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_members_that_the_directory_lost_are_noticed(tmp_path: Path, number: int) -> None:
    path = archive(tmp_path / "a.zip", {f"{i}.csv": b"t,x" * 50 for i in range(3)})
    path.write_bytes(without_row(path.read_bytes(), number))
    assert len(zipfile.ZipFile(path).namelist()) == 2
    with pytest.raises(RecordingError, match=r"a\.zip: \d+ bytes .* belong to no member that its directory lists"):
        Members(path)


def test_the_last_archive_inside_a_truncated_archive_is_not_read_in_its_place(tmp_path: Path) -> None:
    inner = archive(tmp_path / "inner.zip", {"x.csv": b"1"}).read_bytes()
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as out:
        out.writestr("inner.zip", inner)
        out.writestr("other.zip", inner)
    path = tmp_path / "outer.zip"
    assert [name for name, _ in Members(path).flat(".csv")] == ["inner.zip/x.csv", "other.zip/x.csv"]
    path.write_bytes(path.read_bytes()[: path.read_bytes().find(b"PK\x01\x02", -200)])
    assert zipfile.ZipFile(path).namelist() == ["x.csv"]
    with pytest.raises(RecordingError, match=r"outer\.zip: \d+ bytes at its start belong to no member"):
        Members(path)


def test_links_names_out_of_the_archive_and_other_methods_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a.csv": b"1", "/b.csv": b"2"})
    assert Members(path).names == ("a.csv", "b.csv")
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.find(b"PK\x01\x02") + 38, 0o120777 << 16)
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=r"a\.zip/a\.csv: is a symbolic link"):
        Members(path).read("a.csv")
    with pytest.raises(RecordingError, match=r"b\.zip: member '\.\./x\.csv' leads out of the archive"):
        Members(archive(tmp_path / "b.zip", {"../x.csv": b""}))
    for name in ("//server/x.csv", "C:/x.csv"):
        with pytest.raises(RecordingError, match="leads out of the archive"):
            Members(archive(tmp_path / "d.zip", {name: b""}))
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_BZIP2) as out:
        out.writestr("x.csv", b"1" * 1000)
    with pytest.raises(RecordingError, match=r"c\.zip/x\.csv: compressed by method 12, expected stored or deflated"):
        Members(tmp_path / "c.zip").read("x.csv")
    two = archive(tmp_path / "d.zip", {"s1/acc.csv": b"1", "s2/ACC.csv": b"2"})
    with pytest.raises(RecordingError, match=r"2 files are called acc\.csv \(s1/acc\.csv, s2/ACC\.csv\)"):
        Members(two).find("acc.csv")


def test_looking_never_raises(tmp_path: Path) -> None:
    assert head(tmp_path) == b""
    assert head(tmp_path / "none") == b""
    assert names_in(tmp_path / "none") == ()
