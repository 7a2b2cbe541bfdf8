"""Cached teacher features of a data folder: opened by fingerprint and checked against the shards; not computed here."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.config import digest
from imu_video.errors import ShardError, TeacherCacheError
from imu_video.runtime.files import file_sha256, sync_file, write_atomic
from imu_video.shards.schema import TEACHER_FOLDER, Index

logger = logging.getLogger(__name__)
CACHE_FILE = "teacher.json"
WEIGHTS_FILE = "fitted.safetensors"
_CACHE_NAME = re.compile(r"[0-9a-f]{12}(-[a-z0-9_]+)?")
Rows = Callable[[str, Callable[[Index, str], np.ndarray]], np.ndarray]
"""Assembles the rows of a new folder's split, given a function that reads the rows of an old folder and split."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TeacherCache:
    """One teacher's features of a data folder.

    Args:
        fingerprint: of the teacher.
        spec: the teacher's own description (`FrozenTeacher.describe`).
        folder: where the rows are stored.
        samples: split -> number of samples of the index.
        behind: for a folder at an address: split -> function that fetches its rows.

    Example:
        >>> from imu_video.shards import load_index
        >>> cache = open_cache(load_index("data/demo"))
        >>> cache.rows("train").shape
        (48, 32)
    """

    fingerprint: str
    spec: dict[str, Any]
    folder: Path
    samples: dict[str, int]
    behind: Mapping[str, Callable[[], object]] = field(default_factory=dict)

    @property
    def splits(self) -> list[str]:
        """Splits that were embedded."""
        return [split for split in self.samples if split in self.behind or (self.folder / f"{split}.npy").is_file()]

    def rows(self, split: str) -> np.ndarray:
        """(N, Dt) memory map in the order of the split's columns; NaN rows where a sample lacks the modality.

        Raises:
            TeacherCacheError: the split was not embedded, or the file does not fit the shards.
        """
        path = self.folder / f"{split}.npy"
        if split in self.behind:
            self.behind[split]()
        if not path.is_file():
            raise TeacherCacheError(
                f"{self.folder}: split {split!r} was not embedded (embedded: {', '.join(self.splits) or 'no split'})",
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
    """Fingerprint -> content of teacher.json of every complete cache in a data folder, for any shards.

    Raises:
        TeacherCacheError: a teacher.json that cannot be read.
    """
    found: dict[str, dict[str, Any]] = {}
    if index.remote is not None:
        for name in index.remote.names(TEACHER_FOLDER):
            _fetch(index, name)
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
    """The fingerprint of the only cached teacher with that registered name; any other string unchanged."""
    named = [mark for mark, content in read_caches(index).items() if content.get("spec", {}).get("name") == wanted]
    return named[0] if len(named) == 1 else wanted


def _fetch(index: Index, name: str) -> None:
    """Fetch a cache's description from the folder's address, if it exists there."""
    file = index.root / TEACHER_FOLDER / name / CACHE_FILE
    if index.remote is not None and not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(ShardError):
            index.remote.fetch(f"{TEACHER_FOLDER}/{name}/{CACHE_FILE}", file)


def _behind(index: Index, name: str, content: Mapping[str, Any]) -> dict[str, Callable[[], object]]:
    if index.remote is None:
        return {}
    return {
        split: partial(
            index.remote.local,
            f"{TEACHER_FOLDER}/{name}/{split}.npy",
            index.root,
            size=said["bytes"],
            sha256=said["sha256"],
        )
        for split, said in content.get("rows", {}).items()
    }


def open_cache(index: Index, fingerprint: str | None = None) -> TeacherCache:
    """Open a teacher's features for these shards.

    Args:
        index: a loaded index.
        fingerprint: of the teacher, or a prefix of it; None: the only cache of the folder.

    Raises:
        TeacherCacheError: no such cache, several that match, or one that was computed from other shards.
    """
    if index.remote is not None and fingerprint and _CACHE_NAME.fullmatch(fingerprint):
        _fetch(index, fingerprint)  # a web server without directory listings still serves files by name
    found = read_caches(index)
    fitting = {name: c for name, c in found.items() if name.startswith(fingerprint or "")}
    have = ", ".join(f"{name} ({c.get('spec', {}).get('name', '?')})" for name, c in found.items())
    if not fitting:
        wanted = f"features of teacher {fingerprint!r}" if fingerprint else "teacher features"
        others = f"; it contains those of {have}" if have else ""
        raise TeacherCacheError(
            f"{index.root} has no {wanted}{others}",
            hint=f"imu-video embed {index.root} configs/teacher/efficientnet_lite0.yaml (or another teacher)",
        )
    if len(fitting) > 1 and fingerprint not in fitting:
        raise TeacherCacheError(
            f"{index.root} has features of {len(fitting)} matching teachers: {have}",
            hint=f"name one by its fingerprint: data.teacher={next(iter(fitting))}",
        )
    name = fingerprint if fingerprint in fitting else next(iter(fitting))
    content = fitting[name]
    if content.get("index") != index.digest:
        raise TeacherCacheError(
            f"{index.root / TEACHER_FOLDER / name}: computed from shards with digest {content.get('index')}, "
            f"but index.json has {index.digest}",
            hint=f"embed again: imu-video embed {index.root} TEACHER.yaml",
        )
    return TeacherCache(
        fingerprint=name,
        spec=dict(content["spec"]),
        folder=index.root / TEACHER_FOLDER / name,
        samples={split: entry.samples for split, entry in index.splits.items()},
        behind=_behind(index, name, content),
    )


def save_rows(path: Path, rows: np.ndarray) -> dict[str, Any]:
    """Write one split's rows and sync; returns the file's entry for teacher.json: bytes and sha256."""
    np.save(path, rows, allow_pickle=False)
    sync_file(path)
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}


def carry_caches(sources: Sequence[Index], target: Index, rows: Rows) -> None:
    """Copy the features that all sources have into a folder derived from them; nothing is computed.

    Left out, with a log line: features missing from any source, and features of fitted teachers, because the subjects
    that such a teacher was fitted on may now be in another split.

    Args:
        sources: folders that the new one was derived from.
        target: the new folder.
        rows: arranges rows; see `Rows`.
    """
    caches = [
        {name: content for name, content in read_caches(one).items() if content.get("index") == one.digest}
        for one in sources
    ]
    for name in sorted({name for found in caches for name in found}):
        opened = {one.root: open_cache(one, name) for one, found in zip(sources, caches, strict=True) if name in found}
        whole = len(opened) == len({one.root for one in sources}) and all(
            set(opened[one.root].splits) == set(one.splits) for one in sources
        )
        fitted = any((cache.folder / WEIGHTS_FILE).is_file() for cache in opened.values())
        if not whole or fitted:
            why = "its teacher was fitted on other subjects" if fitted else "not all folders and splits have it"
            logger.info("teachers/%s is left out: %s; embed again", name, why)
            continue
        content = next(found[name] for found in caches)
        folder = target.root / TEACHER_FOLDER / name
        folder.mkdir(parents=True)
        listed = {}
        for split in target.splits:
            arranged = rows(split, lambda one, old, opened=opened: opened[one.root].rows(old))  # type: ignore[misc]
            listed[split] = save_rows(folder / f"{split}.npy", arranged)
        recipe = {"teacher": content["teacher"], "index": target.digest}
        if "view" in content["spec"]:
            recipe["view"] = content["spec"]["view"]
        fresh = {**content, "index": target.digest, "recipe": digest(recipe), "rows": listed}
        write_atomic(folder / CACHE_FILE, json.dumps(fresh, indent=1, sort_keys=True, allow_nan=False))
