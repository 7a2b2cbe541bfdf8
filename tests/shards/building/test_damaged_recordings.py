"""One recording that cannot be read costs neither the finished subjects nor, by policy, the build."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from imu_video.errors import ConfigError, RecordingError
from imu_video.shards.building.build import BuildConfig, already_built, build, build_part
from imu_video.shards.building.merge import merge_parts
from imu_video.shards.folders import summary
from imu_video.shards.left_out import read_left_out
from imu_video.shards.publish import partial_folder
from imu_video.shards.reading.index import load_index
from imu_video.shards.reading.pipeline import read_samples
from imu_video.shards.reading.verify import verify

Tree = Callable[[Path], dict[str, bytes]]


def _with(config: BuildConfig, errors: str) -> BuildConfig:
    return BuildConfig.model_validate({**config.model_dump(mode="json"), "errors": errors})


@pytest.fixture
def damaged(study: Path) -> Path:
    """The table of s02, with text in its last row: the fault shows when windows could already have been written."""
    table = study / "s02" / "r.csv"
    table.write_text(table.read_text() + "3.99,0,broken,9.81\n")
    return table


def test_raise_keeps_the_finished_subjects_and_a_mended_file_finishes_the_build(
    study: Path, study_config: BuildConfig, damaged: Path, tmp_path: Path, files_of: Tree
) -> None:
    out, good = tmp_path / "data", damaged.read_text().replace("3.99,0,broken,9.81\n", "")
    with pytest.raises(RecordingError, match=r"r\.csv") as caught:
        build(study_config, out)
    assert "--errors skip" in str(caught.value.hint)
    assert f"(1 of 3) are kept in {partial_folder(out)}" in str(caught.value.hint)
    damaged.write_text(good)
    with pytest.MonkeyPatch.context() as patch:
        from imu_video.shards.building import encode

        original, encoded = encode.EncodePerson.__call__, []

        def counting(task: encode.EncodePerson, subject: str) -> None:
            encoded.append(subject)
            original(task, subject)

        patch.setattr(encode.EncodePerson, "__call__", counting)
        build(study_config, out)
    assert encoded == ["s02", "s03"]
    assert files_of(out) == files_of(build(study_config, tmp_path / "whole").root)


def test_a_corrected_declaration_after_an_error_needs_no_force(
    study: Path, study_config: BuildConfig, damaged: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecordingError):
        build(study_config, tmp_path / "data")
    declaration = study / "dataset.yaml"
    declaration.write_text(declaration.read_text().replace("licence: CC0", "licence: CC0-1.0"))
    damaged.write_text(damaged.read_text().replace("broken", "0.1"))
    assert build(study_config, tmp_path / "data").licence == "CC0-1.0"


@pytest.mark.parametrize("errors", [pytest.param("skip", marks=pytest.mark.slow), "quarantine"])
def test_the_failed_build_goes_on_without_the_recording(
    study: Path, study_config: BuildConfig, damaged: Path, tmp_path: Path, errors: str, files_of: Tree
) -> None:
    out, config = tmp_path / "data", _with(study_config, errors)
    with pytest.raises(RecordingError):
        build(study_config, out)
    index = build(config, out)
    assert verify(index).problems == []
    assert index.build.left_out == 1
    assert (index.build.recordings, index.build.unused_subjects) == (2, ("s02",))
    assert {sample.meta["subject"] for sample in read_samples(index, "train")} == {"s01", "s03"}
    (row,) = read_left_out(out)
    assert (row.recording, row.subject, row.quarantined) == ("s02-r", "s02", errors == "quarantine")
    assert "broken" in row.reason
    assert str(tmp_path) not in (out / "left_out.json").read_text()
    assert summary.left_out(index).rows[0][:2] == ("s02-r", "s02")
    # The same bytes without the failure before, and in parts.
    assert files_of(build(config, tmp_path / "whole").root) == files_of(out)
    for number in (1, 2):
        build_part(config, tmp_path / "parted", (number, 2))
    merge_parts(tmp_path / "parted")
    assert files_of(tmp_path / "parted") == files_of(out)
    assert already_built(config, out) == index
    with pytest.raises(ConfigError, match="was built without 1 recordings"):
        already_built(study_config, out)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "workers"), [("local", 2), ("ray", 2)])
def test_policies_hold_in_other_processes(
    study_config: BuildConfig, damaged: Path, tmp_path: Path, files_of: Tree, engine: str, workers: int
) -> None:
    if engine == "ray":
        pytest.importorskip("ray", reason="pip install 'imu-video[ray]'")
    out, config = tmp_path / "data", _with(study_config, "skip")
    with pytest.raises(RecordingError, match="broken") as caught:
        build(study_config, out, engine=engine, workers=workers)
    assert f"are kept in {partial_folder(out)}" in str(caught.value.hint)
    build(config, out, engine=engine, workers=workers)
    assert files_of(out) == files_of(build(config, tmp_path / "one").root)


def test_a_quarantined_recording_is_read_again_only_when_its_files_change(
    study: Path, study_config: BuildConfig, damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imu_video.datasets.folder import Folder

    out, config = tmp_path / "data", _with(study_config, "quarantine")
    build(config, out)
    original, read = Folder._read, []

    def counting(source: Folder, planned: object) -> object:
        read.append(planned.name)  # type: ignore[attr-defined]
        return original(source, planned)  # type: ignore[arg-type]

    monkeypatch.setattr(Folder, "_read", counting)
    assert build(config, out, force=True).build.left_out == 1
    assert read == ["s01-r", "s03-r"]
    damaged.write_text(damaged.read_text().replace("broken", "0.1"))
    assert build(config, out, force=True).build.left_out == 0
    assert read[2:] == ["s01-r", "s02-r", "s03-r"]
    assert not (out / "left_out.json").exists()


def test_raise_after_skip_reads_again_what_was_left_out(
    study_config: BuildConfig, damaged: Path, tmp_path: Path
) -> None:
    build_part(_with(study_config, "skip"), tmp_path / "data", (1, 1))
    with pytest.raises(RecordingError, match="broken"):
        build_part(study_config, tmp_path / "data", (1, 1))


def test_when_most_recordings_are_left_out_the_cause_is_not_a_file(
    study: Path, study_config: BuildConfig, damaged: Path, tmp_path: Path
) -> None:
    (study / "s03" / "r.csv").write_text("t,ax,ay,az\n0,x,y,z\n")
    with pytest.raises(RecordingError, match="2 of 3 recordings cannot be read; the first is 's02-r'"):
        build(_with(study_config, "skip"), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_dataset_without_single_recordings_loses_the_rest_of_a_subject(
    people_config: Callable[..., BuildConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imu_video.registry import datasets

    tiny = datasets.get("tiny_people")
    original = tiny._recording

    def failing(source: object, subject: str, number: int, label: str, seconds: int) -> object:
        if (subject, label) == ("p1", "sit"):
            raise RecordingError("sit of p1 is damaged")
        return original(source, subject, number, label, seconds)

    monkeypatch.setattr(tiny, "_recording", failing)
    index = build(people_config(errors="skip"), tmp_path / "data")
    assert [(r.recording, r.reason) for r in read_left_out(tmp_path / "data")] == [
        ("after walk_p1", "sit of p1 is damaged")
    ]
    assert load_index(tmp_path / "data").split("train").samples == index.split("train").samples == 11
