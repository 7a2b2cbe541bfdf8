"""Windows into tar shards, byte for byte the same on every run and never half-written; reading is in pipeline.py."""

from __future__ import annotations

import hashlib
import json
import math
import tarfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import numpy as np

from imu_video.errors import ShardError
from imu_video.modalities.arrays import npy_bytes
from imu_video.modalities.base import StreamSpec, member_suffix, modality_of, stream_name
from imu_video.runtime.files import AtomicFile
from imu_video.shards.schema import (
    SHARD_FOLDER,
    SampleMeta,
    ShardEntry,
    check_member,
    shard_name,
)
from imu_video.types import Window

HEADER = 512
"""Bytes of a USTAR header, and of every block; names are short enough to need no further header."""


_CHECKSUM = slice(148, 156)  # of a USTAR header
_ZEROS = bytes(HEADER)
_BUFFER = 1 << 18  # bytes gathered for one call of the system
_COPIED = 4 << 20  # bytes copied at once from one tar to another


Places = Mapping[str, Mapping[str, tuple[int, int]]]
"""Sample key -> member suffix -> (offset, size) in a tar."""
Checksums = Mapping[str, dict[str, int]]
"""Sample key -> member suffix -> CRC-32."""


@dataclass(frozen=True, kw_only=True)
class EncodedSample:
    """One sample as it will lie in the tar: member suffix -> bytes."""

    key: str
    members: Mapping[str, bytes]


def encode_window(
    window: Window, *, dataset: str, specs: Mapping[str, StreamSpec] = MappingProxyType({})
) -> EncodedSample:
    """Encode a window's arrays, clips and facts.

    Args:
        window: a cut window; devices whose values are all NaN are left out.
        dataset: short name written to meta.json.
        specs: specification of each stream of the window; a video needs its rate.

    Raises:
        ShardError: no measured device, or a key that cannot be a member name.
        ValueError: a clip without a specification.
    """
    check_member(window.key, "meta.json", 0)
    members: dict[str, bytes] = {}
    for placement in sorted(window.imu):
        values = np.asarray(window.imu[placement], dtype=np.float32)
        if np.isfinite(values).any():
            members[member_suffix(stream_name("imu", placement))] = npy_bytes(values)
    if not members:
        raise ShardError(f"sample {window.key!r} has no measured IMU device")
    for stream, stored in window.streams.items():
        try:
            members[member_suffix(stream)] = modality_of(stream).encode(stored, specs.get(stream))
        except ValueError as error:
            raise ValueError(f"sample {window.key!r}, {stream}: {error}") from error
    members["meta.json"] = _meta_bytes(window, dataset)
    for suffix, data in members.items():
        check_member(window.key, suffix, len(data))
    return EncodedSample(key=window.key, members=members)


def _meta_bytes(window: Window, dataset: str) -> bytes:
    """The window's meta.json. Windows of a recording differ in little beside key and start: the rest is made once."""
    if not math.isfinite(window.start):
        raise ShardError(f"sample {window.key!r} starts at {window.start} s on its recording's clock")
    before, between, after = _meta_text(
        dataset,
        window.recording,
        window.subject,
        window.session,
        window.label,
        tuple(window.tags.items()),
        tuple(sorted(set(window.flags))),
        None if window.sync is None else tuple(window.sync.items()),
    )
    return f'{before}"key":"{window.key}"{between}"start":{float(window.start)!r}{after}'.encode()


@lru_cache(maxsize=256)
def _meta_text(
    dataset: str,
    recording: str,
    subject: str,
    session: str,
    label: str | None,
    tags: tuple[tuple[str, str], ...],
    flags: tuple[str, ...],
    sync: tuple[tuple[str, float], ...] | None,
) -> tuple[str, str, str]:
    """What stands before the key, between key and start, and after the start in the JSON of sorted keys."""
    meta = SampleMeta(
        key="k",
        dataset=dataset,
        recording=recording,
        subject=subject,
        session=session,
        start=0.0,
        label=label,
        tags=dict(tags),
        flags=flags,
        sync=None if sync is None else dict(sync),
    )
    # Quotes inside texts are escaped, and tags and sync come last: the first match is the entry itself.
    before, rest = json_bytes(meta.plain()).decode().split('"key":"k"', 1)
    between, after = rest.split('"start":0.0', 1)
    return before, between, after


@lru_cache(maxsize=1024)
def _tar_header(size: int) -> tuple[bytes, int]:
    """A USTAR header without name and checksum, and the sum of its bytes with the checksum field as blanks."""
    info = tarfile.TarInfo("")
    info.size = size
    info.mode = 0o644
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict"))
    header[_CHECKSUM] = b" " * 8
    return bytes(header), sum(header)


def tar_header(name: str, size: int) -> bytes:
    """The USTAR header of a plain file with fixed owner, mode and time.

    The same bytes as `tarfile.TarInfo.tobuf`, which took a fifth of the time of a build without video.
    """
    header, total = _tar_header(size)
    letters = name.encode("ascii")
    out = bytearray(header)
    out[: len(letters)] = letters
    out[_CHECKSUM] = b"%06o\0 " % (total + sum(letters))
    return bytes(out)


def json_bytes(data: Mapping[str, object]) -> bytes:
    """Canonical UTF-8 JSON: sorted keys, no NaN."""
    return json.dumps(data, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


class TarFile:
    """A tar that is written under a temporary name, synced and renamed when it is closed.

    Plain USTAR with fixed owner, mode and time, so that equal samples give equal bytes; webdataset reads it. The hash
    is taken while writing: nothing is read back.

    Args:
        path: final name; the folder exists.
        sync: wait until the disk has it; not needed for what is checked before it is used.
    """

    def __init__(self, path: Path, *, sync: bool = True) -> None:
        self.path = path
        self.keys: dict[str, dict[str, tuple[int, int]]] = {}
        self.crc32: dict[str, dict[str, int]] = {}
        self._atomic = AtomicFile(path, sync=sync, buffering=_BUFFER)
        self._hash = hashlib.sha256()
        self._size = 0

    def add(self, sample: EncodedSample) -> None:
        """Append one sample, members in the order of their names.

        Raises:
            ShardError: a repeated key, an illegal name or an oversized member.
        """
        self._refuse_repeated(sample.key)
        places: dict[str, tuple[int, int]] = {}
        checksums: dict[str, int] = {}
        parts: list[bytes] = []
        at = self._size
        for suffix in sorted(sample.members):
            data = sample.members[suffix]
            size = len(data)
            padding = -size % HEADER
            parts += (tar_header(check_member(sample.key, suffix, size), size), data, _ZEROS[:padding])
            places[suffix] = (at + HEADER, size)
            checksums[suffix] = zlib.crc32(data)
            at += HEADER + size + padding
        self._write(b"".join(parts))
        self.keys[sample.key] = places
        self.crc32[sample.key] = checksums

    def copy(self, samples: Places, source: BinaryIO, *, crc32: Checksums | None = None) -> None:
        """Append samples of another tar as they are, headers included; neighbours are copied in one piece.

        Args:
            samples: key -> member suffix -> (offset, size) in the other tar, a sample's members one after the other.
            source: the other tar.
            crc32: key -> member suffix -> checksum, where they are known; computed otherwise.

        Raises:
            ShardError: a repeated key, or members that do not lie where ``samples`` says.
        """
        spans = {key: sample_span(places) for key, places in samples.items()}
        keys = list(samples)
        while keys:
            first, last = spans[keys[0]]
            count = 1
            while count < len(keys) and spans[keys[count]][0] == last and spans[keys[count]][1] - first <= _COPIED:
                last = spans[keys[count]][1]
                count += 1
            self._copy_run({key: samples[key] for key in keys[:count]}, first, last, source, crc32)
            del keys[:count]

    def _copy_run(self, samples: Places, first: int, last: int, source: BinaryIO, crc32: Checksums | None) -> None:
        source.seek(first)
        data = source.read(last - first)
        shift = self._size - first
        for key, places in samples.items():
            self._refuse_repeated(key)
            suffix = min(places)
            name = f"{key}.{suffix}\0".encode()
            if len(data) != last - first or not data.startswith(name, places[suffix][0] - HEADER - first):
                raise ShardError(
                    f"{getattr(source, 'name', 'a tar')}: sample {key!r} is not where the index has it",
                    hint="imu-video verify DATA",
                )
            self.keys[key] = {suffix: (offset + shift, size) for suffix, (offset, size) in places.items()}
            known = None if crc32 is None else crc32.get(key)
            self.crc32[key] = known or {
                suffix: zlib.crc32(data[offset - first : offset - first + size])
                for suffix, (offset, size) in places.items()
            }
        self._write(data)

    def _refuse_repeated(self, key: str) -> None:
        if key in self.keys:
            raise ShardError(
                f"{self.path.name}: key {key!r} occurs twice", hint="recording names are unique within a dataset"
            )

    def _write(self, data: bytes) -> None:
        self._atomic.file.write(data)
        self._hash.update(data)
        self._size += len(data)

    def close(self) -> ShardEntry:
        """Finish, sync and rename; returns what the index says about the file."""
        end = self._size + 2 * HEADER
        self._write(bytes(2 * HEADER + -end % tarfile.RECORDSIZE))
        self._atomic.commit()
        return ShardEntry.model_construct(  # every member was checked when it was added
            path=f"{SHARD_FOLDER}/{self.path.name}",
            samples=len(self.keys),
            bytes=self._size,
            sha256=self._hash.hexdigest(),
            keys=self.keys,
            crc32=self.crc32,
        )

    def discard(self) -> None:
        """Remove the temporary file."""
        self._atomic.discard()


def sample_span(places: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """First and last byte in a tar of a sample's members with their headers and padding."""
    first = min(offset for offset, _ in places.values()) - HEADER
    last = max(offset + size for offset, size in places.values())
    return first, last + -last % HEADER


class ShardWriter:
    """Writes one split's samples into numbered tars of a fixed number of samples.

    Use it as a context manager: an exception removes the unfinished tar.

    Args:
        folder: the data folder; tars go to its ``shards`` folder.
        split: name of the split.
        shard_samples: samples a tar, >= 1; 256..2048 is sensible (100 MB to 1 GB with clips).
        shards: tars that are there already; writing goes on after them.
        closed: called with every tar that is finished.

    Example:
        >>> imu = {"wrist": np.zeros((6, 100), np.float32)}
        >>> window = Window(key="a", recording="r", subject="s", session="1", start=0.0, imu=imu)
        >>> with ShardWriter(folder=Path("data/mine"), split="train", shard_samples=512) as writer:
        ...     writer.add(encode_window(window, dataset="mine"))
        >>> [(shard.path, shard.samples) for shard in writer.shards]
        [('shards/train-000000.tar', 1)]
    """

    def __init__(
        self,
        *,
        folder: Path,
        split: str,
        shard_samples: int,
        shards: Sequence[ShardEntry] = (),
        closed: Callable[[ShardEntry], None] | None = None,
    ) -> None:
        if shard_samples < 1:
            raise ValueError(f"shard_samples must be at least 1, got {shard_samples}")
        self.shards: list[ShardEntry] = list(shards)
        self._folder = folder / SHARD_FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)
        self._split = split
        self._shard_samples = shard_samples
        self._closed = closed
        self._open: TarFile | None = None

    def add(self, sample: EncodedSample) -> None:
        """Append one sample; opens the next tar when the current one is full."""
        self._tar().add(sample)
        self._finish_if_full()

    def copy(self, samples: Places, source: BinaryIO, *, crc32: Checksums | None = None) -> None:
        """Append samples of another tar as they are; see `TarFile.copy`."""
        keys = list(samples)
        while keys:
            tar = self._tar()
            room = self._shard_samples - len(tar.keys)
            tar.copy({key: samples[key] for key in keys[:room]}, source, crc32=crc32)
            del keys[:room]
            self._finish_if_full()

    def _tar(self) -> TarFile:
        if self._open is None:
            self._open = TarFile(self._folder / shard_name(self._split, len(self.shards)))
        return self._open

    def _finish_if_full(self) -> None:
        if self._open is not None and len(self._open.keys) >= self._shard_samples:
            self._finish()

    def _finish(self) -> None:
        if self._open is not None:
            self.shards.append(self._open.close())
            self._open = None
            if self._closed is not None:
                self._closed(self.shards[-1])

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._finish()
        elif self._open is not None:
            self._open.discard()
