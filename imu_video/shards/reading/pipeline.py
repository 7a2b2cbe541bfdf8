"""Samples out of tar shards by row or one after the other, with our own decoders; for training, columns.py is faster.

Members are read at the places that the index lists, and compared with the tar's headers and the index's checksums: no
other decoder, no decompression, no pickles, and a damaged sample costs none of its neighbours.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydantic import ValidationError

from imu_video.errors import ShardError
from imu_video.runtime.files import file_sha256
from imu_video.shards.damage import Damage
from imu_video.shards.schema import Index, SampleMeta, ShardEntry, member_kind, parse_member
from imu_video.shards.write import HEADER, npy_bytes

_WASTE = 1 << 16  # bytes that may be read in vain between two members to save a call
_AHEAD = 1 << 20  # bytes read at once where samples follow each other
_TAIL = 1 << 16  # bytes behind the last member that are looked at
_FLOAT = np.dtype("<f4")

MEMBER_KINDS = ("imu", "video", "views", "skeleton", "meta")
"""What a sample may consist of."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One sample as read; members that were not asked for or do not exist are empty.

    Args:
        key: sample key.
        meta: content of meta.json: key, dataset, recording, subject, session, start, label, tags, flags, sync.
        imu: placement -> (C, T) float32 in SI units, NaN where missing.
        video: the clip's MP4 bytes (`imu_video.shards.video.decode_mp4` decodes them).
        views: MP4 bytes of further videos by name.
        skeleton: (F, J, 3) float32 metres.
    """

    key: str
    meta: dict[str, Any] = field(default_factory=dict)
    imu: dict[str, np.ndarray] = field(default_factory=dict)
    video: bytes | None = None
    views: dict[str, bytes] = field(default_factory=dict)
    skeleton: np.ndarray | None = None


def read_samples(
    index: Index, split: str, members: Collection[str] = MEMBER_KINDS, *, damage: Damage | None = None
) -> Iterator[Sample]:
    """Read a split's samples in shard order: the order of the rows in columns and teacher caches.

    Args:
        index: a loaded index.
        split: name of a split.
        members: which of ``imu``, ``video``, ``views``, ``skeleton``, ``meta`` to read; the others are skipped.
        damage: samples that cannot be read are noted there and left out; None: the first one is an error.

    Yields:
        Every sample of the split once.

    Raises:
        ShardError: unknown split; without ``damage`` also a damaged tar, an illegal or undecodable member, samples that
            differ from the index.
        ValueError: unknown member kind.

    Example:
        >>> from imu_video.shards import load_index
        >>> sample = next(read_samples(load_index("data/demo"), "train", {"imu", "meta"}))
        >>> sample.key, sample.meta["label"], sorted(sample.imu)
        ('train-0000', 'sit', ['right_wrist', 'waist'])
    """
    _check_kinds(members)
    index.split(split)
    return (sample for _, sample in read_rows(index, split, members, damage=damage))


def read_rows(
    index: Index, split: str, members: Collection[str] = MEMBER_KINDS, *, damage: Damage | None = None
) -> Iterator[tuple[int, Sample]]:
    """As `read_samples`, each sample with its row: left out samples leave gaps in the numbers.

    Raises:
        ShardError, ValueError: see `read_samples`.
    """
    kinds = _check_kinds(members)
    row = 0
    for shard in index.split(split).shards:
        try:
            opened = OpenShard(index, shard, in_order=True)
        except ShardError as error:
            if damage is None:
                raise
            damage.left_out.update(dict.fromkeys(shard.keys, error.message))
            row += shard.samples
            continue
        with opened:
            problem = opened.problem()
            if problem is not None and damage is None:
                raise problem
            if problem is not None and damage is not None:
                damage.notes.append(problem.message)
            for number, key in enumerate(shard.keys, start=row):
                try:
                    yield number, opened.sample(key, kinds)
                except ShardError as error:
                    if damage is None:
                        raise
                    damage.left_out[key] = error.message
        row += shard.samples


class SampleReader:
    """Random access to a split's samples by row, straight from the tars; safe to share between threads.

    Args:
        index: a loaded index.
        split: name of a split.
        members: which of ``imu``, ``video``, ``views``, ``skeleton``, ``meta`` to read.
        open_shards: tars kept open at most.

    Raises:
        ShardError: unknown split.
        ValueError: unknown member kind.

    Example:
        >>> from imu_video.shards import load_index
        >>> reader = SampleReader(load_index("data/demo"), "train", {"imu", "meta"})
        >>> reader[17].imu["right_wrist"].shape
        (6, 100)
    """

    def __init__(
        self, index: Index, split: str, members: Collection[str] = MEMBER_KINDS, *, open_shards: int = 64
    ) -> None:
        self._kinds = _check_kinds(members)
        self._shards = index.split(split).shards
        self._places = [(number, key) for number, shard in enumerate(self._shards) for key in shard.keys]
        self._open = lru_cache(open_shards)(lambda number: OpenShard(index, self._shards[number]))

    def __len__(self) -> int:
        return len(self._places)

    def key(self, row: int) -> str:
        """Key of a row."""
        return self._places[row][1]

    def has(self, row: int, suffix: str) -> bool:
        """Whether a row's sample has a member (``video.mp4``, ``imu.waist.npy``), as the index says."""
        number, key = self._places[row]
        return suffix in self._shards[number].keys[key]

    def __getitem__(self, row: int) -> Sample:
        """The sample of a row.

        Raises:
            ShardError: it is damaged.
        """
        number, key = self._places[row]
        return self._open(number).sample(key, self._kinds)

    def member(self, row: int, suffix: str) -> bytes:
        """The checked bytes of one member.

        Raises:
            ShardError: it is damaged, or the sample has none of that name.
        """
        number, key = self._places[row]
        return self._open(number).member(key, suffix)


class OpenShard:
    """One tar, open for reading members at the places that the index lists; closed when nothing refers to it.

    Args:
        index: the index that lists it.
        shard: its entry.
        in_order: samples are read one after the other, by one thread: small ones are fetched many at once.

    Raises:
        ShardError: the file is missing, or it has changed and the index has no checksum of its members.
    """

    def __init__(self, index: Index, shard: ShardEntry, *, in_order: bool = False) -> None:
        self.index, self.shard = index, shard
        self._ahead = _AHEAD if in_order and shard.bytes <= _WASTE * shard.samples else 0
        self._begin, self._block = 0, b""
        self.path = index.shard_path(shard)
        self._hint = f"imu-video verify {index.root}; a run leaves damaged samples out with data.errors=skip"
        try:
            self._file = self.path.open("rb")
        except OSError as error:
            raise ShardError(f"{self.path}: {error.strerror}", hint="restore it, or build the folder again") from error
        self._number = self._file.fileno()
        if not shard.crc32 and file_sha256(self.path) != shard.sha256:
            self._file.close()
            raise ShardError(
                f"{self.path}: damaged: its sha256 is not the index's, which has no checksum of single members",
                hint=self._hint,
            )

    def __enter__(self) -> OpenShard:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def problem(self) -> ShardError | None:
        """What is wrong with the tar as a whole: no tar, another size, members that the index does not list."""
        try:
            open_tar(self.path).close()
            self._check_tiles()
            size = os.fstat(self._number).st_size
            if size != self.shard.bytes:
                raise ShardError(
                    f"{self.path}: damaged: {size} bytes, the index says {self.shard.bytes}", hint=self._hint
                )
        except ShardError as error:
            return error
        return None

    def _check_tiles(self) -> None:
        """The listed members fill the tar from its first byte to the zeros at its end: there is room for no others."""
        at = 0
        places = [
            (offset, size, key, suffix) for key, m in self.shard.keys.items() for suffix, (offset, size) in m.items()
        ]
        for offset, size, key, suffix in sorted(places):
            if offset != at + HEADER:
                raise ShardError(
                    f"{self.path}: the index has {key}.{suffix} at byte {offset}, expected {at + HEADER}: something "
                    f"unlisted lies before it, or members overlap",
                    hint=self._hint,
                )
            at = offset + -(-size // HEADER) * HEADER
        tail = os.pread(self._number, _TAIL, at)
        if tail.strip(b"\0"):
            name = tail[:100].rstrip(b"\0").decode("ascii", errors="replace")
            parse_member(name)
            raise ShardError(f"{self.path}: member {name!r} is not in the index", hint=self._hint)

    def sample(self, key: str, kinds: frozenset[str]) -> Sample:
        """A sample with its members of the given kinds.

        Raises:
            ShardError: one of them is damaged.
        """
        listed = self.shard.keys[key]
        wanted = {suffix: place for suffix, place in listed.items() if member_kind(suffix) in kinds}
        if not wanted:
            return Sample(key=key)
        first = min(offset for offset, _ in wanted.values()) - HEADER
        last = max(offset + size for offset, size in wanted.values())
        if last - first > sum(size for _, size in wanted.values()) + _WASTE:
            return decode_sample(self.index, key, {suffix: self.member(key, suffix) for suffix in wanted})
        block, begin = self._bytes(first, last)
        raw = {suffix: self._cut(block, offset - begin, key, suffix, size) for suffix, (offset, size) in wanted.items()}
        return decode_sample(self.index, key, raw)

    def _bytes(self, first: int, last: int) -> tuple[bytes, int]:
        """A block of the tar that reaches from first to last, as far as the file does, and where it begins."""
        if not self._ahead:
            return os.pread(self._number, last - first, first), first
        if not self._begin <= first <= last <= self._begin + len(self._block):
            self._begin, self._block = first, os.pread(self._number, max(last - first, self._ahead), first)
        return self._block, self._begin

    def member(self, key: str, suffix: str) -> bytes:
        """The bytes of one member, compared with the tar's header and the index's checksum.

        Raises:
            ShardError: it is not there, or it is damaged.
        """
        offset, size = self.shard.keys[key].get(suffix, (0, 0))
        if not offset:
            raise ShardError(f"sample {key!r} has no {suffix}", hint=self._hint)
        block = os.pread(self._number, HEADER + size, offset - HEADER)
        return self._cut(block, HEADER, key, suffix, size)

    def _cut(self, block: bytes, at: int, key: str, suffix: str, size: int) -> bytes:
        """The member that begins at byte ``at`` of a block of the tar, its header before it."""
        name = f"{key}.{suffix}"
        if len(block) < at + size or at < HEADER:
            raise ShardError(f"{self.path}: damaged: ends before {name}", hint=self._hint)
        head = at - HEADER  # USTAR: name at 0, octal size at 124, type at 156, magic at 257
        if not (
            block.startswith(b"%b\0" % name.encode(), head)
            and block.startswith(b"%011o\0" % size, head + 124)
            and block.startswith(b"0", head + 156)
            and block.startswith(b"ustar", head + 257)
        ):
            raise ShardError(
                f"{self.path}: member {name!r} of sample {key!r} is not where the index has it", hint=self._hint
            )
        data = block[at : at + size]
        if self.shard.crc32 and zlib.crc32(data) != self.shard.crc32[key][suffix]:
            raise ShardError(
                f"{self.path}: damaged: member {name!r} has another checksum than the index", hint=self._hint
            )
        return data


def _check_kinds(members: Collection[str]) -> frozenset[str]:
    unknown = set(members) - set(MEMBER_KINDS)
    if unknown:
        raise ValueError(f"unknown members {sorted(unknown)}, known are {MEMBER_KINDS}")
    return frozenset(members)


def decode_sample(index: Index, key: str, raw: Mapping[str, bytes]) -> Sample:
    """A sample from the bytes of its members by suffix; clips stay encoded.

    Raises:
        ShardError: a member cannot be decoded, or is not what the index declares.
    """
    imu: dict[str, np.ndarray] = {}
    views: dict[str, bytes] = {}
    meta: dict[str, Any] = {}
    skeleton = None
    for suffix, data in raw.items():
        kind = member_kind(suffix)
        if kind == "imu":
            shape = (len(index.channels), index.samples_per_window)
            imu[suffix.split(".")[1]] = decode_array(data, f"{key}.{suffix}", shape)
        elif kind == "views":
            views[suffix.split(".")[1]] = data
        elif kind == "skeleton":
            spec = index.skeleton
            if spec is None:
                raise ShardError(f"sample {key!r} has a skeleton, the index declares none")
            skeleton = decode_array(data, f"{key}.{suffix}", (spec.frames, len(spec.joints), 3))
        elif kind == "meta":
            meta = vars(index.qualify(decode_meta(data, key))).copy()
    return Sample(key=key, meta=meta, imu=imu, video=raw.get("video.mp4"), views=views, skeleton=skeleton)


def open_tar(path: Path) -> BinaryIO:
    """Open a shard for reading after checking that it is a plain USTAR file, so that nothing is ever decompressed.

    Raises:
        ShardError: the file is missing or is no uncompressed tar.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise ShardError(f"{path}: {error.strerror}", hint="restore it, or build the folder again") from error
    header = file.read(512)
    if header[257:262] != b"ustar":
        file.close()
        raise ShardError(f"{path}: not an uncompressed tar file", hint="only shards of `imu-video build` are read")
    file.seek(0)
    return file


def decode_array(data: bytes, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A float32 .npy member of known shape.

    Raises:
        ShardError: not a .npy file, pickled objects, or another type or shape.
    """
    header = _npy_header(shape)
    if data.startswith(header) and len(data) == len(header) + 4 * math.prod(shape):
        return np.frombuffer(data, dtype=_FLOAT, offset=len(header)).reshape(shape).astype(np.float32)
    try:
        array: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, MemoryError, TypeError, struct.error) as error:
        raise ShardError(f"member {name!r}: not a readable .npy array: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.shape != shape:
        seen = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ShardError(f"member {name!r}: {seen}, expected {shape} float32")
    return array


@lru_cache
def _npy_header(shape: tuple[int, ...]) -> bytes:
    """What a member of that shape begins with when this machine's numpy wrote it."""
    whole = npy_bytes(np.broadcast_to(np.float32(0), shape))
    return whole[: len(whole) - 4 * math.prod(shape)]


def decode_meta(data: bytes, key: str) -> SampleMeta:
    """A meta.json member.

    Raises:
        ShardError: not JSON, missing or foreign fields, or facts of another sample.
    """
    try:
        meta = SampleMeta.model_validate_json(data)
    except ValidationError as error:
        fault = error.errors()[0]
        where = "not readable as JSON" if fault["type"] == "json_invalid" else ".".join(map(str, fault["loc"]))
        raise ShardError(f"sample {key!r}, meta.json: {where}: {fault['msg']}") from error
    if meta.key != key:
        raise ShardError(f"sample {key!r}, meta.json: belongs to {meta.key!r}")
    return meta
