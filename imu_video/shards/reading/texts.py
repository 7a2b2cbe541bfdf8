"""Strings of many samples as arrays: UTF-8 bytes with their ends, and numbers of a vocabulary; no files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

import numpy as np

T = TypeVar("T")


class _Lazy(Sequence[T], Generic[T]):
    """A sequence that compares equal to every sequence with the same entries, as a list does to a list."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:5]))
        return f"[{shown}{', ...' if len(self) > 5 else ''}] ({len(self)} entries)"


class Texts(_Lazy[str]):
    """N strings, decoded when they are read.

    Args:
        text: (bytes,) uint8, the UTF-8 of all strings one after another.
        ends: (N,) int64, where each string ends in ``text``.
        begin: where the first one begins.

    Raises:
        ValueError: ends that decrease or exceed the text.

    Example:
        >>> names = Texts(*pack(["walk", "", "sit"]))
        >>> names[2], list(names), names[:2]
        ('sit', ['walk', '', 'sit'], ['walk', ''])
    """

    def __init__(self, text: np.ndarray, ends: np.ndarray, begin: int = 0) -> None:
        self._text, self._ends, self._begin = text, ends, begin
        if len(ends) and not (begin <= ends[0] and (ends[1:] >= ends[:-1]).all() and ends[-1] <= len(text)):
            raise ValueError("ends of strings that do not fit their bytes")

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        row = range(len(self))[row]
        begin = self._ends[row - 1] if row else self._begin
        return self._text[begin : self._ends[row]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        begin = self._begin
        for start in range(0, len(self), _CHUNK):
            ends = self._ends[start : start + _CHUNK].tolist()
            data, first = self._text[begin : ends[-1]].tobytes(), begin
            for end in ends:
                yield data[begin - first : end - first].decode()
                begin = end


_CHUNK = 4096  # strings whose bytes are copied at a time


class Coded(_Lazy[T]):
    """N values out of a short list of distinct values.

    Args:
        codes: (N,) int32 numbers of the values; -1 is the last one.
        values: distinct values, immutable.

    Raises:
        ValueError: a number without a value.

    Example:
        >>> labels = Coded(np.array([0, -1, 0], np.int32), ["walk", None])
        >>> list(labels), labels[1] is None, labels == ["walk", None, "walk"]
        (['walk', None, 'walk'], True, True)
    """

    def __init__(self, codes: np.ndarray, values: Sequence[T]) -> None:
        if len(codes) and not (-len(values) <= codes.min() and codes.max() < len(values)):
            raise ValueError("numbers of values that do not exist")
        self._codes, self._values = codes, values

    def __len__(self) -> int:
        return len(self._codes)

    @overload
    def __getitem__(self, row: int) -> T: ...
    @overload
    def __getitem__(self, row: slice) -> list[T]: ...
    def __getitem__(self, row: int | slice) -> T | list[T]:
        if isinstance(row, slice):
            return [self._values[code] for code in self._codes[row].tolist()]
        return self._values[int(self._codes[row])]

    def __iter__(self) -> Iterator[T]:
        for start in range(0, len(self), _CHUNK):
            for code in self._codes[start : start + _CHUNK].tolist():
                yield self._values[code]


class Mappings(Sequence[dict[str, str]]):
    """N mappings out of a short list of distinct ones; each is returned as a copy, as rows of their own would be."""

    def __init__(self, codes: np.ndarray, values: Sequence[dict[str, str]]) -> None:
        self._coded = Coded(codes, values)

    def __len__(self) -> int:
        return len(self._coded)

    def __getitem__(self, row: Any) -> Any:
        found = self._coded[row]
        return [dict(one) for one in found] if isinstance(found, list) else dict(found)

    def __eq__(self, other: object) -> bool:
        return self._coded == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._coded)


def pack(strings: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of strings and their ends, as `Texts` takes them.

    Example:
        >>> text, ends = pack(["walk", "sit"])
        >>> text.tobytes(), ends.tolist()
        (b'walksit', [4, 7])
    """
    encoded = [one.encode() for one in strings]
    ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), dtype=np.int64)
    return np.frombuffer(b"".join(encoded), np.uint8), ends


def by_appearance(codes: np.ndarray, values: Sequence[T]) -> tuple[np.ndarray, list[T]]:
    """Codes and values renumbered so that values are in the order of their first row; those without a row are dropped.

    Args:
        codes: (N,) numbers of the values; negative ones stay.
        values: distinct values.

    Example:
        >>> codes, values = by_appearance(np.array([2, 0, 2, -1]), ["a", "b", "c"])
        >>> codes.tolist(), values
        ([0, 1, 0, -1], ['c', 'a'])
    """
    used, first = np.unique(codes, return_index=True)
    used = used[np.argsort(first)]
    used = used[used >= 0]
    new = np.full(len(values) + 1, -1, np.int32)  # one more, so that -1 stays -1
    new[used] = np.arange(len(used))
    return new[codes], [values[i] for i in used.tolist()]
