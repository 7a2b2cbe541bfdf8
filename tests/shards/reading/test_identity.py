"""Order, places, checksums and splits of samples are part of an index's identity, and edits of them are found."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imu_video.errors import ShardError
from imu_video.shards.member_list import MemberList, first_repeat, listed
from imu_video.shards.members import Members
from imu_video.shards.reading.index import load_index, write_index
from imu_video.shards.reading.pipeline import SampleReader, read_samples
from imu_video.shards.reading.repair import repair
from imu_video.shards.reading.verify import verify
from imu_video.shards.schema import Index

OLD = Path(__file__).parents[2] / "fixtures" / "folder_0_1"


def as_version_1(index: Index) -> Index:
    """The folder rewritten in the form of schema version 1."""
    write_index(index.model_copy(update={"schema_version": 1}), index.root)
    return load_index(index.root)


def edited(index: Index, change: Callable[[dict[str, Any]], Any]) -> Path:
    file = index.root / "index.json"
    raw = json.loads(file.read_text())
    new = change(raw)
    file.write_text(json.dumps(new if isinstance(new, dict) else raw))
    return index.root


def with_members(index: Index, change: Callable[[dict[str, np.ndarray]], None]) -> Path:
    """Edit the arrays of the first shard, and every hash that covers them: what an attacker or a wrong script does."""
    file = next(index.root.glob("members-*.bin"))
    raw = json.loads((index.root / "index.json").read_text())
    facts = next(iter(raw["splits"].values()))["shards"][0]["members"]
    members = next(iter(index.splits.values())).shards[0].members
    arrays = {name: members._array(name).copy() for name, _, _ in members.facts.layout}
    change(arrays)
    block = b"".join(arrays[name].tobytes() for name, _, _ in members.facts.layout)
    block += bytes(members.facts.block_bytes - len(block))
    data = bytearray(file.read_bytes())
    data[facts["at"] : facts["at"] + len(block)] = block
    facts["sha256"] = hashlib.sha256(block).hexdigest()
    raw["members"]["sha256"] = hashlib.sha256(data).hexdigest()
    file.unlink()  # the intact one is mapped
    file.write_bytes(data)
    (index.root / "index.json").write_text(json.dumps(raw))
    return index.root


def swap(values: np.ndarray, one: int = 0, two: int = 1) -> None:
    values[[one, two]] = values[[two, one]]


def test_sorted_keys_of_an_old_index_are_refused(tmp_path: Path) -> None:
    index = load_index(shutil.copytree(OLD, tmp_path / "old"))

    def reversed_keys(raw: dict[str, Any]) -> None:
        for split in raw["splits"].values():
            for shard in split["shards"]:
                for what in ("keys", "crc32"):
                    shard[what] = dict(sorted(shard[what].items(), reverse=True))

    with pytest.raises(ShardError, match=r"the samples are not in the order of the tar(.|\n)*verify .* --repair"):
        load_index(edited(index, reversed_keys))
    repaired, _ = repair(index.root)
    assert repaired.digest == index.digest
    assert [repaired.rows_digest(s) for s in index.splits] == [index.rows_digest(s) for s in index.splits]
    assert verify(load_index(index.root)).problems == []


def test_sorting_the_whole_document_changes_nothing_in_the_new_form(folder: Index) -> None:
    before = [sample.key for sample in read_samples(folder, "train")]
    again = load_index(edited(folder, lambda raw: json.loads(json.dumps(raw, sort_keys=True))))
    assert again.digest == folder.digest
    assert [sample.key for sample in read_samples(again, "train")] == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: swap(a["key"]), None),  # found by reading only: the digest differs
        (lambda a: a["crc32"].__setitem__(3, 7), None),
        (lambda a: a["key"].__setitem__(1, a["key"][0]), "is in shards/train-000000.tar of split 'train' and in"),
        (lambda a: swap(a["offset"]), "not in the order of the tar"),
        (lambda a: swap(a["offset"], 0, 9), "not in the order of the tar"),
        (lambda a: a["offset"].__setitem__(2, 2**63 + 9), "exceeds the file"),
        (lambda a: a["size"].__setitem__(2, 2**32 - 1), "the limit is"),
        (lambda a: a["first"].__setitem__(1, 0), "do not fit together"),
        (lambda a: a["first"].__setitem__(-1, 2**31), "do not fit together"),
        (lambda a: a["suffix"].__setitem__(0, 99), "more suffixes than"),
        (lambda a: a["suffix"].__setitem__(1, a["suffix"][0]), "a suffix twice"),
        (lambda a: a["key"].__setitem__(0, b"../../etc/passwd"), "tar member"),
        (lambda a: a["key"].__setitem__(0, b""), "tar member"),
        (lambda a: a["key"].view(np.uint8).__setitem__(3, 0), "tar member"),
        (lambda a: a["key"].view(np.uint8).__setitem__(3, 255), "tar member"),
    ],
)
def test_edits_of_the_members_with_new_hashes(
    folder: Index, change: Callable[[dict[str, np.ndarray]], None], message: str | None
) -> None:
    root = with_members(folder, change)
    if message is not None:
        with pytest.raises(ShardError, match=message) as caught:
            load_index(root)
        assert str(root) in str(caught.value)
        return
    index = load_index(root)
    assert index.digest != folder.digest
    assert index.rows_digest("train") != folder.rows_digest("train")
    assert index.rows_digest("val") == folder.rows_digest("val")
    assert verify(index).problems
    with pytest.raises(ShardError):
        list(read_samples(index, "train"))


def test_damage_to_the_members_file(folder: Index) -> None:
    file = next(folder.root.glob("members-*.bin"))
    whole = file.read_bytes()
    for at in range(0, len(whole), 97):
        file.unlink()
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(ShardError, match=r"members-.*differ from their sha256(.|\n)*--repair"):
            load_index(folder.root)
    for data, message in (
        (whole[:-8], "bytes, the index has"),
        (whole + b"x", "bytes, the index has"),
        (None, "No such"),
    ):
        file.unlink()
        if data is not None:
            file.write_bytes(data)
        else:
            file.symlink_to("nowhere")
        with pytest.raises(ShardError, match=rf"members-.*{message}"):
            load_index(folder.root)
    repaired, notes = repair(folder.root)
    assert (repaired, notes) == (folder, [])
    assert load_index(folder.root) == folder


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["val"]["subjects"].append("train0"), "subject 'train0' is listed in split 'train' and again in"),
        (lambda s: s["val"]["subjects"].append("val0"), "subject 'val0' is listed in split 'val' and again in"),
        (
            lambda s: (s["val"]["shards"].append(s["train"]["shards"][0]), s["val"].update(samples=10)),
            "shards/train-000000.tar is listed in split 'train' and again in split 'val'",
        ),
        (
            lambda s: (s["train"]["shards"].append(s["train"]["shards"][0]), s["train"].update(samples=15)),
            "shards/train-000000.tar is listed in split 'train' and again in split 'train'",
        ),
        (
            lambda s: (
                s["val"]["shards"].append({**s["train"]["shards"][0], "path": "shards/val-000001.tar"}),
                s["val"].update(samples=10),
            ),
            "sample '.*' is in shards/train-000000.tar of split 'train' and in shards/val-000001.tar of split 'val'",
        ),
    ],
)
def test_what_is_listed_twice_is_refused(
    folder: Index, version: int, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    index = as_version_1(folder) if version == 1 else folder
    before = verify(index)
    assert (before.problems, before.checked["samples"]) == ([], 15)
    with pytest.raises(ShardError, match=message):
        load_index(edited(index, lambda raw: change(raw["splits"])))
    # An index in memory was not checked when it was loaded, and verify finds the same.
    splits = {name: entry.model_copy() for name, entry in index.splits.items()}
    val = index.split("val").model_copy(update={"subjects": ("val0", "train0")})
    (first, *_) = verify(index.model_copy(update={"splits": {**splits, "val": val}}).at(index.root)).problems
    assert first == "subject 'train0' is listed in split 'train' and again in split 'val'"


def test_a_shard_of_another_split_is_reported(folder: Index) -> None:
    def exchange(raw: dict[str, Any]) -> None:
        splits = raw["splits"]
        splits["train"], splits["val"] = splits["val"], splits["train"]

    index = load_index(edited(folder, exchange))
    assert index.digest != folder.digest
    assert any("shards/val-000000.tar: listed in split 'train'" in problem for problem in verify(index).problems)


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.update(rate_hz=20.0),
        lambda raw: raw.update(gravity="removed"),
        lambda raw: raw["units"].update(acc_x="g"),
        lambda raw: raw["channels"].reverse(),
        lambda raw: raw.update(licence="none"),
    ],
)
def test_facts_are_compared_with_the_build(folder: Index, change: Callable[[dict[str, Any]], None]) -> None:
    (problem,) = verify(load_index(edited(folder, change)), deep=False).problems
    assert problem.startswith("index.json and build.yaml differ in ")
    repair(folder.root)
    assert load_index(folder.root) == folder


def test_both_forms_hold_the_same(folder: Index, tmp_path: Path) -> None:
    rows = {split: folder.rows_digest(split) for split in folder.splits}
    digest, shards = folder.digest, [shard for split in folder.splits.values() for shard in split.shards]
    old = as_version_1(folder)
    assert {split: old.rows_digest(split) for split in old.splits} == rows
    assert old.digest != digest
    assert not list(folder.root.glob("members-*.bin"))
    assert [shard for split in old.splits.values() for shard in split.shards] == shards
    assert [(s.keys, s.crc32) for s in shards] == [
        (s.keys, s.crc32) for split in old.splits.values() for s in split.shards
    ]
    write_index(old.model_copy(update={"schema_version": 2}), old.root)
    assert load_index(old.root).digest == digest


def test_members_leave_no_copy_in_other_processes(folder: Index) -> None:
    index = load_index(folder.root)
    reader = SampleReader(index, "train", {"imu"})
    first = reader[0]
    small = len(pickle.dumps(index))
    assert small < 20_000
    again = pickle.loads(pickle.dumps(index))
    np.testing.assert_array_equal(SampleReader(again, "train", {"imu"})[0].imu["waist"], first.imu["waist"])
    # The file is compared again, because it may have changed in the meantime.
    late = pickle.loads(pickle.dumps(index))
    file = next(folder.root.glob("members-*.bin"))
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.unlink()
    file.write_bytes(data)
    with pytest.raises(ShardError, match="differs from its sha256"):
        late.split("train").all_keys()


def test_growing_lists_and_repeats() -> None:
    rng = np.random.default_rng(0)
    growing = MemberList()
    truth: dict[str, dict[str, tuple[int, int]]] = {}
    sums: dict[str, dict[str, int]] = {}
    at = 0
    for row in range(300):
        key = f"k{row}-{'x' * int(rng.integers(0, 9))}"
        own = [("imu.waist.npy", at + 512, 100, row)] if row % 3 else []
        own.append(("meta.json", at + 512 + 1024 * len(own), 7, 2**32 - 1 - row))
        at += 1024 * len(own)
        growing.add(key, own)
        truth[key] = {suffix: (offset, size) for suffix, offset, size, _ in own}
        sums[key] = {suffix: checksum for suffix, _, _, checksum in own}
        if row == 250:
            growing.cut(251)
    growing.add("gone", [("video.mp4", at + 512, 1, 1)])
    growing.cut(300)
    members = growing.done()
    assert members == listed(truth, sums)
    assert members.facts.suffixes == ("imu.waist.npy", "meta.json")
    assert dict(members.all_places()) == truth
    assert [members.crc32(row) for row in range(300)] == list(sums.values())
    assert members.row("k7") is None
    assert [members.row(key) for key in truth] == list(range(300))
    restored = Members.restored(type(members.facts).model_validate(members.journal()))
    assert restored == members
    members.check(at + 1024)
    other = listed({f"o{row}": {"meta.json": (512 + row * 1024, 1)} for row in range(50)})
    assert first_repeat([members, other]) is None
    assert first_repeat([other, members, copy.copy(other)]) is not None
    key, one, two = first_repeat([other, members, listed({"o49": {"meta.json": (512, 1)}})]) or ("", 0, 0)
    assert (key, one, two) == ("o49", 0, 2)
