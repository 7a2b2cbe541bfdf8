"""Names of the members of a shard and their places in the tar, as compact arrays; no shard is opened here.

An index of a million samples holds some millions of places. As Python objects they take more than a gigabyte; here the
places of a shard are one block of bytes, which stays in a memory-mapped file until it is used. docs/guides/shards.md
documents the layout of the block.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from imu_video.config import Config
from imu_video.errors import ShardError
from imu_video.shards.names import LONGEST_NAME, check_member, size_limit

HEADER = 512
"""Bytes of a USTAR header, and of every block of a tar; names are short enough to need no further header."""

_ALIGNED = 8  # bytes: every block of a members file begins at a multiple
_LEGAL = np.zeros(256, dtype=bool)
_LEGAL[[ord(one) for one in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"]] = True


class MembersFacts(Config):
    """What index.json lists of a block: its dimensions, its hash, and where it is.

    Args:
        samples: N samples.
        count: M members of all samples.
        key_bytes: K, length of the longest key.
        suffixes: the member suffixes that occur, sorted.
        crc32: whether the block has checksums; folders written by versions before 0.2 have none.
        sha256: hash of the block.
        at: position of the block in the members file; None elsewhere.
        data: the block in base64; only in journals.
    """

    samples: int = Field(ge=1, lt=2**31)
    count: int = Field(ge=1, lt=2**31)
    key_bytes: int = Field(ge=1, le=LONGEST_NAME)
    suffixes: tuple[str, ...] = Field(min_length=1, max_length=2**16 - 1)
    crc32: bool = True
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    at: int | None = Field(default=None, ge=0, lt=2**62, multiple_of=_ALIGNED)
    data: str | None = Field(default=None, repr=False)

    @property
    def layout(self) -> tuple[tuple[str, str, int], ...]:
        """Name, type and length of each array of the block, in order; wide types first, so that all are aligned."""
        n, m = self.samples, self.count
        return (
            ("offset", "<u8", m),
            ("first", "<u4", n + 1),
            ("size", "<u4", m),
            ("crc32", "<u4", m),
            ("suffix", "<u2", m),
            ("key", f"S{self.key_bytes}", n),
        )

    @property
    def block_bytes(self) -> int:
        """Size of the block, padded."""
        used = sum(np.dtype(kind).itemsize * length for _, kind, length in self.layout)
        return used + -used % _ALIGNED


class MembersFile:
    """A file of blocks, opened and memory-mapped when it is first used; a copy in another process opens it again.

    Args:
        path: the file.
        size: its size in bytes according to the index.
        hint: of the error if the file is missing or has another size.

    Raises:
        ShardError: the file is missing or has another size.
    """

    def __init__(self, path: Path, size: int, *, hint: str) -> None:
        self.path, self.size, self._hint = path, size, hint
        self._map: mmap.mmap | None = None
        self._mapped()

    def _mapped(self) -> mmap.mmap:
        if self._map is None:
            try:
                with self.path.open("rb") as file:
                    found = os.fstat(file.fileno()).st_size
                    # Before mapping: access behind the end of a truncated file would kill the process by SIGBUS.
                    if found != self.size:
                        raise ShardError(f"{self.path} has {found} bytes, the index has {self.size}", hint=self._hint)
                    self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except OSError as error:
                raise ShardError(f"{self.path}: {error.strerror}", hint=self._hint) from error
        return self._map

    def view(self, at: int, size: int) -> memoryview:
        """Bytes of the mapped file.

        Raises:
            ShardError: see the class; or a position outside the file.
        """
        if at + size > self.size:
            raise ShardError(f"{self.path}: a block of {size} bytes at {at} exceeds {self.size} bytes", hint=self._hint)
        return memoryview(self._mapped())[at : at + size]

    def refuse(self, what: str) -> ShardError:
        """The error for a block that is not what the index lists."""
        return ShardError(f"{self.path}: {what}", hint=self._hint)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}


class Members:
    """The members of a shard's N samples: key of each sample, and suffix, place and checksum of each member.

    Immutable. Samples are in row order, which is the order in the tar; so are the members of a sample. The arrays are
    views of one block, in memory or in a members file, whose content is a pure function of the places.

    Args:
        facts: dimensions and hash.
        block: the bytes, or the file and position that has them.

    Example:
        >>> from imu_video.shards.member_list import listed
        >>> members = listed({"a": {"imu.wrist.npy": (512, 128), "meta.json": (1536, 99)}})
        >>> members.all_keys(), members.places(0)["meta.json"]
        (['a'], (1536, 99))
    """

    def __init__(self, facts: MembersFacts, block: bytes | tuple[MembersFile, int] | None) -> None:
        self.facts = facts
        self._block = block
        self._arrays: dict[str, np.ndarray] | None = None

    @classmethod
    def restored(cls, facts: MembersFacts) -> Members:
        """From the facts in a journal, which hold the block, or in index.json, which need a file: see `located`.

        Raises:
            ValueError: the block has another size or hash.
        """
        if facts.data is None:
            return cls(facts, None)
        try:
            block = base64.b64decode(facts.data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"data: not base64: {error}") from None
        if len(block) != facts.block_bytes or hashlib.sha256(block).hexdigest() != facts.sha256:
            raise ValueError("data: not the block that its sha256 describes")
        return cls(facts.model_copy(update={"data": None}), block)

    def located(self, file: MembersFile) -> Members:
        """The same members, read from the position in a file that the facts name."""
        if self.facts.at is None:
            raise file.refuse("the index names no position for a block")
        return Members(self.facts.model_copy(update={"at": None}), (file, self.facts.at))

    def __len__(self) -> int:
        return self.facts.samples

    @property
    def present(self) -> bool:
        """False where only facts are known, as in an index that is being read."""
        return self._block is not None

    @property
    def identity(self) -> dict[str, Any]:
        """Dimensions and hash of the content: two shards with the same identity have the same members in one order."""
        return self.facts.model_dump(mode="json", exclude={"at", "data"})

    def journal(self) -> dict[str, Any]:
        """Facts and content as JSON, for `restored`."""
        return {**self.identity, "data": base64.b64encode(self.block()).decode("ascii")}

    def block(self) -> bytes:
        """The content as bytes.

        Raises:
            ShardError: the members file is missing or damaged.
        """
        if self._block is None:
            raise ShardError("the members of this shard were not loaded", hint="use load_index(folder)")
        if isinstance(self._block, bytes):
            return self._block
        file, at = self._block
        return bytes(file.view(at, self.facts.block_bytes))

    def _array(self, name: str) -> np.ndarray:
        if self._arrays is None:
            self._arrays = self._read()
        return self._arrays[name]

    def _read(self) -> dict[str, np.ndarray]:
        if self._block is None or isinstance(self._block, bytes):
            return _arrays(self.facts, self.block())
        file, at = self._block
        view = file.view(at, self.facts.block_bytes)
        # Compared by every process at the first use of each block, because the file may have changed since.
        if hashlib.sha256(view).hexdigest() != self.facts.sha256:
            raise file.refuse(f"the block at byte {at} differs from its sha256 in the index")
        return _arrays(self.facts, view)

    @property
    def names(self) -> np.ndarray:
        """(N,) keys as bytes, in row order."""
        return self._array("key")

    def all_keys(self) -> list[str]:
        """The N keys in row order."""
        return [key.decode("ascii", "replace") for key in self.names.tolist()]

    def key(self, row: int) -> str:
        """Key of a row."""
        found: bytes = self.names[row]
        return found.decode("ascii", "replace")

    def row(self, key: str) -> int | None:
        """Row of a key; None if it is not one of the shard's."""
        found = np.flatnonzero(self.names == key.encode())
        return int(found[0]) if len(found) else None

    @property
    def has_crc32(self) -> bool:
        """Whether every member has a checksum."""
        return self.facts.crc32

    def _slice(self, row: int) -> tuple[list[str], slice]:
        first = self._array("first")
        own = slice(int(first[row]), int(first[row + 1]))
        return [self.facts.suffixes[code] for code in self._array("suffix")[own].tolist()], own

    def suffixes(self, row: int) -> list[str]:
        """Member suffixes of a row."""
        return self._slice(row)[0]

    def places(self, row: int) -> dict[str, tuple[int, int]]:
        """Suffix -> (offset, size) in bytes of a row's members, in the order of the tar."""
        names, own = self._slice(row)
        places = zip(self._array("offset")[own].tolist(), self._array("size")[own].tolist(), strict=True)
        return dict(zip(names, places, strict=True))

    def crc32(self, row: int) -> dict[str, int]:
        """Suffix -> checksum of a row's members; empty without checksums."""
        if not self.facts.crc32:
            return {}
        names, own = self._slice(row)
        return dict(zip(names, self._array("crc32")[own].tolist(), strict=True))

    def all_places(self) -> Iterator[tuple[str, dict[str, tuple[int, int]]]]:
        """Key and places of every row, in order."""
        return ((key, self.places(row)) for row, key in enumerate(self.all_keys()))

    def spans(self) -> tuple[np.ndarray, np.ndarray]:
        """(M,) int64 offsets and (M,) int64 sizes of all members, in the order of the tar."""
        return self._array("offset").astype(np.int64), self._array("size").astype(np.int64)

    def member_name(self, member: int) -> str:
        """Full name of member number ``member`` of the M, for messages."""
        row = int(np.searchsorted(self._array("first"), member, side="right")) - 1
        return f"{self.key(row)}.{self.facts.suffixes[int(self._array('suffix')[member])]}"

    def check(self, size: int) -> None:
        """Check every name and place against the rules of the format and the size of the tar.

        Args:
            size: bytes of the tar.

        Raises:
            ShardError: an illegal key, suffix or size of a member.
            ValueError: members outside the tar, rows or members out of order, repeated suffixes; the first is named.
        """
        facts, first, codes = self.facts, self._array("first").astype(np.int64), self._array("suffix")
        if first[0] != 0 or first[-1] != facts.count or (np.diff(first) < 1).any():
            raise ValueError("members: samples and members do not fit together")
        if (codes >= len(facts.suffixes)).any():
            raise ValueError(f"members: more suffixes than {list(facts.suffixes)}")
        lengths = _key_lengths(self.names, facts.key_bytes)
        limits = np.array(
            [-1 if (limit := size_limit(suffix)) is None else limit for suffix in facts.suffixes], np.int64
        )
        sizes = self._array("size").astype(np.int64)
        rows = np.repeat(np.arange(facts.samples), np.diff(first))
        letters = np.array([len(suffix) + 1 for suffix in facts.suffixes], np.int64)
        illegal = (sizes > limits[codes]) | (lengths[rows] + letters[codes] > LONGEST_NAME) | (lengths[rows] < 1)
        if illegal.any():
            at = int(np.argmax(illegal))
            check_member(self.key(int(rows[at])), facts.suffixes[int(codes[at])], int(sizes[at]))
            raise ValueError(f"members: {self.member_name(at)} is not a legal member")
        # Sorted within every sample, as written by builds, they cannot repeat; otherwise they are counted.
        if (np.diff(codes.astype(np.int64))[np.diff(rows) == 0] <= 0).any():
            pairs = rows * len(facts.suffixes) + codes
            if len(np.unique(pairs)) != len(pairs):
                raise ValueError("members: a sample lists a suffix twice")
        self._check_places(size, sizes)

    def _check_places(self, size: int, sizes: np.ndarray) -> None:
        stored = self._array("offset")
        outside = (stored < 1) | (stored > size) | (stored.astype(np.int64) + sizes > size)
        if outside.any():
            at = int(np.argmax(outside))
            raise ValueError(
                f"{self.member_name(at)} exceeds the file: {int(sizes[at])} bytes at offset {int(stored[at])}"
            )
        offsets = stored.astype(np.int64)
        early = offsets[1:] < offsets[:-1] + sizes[:-1]
        if early.any():
            at = int(np.argmax(early))
            raise ValueError(
                f"{self.member_name(at + 1)} at byte {int(offsets[at + 1])} is listed after {self.member_name(at)} at "
                f"byte {int(offsets[at])}: the samples are not in the order of the tar, or members overlap"
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Members) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.facts.sha256)

    def __repr__(self) -> str:
        return f"Members({self.facts.samples} samples, {self.facts.count} members)"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": None}


class Listing(Mapping[str, Any]):
    """The members of a shard as a read-only mapping of keys, in row order; for inspection, not for reading many.

    Args:
        members: of the shard.
        kind: ``places``: key -> suffix -> (offset, size); ``crc32``: key -> suffix -> checksum, empty without any.
    """

    def __init__(self, members: Members, kind: Literal["places", "crc32"]) -> None:
        self._members, self._kind = members, kind

    def __getitem__(self, key: str) -> dict[str, Any]:
        row = self._members.row(key)
        if row is None:
            raise KeyError(key)
        return self._members.places(row) if self._kind == "places" else self._members.crc32(row)

    def __iter__(self) -> Iterator[str]:
        return iter(self._members.all_keys() if self._kind == "places" or self._members.has_crc32 else ())

    def __len__(self) -> int:
        return len(self._members) if self._kind == "places" or self._members.has_crc32 else 0

    def __repr__(self) -> str:
        return f"{self._kind} of {self._members!r}"


def _key_lengths(names: np.ndarray, width: int) -> np.ndarray:
    """(N,) letters of each key; 0 for one with an illegal letter."""
    letters = names.view(np.uint8).reshape(len(names), width)
    filled = letters != 0
    lengths: np.ndarray = filled.sum(axis=1)
    legal = (_LEGAL[letters] | ~filled).all(axis=1)
    legal &= (filled[:, 1:] <= filled[:, :-1]).all(axis=1)  # padding at the end only
    return np.where(legal, lengths, 0)


def _arrays(facts: MembersFacts, block: bytes | memoryview) -> dict[str, np.ndarray]:
    found, at = {}, 0
    for name, kind, length in facts.layout:
        found[name] = np.frombuffer(block, kind, length, at)
        at += found[name].nbytes
    return found
