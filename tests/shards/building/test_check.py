"""`check` lists every fault of every file in one pass, writes nothing, and passes only where a build passes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imu_video.errors import ConfigError, ImuVideoError, RecordingError
from imu_video.registry import datasets
from imu_video.shards.building.build import BuildConfig, build
from imu_video.shards.building.check import Fault, check_against, check_recordings

Tree = Callable[[Path], dict[str, bytes]]


def _row(name: str, text: str) -> Callable[[Path], None]:
    def change(study: Path) -> None:
        with (study / name).open("a") as file:
            file.write(text + "\n")

    return change


def _declared(old: str, new: str) -> Callable[[Path], None]:
    def change(study: Path) -> None:
        file = study / "dataset.yaml"
        file.write_text(file.read_text().replace(old, new))

    return change


def _written(file: Path, text: str) -> None:
    file.write_text(text)


FAULTS: dict[str, Callable[[Path], None] | None] = {
    "none": None,
    "text in a row": _row("s02/r.csv", "3.99,0,broken,9.81"),
    "time that goes back": _row("s02/r.csv", "1.00,0,0,9.81"),
    "label without an end": _row("s02/r.labels.csv", "3,,walk"),
    "no label file": lambda study: (study / "s02" / "r.labels.csv").unlink(),
    "empty table": lambda study: _written(study / "s02" / "r.csv", ""),
    "unit of the channels": _declared("acc: m/s^2", "acc: mg"),
    "unit of the times": _declared("unit: s", "unit: ms"),
    "unknown column": _declared("acc_z: az", "acc_z: za"),
    "unknown key": _declared("licence: CC0", "license: CC0"),
    "pattern without files": _declared("{subject}/{recording}.csv", "{subject}/imu/{recording}.csv"),
    "no declaration": lambda study: (study / "dataset.yaml").unlink(),
    "split without windows": _row("s03/r.csv", ""),  # with the config below: s03 is shorter than a window
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_check_passes_where_a_build_passes(
    study: Path, study_config: BuildConfig, tmp_path: Path, files_of: Tree, name: str
) -> None:
    config = study_config
    if name == "split without windows":
        changes = {"splits": {"subjects": {"train": ["s01", "s02"], "test": ["s03"]}}}
        config = BuildConfig.model_validate({**config.model_dump(mode="json"), **changes})
        (study / "s03" / "r.csv").write_text("t,ax,ay,az\n" + "".join(f"0.{i:02d},0,0,9.81\n" for i in range(0, 60, 4)))
        (study / "s03" / "r.labels.csv").write_text("start,end,label\n0,0.5,walk\n")
    elif (change := FAULTS[name]) is not None:
        change(study)
    before = files_of(tmp_path)
    report = check_recordings(config)
    assert files_of(tmp_path) == before
    if name == "none":
        assert (report.faults, report.recordings, report.windows) == ((), 3, 12)
        assert build(config, tmp_path / "data").split("train").samples == 12
        return
    assert report.faults
    assert f"{study}/" not in str(report.faults)
    with pytest.raises(ImuVideoError):
        build(config, tmp_path / "data")


def test_all_faults_of_all_files_are_listed_at_once(study: Path, study_config: BuildConfig) -> None:
    _row("s01/r.csv", "3.99,0,broken,9.81")(study)
    _row("s01/r.labels.csv", "3,2,walk")(study)
    _row("s03/r.csv", "1.00,0,0,9.81")(study)
    report = check_recordings(study_config)
    assert [fault.file for fault in report.faults] == ["s01/r.csv", "s01/r.labels.csv", "s03/r.csv"]
    assert report.recordings == 1


def test_all_faults_of_a_declaration_are_listed_at_once(study: Path, study_config: BuildConfig) -> None:
    _declared("licence: CC0", "license: CC0\ncitatoin: me")(study)
    _declared("acc: m/s^2", "acc: lbs")(study)
    words = [fault.what for fault in check_recordings(study_config).faults]
    for part in ("unknown key 'license'", "unknown key 'citatoin'", "unknown unit 'lbs'", "'licence' is missing"):
        assert sum(part in what for what in words) == 1, words


def test_every_missing_file_is_listed_beside_the_faults_of_the_others(study: Path, study_config: BuildConfig) -> None:
    for name in ("s01", "s02"):
        (study / name / "r.labels.csv").unlink()
    _row("s03/r.csv", "1.00,0,0,9.81")(study)
    files = [fault.file for fault in check_recordings(study_config).faults]
    assert files == ["s01/r.labels.csv", "s02/r.labels.csv", "s03/r.csv"]


def test_every_file_that_fits_no_recording_is_listed(study: Path, study_config: BuildConfig) -> None:
    _declared("{subject}/{recording}.csv", "{subject}/{recording}_{placement}.csv")(study)
    for name in ("s01", "s02", "s03"):
        (study / name / "r.csv").rename(study / name / "r_waist.csv")
    for name in ("s01", "s03"):
        (study / name / "r_wiast.csv").write_bytes((study / name / "r_waist.csv").read_bytes())
    _row("s02/r_waist.csv", "1.00,0,0,9.81")(study)
    faults = check_recordings(study_config).faults
    assert [fault.file for fault in faults] == ["s01/r_wiast.csv", "s03/r_wiast.csv", "s02/r_waist.csv"]
    assert "did you mean 'waist'" in faults[0].what


def test_missing_packages_come_first_and_once(
    study: Path, study_config: BuildConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = datasets.get("folder")
    original = folder._stream

    def lacking(source: Any, planned: Any, placement: str) -> Any:
        if planned.subject == "s01":
            return original(source, planned, placement)
        raise ConfigError(f"{planned.imu[placement]}: needs pyarrow", hint="pip install 'imu-video[parquet]'")

    monkeypatch.setattr(folder, "_stream", lacking)
    _row("s01/r.csv", "1.00,0,0,9.81")(study)
    first, second = check_recordings(study_config).faults
    assert (first.file, first.hint) == ("s02/r.csv and 1 more", "pip install 'imu-video[parquet]'")
    assert second.file == "s01/r.csv"


def test_an_error_that_is_not_ours_becomes_a_fault(people_config: Callable[..., BuildConfig]) -> None:
    report = check_recordings(people_config(dataset={"name": "tiny_people", "fault": "crash"}))
    assert (
        Fault(file="p2", what="RuntimeError: sensor on fire", hint="report this as a bug, with the file")
        in report.faults
    )
    assert report.recordings == 6


@pytest.mark.parametrize("quick", [False, True])
def test_notes_of_single_recordings_are_listed(study: Path, study_config: BuildConfig, quick: bool) -> None:
    _written(study / "s02" / "r.labels.csv", "start,end,label\n0,9,walk\n")
    _written(study / "s03" / "r.csv", "t,ax,ay,az\n0,0,0,9.81\n0.04,0,0,9.81\n0.08,0,0,9.81\n")
    _written(study / "s03" / "r.labels.csv", "start,end,label\n")
    report = check_recordings(study_config, quick=quick)
    assert report.faults == ()
    assert report.notes == (
        "s02-r: labels (s02/r.labels.csv): 0 s to 9 s extends beyond the IMU: 0 s to 4 s by 5 s",
        "1 of 3 recordings are shorter than a window",
    )


def test_a_quick_check_reads_tables_only(study: Path, study_config: BuildConfig) -> None:
    assert check_recordings(study_config, quick=True).windows == 0
    _row("s03/r.csv", "1.00,0,0,9.81")(study)
    assert [fault.file for fault in check_recordings(study_config, quick=True).faults] == ["s03/r.csv"]


def test_changes_since_a_build_are_named(study: Path, study_config: BuildConfig, tmp_path: Path) -> None:
    index = build(study_config, tmp_path / "data", hash_sources=True)
    entry = {"name": "folder", "root": str(study)}
    assert list(check_against(index, entry)) == []
    _declared("acc_x: ax, acc_y: ay", "acc_x: ay, acc_y: ax")(study)
    (study / "s01" / "r.labels.csv").write_text("start,end,label\n0,2,runs\n")
    table = study / "s01" / "r.csv"
    size, time = table.stat().st_size, table.stat().st_mtime_ns
    table.write_text(table.read_text().replace("9.81", "9.71", 1))
    assert table.stat().st_size == size
    os.utime(table, ns=(time, time))
    for path in (study / "s02").iterdir():
        path.unlink()
    (study / "s04").mkdir()
    for name in ("r.csv", "r.labels.csv"):
        (study / "s04" / name).write_bytes((study / "s03" / name).read_bytes())
    found = [(fault.file, fault.what) for fault in check_against(index, entry)]
    assert found == [
        ("dataset.yaml", "imu.channels.acc_x: 'ax' -> 'ay'"),
        ("dataset.yaml", "imu.channels.acc_y: 'ay' -> 'ax'"),
        ("tables", "s01/r.labels.csv: changed"),
        ("tables", "s02/r.labels.csv: removed"),
        ("tables", "s04/r.labels.csv: added"),
        ("s01/r.csv", "other content, same size"),
        ("s01/r.labels.csv", "other content, same size"),
        ("s02/r.csv", "removed"),
        ("s02/r.labels.csv", "removed"),
        ("s04/r.csv", "added"),
        ("s04/r.labels.csv", "added"),
    ]
    (study / "dataset.yaml").unlink()
    faults = list(check_against(index, entry))
    assert "contains no dataset.yaml" in faults[0].what
    assert ("s02/r.csv", "removed") in [(fault.file, fault.what) for fault in faults]


def test_a_recording_error_still_ends_a_build(study: Path, study_config: BuildConfig, tmp_path: Path) -> None:
    _row("s01/r.csv", "3.99,0,broken,9.81")(study)
    with pytest.raises(RecordingError, match=f"`imu-video check {study}` lists the faults of all files"):
        build(study_config, tmp_path / "data")
