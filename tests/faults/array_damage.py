"""Damage to .npy files: bits, order, type, values, length, place; reads nothing of the library."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

Damage = Callable[[Path, Path], None]
"""Changes the first file; the second one is the same array of another split, teacher or folder."""


def _bit(place: Callable[[int], int]) -> Damage:
    def flip(path: Path, _: Path) -> None:
        data = bytearray(path.read_bytes())
        at = place(len(data))
        data[at] ^= 1 << (at % 8)
        path.write_bytes(data)

    return flip


def _array(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def rewrite(path: Path, _: Path) -> None:
        np.save(path, change(np.load(path)))

    return rewrite


def _value(value: float) -> Damage:
    def put(array: np.ndarray) -> np.ndarray:
        changed = array.copy()
        with np.errstate(all="ignore"):
            changed.reshape(-1)[array.size // 2] = value if array.dtype.kind == "f" else 1
        return changed

    return _array(put)


def _length(change: Callable[[bytes], bytes]) -> Damage:
    return lambda path, _: path.write_bytes(change(path.read_bytes())) and None


def _folder(path: Path, _: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path, _: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _swap(path: Path, other: Path) -> None:
    kept = path.read_bytes()
    shutil.copyfile(other, path)
    other.write_bytes(kept)


KINDS: dict[str, Damage] = {
    "a bit of the header's text": _bit(lambda size: 60),
    "a bit of the header's length": _bit(lambda size: 9),
    "the first bit of the data": _bit(lambda size: 128),
    "a bit in the middle": _bit(lambda size: 128 + (size - 128) // 2),
    "a bit at the end": _bit(lambda size: size - 1),
    "reversed rows": _array(lambda a: a[::-1].copy()),
    "rows moved by one": _array(lambda a: np.roll(a, 1, axis=0)),
    "float64": _array(lambda a: a.astype("<f8")),
    "another type of the same size": _array(lambda a: a.view(f"<u{a.itemsize}")),
    "big-endian": _array(lambda a: a.astype(a.dtype.newbyteorder(">")) if a.itemsize > 1 else a.astype(">u2")),
    "Fortran order": _array(lambda a: np.asfortranarray(a) if a.ndim > 1 else a[:, None]),
    "zeros": _array(np.zeros_like),
    "one NaN": _value(np.nan),
    "one 1e38": _value(1e38),
    "one byte less": _length(lambda data: data[:-1]),
    "the header only": _length(lambda data: data[:128]),
    "half of the header": _length(lambda data: data[:64]),
    "one byte more": _length(lambda data: data + b"\0"),
    "an empty file": _length(lambda data: b""),
    "a folder in its place": _folder,
    "a named pipe in its place": _pipe,
    "swapped with the other one": _swap,
    "text in its place": _length(lambda data: b"version https://git-lfs.github.com/spec/v1\n"),
}
"""Name of a kind of damage -> function."""


def damaged(kind: str, path: Path, other: Path) -> bool:
    """Damage a file; False where this kind leaves its bytes as they are."""
    before = path.read_bytes()
    KINDS[kind](path, other)
    return not path.is_file() or path.read_bytes() != before
