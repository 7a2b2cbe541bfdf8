"""Damaged shards: no hang, no other kind of error, never a damaged sample, and an exact count of what was left out."""

from __future__ import annotations

import gzip
import io
import pickle
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from imu_video.errors import ConfigError, ImuVideoError, ShardError
from imu_video.modalities.arrays import npy_bytes
from imu_video.shards.batches.loader import PairLoader
from imu_video.shards.damage import Damage, quarantine_file
from imu_video.shards.member_list import without_crc32
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.index import load_index
from imu_video.shards.reading.pipeline import Sample, SampleReader, read_samples
from imu_video.shards.schema import Index

SAMPLES, SHARD = 12, 6
Members = list[tuple[tarfile.TarInfo, bytes]]


@dataclass(frozen=True)
class Pristine:
    """A folder as built, what its samples hold, and the bytes of its first shard."""

    index: Index
    samples: dict[str, tuple[object, ...]]
    shard: bytes


@pytest.fixture(scope="module")
def pristine(folder_maker: Callable[..., Index], tmp_path_factory: pytest.TempPathFactory) -> Pristine:
    index = folder_maker(tmp_path_factory.mktemp("fuzz") / "data", {"train": SAMPLES}, shard_samples=SHARD)
    path = index.shard_path(index.split("train").shards[0])
    return Pristine(index, {s.key: content(s) for s in read_samples(index, "train")}, path.read_bytes())


def content(sample: Sample) -> tuple[object, ...]:
    """Everything in a sample, comparable."""
    imu = tuple(sorted((name, values.tobytes()) for name, values in sample.imu.items()))
    skeleton = None if sample.streams.get("skeleton") is None else sample.streams["skeleton"].tobytes()
    return (
        sample.key,
        imu,
        skeleton,
        tuple((name, data) for name, data in sorted(sample.streams.items()) if isinstance(data, bytes)),
        repr(sorted(sample.meta.items())),
    )


# ---------------------------------------------------------------------------------------------- ways to damage


def truncate(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: rng.integers(0, len(data))]


def flip_bits(rng: np.random.Generator, data: bytes) -> bytes:
    array = np.frombuffer(data, np.uint8).copy()
    where = rng.integers(0, len(array), rng.choice([1, 1, 2, 20]))
    array[where] ^= (1 << rng.integers(0, 8, len(where))).astype(np.uint8)
    return array.tobytes()


def overwrite(rng: np.random.Generator, data: bytes) -> bytes:
    start, length = rng.integers(0, len(data)), rng.integers(1, 2000)
    new = rng.bytes(length) if rng.random() < 0.5 else bytes(length)
    return (data[:start] + new + data[start + length :])[: len(data)]


def insert_bytes(rng: np.random.Generator, data: bytes) -> bytes:
    start = rng.integers(0, len(data))
    return data[:start] + rng.bytes(rng.choice([1, 512, 700])) + data[start:]


def remove_bytes(rng: np.random.Generator, data: bytes) -> bytes:
    start = rng.integers(0, len(data))
    return data[:start] + data[start + rng.choice([1, 512, 700]) :]


def not_a_tar(rng: np.random.Generator, data: bytes) -> bytes:
    return [b"", b"x", rng.bytes(5000), gzip.compress(data), bytes(len(data)), pickle.dumps([data])][rng.integers(6)]


def members_of(data: bytes) -> Members:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(info, tar.extractfile(info).read()) for info in tar.getmembers()]  # type: ignore[union-attr]


def as_tar(members: Members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def drop(rng: np.random.Generator, data: bytes) -> bytes:
    members = members_of(data)
    for _ in range(rng.integers(1, 4)):
        members.pop(rng.integers(len(members)))
    return as_tar(members)


def shuffle(rng: np.random.Generator, data: bytes) -> bytes:
    members = members_of(data)
    return as_tar([members[i] for i in rng.permutation(len(members))])


def twice(rng: np.random.Generator, data: bytes) -> bytes:
    members = members_of(data)
    again = members[rng.integers(len(members))]
    members.insert(rng.integers(len(members) + 1), (tarfile.TarInfo(again[0].name), again[1][::-1]))
    return as_tar(members)


def foreign(rng: np.random.Generator, data: bytes) -> bytes:
    names = ["../../evil.npy", "/etc/passwd", "sub/x.meta.json", "a.pickle", "b.imu.waist.npy", "..", "x" * 99, "."]
    members = members_of(data)
    members.insert(rng.integers(len(members) + 1), (tarfile.TarInfo(str(rng.choice(names))), rng.bytes(100)))
    return as_tar(members)


def link(rng: np.random.Generator, data: bytes) -> bytes:
    members = members_of(data)
    info, _ = members[rng.integers(len(members))]
    info.type = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE][rng.integers(5)]
    info.linkname = "/etc/passwd"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for one, content in members:
            one.size = len(content) if one.type == tarfile.REGTYPE else 0
            tar.addfile(one, io.BytesIO(content))
    return buffer.getvalue()


def huge(rng: np.random.Generator, data: bytes) -> bytes:
    place = int(rng.choice([i for i in range(0, len(data), 512) if data[i + 257 : i + 262] == b"ustar"]))
    size = [b"77777777777\0", b"\x80" + b"\xff" * 11, b"00000000000\0", b"-0000000001\0"][rng.integers(4)]
    return data[: place + 124] + size + data[place + 136 :]


def replaced(rng: np.random.Generator, data: bytes) -> bytes:
    """A member of another type, shape or content under its old name."""
    members = members_of(data)
    at = int(rng.integers(len(members)))
    info, old = members[at]
    objects = io.BytesIO()
    np.save(objects, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    lying = (
        b"\x93NUMPY\x01\x00\x76\x00"
        + b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9), }".ljust(118)
    )
    new = [
        npy_bytes(np.zeros((6, 20))),
        npy_bytes(np.zeros((20, 6), np.float32)),
        npy_bytes(np.full((6, 20), np.nan, np.float32)),
        npy_bytes(np.full((6, 20), np.inf, np.float32)),
        objects.getvalue(),
        lying,
        b"",
        b"[" * 100_000,
        b'{"key": 1}',
        rng.bytes(len(old)),
        old[:-1],
        old + b"x",
        members[at - 1][1],
    ][rng.integers(13)]
    members[at] = (info, new)
    return as_tar(members)


WAYS = [
    truncate, flip_bits, flip_bits, overwrite, insert_bytes, remove_bytes, not_a_tar, drop, shuffle, twice, foreign,
    link, huge, replaced, replaced, replaced,
]  # fmt: skip


# ---------------------------------------------------------------------------------------------- the cases


def intact(pristine: Pristine, damaged: bytes | None) -> set[str]:
    """Samples whose bytes all lie in the damaged file where the index has them: members, and their headers' facts."""
    shard, other = pristine.index.split("train").shards
    whole = set(other.keys)
    for key, members in shard.keys.items():
        same = damaged is not None
        for suffix, (offset, size) in members.items():
            head, name = offset - 512, f"{key}.{suffix}"
            spans = [
                (head, head + len(name) + 1), (head + 124, head + 136), (head + 156, head + 157),
                (head + 257, head + 262), (offset, offset + size),
            ]  # fmt: skip
            same = same and all(damaged[a:b] == pristine.shard[a:b] for a, b in spans)  # type: ignore[index]
        if same:
            whole.add(key)
    return whole


def cases(pristine: Pristine, root: Path, seeds: range) -> Iterator[tuple[str, Index, set[str]]]:
    """Damaged copies, one after the other in the same folder: name, index, keys of the samples that are intact."""
    shutil.copytree(pristine.index.root, root)
    index = pristine.index.at(root)
    path = index.shard_path(index.split("train").shards[0])
    for seed in seeds:
        rng = np.random.default_rng(seed)
        way = WAYS[seed % len(WAYS)]
        damaged = way(rng, pristine.shard)
        path.write_bytes(damaged)
        yield f"{way.__name__} {seed}", index, intact(pristine, damaged)
    path.unlink()
    yield "missing", index, intact(pristine, None)


def check_case(pristine: Pristine, name: str, index: Index, whole: set[str]) -> None:
    damage = Damage()
    got = list(read_samples(index, "train", damage=damage))
    for sample in got:
        assert content(sample) == pristine.samples[sample.key], f"{name}: a damaged sample was given out"
    keys = [sample.key for sample in got]
    assert set(keys) == whole, name
    assert len(keys) == len(whole), name
    assert damage.left_out.keys() == pristine.samples.keys() - whole, name
    assert all(damage.left_out.values()), name
    message = ""
    try:
        strict = list(read_samples(index, "train"))
        assert [content(sample) for sample in strict] == list(pristine.samples.values()), name
    except ShardError as error:
        message = str(error)
    assert not message or str(index.root) in message or "member" in message or "sample" in message, name
    assert message or len(whole) == SAMPLES, name
    reader = SampleReader(index, "train")
    for row in range(SAMPLES):
        try:
            assert content(reader[row]) == pristine.samples[reader.key(row)], name
            assert reader.key(row) in whole, name
        except ShardError:
            assert reader.key(row) not in whole, name


def check_columns(pristine: Pristine, name: str, index: Index, whole: set[str]) -> None:
    """Columns hold the intact samples at their rows; every rank's plan leaves the same ones out."""
    shutil.rmtree(index.root / "columns", ignore_errors=True)
    lost = pristine.samples.keys() - whole
    # clips are not part of columns: a sample with nothing but a damaged clip stays
    columns = open_columns(index, "train", errors="quarantine")
    assert columns.left_out.keys() <= lost, name
    truth = open_columns(pristine.index, "train")
    rows = [row for row, key in enumerate(columns.keys) if key not in columns.left_out]
    gone = [row for row, key in enumerate(columns.keys) if key in columns.left_out]
    assert columns.keys == truth.keys, name
    np.testing.assert_array_equal(columns.imu[rows], truth.imu[rows], err_msg=name)
    np.testing.assert_array_equal(columns.present[rows], truth.present[rows], err_msg=name)
    assert [columns.subjects[row] for row in rows] == [truth.subjects[row] for row in rows], name
    assert not columns.present[gone].any(), name
    assert np.isnan(columns.imu[gone]).all(), name
    np.testing.assert_array_equal(PairLoader(columns=columns, batch_size=1, seed=0).usable, rows, err_msg=name)
    if gone:
        again = open_columns(index, "train", errors="skip")
        assert again.left_out == columns.left_out, name
        with pytest.raises(ShardError, match=f"{len(gone)} damaged samples"):
            open_columns(index, "train")
        quarantine_file(index, "train").unlink()
    else:
        assert not quarantine_file(index, "train").exists(), name


def test_three_hundred_damaged_shards(pristine: Pristine, tmp_path: Path) -> None:
    seen = set()
    for number, (name, index, whole) in enumerate(cases(pristine, tmp_path / "data", range(320))):
        check_case(pristine, name, index, whole)
        if number % 8 == number // 16 % 8:  # every way meets the columns
            check_columns(pristine, name, index, whole)
        seen.add((name.split()[0], len(whole)))
    assert len({way for way, _ in seen}) == len(set(WAYS)) + 1
    assert {SHARD, SAMPLES - 1, SAMPLES} <= {count for _, count in seen}  # all lost, one lost, none lost
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]  # nothing was written elsewhere


@pytest.mark.slow
def test_thousands_of_damaged_shards(pristine: Pristine, tmp_path: Path) -> None:
    for number, (name, index, whole) in enumerate(cases(pristine, tmp_path / "data", range(1000, 6000))):
        check_case(pristine, name, index, whole)
        if number % 10 == 0:
            check_columns(pristine, name, index, whole)


def test_folders_without_member_checksums_lose_the_whole_shard(pristine: Pristine, tmp_path: Path) -> None:
    split = pristine.index.split("train")
    old = split.model_copy(
        update={"shards": tuple(s.model_copy(update={"members": without_crc32(s.members)}) for s in split.shards)}
    )
    without = pristine.index.model_copy(update={"splits": {"train": old}}).at(pristine.index.root)
    assert [content(s) for s in read_samples(without, "train")] == list(pristine.samples.values())
    for name, index, _ in cases(pristine, tmp_path / "data", range(32)):
        damage = Damage()
        path = index.shard_path(split.shards[0])
        touched = not path.is_file() or path.read_bytes() != pristine.shard
        got = list(read_samples(without.at(index.root), "train", damage=damage))
        assert len(got) == (SHARD if touched else SAMPLES), name
        assert all(content(sample) == pristine.samples[sample.key] for sample in got)
        assert len(damage.left_out) == SAMPLES - len(got)


def test_a_damaged_index_is_refused_or_gives_intact_samples(pristine: Pristine, tmp_path: Path) -> None:
    shutil.copytree(pristine.index.root, tmp_path / "data")
    file = tmp_path / "data" / "index.json"
    whole, refused = file.read_bytes(), 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        file.write_bytes([flip_bits, truncate, overwrite][seed % 3](rng, whole))
        try:
            index = load_index(file, check_shards=bool(seed % 2))
            if "train" in index.splits and index.samples_per_window == 20:
                for sample in read_samples(index, "train", damage=Damage()):
                    assert content(sample) == pristine.samples[sample.key]
        except ImuVideoError:
            refused += 1
    assert refused > 75


def test_policies_in_words(pristine: Pristine, tmp_path: Path) -> None:
    shutil.copytree(pristine.index.root, tmp_path / "data", ignore=shutil.ignore_patterns("columns"))
    index = load_index(tmp_path / "data")
    first, *others = pristine.samples
    path = index.shard_path(index.split("train").shards[0])
    offset, _ = index.split("train").shards[0].keys[first]["meta.json"]
    path.write_bytes(pristine.shard[:offset] + b"?" + pristine.shard[offset + 1 :])
    with pytest.raises(ConfigError, match="did you mean 'skip'"):
        open_columns(index, "train", errors="skipp")  # type: ignore[arg-type]
    with pytest.raises(ShardError, match=rf"{first}.meta.json(.|\n)*imu-video verify"):
        open_columns(index, "train")
    skipped = open_columns(index, "train", errors="skip")
    assert list(skipped.left_out) == [first]
    assert not quarantine_file(index, "train").exists()
    damage = Damage()
    assert [s.key for s in read_samples(index, "train", damage=damage)] == others
    assert damage.summary().startswith("1 samples left out; 1 ")
    listed = open_columns(index, "train", errors="quarantine")
    assert quarantine_file(index, "train").is_file()
    assert listed.left_out == skipped.left_out
    # a list is honoured although these columns are intact
    path.write_bytes(pristine.shard)
    shutil.rmtree(index.root / "columns")
    assert list(open_columns(index, "train", errors="skip").left_out) == [first]
    with pytest.raises(ShardError, match=r"1 damaged samples(.|\n)*errors=skip"):
        open_columns(index, "train")
    quarantine_file(index, "train").write_text("[]")
    with pytest.raises(ShardError, match="expected a mapping of keys"):
        open_columns(index, "train")
    quarantine_file(index, "train").unlink()
    assert not open_columns(index, "train").left_out
