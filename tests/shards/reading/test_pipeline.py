"""Samples come back as they were written; foreign, damaged or pickled members never get through."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imu_video.errors import ConfigError, ShardError
from imu_video.modalities.arrays import decode_array
from imu_video.modalities.mp4 import decode_mp4
from imu_video.runtime.files import file_sha256
from imu_video.shards.names import parse_member
from imu_video.shards.reading.pipeline import decode_meta, read_samples
from imu_video.shards.schema import Index, ShardEntry
from imu_video.types import Window


def test_samples_equal_the_windows_they_were_made_from(
    folder: Index, window_maker: Callable[[str, int], Window]
) -> None:
    samples = list(read_samples(folder, "train"))
    assert len(samples) == 10
    for i, sample in enumerate(samples):
        window = window_maker("train", i)
        assert sample.key == window.key
        assert sample.imu.keys() == window.imu.keys()
        for placement, values in window.imu.items():
            np.testing.assert_array_equal(sample.imu[placement], values)
        assert sample.meta == {
            "key": window.key,
            "dataset": "tiny",
            "recording": window.recording,
            "subject": window.subject,
            "session": "1",
            "start": window.start,
            "label": window.label,
            "tags": window.tags,
            "flags": (),
            "sync": None,
        }
        if window.streams.get("skeleton") is None:
            assert "skeleton" not in sample.streams
        else:
            np.testing.assert_array_equal(sample.streams.get("skeleton"), window.streams.get("skeleton"))
        if window.streams.get("video") is None:
            assert "video" not in sample.streams
        else:
            assert "video" in sample.streams
            assert np.abs(decode_mp4(sample.streams.get("video")).astype(int) - window.streams.get("video")).max() <= 3


def test_unasked_members_stay_empty_and_no_sample_is_skipped(folder: Index) -> None:
    samples = list(read_samples(folder, "train", {"video"}))
    assert len(samples) == 10
    assert ["video" in s.streams for s in samples] == [i % 4 > 0 for i in range(10)]
    assert all(not s.imu and not s.meta and "skeleton" not in s.streams for s in samples)
    assert all(s.meta and not s.imu for s in read_samples(folder, "train", {"meta"}))


def test_wrong_questions(folder: Index) -> None:
    with pytest.raises(ConfigError, match="unknown modality 'audio'"):
        read_samples(folder, "train", {"audio"})
    with pytest.raises(ShardError, match="did you mean 'train'"):
        read_samples(folder, "trian")


def rewrite(index: Index, change: Callable[[dict[str, bytes]], dict[str, bytes]], *, listed: bool = True) -> Index:
    """Write the val shard anew with changed members, and an in-memory index whose size and hash fit the new file."""
    (shard,) = index.split("val").shards
    path = index.shard_path(shard)
    with tarfile.open(path) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]
    keys: dict[str, dict[str, tuple[int, int]]] = {}
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in change(members).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if listed:
                key, suffix = parse_member(name)
                keys.setdefault(key, {})[suffix] = (tar.offset + 512, len(data))
            tar.addfile(info, io.BytesIO(data))
    entry = ShardEntry(
        path=shard.path,
        samples=shard.samples,
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
        keys=keys if listed else shard.keys,
    )
    split = index.split("val").model_copy(update={"shards": (entry,)})
    return index.model_copy(update={"splits": {**index.splits, "val": split}}).at(index.root)


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy(np.array([{"a": 1}], dtype=object), allow_pickle=True), "not a readable .npy"),
        (npy(np.zeros((6, 20))), "float64, expected"),
        (npy(np.zeros((20, 6), np.float32)), r"\(20, 6\) float32, expected \(6, 20\)"),
        (b"junk", "not a readable .npy"),
        (b"", "not a readable .npy"),
    ],
)
def test_bad_arrays_are_named(folder: Index, data: bytes, message: str) -> None:
    name = "tiny-val-walk0-00001.imu.waist.npy"
    changed = rewrite(folder, lambda members: {**members, name: data})
    with pytest.raises(ShardError, match=message) as caught:
        list(read_samples(changed, "val"))
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["../evil.npy", "/etc/passwd", "a.pickle", "a.imu.waist.npy.gz", "sub/a.meta.json"])
def test_foreign_member_names_are_refused(folder: Index, name: str) -> None:
    changed = rewrite(folder, lambda members: {**members, name: b"x"}, listed=False)
    with pytest.raises(ShardError, match="tar member"):
        list(read_samples(changed, "val"))


def test_members_that_the_index_does_not_list_are_refused(folder: Index) -> None:
    changed = rewrite(folder, lambda members: {**members, "tiny-val-walk9-00009.meta.json": b"{}"}, listed=False)
    with pytest.raises(ShardError, match="not in the index"):
        list(read_samples(changed, "val"))


@pytest.mark.parametrize("part", ["00000", "00002", "00004", "00001.skeleton"])
def test_lost_samples_and_members_are_noticed(folder: Index, part: str) -> None:
    def without(members: dict[str, bytes]) -> dict[str, bytes]:
        return {name: data for name, data in members.items() if part not in name}

    changed = rewrite(folder, without, listed=False)
    with pytest.raises(ShardError, match=r"is not where the index has it|ends before"):
        list(read_samples(changed, "val"))


def test_compressed_and_cut_off_tars_are_refused(folder: Index) -> None:
    (shard,) = folder.split("val").shards
    path = folder.shard_path(shard)
    whole = path.read_bytes()
    path.write_bytes(gzip.compress(whole))
    with pytest.raises(ShardError, match="not an uncompressed tar"):
        list(read_samples(folder, "val"))
    offset = list(shard.keys.values())[3]["imu.waist.npy"][0]
    path.write_bytes(whole[: offset + 10])
    with pytest.raises(ShardError, match="damaged"):
        list(read_samples(folder, "val"))
    path.unlink()
    with pytest.raises(ShardError, match=r"val-000000\.tar: No such file"):
        list(read_samples(folder, "val"))


def test_meta_of_another_sample_or_with_foreign_fields() -> None:
    good = {
        "key": "k",
        "dataset": "d",
        "recording": "r",
        "subject": "s",
        "session": "1",
        "start": 0.0,
        "label": None,
        "tags": {},
    }
    assert decode_meta(json.dumps(good).encode(), "k").subject == "s"
    with pytest.raises(ShardError, match="belongs to 'k'"):
        decode_meta(json.dumps(good).encode(), "other")
    with pytest.raises(ShardError, match="extra"):
        decode_meta(json.dumps({**good, "extra": 1}).encode(), "k")
    with pytest.raises(ShardError, match="not readable as JSON"):
        decode_meta(b"\xff", "k")


def test_zipped_arrays_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros((6, 20), np.float32))
    with pytest.raises(ShardError, match=r"not a readable \.npy"):
        decode_array(buffer.getvalue(), "k.imu.waist.npy", (6, 20))
