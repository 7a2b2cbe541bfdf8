"""Writes windows to tar shards, deterministically and atomically; reading is in pipeline.py."""

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
from typing import Any, BinaryIO

import numpy as np

from imu_video.errors import ShardError
from imu_video.modalities.arrays import npy_bytes
from imu_video.modalities.base import StreamSpec, member_suffix, modality_of, stream_name
from imu_video.runtime.files import AtomicFile
from imu_video.shards.member_list import MemberList
from imu_video.shards.members import HEADER, Members
from imu_video.shards.names import check_member, shard_name
from imu_video.shards.schema import SHARD_FOLDER, SampleMeta, ShardEntry
from imu_video.types import Window

_CHECKSUM = slice(148, 156)  # checksum field of a USTAR header
_ZEROS = bytes(HEADER)
_BUFFER = 1 << 18  # bytes buffered per system call
_COPIED = 4 << 20  # largest copy between two tars, in bytes: bounds memory


@dataclass(frozen=True, kw_only=True)
class EncodedSample:
    """One sample as stored in the tar: member suffix -> bytes."""

    key: str
    members: Mapping[str, bytes]


def encode_window(
    window: Window, *, dataset: str, specs: Mapping[str, StreamSpec] = MappingProxyType({})
) -> EncodedSample:
    """Encode a window's arrays, clips and metadata.

    Args:
        window: the window; devices whose values are all NaN are omitted.
        dataset: short name written to meta.json.
        specs: specification of each stream of the window; a video needs its rate.

    Raises:
        ShardError: the window has no measured device, or its key is not a legal member name.
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
    """The window's meta.json; the text that all windows of a recording share is encoded once and cached."""
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
    """The sorted-key JSON in three pieces: before the key, between key and start, and after the start."""
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
    # The first match is the entry itself: quotes inside strings are escaped, and tags and sync sort last.
    before, rest = json_bytes(meta.plain()).decode().split('"key":"k"', 1)
    between, after = rest.split('"start":0.0', 1)
    return before, between, after


@lru_cache(maxsize=1024)
def _tar_header(size: int) -> tuple[bytes, int]:
    """A USTAR header without name and checksum, and its byte sum with the checksum field as spaces."""
    info = tarfile.TarInfo("")
    info.size = size
    info.mode = 0o644
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict"))
    header[_CHECKSUM] = b" " * 8
    return bytes(header), sum(header)


def tar_header(name: str, size: int) -> bytes:
    """The USTAR header of a plain file with fixed owner, mode and time.

    Gives the same bytes as `tarfile.TarInfo.tobuf`, which took 20 % of the time of a build without video.
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


@dataclass(frozen=True, kw_only=True)
class TarMark:
    """A position in a tar that is being written: samples and bytes before it, and the hash of those bytes."""

    samples: int
    size: int
    hash: Any


class TarFile:
    """A tar written under a temporary name; closing it syncs and renames it.

    Plain USTAR with fixed owner, mode and time, so that equal samples give equal bytes; webdataset reads it. The hash
    is computed while writing, so the file is not read back.

    Args:
        path: final path; its folder must exist.
        sync: fsync before the rename; not needed for files that are checked before use.
    """

    def __init__(self, path: Path, *, sync: bool = True) -> None:
        self.path = path
        self.members = MemberList()
        self._atomic = AtomicFile(path, sync=sync, buffering=_BUFFER)
        self._hash = hashlib.sha256()
        self._size = 0

    def add(self, sample: EncodedSample) -> None:
        """Append one sample with its members sorted by name.

        Raises:
            ShardError: the key is repeated, a name is illegal or a member is too large.
        """
        self._refuse_repeated(sample.key)
        members: list[tuple[str, int, int, int]] = []
        parts: list[bytes] = []
        at = self._size
        for suffix in sorted(sample.members):
            data = sample.members[suffix]
            size = len(data)
            padding = -size % HEADER
            parts += (tar_header(check_member(sample.key, suffix, size), size), data, _ZEROS[:padding])
            members.append((suffix, at + HEADER, size, zlib.crc32(data)))
            at += HEADER + size + padding
        self._write(b"".join(parts))
        self.members.add(sample.key, members)

    def copy(self, members: Members, rows: Sequence[int], source: BinaryIO) -> None:
        """Append samples of another tar unchanged, headers included; adjacent samples are copied together.

        Args:
            members: of the other tar; checksums that it lacks are computed.
            rows: rows of the samples in ``members``.
            source: the other tar.

        Raises:
            ShardError: a key is repeated, or a member is not at the place given in ``members``.
        """
        run: list[int] = []
        first = last = 0
        for row in rows:
            start, end = sample_span(members.places(row))
            if run and (start != last or end - first > _COPIED):
                self._copy_run(members, run, first, last, source)
                run = []
            if not run:
                first = start
            run.append(row)
            last = end
        if run:
            self._copy_run(members, run, first, last, source)

    def _copy_run(self, members: Members, rows: Sequence[int], first: int, last: int, source: BinaryIO) -> None:
        source.seek(first)
        data = source.read(last - first)
        shift = self._size - first
        for row in rows:
            key, places, known = members.key(row), members.places(row), members.crc32(row)
            self._refuse_repeated(key)
            suffix, (begin, _) = min(places.items(), key=lambda item: item[1])
            name = f"{key}.{suffix}\0".encode()
            if len(data) != last - first or not data.startswith(name, begin - HEADER - first):
                raise ShardError(
                    f"{getattr(source, 'name', 'a tar')}: sample {key!r} is not where the index has it",
                    hint="imu-video verify DATA",
                )
            copied = []
            for suffix, (offset, size) in places.items():
                sum_ = known[suffix] if known else zlib.crc32(data[offset - first : offset - first + size])
                copied.append((suffix, offset + shift, size, sum_))
            self.members.add(key, copied)
        self._write(data)

    def _refuse_repeated(self, key: str) -> None:
        if key in self.members:
            raise ShardError(
                f"{self.path.name}: key {key!r} occurs twice", hint="recording names are unique within a dataset"
            )

    def _write(self, data: bytes) -> None:
        self._atomic.file.write(data)
        self._hash.update(data)
        self._size += len(data)

    def mark(self) -> TarMark:
        """The present end of the tar, for `rewind`."""
        return TarMark(samples=len(self.members), size=self._size, hash=self._hash.copy())

    def rewind(self, mark: TarMark) -> None:
        """Remove the samples that were added since `mark`."""
        self._atomic.file.flush()
        self._atomic.file.seek(mark.size)
        self._atomic.file.truncate()
        self.members.cut(mark.samples)
        self._hash, self._size = mark.hash, mark.size

    def close(self) -> ShardEntry:
        """Finish, sync and rename the tar; returns its entry for the index."""
        end = self._size + 2 * HEADER
        self._write(bytes(2 * HEADER + -end % tarfile.RECORDSIZE))
        self._atomic.commit()
        return ShardEntry.model_construct(  # skips validation: every member was checked when it was added
            path=f"{SHARD_FOLDER}/{self.path.name}",
            samples=len(self.members),
            bytes=self._size,
            sha256=self._hash.hexdigest(),
            members=self.members.done(),
        )

    def discard(self) -> None:
        """Remove the temporary file."""
        self._atomic.discard()


def sample_span(places: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Start and end offset of a sample in a tar, with headers and padding."""
    first = min(offset for offset, _ in places.values()) - HEADER
    last = max(offset + size for offset, size in places.values())
    return first, last + -last % HEADER


class ShardWriter:
    """Writes one split's samples into numbered tars of a fixed number of samples.

    Use it as a context manager: an exception removes the unfinished tar.

    Args:
        folder: the data folder; tars go to its ``shards`` folder.
        split: name of the split.
        shard_samples: samples per tar, >= 1; 256 to 2048 is recommended (100 MB to 1 GB with clips).
        shards: tars that already exist; numbering continues after them.
        closed: called with the entry of every finished tar.

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

    def copy(self, members: Members, rows: Sequence[int], source: BinaryIO) -> None:
        """Append samples of another tar unchanged; see `TarFile.copy`."""
        done = 0
        while done < len(rows):
            tar = self._tar()
            end = done + self._shard_samples - len(tar.members)
            tar.copy(members, rows[done:end], source)
            done = end
            self._finish_if_full()

    def _tar(self) -> TarFile:
        if self._open is None:
            self._open = TarFile(self._folder / shard_name(self._split, len(self.shards)))
        return self._open

    def _finish_if_full(self) -> None:
        if self._open is not None and len(self._open.members) >= self._shard_samples:
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
