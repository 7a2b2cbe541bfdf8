"""Workbooks: cells by their place, texts, and documents that would expand."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from imu_video.errors import RecordingError
from imu_video.readers.members import Members
from imu_video.readers.xlsx import sheets_of


def test_cells_keep_their_place(files: ModuleType, tmp_path: Path) -> None:
    path = files.write_xlsx(tmp_path / "a.xlsx", {"Raw Data": '"t","x"\n1.5,2\n'})
    assert sheets_of(Members(path)) == {"Raw Data": b"t\tx\n1.5\t2"}


def test_entities_and_foreign_archives_are_refused(files: ModuleType, tmp_path: Path) -> None:
    path = files.write_xlsx(tmp_path / "a.xlsx", {"Data": '"t"\n1\n'})
    members = Members(path)
    parts = {name: members.read(name) for name in members.names}
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><sst><si><t>&b;</t></si></sst>'
    with pytest.raises(RecordingError, match="document type declaration"):
        sheets_of(Members(files.write_zip(tmp_path / "b.xlsx", parts | {"xl/sharedStrings.xml": bomb})))
    with pytest.raises(RecordingError, match="refers to text '0' of 0"):
        sheets_of(Members(files.write_zip(tmp_path / "c.xlsx", parts | {"xl/sharedStrings.xml": b"<sst/>"})))
    with pytest.raises(RecordingError, match=r"sheet1\.xml: damaged"):
        sheets_of(Members(files.write_zip(tmp_path / "d.xlsx", parts | {"xl/worksheets/sheet1.xml": b"<row>"})))
    with pytest.raises(RecordingError, match="not an XLSX workbook"):
        sheets_of(Members(files.write_zip(tmp_path / "e.zip", {"a.csv": b"1"})))
