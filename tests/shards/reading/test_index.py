"""An index is refused with one clear message whenever it does not describe the shards, and can be rebuilt from them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from imu_video.errors import ShardError
from imu_video.shards.names import parse_member, parse_shard_name
from imu_video.shards.reading.index import load_index, write_index
from imu_video.shards.reading.repair import repair, scan_shard
from imu_video.shards.reading.verify import verify
from imu_video.shards.schema import Index, ShardEntry


def edit(index: Index, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change the index.json on disk; returns the folder."""
    file = index.root / "index.json"
    raw = json.loads(file.read_text())
    change(raw)
    file.write_text(json.dumps(raw))
    return index.root


def test_the_index_survives_the_disk(folder: Index) -> None:
    again = load_index(folder.root / "index.json")
    assert again == folder
    assert again.root == folder.root
    assert again.digest == folder.digest
    assert again.split("train").subjects == ("train0", "train1")
    assert sum(shard.samples for shard in again.split("train").shards) == 10


def test_the_digest_follows_content_not_place(folder_maker: Callable[..., Index], tmp_path: Path) -> None:
    a = folder_maker(tmp_path / "a", {"train": 6})
    b = folder_maker(tmp_path / "b", {"train": 6})
    c = folder_maker(tmp_path / "c", {"train": 7})
    assert a.digest == b.digest != c.digest
    assert a.model_copy(update={"rate_hz": 11.0}).digest != a.digest
    assert a.model_copy(update={"licence": "other"}).digest == a.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.update(splits={}), "lists no shards"),
        (lambda raw: [split.update(shards=[], samples=0) for split in raw["splits"].values()], "lists no shards"),
        (lambda raw: raw.update(schema_version=3), "schema version 3, this imu_video reads up to 2"),
        (lambda raw: raw.update(schema_version=1), "unknown key 'members'"),
        (lambda raw: raw.pop("members"), "key 'members': expected a mapping"),
        (
            lambda raw: raw["members"].update(file="../members-000000000000.bin"),
            "key 'members.file': String",
        ),
        (lambda raw: raw.update(colour="red"), "unknown key 'colour'"),
        (lambda raw: raw.update(views=[1]), "views: expected streams with their specifications, got list"),
        (lambda raw: raw.update(streams="x"), "streams: expected streams with their specifications, got str"),
        (lambda raw: raw.pop("rate_hz"), "key 'rate_hz' is missing"),
        (lambda raw: raw["splits"]["val"].update(samples=9), "9 samples declared, the shards contain 5"),
        (lambda raw: raw["splits"]["val"]["shards"][0].update(path="/etc/passwd.tar"), "path': String should match"),
        (lambda raw: raw["splits"]["val"]["shards"][0].update(path="shards/../x.tar"), "path': String should match"),
    ],
)
def test_a_wrong_index_is_refused(folder: Index, change: Callable[[dict[str, Any]], None], message: str) -> None:
    with pytest.raises(ShardError, match=message) as caught:
        load_index(edit(folder, change))
    assert str(folder.root) in str(caught.value)
    assert "try:" in str(caught.value)


def test_absent_pieces_are_named_with_the_command_that_helps(folder: Index, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"no such folder\n  try: imu-video build"):
        load_index(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ShardError, match=r"no index\.json in it"):
        load_index(tmp_path / "empty")
    text = (folder.root / "index.json").read_text()
    (folder.root / "index.json").write_text(text[:100])
    with pytest.raises(ShardError, match=r"not readable as JSON(.|\n)*--repair"):
        load_index(folder.root)
    (folder.root / "index.json").unlink()
    with pytest.raises(ShardError, match=r"shards without index\.json\n  try: imu-video verify .* --repair"):
        load_index(folder.root)


def test_missing_and_shortened_shards_are_noticed_when_loading(folder: Index) -> None:
    path = folder.root / "shards" / "train-000001.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[:-512])
    with pytest.raises(ShardError, match=rf"has {len(whole) - 512} bytes, the index has {len(whole)}"):
        load_index(folder.root)
    path.unlink()
    with pytest.raises(ShardError, match=r"lists shards/train-000001\.tar, which is missing"):
        load_index(folder.root)


def test_verify_finds_a_single_changed_byte(folder: Index) -> None:
    assert verify(folder).problems == []
    path = folder.root / "shards" / "train-000001.tar"
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    assert verify(folder, deep=False).problems == []
    (problem,) = verify(folder).problems
    assert problem.startswith("shards/train-000001.tar: sha256")


def test_verify_reports_size_and_absence(folder: Index) -> None:
    (folder.root / "shards" / "train-000000.tar").write_bytes(b"short")
    (folder.root / "shards" / "val-000000.tar").unlink()
    problems = verify(folder).problems
    assert problems[0].startswith("shards/train-000000.tar: 5 bytes, expected")
    assert problems[1] == "shards/val-000000.tar: missing"


def test_verify_reports_people_shared_by_splits(folder: Index) -> None:
    val = folder.split("val").shards[0]
    copied = folder.root / "shards" / "test-000000.tar"
    shutil.copy(folder.shard_path(val), copied)
    twin = val.model_copy(update={"path": "shards/test-000000.tar"})
    leaky = folder.model_copy(
        update={"splits": {**folder.splits, "test": folder.split("val").model_copy(update={"shards": (twin,)})}}
    ).at(folder.root)
    problems = verify(leaky).problems
    assert any("subject 'val0' also occurs in split 'val'" in p for p in problems)
    assert any("recording 'val-walk0' also occurs" in p for p in problems)


def test_verify_reports_members_that_do_not_fit_the_facts(folder: Index) -> None:
    assert "skeleton" in folder.streams
    skeleton = folder.streams["skeleton"].model_copy(update={"joints": ("head",)})
    problems = verify(
        folder.model_copy(update={"streams": {**folder.streams, "skeleton": skeleton}}).at(folder.root)
    ).problems
    assert problems.pop(0).startswith("index.json and build.yaml differ in 'skeleton': ")
    assert len(problems) == 8 + 4  # the samples that have a skeleton
    assert all("skeleton.npy" in p and "(3, 1, 3)" in p for p in problems)
    assert all(
        "right_wrist" in p
        for p in verify(folder.model_copy(update={"placements": ("waist",)}).at(folder.root)).problems
    )
    assert any(
        "label 'walk'" in p for p in verify(folder.model_copy(update={"labels": ("sit",)}).at(folder.root)).problems
    )
    assert any("is not one of split" in p for p in verify(_with_subjects(folder, ("somebody",))).problems)


def _with_subjects(index: Index, subjects: tuple[str, ...]) -> Index:
    split = index.split("train").model_copy(update={"subjects": subjects})
    return index.model_copy(update={"splits": {**index.splits, "train": split}}).at(index.root)


@pytest.mark.parametrize("lost", ["index.json", "build.yaml"])
def test_repair_rebuilds_the_same_index(folder: Index, lost: str) -> None:
    (folder.root / lost).unlink()
    repaired, notes = repair(folder.root)
    assert notes == []
    assert repaired == folder
    assert list(repaired.splits) == ["train", "val"]
    assert load_index(folder.root) == folder
    assert (folder.root / "build.yaml").is_file()


def test_repair_notes_lost_shards(folder: Index) -> None:
    (folder.root / "shards" / "train-000000.tar").unlink()
    repaired, notes = repair(folder.root)
    assert notes == ["split 'train': no shards numbered [0]; their samples are lost"]
    assert repaired.split("train").samples == 5


def test_repair_notes_a_lost_last_shard_and_a_lost_split(folder: Index) -> None:
    (folder.root / "shards" / "train-000001.tar").unlink()
    (folder.root / "shards" / "val-000000.tar").unlink()
    repaired, notes = repair(folder.root)
    assert notes == [
        "split 'val': no shard left; its samples are lost",
        "split 'train': no shards numbered [1]; their samples are lost",
    ]
    assert list(repaired.splits) == ["train"]


def test_repair_refuses_what_it_cannot_know(folder: Index, tmp_path: Path) -> None:
    for name in ("index.json", "build.yaml"):
        (folder.root / name).unlink()
    with pytest.raises(ShardError, match="cannot be recovered from the shards alone"):
        repair(folder.root)
    assert not (folder.root / "index.json").exists()
    with pytest.raises(ShardError, match="no shards to rebuild"):
        repair(tmp_path / "nothing")


def test_repair_refuses_damaged_and_foreign_shards(folder: Index) -> None:
    path = folder.root / "shards" / "train-000000.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ShardError, match=r"train-000000\.tar: (damaged|cut off)"):
        repair(folder.root)
    path.write_bytes(whole)
    (folder.root / "shards" / "other.tar").write_bytes(whole)
    with pytest.raises(ShardError, match=r"other\.tar: not named"):
        repair(folder.root)
    assert load_index(folder.root) == folder


def test_scan_agrees_with_what_the_writer_recorded(folder: Index) -> None:
    for split in folder.splits.values():
        for shard in split.shards:
            assert scan_shard(folder.shard_path(shard)) == shard.keys


def test_scan_refuses_links(folder: Index, tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "train-000000.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        link = tarfile.TarInfo("a.meta.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(ShardError, match="not a plain file"):
        scan_shard(tmp_path / "train-000000.tar")


def test_oversized_members_are_refused_before_reading(folder: Index) -> None:
    shard = folder.split("val").shards[0].listed()
    key = next(iter(shard["keys"]))
    shard["keys"][key]["meta.json"] = (512, 2 << 20)
    with pytest.raises(ShardError, match="the limit is 1048576"):
        ShardEntry.model_validate(shard)


def test_an_unlisted_shard_count_is_refused(folder: Index) -> None:
    with pytest.raises(ValidationError, match="3 samples declared"):
        ShardEntry.model_validate({**folder.split("val").shards[0].model_dump(), "samples": 3})


def test_index_files_are_replaced_not_patched(folder: Index) -> None:
    before = sorted(p.name for p in folder.root.iterdir())
    write_index(folder, folder.root)
    assert sorted(p.name for p in folder.root.iterdir()) == before
    assert [name for name in before if not name.startswith("members-")] == ["build.yaml", "index.json", "shards"]
    assert len(before) == 4


def test_an_index_in_memory_has_no_folder(folder: Index) -> None:
    with pytest.raises(ShardError, match="not loaded from a folder"):
        _ = Index.model_validate(folder.model_dump()).root


@pytest.mark.parametrize(
    "name", ["a.imu.npy", "a.b.meta.json", "a.imu.Left.npy", "a.video.avi", ".meta.json", "a/b.meta.json"]
)
def test_illegal_member_names(name: str) -> None:
    with pytest.raises(ShardError, match="tar member"):
        parse_member(name)


def test_shard_names() -> None:
    assert parse_shard_name("my-split-000012.tar") == ("my-split", 12)
    assert parse_shard_name("train.tar") is None
    assert parse_shard_name("train-1.tar") is None
