"""Encodings, byte order marks and NUL bytes: refused with a remedy that helps, or read."""

from __future__ import annotations

import gzip
import re
import subprocess
from pathlib import Path

import pytest

from imu_video.errors import RecordingError
from imu_video.readers.tables import Table, number_table, text_blocks, text_encoding

X = Path("x.csv")
TEXT = "t,Größe\n1,2\n3,é\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_the_hint_names_an_encoding_that_reads_the_file(encoding: str) -> None:
    content = TEXT.encode(encoding)
    with pytest.raises(RecordingError, match=r"expected UTF-8|is not UTF-8") as error:
        Table(X, ["t"], content=content)
    named = re.search(r"declare `encoding: ([\w-]+)`", str(error.value.hint))
    assert named
    table = Table(X, ["t", "Größe"], texts=["Größe"], encoding=named[1], content=content)
    assert table.texts("Größe") == ["2", "é"]
    with pytest.raises(RecordingError):
        list(text_blocks(X, content))


def test_the_byte_that_is_not_utf8_is_shown() -> None:
    with pytest.raises(RecordingError, match=r"x\.csv, line 3: byte 0xe9 is not UTF-8; .* it is in '3,é'"):
        Table(X, ["t"], content=b"t,x\n1,2\n3,\xe9\n")


def test_a_mark_of_utf8_is_no_part_of_the_first_name() -> None:
    for encoding in (None, "utf-8", "cp1252"):
        table = Table(X, ["t"], content=TEXT.encode("utf-8-sig"), encoding=encoding)
        assert table.numbers("t").tolist() == [1.0, 3.0]


def test_a_wrong_encoding_is_named() -> None:
    with pytest.raises(RecordingError, match="not text in the declared encoding ascii"):
        Table(X, ["t"], content=TEXT.encode(), encoding="ascii")
    for name in ("utf8x", "hex", "rot13"):
        with pytest.raises(ValueError, match="unknown text encoding"):
            text_encoding(name)


def test_nul_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"t,x\n1,2\n3,4\n" + bytes(500))
    with pytest.raises(RecordingError, match=r"line 4: 500 NUL bytes at the end of the file") as error:
        Table(path, ["t"])
    assert len(str(error.value)) < 400
    command = str(error.value.hint).split(": ", 1)[1]
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    assert Table(tmp_path / "fixed.csv", ["t"]).numbers("t").tolist() == [1.0, 3.0]
    with pytest.raises(RecordingError, match=r"line 2: 1 NUL byte inside the text"):
        Table(X, ["t"], content=b"t,x\n1,\x002\n3,4\n")
    path.write_bytes(b"1 2\n" + bytes(90))
    with pytest.raises(RecordingError, match=r"line 2: 90 NUL bytes at the end"):
        number_table(path, 2)


def test_compressed_files(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"t,x\n1,2\n3,4\n"))
    assert Table(path, ["t"]).numbers("t").tolist() == [1.0, 3.0]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RecordingError, match=r"x\.csv\.gz: a damaged \.gz file"):
        Table(path, ["t"])
    path.write_bytes(b"t,x\n1,2\n")
    with pytest.raises(RecordingError, match=r"x\.csv\.gz: a damaged \.gz file"):
        Table(path, ["t"])
