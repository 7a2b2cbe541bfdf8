"""Tables in archives, with comments, with lost samples and empty rows; the rest of `Table` is tested with `folder`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imu_video.datasets.tables import Table, number_table
from imu_video.errors import RecordingError


def test_content_of_an_archive_is_named_by_its_path() -> None:
    table = Table(Path("a.zip/b.csv"), ["t"], content=b"t,x\n1,2\n3,4\n")
    assert table.numbers("t").tolist() == [1.0, 3.0]
    with pytest.raises(RecordingError, match=r"a\.zip/b\.csv: the file is empty"):
        Table(Path("a.zip/b.csv"), ["t"], content=b"")
    with pytest.raises(RecordingError, match=r"a\.zip/b\.csv, line 2: 't' is 'x', expected a number"):
        Table(Path("a.zip/b.csv"), ["t"], content=b"t\nx\n").numbers("t")


def test_the_rest_of_a_line_after_a_comment_is_left_out() -> None:
    table = Table(Path("x.txt"), ["a", "b"], header=["a", "b"], comment=";", content=b"1,2;\n3,4;5\n")
    assert table.numbers("b").tolist() == [2.0, 4.0]


def test_rows_keep_their_number_where_others_are_empty() -> None:
    table = Table(Path("x.csv"), ["b"], content=b"a,b\n0,1\n1,\n2,3\n")
    assert table.rows().tolist() == [0, 2]
    assert table.numbers("b").tolist() == [1.0, 3.0]


def test_lost_samples_are_accepted_where_a_set_has_them_and_short_lines_never(tmp_path: Path) -> None:
    path = tmp_path / "x.dat"
    path.write_text("1 2 3\n4 NaN nan\n")
    with pytest.raises(RecordingError, match=r"x\.dat, line 2"):
        number_table(path, 3)
    np.testing.assert_array_equal(number_table(path, 3, missing=True), [[1, 2, 3], [4, np.nan, np.nan]])
    path.write_text("1 2 3\n4 NaN\n5 6 7\n")
    with pytest.raises(RecordingError, match=r"x\.dat, line 2: '4 NaN' has 2 fields, expected 3"):
        number_table(path, 3, missing=True)
    path.write_text("1 2 inf\n")
    with pytest.raises(RecordingError, match=r"x\.dat, line 1"):
        number_table(path, 3, missing=True)
