"""Tars are deterministic, never half-written, and plain webdataset reads them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from imu_video.errors import ShardError
from imu_video.modalities import ClipSpec
from imu_video.modalities.arrays import npy_bytes
from imu_video.runtime.files import file_sha256
from imu_video.shards import write
from imu_video.shards.member_list import listed, without_crc32
from imu_video.shards.names import parse_member
from imu_video.shards.reading.pipeline import decode_meta
from imu_video.shards.schema import Index, SampleMeta
from imu_video.shards.write import EncodedSample, ShardWriter, TarFile, encode_window, json_bytes, tar_header
from imu_video.types import Window

Maker = Callable[[str, int], Window]

SPECS = {"video": ClipSpec(fps=5, frames=3, height=16, width=16)}


def tar_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").iterdir())}


def test_equal_windows_give_equal_tars(folder_maker: Callable[..., Index], tmp_path: Path) -> None:
    folder_maker(tmp_path / "a", {"train": 10})
    folder_maker(tmp_path / "b", {"train": 10})
    a, b = tar_bytes(tmp_path / "a"), tar_bytes(tmp_path / "b")
    assert list(a) == ["train-000000.tar", "train-000001.tar", "train-000002.tar"]
    assert a == b
    folder_maker(tmp_path / "c", {"train": 10}, shard_samples=5)
    assert tar_bytes(tmp_path / "c") != a


def test_headers_carry_nothing_of_the_machine(folder: Index) -> None:
    with tarfile.open(folder.root / "shards" / "train-000000.tar") as tar:
        members = tar.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
    for key in dict.fromkeys(m.name.split(".")[0] for m in members):
        names = [m.name for m in members if m.name.startswith(key)]
        assert names == sorted(names)


def test_recorded_places_and_hashes_are_those_of_the_file(folder: Index) -> None:
    for shard in folder.split("train").shards:
        path = folder.shard_path(shard)
        data = path.read_bytes()
        assert (len(data), file_sha256(path)) == (shard.bytes, shard.sha256)
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                key, suffix = parse_member(member.name)
                offset, size = shard.keys[key][suffix]
                extracted = tar.extractfile(member)
                assert extracted is not None
                assert data[offset : offset + size] == extracted.read()


def test_plain_webdataset_reads_the_shards(folder: Index, window_maker: Maker) -> None:
    import webdataset as wds

    urls = [str(folder.shard_path(shard)) for shard in folder.split("train").shards]
    samples = list(wds.WebDataset(urls, shardshuffle=False))
    assert [s["__key__"] for s in samples] == [window_maker("train", i).key for i in range(10)]
    waist = np.load(io.BytesIO(samples[1]["imu.waist.npy"]))
    np.testing.assert_array_equal(waist, window_maker("train", 1).imu["waist"])
    assert json.loads(samples[1]["meta.json"])["tags"] == {"device": "b"}
    assert {k for k in samples[1] if not k.startswith("__")} == {
        "imu.waist.npy",
        "imu.right_wrist.npy",
        "video.mp4",
        "skeleton.npy",
        "meta.json",
    }


def test_devices_without_a_measurement_are_left_out(window_maker: Maker) -> None:
    window = window_maker("train", 1)
    imu = {**window.imu, "right_wrist": np.full((6, 20), np.nan, np.float32)}
    encoded = encode_window(Window(**{**vars(window), "imu": imu}), dataset="d", specs=SPECS)
    assert "imu.right_wrist.npy" not in encoded.members
    nothing = {"waist": np.full((6, 20), np.nan, np.float32)}
    with pytest.raises(ShardError, match="no measured IMU device"):
        encode_window(Window(**{**vars(window), "imu": nothing}), dataset="d", specs=SPECS)


def test_flags_and_sync_are_written_only_where_there_are_any(window_maker: Maker) -> None:
    window = window_maker("train", 1)
    plain = json.loads(encode_window(window, dataset="d", specs=SPECS).members["meta.json"])
    assert sorted(plain) == ["dataset", "key", "label", "recording", "session", "start", "subject", "tags"]
    sync = {"offset_s": 0.25, "drift_ppm": 0.0, "score": 0.5}
    flagged = replace(window, flags=("waist:flat", "video:frozen_video"), sync=sync)
    meta = decode_meta(encode_window(flagged, dataset="d", specs=SPECS).members["meta.json"], window.key)
    assert meta.flags == ("video:frozen_video", "waist:flat")
    assert meta.sync == sync
    with pytest.raises(ValidationError, match="pattern"):
        encode_window(replace(window, flags=("flat",)), dataset="d", specs=SPECS)


def test_illegal_names_and_repeats_are_refused(window_maker: Maker, tmp_path: Path) -> None:
    window = window_maker("train", 1)
    for key in ("a.b", "../a", "a/b", "/a", ""):
        with pytest.raises(ShardError, match="tar member"):
            encode_window(Window(**{**vars(window), "key": key}), dataset="d", specs=SPECS)
    with pytest.raises(ShardError, match="placement name"):
        encode_window(Window(**{**vars(window), "imu": {"Left Wrist": window.imu["waist"]}}), dataset="d", specs=SPECS)
    tar = TarFile(tmp_path / "train-000000.tar")
    with pytest.raises(ShardError, match="shorter name"):
        tar.add(EncodedSample(key="k" * 95, members={"meta.json": b"{}"}))
    tar.add(EncodedSample(key="k", members={"meta.json": b"{}"}))
    with pytest.raises(ShardError, match="occurs twice"):
        tar.add(EncodedSample(key="k", members={"meta.json": b"{}"}))
    tar.discard()


def test_a_failure_leaves_no_tar_and_no_temporary_file(window_maker: Maker, tmp_path: Path) -> None:
    def fail() -> None:
        with ShardWriter(folder=tmp_path, split="train", shard_samples=8) as writer:
            writer.add(encode_window(window_maker("train", 1), dataset="d", specs=SPECS))
            raise RuntimeError("power")

    with pytest.raises(RuntimeError, match="power"):
        fail()
    assert list((tmp_path / "shards").iterdir()) == []


def test_a_tar_has_its_final_name_only_when_complete(window_maker: Maker, tmp_path: Path) -> None:
    tar = TarFile(tmp_path / "train-000000.tar")
    tar.add(encode_window(window_maker("train", 1), dataset="d", specs=SPECS))
    assert not (tmp_path / "train-000000.tar").exists()
    tar.close()
    assert [p.name for p in tmp_path.iterdir()] == ["train-000000.tar"]


@pytest.mark.parametrize("name", ["a.meta.json", "x" * 88 + ".imu.x.npy"])
@pytest.mark.parametrize("size", [0, 1, 511, 7_777_777])
def test_headers_are_those_of_the_standard_library(name: str, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    assert tar_header(name, size) == info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")


@pytest.mark.parametrize("array", [np.arange(12, dtype=np.float32).reshape(3, 4).T, np.zeros((0, 3), ">f8")])
def test_arrays_are_those_of_numpy(array: np.ndarray) -> None:
    buffer = io.BytesIO()
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    np.lib.format.write_array(buffer, little, version=(1, 0))
    assert npy_bytes(array) == buffer.getvalue()


@pytest.mark.parametrize("flags", [(), ("waist:gap", "waist:flat")])
@pytest.mark.parametrize("sync", [None, {"offset_s": 0.5, "score": 1.0, "drift_ppm": 0.0}])
@pytest.mark.parametrize("start", [0.0, -0.0, 1.7e9 + 1 / 3, 1e-7])
def test_facts_are_canonical_json(
    window_maker: Maker, start: float, flags: tuple[str, ...], sync: dict[str, float] | None
) -> None:
    tags = {"key": "k", "start": "0.0", 'quo"ted': '"key":"k"', "ä": "\n"}
    window = replace(
        window_maker("train", 1),
        streams={"video": None},
        start=start,
        flags=flags,
        sync=sync,
        tags=tags,
        label='"start":0.0',
    )
    meta = json.loads(encode_window(window, dataset='"key":"k"').members["meta.json"])
    expected = SampleMeta(
        key=window.key,
        dataset='"key":"k"',
        recording=window.recording,
        subject=window.subject,
        session=window.session,
        start=start,
        label='"start":0.0',
        tags=tags,
        flags=tuple(sorted(flags)),
        sync=sync,
    )
    assert encode_window(window, dataset='"key":"k"').members["meta.json"] == json_bytes(expected.plain())
    assert meta["start"] == start
    with pytest.raises(ShardError, match="starts at nan"):
        encode_window(replace(window, start=float("nan")), dataset="d")


@pytest.mark.parametrize("piece", [1, 3000, 1 << 22])
def test_copies_are_what_was_written(
    folder: Index, tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "_COPIED", piece)
    for known in (True, False):
        with ShardWriter(folder=tmp_path / str(known), split="train", shard_samples=5) as writer:
            for shard in folder.split("train").shards:
                members = shard.members if known else without_crc32(shard.members)
                with folder.shard_path(shard).open("rb") as source:
                    writer.copy(members, range(shard.samples), source)
        assert writer.shards == list(folder.split("train").shards)
        assert tar_bytes(tmp_path / str(known)).items() <= tar_bytes(folder.root).items()


def test_copies_from_wrong_places_are_refused(folder: Index, tmp_path: Path) -> None:
    shard = folder.split("train").shards[0]
    first, second = list(shard.keys)[:2]
    tar = TarFile(tmp_path / "x.tar")
    with folder.shard_path(shard).open("rb") as source, pytest.raises(ShardError, match="not where the index has it"):
        tar.copy(listed({first: shard.keys[second]}), [0], source)
    with folder.shard_path(shard).open("rb") as source:
        tar.copy(shard.members, [0], source)
        with pytest.raises(ShardError, match="occurs twice"):
            tar.copy(shard.members, [0], source)
    tar.discard()
