"""Samples from tar shards, by row or sequentially, with our own decoders; for training, columns.py is faster.

Members are read at the positions that the index lists, and compared with the tar's headers and the index's checksums:
no other decoder, no decompression, no pickles, and a damaged sample does not affect its neighbours.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydantic import ValidationError

from imu_video.errors import ShardError
from imu_video.modalities.arrays import decode_array
from imu_video.modalities.base import modality_of, stream_of
from imu_video.modalities.mp4 import decode_mp4 as decode_mp4  # `imu_video.shards` offers it too
from imu_video.runtime.files import file_sha256
from imu_video.shards.damage import Damage
from imu_video.shards.members import HEADER
from imu_video.shards.names import parse_member
from imu_video.shards.schema import META, Index, SampleMeta, ShardEntry

_WASTE = 1 << 16  # unneeded bytes between two members that are read anyway, to save a system call
_AHEAD = 1 << 20  # bytes per read in sequential reading
_TAIL = 1 << 16  # bytes after the last member that are checked


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One sample as read; members that were not requested or do not exist are left out.

    Args:
        key: sample key.
        meta: content of meta.json: key, dataset, recording, subject, session, start, label, tags, flags, sync.
        imu: placement -> (C, T) float32 in SI units, NaN where missing.
        streams: stream -> what its modality decodes immediately: (F, J, 3) float32 of a ``skeleton``; MP4 bytes of a
            ``video``, whose frames `Modality.select` decodes.
    """

    key: str
    meta: dict[str, Any] = field(default_factory=dict)
    imu: dict[str, np.ndarray] = field(default_factory=dict)
    streams: dict[str, Any] = field(default_factory=dict)

    @property
    def video(self) -> bytes | None:
        """The clip of the main camera as MP4 bytes, for `decode_mp4`; None without one."""
        return self.streams.get("video")


def read_samples(
    index: Index, split: str, members: Collection[str] | None = None, *, damage: Damage | None = None
) -> Iterator[Sample]:
    """Read a split's samples in shard order: the order of the rows in columns and teacher caches.

    Args:
        index: a loaded index.
        split: name of a split.
        members: which of ``meta``, ``imu`` and the names of streams (``video``, ``video.depth``, ``skeleton``) to read;
            the others are skipped. None: all.
        damage: records samples that cannot be read, which are then left out; None: the first one is an error.

    Yields:
        Every sample of the split once.

    Raises:
        ShardError: unknown split; without ``damage`` also a damaged tar, an illegal or undecodable member, samples that
            differ from the index.
        ConfigError: a member of no registered modality.

    Example:
        >>> from imu_video.shards import load_index
        >>> sample = next(read_samples(load_index("data/demo"), "train", {"imu", "meta"}))
        >>> sample.key, sample.meta["label"], sorted(sample.imu)
        ('train-0000', 'sit', ['right_wrist', 'waist'])
    """
    _wanted(members)
    index.split(split)
    return (sample for _, sample in read_rows(index, split, members, damage=damage))


def read_rows(
    index: Index, split: str, members: Collection[str] | None = None, *, damage: Damage | None = None
) -> Iterator[tuple[int, Sample]]:
    """Same as `read_samples`, with the row of each sample; samples left out are gaps in the row numbers.

    Raises:
        ShardError, ConfigError: see `read_samples`.
    """
    kinds = _wanted(members)
    row = 0
    for shard in index.split(split).shards:
        try:
            opened = OpenShard(index, shard, in_order=True)
        except ShardError as error:
            if damage is None:
                raise
            damage.left_out.update(dict.fromkeys(shard.members.all_keys(), error.message))
            row += shard.samples
            continue
        with opened:
            problem = opened.problem()
            if problem is not None and damage is None:
                raise problem
            if problem is not None and damage is not None:
                damage.notes.append(problem.message)
            for own in range(shard.samples):
                try:
                    yield row + own, opened.sample(own, kinds)
                except ShardError as error:
                    if damage is None:
                        raise
                    damage.left_out[shard.members.key(own)] = error.message
        row += shard.samples


class SampleReader:
    """Random access to a split's samples by row, straight from the tars; safe to share between threads.

    Args:
        index: a loaded index.
        split: name of a split.
        members: which of ``meta``, ``imu`` and the names of streams to read; None: all.
        open_shards: largest number of tars kept open.

    Raises:
        ShardError: unknown split.
        ConfigError: a member of no registered modality.

    Example:
        >>> from imu_video.shards import load_index
        >>> reader = SampleReader(load_index("data/demo"), "train", {"imu", "meta"})
        >>> reader[17].imu["right_wrist"].shape
        (6, 100)
    """

    def __init__(
        self, index: Index, split: str, members: Collection[str] | None = None, *, open_shards: int = 64
    ) -> None:
        self._kinds = _wanted(members)
        self._shards = index.split(split).shards
        self._ends = np.cumsum([shard.samples for shard in self._shards])
        self._open = lru_cache(open_shards)(lambda number: OpenShard(index, self._shards[number]))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def _place(self, row: int) -> tuple[int, int]:
        """Number of the shard of a row, and the row in the shard."""
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        row %= len(self)
        number = int(np.searchsorted(self._ends, row, side="right"))
        return number, row - int(self._ends[number]) + self._shards[number].samples

    def key(self, row: int) -> str:
        """Key of a row."""
        number, own = self._place(row)
        return self._shards[number].members.key(own)

    def has(self, row: int, suffix: str) -> bool:
        """Whether a row's sample has a member (``video.mp4``, ``imu.waist.npy``), according to the index."""
        number, own = self._place(row)
        return suffix in self._shards[number].members.suffixes(own)

    def __getitem__(self, row: int) -> Sample:
        """The sample of a row.

        Raises:
            ShardError: it is damaged.
        """
        number, own = self._place(row)
        return self._open(number).sample(own, self._kinds)

    def member(self, row: int, suffix: str) -> bytes:
        """The checked bytes of one member.

        Raises:
            ShardError: it is damaged, or the sample has no member of that name.
        """
        number, own = self._place(row)
        return self._open(number).member(own, suffix)


class OpenShard:
    """One tar, open for reading members at the positions that the index lists; closed when no reference to it remains.

    Args:
        index: the index that lists it.
        shard: its entry.
        in_order: samples are read sequentially by one thread, so that many small ones are fetched in one read.

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
        if not shard.members.has_crc32 and file_sha256(self.path) != shard.sha256:
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
        """Faults of the tar as a whole: not a tar, another size, members that the index does not list."""
        try:
            open_tar(self.path).close()
            self._check_tiles()
            size = os.fstat(self._number).st_size
            if size != self.shard.bytes:
                raise ShardError(
                    f"{self.path}: damaged: {size} bytes, the index has {self.shard.bytes}", hint=self._hint
                )
        except ShardError as error:
            return error
        return None

    def _check_tiles(self) -> None:
        """The listed members fill the tar from its first byte to the zeros at its end: no unlisted member fits."""
        offsets, sizes = self.shard.members.spans()
        ends = np.concatenate([[0], offsets + -(-sizes // HEADER) * HEADER])
        gaps = np.flatnonzero(offsets != ends[:-1] + HEADER)
        if len(gaps):
            first = int(gaps[0])
            raise ShardError(
                f"{self.path}: the index has {self.shard.members.member_name(first)} at byte {offsets[first]}, "
                f"expected {ends[first] + HEADER}: unlisted bytes before it, or overlapping members",
                hint=self._hint,
            )
        at = int(ends[-1])
        tail = os.pread(self._number, _TAIL, at)
        if tail.strip(b"\0"):
            name = tail[:100].rstrip(b"\0").decode("ascii", errors="replace")
            parse_member(name)
            raise ShardError(f"{self.path}: member {name!r} is not in the index", hint=self._hint)

    def sample(self, row: int, kinds: frozenset[str] | None = None) -> Sample:
        """The sample of a row of the shard, with its members of the given kinds; None: all kinds.

        Raises:
            ShardError: one of them is damaged.
        """
        members = self.shard.members
        key, listed, sums = members.key(row), members.places(row), members.crc32(row)
        wanted = {suffix: place for suffix, place in listed.items() if kinds is None or _kind(suffix) in kinds}
        if not wanted:
            return Sample(key=key)
        first = min(offset for offset, _ in wanted.values()) - HEADER
        last = max(offset + size for offset, size in wanted.values())
        if last - first > sum(size for _, size in wanted.values()) + _WASTE:
            return decode_sample(self.index, key, {suffix: self.member(row, suffix) for suffix in wanted})
        block, begin = self._bytes(first, last)
        raw = {
            suffix: self._cut(block, offset - begin, f"{key}.{suffix}", size, sums.get(suffix))
            for suffix, (offset, size) in wanted.items()
        }
        return decode_sample(self.index, key, raw)

    def _bytes(self, first: int, last: int) -> tuple[bytes, int]:
        """The block of the tar from first to last, cut at the end of the file, and its start offset."""
        if not self._ahead:
            return os.pread(self._number, last - first, first), first
        if not self._begin <= first <= last <= self._begin + len(self._block):
            self._begin, self._block = first, os.pread(self._number, max(last - first, self._ahead), first)
        return self._block, self._begin

    def member(self, row: int, suffix: str) -> bytes:
        """The bytes of one member of a row, compared with the tar's header and the index's checksum.

        Raises:
            ShardError: it is missing or damaged.
        """
        members = self.shard.members
        key, (offset, size) = members.key(row), members.places(row).get(suffix, (0, 0))
        if not offset:
            raise ShardError(f"sample {key!r} has no {suffix}", hint=self._hint)
        block, begin = self._bytes(offset - HEADER, offset + size)
        return self._cut(block, offset - begin, f"{key}.{suffix}", size, members.crc32(row).get(suffix))

    def _cut(self, block: bytes, at: int, name: str, size: int, crc32: int | None) -> bytes:
        """The member that begins at byte ``at`` of a block of the tar, preceded by its header."""
        if len(block) < at + size or at < HEADER:
            raise ShardError(f"{self.path}: damaged: ends before {name}", hint=self._hint)
        head = at - HEADER  # USTAR: name at 0, octal size at 124, type at 156, magic at 257
        if not (
            block.startswith(b"%b\0" % name.encode(), head)
            and block.startswith(b"%011o\0" % size, head + 124)
            and block.startswith(b"0", head + 156)
            and block.startswith(b"ustar", head + 257)
        ):
            raise ShardError(f"{self.path}: member {name!r} is not where the index has it", hint=self._hint)
        data = block[at : at + size]
        if crc32 is not None and zlib.crc32(data) != crc32:
            raise ShardError(
                f"{self.path}: damaged: the checksum of member {name!r} differs from the index", hint=self._hint
            )
        return data


def _wanted(members: Collection[str] | None) -> frozenset[str] | None:
    for name in members or ():
        if name not in ("imu", META):
            modality_of(name)
    return None if members is None else frozenset(members)


@lru_cache(maxsize=1024)
def _kind(suffix: str) -> str:
    """``imu`` for every device, otherwise the name of the stream, or ``meta``."""
    stream = stream_of(suffix)
    return "imu" if stream.startswith("imu.") else stream


def decode_sample(index: Index, key: str, raw: Mapping[str, bytes]) -> Sample:
    """A sample from the bytes of its members by suffix; clips stay encoded.

    Raises:
        ShardError: a member cannot be decoded, or is not what the index declares.
    """
    imu: dict[str, np.ndarray] = {}
    streams: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    imu_shape = (len(index.channels), index.samples_per_window)
    for suffix, data in raw.items():
        stream = stream_of(suffix)
        # Most members are IMU members, so they are decoded directly, without a specification object per sample.
        if stream.startswith("imu."):
            imu[stream[4:]] = decode_array(data, f"{key}.{suffix}", imu_shape)
        elif stream == META:
            meta = vars(index.qualify(decode_meta(data, key))).copy()
        elif stream in index.streams:
            streams[stream] = modality_of(stream).decode(data, f"{key}.{suffix}", index.streams[stream])
        else:
            raise ShardError(f"sample {key!r} has stream {stream!r}, which the index does not declare")
    return Sample(key=key, meta=meta, imu=imu, streams=streams)


def open_tar(path: Path) -> BinaryIO:
    """Open a shard for reading after checking that it is a plain USTAR file, so that nothing is ever decompressed.

    Raises:
        ShardError: the file is missing or is not an uncompressed tar.
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


def decode_meta(data: bytes, key: str) -> SampleMeta:
    """A meta.json member.

    Raises:
        ShardError: not JSON, missing or unknown fields, or values that belong to another sample.
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
