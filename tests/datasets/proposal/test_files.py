"""Every file of a folder has its part: exports, tables, videos, labels, others."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from imu_video.datasets.proposal.files import look, read_columns


def test_every_file_has_its_part(files: ModuleType, tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
    files.sensor_logger(tmp_path / "a", "folder", platform="ios")
    files.metamotion(tmp_path / "b")
    files.phyphox(tmp_path / "c", "xlsx")
    (tmp_path / "d" / "raw.csv").write_text("t,ax,ay,az\n0,0,0,1\n")
    (tmp_path / "d" / "labels.csv").write_text("Start,End,Activity\n0,1,walk\n")
    (tmp_path / "d" / "people.csv").write_text("subject,age\n1,30\n")
    (tmp_path / "d" / "cam.MOV").write_bytes(b"")
    (tmp_path / ".hidden").write_text("x")
    found = look(tmp_path)
    assert [(one.path.split("/")[0], one.kind) for one in found.imu] == [
        ("a", "sensor_logger"),
        ("b", "metamotion"),
        ("c", "phyphox"),
        ("d", "columns t, ax, ay, az"),
    ]
    assert found.imu[0].path == "a/walk", "a folder is one export"
    assert found.imu[1].path == "b", "two files of one device"
    assert (found.videos, found.labels, found.others) == (["d/cam.MOV"], ["d/labels.csv"], ["d/people.csv"])
    assert found.label_columns == ("Start", "End", "Activity")


def test_the_form_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("t;ax\n0,5;1,25\n1,0;\n")
    values, _, form = read_columns(path)
    assert form == {"delimiter": ";", "decimal": ","}
    assert values["ax"].tolist()[0] == 1.25
    path.write_text("1,2,3\n4,5,6\n7,8,9\n")
    assert read_columns(path)[2] == {"columns": "TODO"}
