"""Makes the arrays of members.py from samples that are added one by one, and compares keys of many shards."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from imu_video.shards.members import Members, MembersFacts
from imu_video.shards.names import LONGEST_NAME, Name

_Listed = dict[
    Name,
    dict[str, tuple[Annotated[int, Field(strict=True, ge=0, lt=2**63)], Annotated[int, Field(strict=True, ge=0)]]],
]
_Sums = dict[Name, dict[str, Annotated[int, Field(strict=True, ge=0, lt=2**32)]]]
_LISTED: TypeAdapter[_Listed] = TypeAdapter(_Listed)
_SUMS: TypeAdapter[_Sums] = TypeAdapter(_Sums)


class MemberList:
    """A growing list of samples and their members; `done` gives the immutable `Members`.

    Args:
        crc32: whether members have checksums.
    """

    def __init__(self, *, crc32: bool = True) -> None:
        self._crc32 = crc32
        self._rows: dict[str, int] = {}
        self._suffixes: dict[str, int] = {}
        self._offsets, self._sizes, self._sums = array("Q"), array("Q"), array("Q")
        self._codes, self._first = array("Q"), array("Q", [0])

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def add(self, key: str, members: Iterable[tuple[str, int, int, int]]) -> None:
        """Append a sample: suffix, offset, size and checksum of each member, in the order of the tar."""
        for suffix, offset, size, checksum in members:
            self._codes.append(self._suffixes.setdefault(suffix, len(self._suffixes)))
            self._offsets.append(offset)
            self._sizes.append(min(size, 2**32 - 1))  # larger than any limit, so that `check` refuses it
            self._sums.append(checksum)
        self._rows[key] = len(self._rows)
        self._first.append(len(self._offsets))

    def cut(self, samples: int) -> None:
        """Keep the first samples only."""
        for key in list(self._rows)[samples:]:
            del self._rows[key]
        del self._first[samples + 1 :]
        for one in (self._codes, self._offsets, self._sizes, self._sums):
            del one[self._first[-1] :]

    def done(self) -> Members:
        """The members listed so far; at least one sample."""
        codes = _numbers(self._codes)
        used = sorted(suffix for suffix, code in self._suffixes.items() if (codes == code).any())
        place = {suffix: number for number, suffix in enumerate(used)}
        renumbered = np.array([place.get(suffix, 0) for suffix in self._suffixes], "<u2")
        keys = np.array([key.encode("ascii") for key in self._rows])
        facts = MembersFacts.model_construct(
            samples=len(keys),
            count=len(codes),
            key_bytes=keys.dtype.itemsize,
            suffixes=tuple(used),
            crc32=self._crc32,
            sha256="",
            at=None,
            data=None,
        )
        content = {
            "offset": _numbers(self._offsets),
            "first": _numbers(self._first),
            "size": _numbers(self._sizes),
            "crc32": _numbers(self._sums),
            "suffix": renumbered[codes],
            "key": keys,
        }
        block = b"".join(np.ascontiguousarray(content[name], dtype=kind).tobytes() for name, kind, _ in facts.layout)
        block += bytes(facts.block_bytes - len(block))
        return Members(facts.model_copy(update={"sha256": hashlib.sha256(block).hexdigest()}), block)


def listed(
    keys: Mapping[str, Mapping[str, tuple[int, int]]], crc32: Mapping[str, Mapping[str, int]] | None = None
) -> Members:
    """Members from mappings, the form of schema version 1.

    Args:
        keys: key -> suffix -> (offset, size).
        crc32: key -> suffix -> checksum; empty or None without checksums.

    Raises:
        ValueError: values of other types, no keys, or checksums of other members.

    Example:
        >>> listed({"a": {"imu.wrist.npy": (512, 128), "meta.json": (1536, 99)}})
        Members(1 samples, 2 members)
    """
    try:
        places = _LISTED.validate_python(keys)
        sums = _SUMS.validate_python(crc32 or {})
    except ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    if not places or not all(places.values()):
        raise ValueError("keys: lists no samples, or a sample without members")
    if sums and any(sums.get(key, {}).keys() != members.keys() for key, members in places.items()):
        raise ValueError("crc32 lists other members than keys")
    growing = MemberList(crc32=bool(sums))
    for key, members in places.items():
        own = sums.get(key, {})
        # Within a sample the order of a mapping has no meaning; between samples it is the order of the rows.
        in_order = sorted(members.items(), key=lambda item: item[1][0])
        growing.add(key, [(suffix, offset, size, own.get(suffix, 0)) for suffix, (offset, size) in in_order])
    return growing.done()


def without_crc32(members: Members) -> Members:
    """The same places without checksums, as in folders of versions before 0.2."""
    return listed(dict(members.all_places()))


def first_repeat(shards: Sequence[Members]) -> tuple[str, int, int] | None:
    """The first key that occurs twice in several shards: key, and the positions of two shards that have it.

    Keys are compared by a 64-bit hash of each, and only those with equal hashes by their letters, which bounds time and
    memory for millions of keys.
    """
    if not shards:
        return None
    hashes = np.concatenate([_hashes(one.names, one.facts.key_bytes) for one in shards])
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(np.diff(hashes[order]) == 0)
    if not len(same):
        return None
    ends = np.cumsum([len(one) for one in shards])
    seen: dict[str, int] = {}
    for place in np.unique(np.concatenate([order[same], order[same + 1]])).tolist():
        number = int(np.searchsorted(ends, place, side="right"))
        key = shards[number].key(place - int(ends[number]) + len(shards[number]))
        if key in seen:
            return key, seen[key], number
        seen[key] = number
    return None


def _hashes(names: np.ndarray, width: int) -> np.ndarray:
    """(N,) uint64: a multilinear hash of each key, independent of the width of the array."""
    letters = np.zeros((len(names), width + -width % 4), np.uint8)
    letters[:, :width] = names.view(np.uint8).reshape(len(names), width)
    words = letters.view("<u4").astype(np.uint64)
    factors = np.random.default_rng(0).integers(0, 2**64, LONGEST_NAME // 4 + 1, dtype=np.uint64) | np.uint64(1)
    out: np.ndarray = (words * factors[: words.shape[1]]).sum(axis=1, dtype=np.uint64)
    return out ^ (out >> np.uint64(29))


def _numbers(values: array[int]) -> np.ndarray:
    return np.array(values, dtype=np.uint64)
