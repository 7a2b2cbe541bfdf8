"""Situations of users' files: sensors in separate files, labels in a column, scales, tables of subjects, cameras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from imu_video.cli.app import app
from imu_video.datasets.folder import Folder
from imu_video.errors import ConfigError, RecordingError
from imu_video.recordings.windows import WindowConfig, cut
from imu_video.shards import load_index
from imu_video.types import GRAVITY, Recording
from tests.datasets.folder.studies import CHANNELS, RATE, N, declaration, declare, put, table, video

IMU = declaration()["imu"]
PLAIN = {"imu": "{subject}/{recording}.csv"}


def only(root: Path, **changes: Any) -> Recording:
    (recording,) = Folder(root=str(declare(root, **changes))).recordings()
    return recording


def split_sensors(root: Path, *, shift_ms: float = 3.0) -> None:
    """One device as two files, x y z each; the gyroscope on a clock that is ``shift_ms`` late."""
    whole = table()
    names = dict(zip("xyz", "xyz", strict=True))
    acc = whole[["t", "ax", "ay", "az"]].rename(columns={f"a{k}": v for k, v in names.items()})
    gyr = whole[["t", "gx", "gy", "gz"]].rename(columns={f"g{k}": v for k, v in names.items()})
    put(root, "s01/walk/Accelerometer.csv", acc)
    put(root, "s01/walk/Gyroscope.csv", gyr.assign(t=gyr["t"] + shift_ms))


SENSORS = {
    "imu": {"acc": "{subject}/{recording}/Accelerometer.csv", "gyr": "{subject}/{recording}/Gyroscope.csv"},
}
XYZ = {**IMU, "channels": {channel: channel[-1] for channel in CHANNELS}}


def test_sensors_in_separate_files_are_one_device(tmp_path: Path) -> None:
    split_sensors(tmp_path)
    (stream,) = only(tmp_path, files=SENSORS, imu=XYZ).imu
    assert stream.values.shape == (6, 2 * N)
    acc, gyr = np.isfinite(stream.values[0]), np.isfinite(stream.values[3])
    assert not (acc & gyr).any()
    np.testing.assert_allclose(stream.times[acc], np.arange(N) / RATE)
    np.testing.assert_allclose(stream.times[gyr], np.arange(N) / RATE + 0.003)
    np.testing.assert_allclose(stream.values[0, acc], np.arange(N) / 1000 * GRAVITY)
    (window,) = cut(only(tmp_path, files=SENSORS, imu=XYZ), WindowConfig(seconds=3.9))
    assert np.isfinite(window.imu["wrist"][:, 1:]).all()
    split_sensors(tmp_path, shift_ms=0)
    (stream,) = only(tmp_path, files=SENSORS, imu=XYZ).imu
    assert stream.values.shape == (6, N)
    listed = {"acc": "s01/walk/Accelerometer.csv", "gyr": "s01/walk/Gyroscope.csv"}
    entry = {"subject": "s01", "name": "r", "imu": {"wrist": listed}}
    np.testing.assert_array_equal(only(tmp_path, files=None, recordings=[entry], imu=XYZ).imu[0].values, stream.values)


def test_a_missing_sensor_is_refused_or_optional(tmp_path: Path) -> None:
    split_sensors(tmp_path)
    (tmp_path / "s01/walk/Gyroscope.csv").unlink()
    with pytest.raises(RecordingError, match="'s01-walk', placement 'wrist' has no file of gyr") as error:
        only(tmp_path, files=SENSORS, imu=XYZ)
    assert error.match(r"files.optional: \[gyr\]")
    (stream,) = only(tmp_path, files={**SENSORS, "optional": ["gyr"]}, imu=XYZ).imu
    assert stream.channels == ("acc_x", "acc_y", "acc_z")
    split_sensors(tmp_path, shift_ms=3_600_000)
    with pytest.raises(RecordingError, match=r"do not overlap.*another time zone"):
        only(tmp_path, files=SENSORS, imu=XYZ)


def test_labels_in_a_column_of_the_table(tmp_path: Path) -> None:
    frame = table().assign(activity=["walk"] * 200 + [""] * 100 + ["null"] * 100)
    put(tmp_path, "s01/a.csv", frame)
    imu = {**IMU, "label": "activity"}
    recording = only(tmp_path, files=PLAIN, imu=imu)
    assert [(s.label, round(s.start, 6), round(s.end, 6)) for s in recording.segments] == [
        ("walk", 0.0, 2.0),
        ("null", 3.0, 4.0),
    ]
    with pytest.raises(RecordingError, match="column 'activity': label 'null' is not declared"):
        only(tmp_path, files=PLAIN, imu=imu, labels=["walk"])
    with pytest.raises(ConfigError, match="give one of the two"):
        only(tmp_path, files={**PLAIN, "labels": "{subject}/{recording}_l.csv"}, imu=imu)


def test_label_columns_of_two_devices_must_agree(tmp_path: Path) -> None:
    words = ["walk"] * 200 + ["sit"] * 200
    put(tmp_path, "s01/a_wrist.csv", table().assign(activity=words))
    late = ["walk"] * 205 + ["sit"] * 195  # a twentieth of a second on another clock
    put(tmp_path, "s01/a_waist.csv", table().assign(activity=late))
    two = {"imu": {**IMU, "label": "activity"}, "placements": {"wrist": None, "waist": None}}
    assert [s.end for s in only(tmp_path, **two).segments] == pytest.approx([2.05, 4.0])
    put(tmp_path, "s01/a_wrist.csv", table().assign(activity=["walk"] * 100 + ["sit"] * 300))
    with pytest.raises(
        RecordingError, match=r"columns of waist and wrist differ for 1.05 of 4 s: 'walk' and 'sit' at 1.000 s"
    ) as error:
        only(tmp_path, **two)
    assert error.match("declare `label` for one placement only")
    one = {"imu": IMU, "placements": {"wrist": {"label": "activity"}, "waist": None}}
    assert [s.end for s in only(tmp_path, **one).segments] == pytest.approx([1.0, 4.0])


def test_copies_and_sensors_that_stopped_are_said(tmp_path: Path) -> None:
    frame = table()
    put(tmp_path, "s01/a.csv", frame.assign(gz=np.nan))
    (tmp_path / "s02").mkdir()
    (tmp_path / "s02" / "b.csv").write_bytes((tmp_path / "s01" / "a.csv").read_bytes())
    frame.loc[100:, ["gx", "gy", "gz"]] = np.nan
    put(tmp_path, "s03/c.csv", frame)
    source = Folder(root=str(declare(tmp_path, files=PLAIN, imu=IMU)))
    (note,) = source.notes
    assert note.startswith("2 IMU files have equal bytes: 's01/a.csv', 's02/b.csv'; name copies under `ignore`")
    assert [recording.notes for recording in source.recordings(["s01", "s03"])] == [
        ("wrist: no numbers in gyr_z",),
        ("wrist: gyr was measured from 0 s to 0.99 s only",),
    ]
    declare(tmp_path, files=PLAIN, imu=IMU, ignore=["s02/"])
    assert not any("equal bytes" in note for note in Folder(root=str(tmp_path)).notes)


def test_a_placement_that_yaml_takes_for_something_else(tmp_path: Path) -> None:
    put(tmp_path, "s01/a.csv")
    with pytest.raises(ConfigError, match="placement False is no text; put it in quotation marks"):
        only(tmp_path, files=PLAIN, imu=IMU, placements={False: None})
    assert only(tmp_path, files=PLAIN, imu=IMU, placements={"no": None}).imu[0].placement == "no"


def test_one_column_is_not_two_axes(tmp_path: Path) -> None:
    put(tmp_path, "s01/a.csv")
    with pytest.raises(ConfigError, match="acc_x and acc_y both name the column 'ax'"):
        only(tmp_path, files=PLAIN, imu={**IMU, "channels": {"acc_x": "ax", "acc_y": "ax", "acc_z": "az"}})


def test_raw_counts_have_a_scale_and_files_their_own_units(tmp_path: Path) -> None:
    put(tmp_path, "s01/a.csv", table(acc=4096, gyr=20 * 16.4))
    put(tmp_path, "s02/a.csv", table(acc=1000))
    scale = {"acc": 1 / 4096, "gyr": 1 / 16.4}
    formats = {"s02-*": {"units": {"acc": "mg"}, "scale": {"acc": 1, "gyr": 1}}}
    one, two = Folder(
        root=str(declare(tmp_path, files=PLAIN, imu={**IMU, "scale": scale}, formats=formats))
    ).recordings()
    for stream in (one.imu[0], two.imu[0]):
        np.testing.assert_allclose(stream.values[0], np.arange(N) / 1000 * GRAVITY, rtol=1e-6)
        assert stream.values[3:].std() == pytest.approx(np.deg2rad(20), rel=0.05)
    with pytest.raises(ConfigError, match=r"formats: no recording 's03-.'"):
        only(tmp_path, files=PLAIN, formats={"s03-*": {}})
    with pytest.raises(ConfigError, match="scale of acc is 0"):
        only(tmp_path, files=PLAIN, imu={**IMU, "scale": {"acc": 0}})


def test_formats_of_recordings_without_a_gyroscope_and_from_a_reader(tmp_path: Path) -> None:
    put(tmp_path, "s01/a.csv")
    put(tmp_path, "s02/a.csv", table().drop(columns=["gx", "gy", "gz"]))
    with pytest.raises(RecordingError, match="no column 'gx'"):
        list(Folder(root=str(declare(tmp_path, files=PLAIN))).recordings())
    formats = {"s02-*": {"channels": {f"acc_{axis}": f"a{axis}" for axis in "xyz"}}}
    one, two = Folder(root=str(declare(tmp_path, files=PLAIN, formats=formats))).recordings()
    assert (one.imu[0].channels[3:], two.imu[0].channels) == (tuple(CHANNELS)[3:], tuple(CHANNELS)[:3])
    formats["s02-*"] = {"reader": "sensor_logger"}
    source = Folder(root=str(declare(tmp_path, files=PLAIN, formats=formats)))
    assert "sensor_logger" in source.provenance()["readers"]
    assert [r.name for r in source.recordings(["s01"])] == ["s01-a"]
    with pytest.raises(RecordingError, match=r"s02/a\.csv"):
        list(source.recordings(["s02"]))


def test_removed_gravity_is_declared_and_tagged(tmp_path: Path) -> None:
    put(tmp_path, "s01/a.csv", table().assign(ay=0.01))
    recording = only(tmp_path, files=PLAIN, imu={**IMU, "gravity": "removed"})
    assert recording.tags == {"gravity": "removed"}
    with pytest.raises(RecordingError, match="gravity"):
        only(tmp_path, files=PLAIN)
    with pytest.raises(ConfigError, match="gravity is removed from wrist, but not from its other placements"):
        only(tmp_path, files=PLAIN, placements={"wrist": {"gravity": "removed"}, "hip": None})


def test_magnetometers_are_refused_clearly(tmp_path: Path) -> None:
    put(tmp_path, "s01/a.csv")
    with pytest.raises(ConfigError, match="'mag_x': windows contain accelerometer and gyroscope only; remove it"):
        only(tmp_path, files=PLAIN, imu={**IMU, "channels": {**CHANNELS, "mag_x": "mx"}})


def test_a_table_of_subjects_gives_tags_as_text(tmp_path: Path) -> None:
    for subject in ("s01", "s02"):
        put(tmp_path, f"{subject}/a.csv", table(start=float(subject[1:])))
    (tmp_path / "people.csv").write_text("id,age,sex\ns02,071,f\ns01,,null\ns09,1,m\n")
    subjects = {"file": "people.csv", "subject": "id", "tags": {"years": "age", "sex": "sex"}}
    source = Folder(root=str(declare(tmp_path, files=PLAIN, subjects=subjects)))
    assert [dict(r.tags) for r in source.recordings()] == [{"sex": "null"}, {"years": "071", "sex": "f"}]
    assert source.provenance()["subjects"] == source.subject_tags()
    assert source.notes == ("people.csv has rows of subjects without a recording (1): 's09'",)
    other = str(declare(tmp_path, files=PLAIN, subjects={**subjects, "tags": ["gravity"]}))
    with pytest.raises(ConfigError, match="the tag 'gravity' is reserved"):
        Folder(root=other)
    declare(tmp_path, files=PLAIN, subjects=subjects)
    put(tmp_path, "s03/a.csv")
    with pytest.raises(RecordingError, match=r"people\.csv: no row of subject 's03'; did you mean"):
        Folder(root=str(tmp_path))
    (tmp_path / "people.csv").write_text("id,age,sex\ns01,1,m\ns02,2,m\ns03,3,m\ns02,4,m\n")
    with pytest.raises(RecordingError, match="line 5: subject 's02' has a second row"):
        Folder(root=str(tmp_path))


def test_folds_and_strata_from_the_command_line(tmp_path: Path) -> None:
    for subject in ("s1", "s2", "s3", "s4"):
        put(tmp_path, f"rec/{subject}/a.csv")
    (tmp_path / "rec" / "people.csv").write_text("subject,group\ns1,old\ns2,young\ns3,old\ns4,young\n")
    declare(tmp_path / "rec", files=PLAIN, subjects={"file": "people.csv", "tags": ["group"]})
    plan = {"dataset": {"name": "folder", "root": str(tmp_path / "rec")}, "window": {"seconds": 2.0, "rate_hz": 50}}
    (tmp_path / "build.yaml").write_text(json.dumps({**plan, "splits": {"stratify": "group"}}))

    def test_subjects(fold: str, out: str) -> tuple[str, ...]:
        command = ["build", str(tmp_path / "build.yaml"), str(tmp_path / out), "--fold", fold]
        done = CliRunner().invoke(app, command, catch_exceptions=False)
        assert done.exit_code == 0
        index = load_index(tmp_path / out)
        assert index.tags["group"] == ("old", "young")
        return index.splits["test"].subjects

    assert test_subjects("3/loso", "loso") == ("s3",)
    one, two = test_subjects("1/2", "one"), test_subjects("2/2", "two")
    assert sorted(one + two) == ["s1", "s2", "s3", "s4"]
    assert len({*one} & {"s1", "s3"}) == 1, "each fold has one old subject"
    with pytest.raises(ConfigError, match="--fold is '3', expected i/n"):
        test_subjects("3", "three")


def test_labels_that_meet_nothing_end_a_build_or_become_a_note(tmp_path: Path) -> None:
    put(tmp_path, "rec/s1/a.csv")
    (tmp_path / "rec" / "s1" / "a_labels.csv").write_text("start,end,label\n7200000,7204000,walk\n")
    (tmp_path / "rec" / "notes.txt").write_text("not a recording")
    files = {**PLAIN, "labels": "{subject}/{recording}_labels.csv"}
    plan = {"dataset": {"name": "folder", "root": str(tmp_path / "rec")}, "window": {"seconds": 2.0, "rate_hz": 50}}
    (tmp_path / "build.yaml").write_text(json.dumps({**plan, "splits": {"fractions": {"train": 1.0}}}))
    command = ["build", str(tmp_path / "build.yaml"), str(tmp_path / "out")]
    declare(tmp_path / "rec", files=files)
    with pytest.raises(
        RecordingError, match=r"labels \(s1/a_labels\.csv\): 7200 s to 7204 s does not overlap"
    ) as error:
        CliRunner().invoke(app, command, catch_exceptions=False)
    assert error.match(r"label_files\.offset_s: -7200")
    # the remedy, obeyed
    declare(tmp_path / "rec", files=files, label_files={"offset_s": -7200})
    assert only(tmp_path / "rec", files=files, label_files={"offset_s": -7200}).segments[0].start == 0.0
    declare(tmp_path / "rec", files=files, missing="warn")
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert "1 like tables or videos" in done.output
    assert "does not overlap" in done.output
    (row,) = json.loads((tmp_path / "out" / "quality.json").read_text())["notes"]
    assert (row["recording"], row["subject"]) == ("s1-a", "s1")
    assert "another time zone" in row["note"]


def test_times_of_a_zone_become_utc(tmp_path: Path) -> None:
    stamps = pd.to_datetime(1.72e9 + np.arange(N) / RATE, unit="s").round("ms")  # 3 July 2024
    local = (stamps + pd.Timedelta(hours=2)).strftime("%Y-%m-%d %H:%M:%S.%f")
    for unit, times in (("iso8601", local), ("s", 1.72e9 + 7200 + np.arange(N) / RATE)):
        put(tmp_path, "s01/a.csv", table().assign(t=times))
        imu = {**IMU, "time": {"column": "t", "unit": unit, "timezone": "Europe/Berlin"}}
        times = only(tmp_path, files=PLAIN, imu=imu).imu[0].times
        np.testing.assert_allclose(times, 1.72e9 + np.arange(N) / RATE, atol=2e-3, rtol=0)
    with pytest.raises(ConfigError, match="unknown timezone 'Berlin'"):
        only(tmp_path, files=PLAIN, imu={**IMU, "time": {"column": "t", "timezone": "Berlin"}})


def test_videos_by_start_and_by_camera_and_recordings_without(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path, f"s01/{name}.csv")
    video(tmp_path / "s01" / "a.mp4")
    video(tmp_path / "s01" / "a_side.mp4")
    files = {
        **PLAIN,
        "video": "{subject}/{recording}.mp4",
        "cameras": {"side": "{subject}/{recording}_side.mp4"},
        "start": {"s01-a": 750},
        "camera_offset_s": {"side": 0.25},
        "optional": ["video", "cameras"],
    }
    one, two = Folder(root=str(declare(tmp_path, files=files))).recordings()
    assert {name: stream.times[0] for name, stream in one.streams.items()} == {"video": 0.75, "video.side": 0.25}
    assert two.streams == {}
    with pytest.raises(ConfigError, match=r"files\.start names 's01-c'"):
        Folder(root=str(declare(tmp_path, files={**files, "start": {"s01-c": 1}})))
    with pytest.raises(RecordingError, match=r"b_side\.mp4: no such file"):
        Folder(root=str(declare(tmp_path, files={**files, "optional": ["video"]})))
