"""What determines the windows is noticed: an edited declaration, a label table, a plugin, a source file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imu_video.errors import ConfigError
from imu_video.registry import datasets, source_hash
from imu_video.shards.building import encode
from imu_video.shards.building.build import BuildConfig, already_built, build, build_part
from imu_video.shards.building.merge import merge_parts
from imu_video.shards.building.sources import differences, read_record
from imu_video.shards.publish import partial_folder
from imu_video.shards.reading.index import load_index
from imu_video.shards.reading.verify import verify
from imu_video.shards.schema import SourceFile

Tree = Callable[[Path], dict[str, bytes]]


class _Stopped(BaseException):
    """Stands for a kill."""


def _stop_at(monkeypatch: pytest.MonkeyPatch, subject: str | None) -> list[str]:
    """Stop the build when it reaches a subject; returns the list of the subjects encoded."""
    original, encoded = encode._encode_person, []

    def counting(source: object, person: str, *rest: object) -> Iterator[object]:
        if person == subject:
            raise _Stopped
        encoded.append(person)
        yield from original(source, person, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(encode, "_encode_person", counting)
    return encoded


def _edit(root: Path, old: str, new: str) -> None:
    file = root / "dataset.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def _killed(study: Path, config: BuildConfig, out: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _stop_at(patch, "s02")
        with pytest.raises(_Stopped):
            build(config, out)


def test_a_declaration_edited_after_a_killed_build_is_named_and_both_hints_work(
    study: Path, study_config: BuildConfig, tmp_path: Path, files_of: Tree
) -> None:
    out = tmp_path / "data"
    _killed(study, study_config, out)
    _edit(study, "acc_x: ax, acc_y: ay", "acc_x: ay, acc_y: ax")
    with pytest.raises(ConfigError, match=r"channels\.acc_x: 'ax' -> 'ay'") as caught:
        build(study_config, out)
    assert "--force" in str(caught.value.hint)
    _edit(study, "acc_x: ay, acc_y: ax", "acc_x: ax, acc_y: ay")  # restored
    before = build(study_config, out).digest
    _edit(study, "acc_x: ax, acc_y: ay", "acc_x: ay, acc_y: ax")
    _killed(study, study_config, tmp_path / "other")
    _edit(study, "licence: CC0", "licence: CC0-1.0")
    index = build(study_config, tmp_path / "other", force=True)  # replaces the folder
    assert index.digest != before
    assert files_of(tmp_path / "other") == files_of(build(study_config, tmp_path / "whole").root)


def test_a_finished_folder_says_what_changed_instead_of_already_built(
    study: Path, study_config: BuildConfig, tmp_path: Path
) -> None:
    out = tmp_path / "data"
    first = build(study_config, out)
    _edit(study, "imu:", "# a comment and a space change nothing\nimu: ")
    assert already_built(study_config, out) == first
    _edit(study, "acc: m/s^2", "acc: g")
    with pytest.raises(ConfigError, match=r"recordings\.declaration\.imu\.units\.acc: 'm/s\^2' -> 'g'") as caught:
        already_built(study_config, out)
    assert f"imu-video build CONFIG {out} --force" in str(caught.value.hint)
    _edit(study, "acc: g", "acc: m/s^2")
    (study / "s02" / "r.labels.csv").write_text("start,end,label\n0,2,run\n")
    with pytest.raises(ConfigError, match=r"recordings\.tables\.s02/r\.labels\.csv: changed"):
        build(study_config, out)
    again = build(study_config, out, force=True)
    assert (first.labels, again.labels) == (("walk",), ("run", "walk"))
    assert first.build.config_digest != again.build.config_digest


def test_parts_of_different_declarations_are_not_merged(study: Path, study_config: BuildConfig, tmp_path: Path) -> None:
    out = tmp_path / "data"
    build_part(study_config, out, (1, 2))
    _edit(study, "acc_x: ax, acc_y: ay", "acc_x: ay, acc_y: ax")
    build_part(study_config, out, (2, 2))
    with pytest.raises(ConfigError, match=r"part 2/2 was built from another(.|\n)*acc_x: 'ax' -> 'ay'"):
        merge_parts(out)


def test_only_subjects_whose_files_changed_are_encoded_again(
    study: Path, study_config: BuildConfig, tmp_path: Path, files_of: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    with pytest.MonkeyPatch.context() as patch:
        _stop_at(patch, "s03")
        with pytest.raises(_Stopped):
            build(study_config, out)
    table = study / "s02" / "r.csv"
    table.write_text(table.read_text().replace("9.81", "9.79"))
    encoded = _stop_at(monkeypatch, None)
    build(study_config, out)
    assert encoded == ["s02", "s03"]
    assert files_of(out) == files_of(build(study_config, tmp_path / "whole").root)


def test_the_declaration_may_not_change_while_the_build_runs(
    study: Path, study_config: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = encode.ReadPlan.open

    def late(plan: Any) -> Any:
        _edit(study, "acc_x: ax, acc_y: ay", "acc_x: ay, acc_y: ax")
        return original(plan)

    monkeypatch.setattr(encode.ReadPlan, "open", late)
    with pytest.raises(ConfigError, match=r"changed while the build was running: declaration.imu.channels.acc_x"):
        build(study_config, tmp_path / "data")
    assert not partial_folder(tmp_path / "data").exists()


def test_files_are_recorded_relative_and_changes_are_found(
    study: Path, study_config: BuildConfig, tmp_path: Path, logged: Any
) -> None:
    out = tmp_path / "data"
    build(study_config, out, hash_sources=True)
    assert verify(load_index(out)).problems == []
    text = (out / "sources.json").read_text()
    assert str(tmp_path) not in text
    record = read_record(out)
    assert record is not None
    assert sorted(record.files) == sorted(f"s0{i}/r{end}" for i in (1, 2, 3) for end in (".csv", ".labels.csv"))
    assert record.hashed
    file = study / "s01" / "r.csv"
    assert json.loads(text)["files"]["s01/r.csv"]["bytes"] == file.stat().st_size
    os.utime(file, ns=(1, 1))  # another time, equal content: told by the hash
    assert already_built(study_config, out) is not None
    assert logged.lines == []
    file.write_bytes(file.read_bytes() + b"9.99,0,0,9.81\n")
    with pytest.raises(ConfigError, match=r"1 of its source files changed: s01/r.csv \(other size"):
        already_built(study_config, out)


def test_without_hashes_another_time_is_a_warning(
    study: Path, study_config: BuildConfig, tmp_path: Path, logged: Any
) -> None:
    build(study_config, tmp_path / "data")
    os.utime(study / "s01" / "r.csv", ns=(1, 1))
    assert already_built(study_config, tmp_path / "data") is not None
    (line,) = logged.lines
    assert "1 of its source files were removed or have another time of last change, for example s01/r.csv" in line


def test_differences_name_each_kind_of_change() -> None:
    one = SourceFile(bytes=3, mtime_ns=5)
    rows = differences(
        {"a": one, "b": one, "c": one, "d": one},
        {"b": one, "c": SourceFile(bytes=4, mtime_ns=5), "d": SourceFile(bytes=3, mtime_ns=6), "e": one},
    )
    assert rows == [
        ("a", "removed"),
        ("c", "other size: 3 -> 4 bytes"),
        ("d", "other time of last change, same size"),
        ("e", "added"),
    ]


def test_code_of_plugins_counts_and_that_of_this_package_does_not(
    people_config: Callable[..., BuildConfig], tmp_path: Path
) -> None:
    assert source_hash(datasets.get("folder")) is None
    code = source_hash(datasets.get("tiny_people"))
    index = build(people_config(splits={"subjects": {"train": ["p0"]}}), tmp_path / "data")
    assert index.build.provenance == {"code": {"dataset tiny_people": code}}


def test_a_dataset_that_does_not_divide_its_files_is_built_again_when_one_changes(
    people_config: Callable[..., BuildConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = datasets.get("tiny_people")
    root = tmp_path / "files"
    root.mkdir()
    (root / "all.bin").write_bytes(b"1")
    monkeypatch.setattr(tiny, "root", root, raising=False)
    out, config = root / "data", people_config()  # the build lies below the files that it records
    with pytest.MonkeyPatch.context() as patch:
        _stop_at(patch, "p3")
        with pytest.raises(_Stopped):
            build(config, out)
    (root / "all.bin").write_bytes(b"12")
    encoded = _stop_at(monkeypatch, None)
    index = build(config, out)
    assert encoded == ["p0", "p1", "p3", "p2"]
    record = read_record(out)
    assert record is not None
    assert record.files.keys() == {"all.bin"}
    assert already_built(config, out) == index
