"""Samples out of tar shards, one after the other, with our own decoders; for training, columns.py is faster.

webdataset iterates over the tar; its decoders (which accept pickles) and its address handling (which accepts ``pipe:``
commands) are never used.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydantic import ValidationError

from imu_video.errors import ShardError
from imu_video.shards.schema import Index, SampleMeta, ShardEntry, check_member, member_kind, parse_member

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


def read_samples(index: Index, split: str, members: Collection[str] = MEMBER_KINDS) -> Iterator[Sample]:
    """Read a split's samples in shard order: the order of the rows in columns and teacher caches.

    Args:
        index: a loaded index.
        split: name of a split.
        members: which of ``imu``, ``video``, ``views``, ``skeleton``, ``meta`` to read; the others are skipped.

    Yields:
        Every sample of the split once.

    Raises:
        ShardError: unknown split, a damaged tar, an illegal or undecodable member, samples that differ from the index.
        ValueError: unknown member kind.

    Example:
        >>> for sample in read_samples(index, "train", {"imu", "meta"}):  # doctest: +SKIP
        ...     print(sample.key, sample.meta["label"], sorted(sample.imu))
    """
    unknown = set(members) - set(MEMBER_KINDS)
    if unknown:
        raise ValueError(f"unknown members {sorted(unknown)}, known are {MEMBER_KINDS}")
    shards = index.split(split).shards
    return (sample for shard in shards for sample in _shard_samples(index, shard, frozenset(members)))


def _shard_samples(index: Index, shard: ShardEntry, members: frozenset[str]) -> Iterator[Sample]:
    from webdataset.tariterators import group_by_keys, tar_file_expander

    path = index.shard_path(shard)
    hint = f"imu-video verify {index.root}"
    kinds = members | {"meta"}  # every sample has one: so every sample appears in the stream

    def wanted(name: str) -> bool:
        key, suffix = parse_member(name)
        if suffix not in shard.keys.get(key, {}):
            raise ShardError(f"{path}: member {name!r} is not in the index", hint=hint)
        return member_kind(suffix) in kinds

    listed = iter(shard.keys)
    with open_tar(path) as file:
        try:
            for raw in group_by_keys(tar_file_expander([{"url": shard.path, "stream": file}], select_files=wanted)):
                key = raw["__key__"]
                found = {suffix: data for suffix, data in raw.items() if not suffix.startswith("__")}
                expected = {suffix for suffix in shard.keys[key] if member_kind(suffix) in kinds}
                if key != next(listed, None) or found.keys() != expected:
                    raise ShardError(
                        f"{path}: sample {key!r} is not where the index has it, or lacks members", hint=hint
                    )
                yield _decode(index, key, found, members)
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            raise ShardError(f"{path}: damaged: {error}", hint=hint) from error
    left = next(listed, None)
    if left is not None:
        raise ShardError(f"{path}: ends before sample {left!r}", hint=hint)


def _decode(index: Index, key: str, raw: dict[str, bytes], members: frozenset[str]) -> Sample:
    imu: dict[str, np.ndarray] = {}
    views: dict[str, bytes] = {}
    meta: dict[str, Any] = {}
    skeleton = None
    for suffix, data in raw.items():
        check_member(key, suffix, len(data))
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
        elif kind == "meta" and "meta" in members:
            meta = decode_meta(data, key).model_dump()
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
    try:
        array: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ShardError(f"member {name!r}: not a readable .npy array: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.shape != shape:
        seen = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ShardError(f"member {name!r}: {seen}, expected {shape} float32")
    return array


def decode_meta(data: bytes, key: str) -> SampleMeta:
    """A meta.json member.

    Raises:
        ShardError: not JSON, missing or foreign fields, or facts of another sample.
    """
    try:
        meta = SampleMeta.model_validate(json.loads(data))
    except ValidationError as error:
        fault = error.errors()[0]
        raise ShardError(f"sample {key!r}, meta.json: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from error
    except ValueError as error:
        raise ShardError(f"sample {key!r}, meta.json: not readable as JSON: {error}") from error
    if meta.key != key:
        raise ShardError(f"sample {key!r}, meta.json: belongs to {meta.key!r}")
    return meta
