"""Cached teacher features beside the shards: opened by fingerprint, checked against the shards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import TeacherCacheError
from imu_video.shards.schema import TEACHER_FOLDER, Index

CACHE_FILE = "teacher.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class TeacherCache:
    """One teacher's features of a data folder.

    Args:
        fingerprint: of the teacher.
        spec: the teacher's own description (`FrozenTeacher.describe`).
        folder: where the rows lie.
        samples: split -> number of samples of the index.

    Example:
        >>> cache = open_cache(load_index("data/demo"))  # doctest: +SKIP
        >>> cache.rows("train").shape  # doctest: +SKIP
        (2048, 1280)
    """

    fingerprint: str
    spec: dict[str, Any]
    folder: Path
    samples: dict[str, int]

    @property
    def splits(self) -> list[str]:
        """Splits that were embedded."""
        return [split for split in self.samples if (self.folder / f"{split}.npy").is_file()]

    def rows(self, split: str) -> np.ndarray:
        """(N, Dt) memory map in the order of the split's columns; NaN rows where a sample lacks the modality.

        Raises:
            TeacherCacheError: the split was not embedded, or the file does not fit the shards.
        """
        path = self.folder / f"{split}.npy"
        if not path.is_file():
            raise TeacherCacheError(
                f"{self.folder}: split {split!r} was not embedded, only {self.splits or 'nothing'}",
                hint=f"imu-video embed {self.folder.parent.parent} TEACHER --split {split}",
            )
        try:
            rows: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise TeacherCacheError(f"{path}: damaged: {error}", hint=f"delete {self.folder}, embed again") from error
        if rows.ndim != 2 or len(rows) != self.samples.get(split):
            raise TeacherCacheError(
                f"{path}: shape {rows.shape}, expected (N, Dt) with N={self.samples.get(split)}",
                hint=f"delete {self.folder}, embed again",
            )
        return rows


def read_caches(index: Index) -> dict[str, dict[str, Any]]:
    """Fingerprint -> content of teacher.json of every complete cache in a data folder, whatever shards it is of.

    Raises:
        TeacherCacheError: a teacher.json that cannot be read.
    """
    found: dict[str, dict[str, Any]] = {}
    for file in sorted((index.root / TEACHER_FOLDER).glob(f"*/{CACHE_FILE}")):
        if file.parent.name.startswith("."):
            continue  # being written
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise TeacherCacheError(
                f"{file}: not JSON: {error}", hint=f"delete {file.parent} and embed again"
            ) from error
        found[file.parent.name] = content
    return found


def cached_fingerprint(index: Index, wanted: str | None) -> str | None:
    """The fingerprint of the one cached teacher of that registered name; anything else as it is."""
    named = [mark for mark, content in read_caches(index).items() if content.get("spec", {}).get("name") == wanted]
    return named[0] if len(named) == 1 else wanted


def open_cache(index: Index, fingerprint: str | None = None) -> TeacherCache:
    """Open a teacher's features for these shards.

    Args:
        index: a loaded index.
        fingerprint: of the teacher, or its beginning; None: the only cache there is.

    Raises:
        TeacherCacheError: no such cache, several that fit, or one that was made from other shards.
    """
    found = read_caches(index)
    fitting = {name: c for name, c in found.items() if name.startswith(fingerprint or "")}
    have = ", ".join(f"{name} ({c.get('spec', {}).get('name', '?')})" for name, c in found.items()) or "none"
    if not fitting:
        asked = f"no cache of teacher {fingerprint!r}" if fingerprint else "no teacher cache"
        raise TeacherCacheError(
            f"{index.root}: {asked}; there: {have}", hint=f"imu-video embed {index.root} TEACHER.yaml"
        )
    if len(fitting) > 1 and fingerprint not in fitting:
        raise TeacherCacheError(
            f"{index.root}: {len(fitting)} teacher caches fit {fingerprint or 'an unnamed teacher'}: {have}",
            hint="name one by its fingerprint: data.teacher=...",
        )
    name = fingerprint if fingerprint in fitting else next(iter(fitting))
    content = fitting[name]
    if content.get("index") != index.digest:
        raise TeacherCacheError(
            f"{index.root / TEACHER_FOLDER / name}: made from shards {content.get('index')}, "
            f"the index is {index.digest}",
            hint=f"imu-video embed {index.root} TEACHER.yaml",
        )
    return TeacherCache(
        fingerprint=name,
        spec=dict(content["spec"]),
        folder=index.root / TEACHER_FOLDER / name,
        samples={split: entry.samples for split, entry in index.splits.items()},
    )
