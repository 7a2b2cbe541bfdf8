"""Tables of a user's folder as spreadsheets and annotation tools write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imu_video.datasets.folder import Folder
from imu_video.errors import ConfigError, RecordingError
from tests.datasets.folder.studies import declaration, declare, put


def first(root: Path) -> Any:
    return next(Folder(root=str(root)).recordings())


@pytest.fixture
def study(tmp_path: Path) -> Path:
    put(tmp_path, "s01/walk_wrist.csv")
    return declare(tmp_path)


def test_decimal_commas_and_an_encoding(study: Path) -> None:
    expected = first(study).imu[0]
    path = study / "s01" / "walk_wrist.csv"
    text = path.read_text().replace(",", ";").replace(".", ",")
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(RecordingError, match="the file is UTF-16 text") as error:
        first(study)
    assert "declare `encoding: utf-16`" in str(error.value.hint)
    imu = {**declaration()["imu"], "encoding": "utf-16", "decimal": ",", "delimiter": ";"}
    declare(study, imu=imu)
    got = first(study).imu[0]
    np.testing.assert_array_equal(got.values, expected.values)
    np.testing.assert_array_equal(got.times, expected.times)
    declare(study, imu={**imu, "encoding": "utf17"})
    with pytest.raises(ConfigError, match=r"key 'imu\.encoding': unknown text encoding 'utf17'"):
        first(study)


def labelled(study: Path, content: str, **changes: Any) -> list[str]:
    (study / "labels.csv").write_text(content)
    declare(study, files={**declaration()["files"], "labels": "labels.csv"}, **changes)
    return [segment.label for segment in first(study).segments]


def test_labels_are_text(study: Path) -> None:
    rows = 'start,end,label\n0,100,null\n100,200,01\n200,300,NA\n300,400,true\n400,500,1e3\n500,600,"run, fast"\n'
    assert labelled(study, rows) == ["null", "01", "NA", "true", "1e3", "run, fast"]


def test_a_header_alone_is_a_recording_without_labels(study: Path) -> None:
    assert labelled(study, "start,end,label\n") == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0,100,", r"labels\.csv, line 2: the label 'label' is empty.*\n.*remove the line"),
        ("0,100,  ", r"line 2: the label 'label' is empty"),
        ("0,100,run,fast", r"line 2: 4 fields, expected 3 \(start, end, label\)"),
        ("0,100", r"line 2: 2 fields, expected 3"),
        ('0,100,"wa\nlk"', r"the label 'wa\\nlk' contains a line end"),
        ("100,0,walk", r"expected start < end.*\n.*correct the times"),
        (",100,walk", r"line 2: time 'start' is empty"),
    ],
)
def test_faulty_labels(row: str, message: str, study: Path) -> None:
    with pytest.raises(RecordingError, match=message):
        labelled(study, f"start,end,label\n{row}\n")


@pytest.mark.parametrize("factor", [0, 1e-300, -1e300])
def test_a_factor_that_no_sensor_has_is_refused(study: Path, factor: float) -> None:
    declare(study, imu={**declaration()["imu"], "scale": {"acc": factor}})
    with pytest.raises(ConfigError, match=r"dataset\.yaml: key 'imu\.scale': scale of acc is"):
        first(study)


def test_a_value_beyond_float32_is_refused_without_the_check_of_units(study: Path) -> None:
    path = study / "s01" / "walk_wrist.csv"
    lines = path.read_text().splitlines()
    lines[5] = ",".join([lines[5].split(",")[0], "1e300", *lines[5].split(",")[2:]])
    path.write_text("\n".join(lines))
    declare(study, check_units=False)
    with pytest.raises(
        RecordingError, match=r"walk_wrist\.csv: a value of 9\.81e\+300 m/s\^2 or rad/s, expected at most"
    ):
        first(study)
