"""Cached teacher features of a data folder: opened by fingerprint and checked against the shards; not computed here."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.config import digest
from imu_video.errors import ShardError, TeacherCacheError
from imu_video.runtime.documents import read_json, validate
from imu_video.runtime.files import sync_file, write_atomic
from imu_video.runtime.references import reread
from imu_video.shards.reading.array_files import save_array
from imu_video.shards.reading.arrays import SEAL, ArrayFacts, CheckedArray, seal_of, sealed
from imu_video.shards.schema import TEACHER_FOLDER, Index

logger = logging.getLogger(__name__)
CACHE_FILE = "teacher.json"
WEIGHTS_FILE = "fitted.safetensors"
_CACHE_NAME = re.compile(r"[0-9a-f]{12}(-[a-z0-9_]+)?")
_DTYPES = ("<f2", "<f4")
_LARGEST = 1e15  # squares of larger features overflow float32 in sums of any length
Rows = Callable[[str, Callable[[Index, str], CheckedArray]], np.ndarray]
"""Assembles the rows of a new folder's split, given a function that reads the rows of an old folder and split."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TeacherCache:
    """One teacher's features of a data folder.

    Args:
        fingerprint: of the teacher.
        spec: the teacher's own description (`FrozenTeacher.describe`).
        folder: where the rows are stored.
        samples: split -> number of samples of the index.
        entries: split -> its entry under ``rows`` of teacher.json.
        order: split -> `Index.rows_digest` of the index.
        remedies: split -> the command that computes its rows again.
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
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    order: Mapping[str, str] = field(default_factory=dict)
    remedies: Mapping[str, str] = field(default_factory=dict)
    behind: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    _opened: dict[str, CheckedArray] = field(default_factory=dict, repr=False)

    @property
    def splits(self) -> list[str]:
        """Splits that were embedded."""
        # A file that teacher.json does not list was left by a process that was killed before it wrote the list.
        listed = self.entries or self.samples
        return [
            split
            for split in self.samples
            if split in self.behind or (split in listed and os.path.lexists(self._file(split)))
        ]

    def _file(self, split: str) -> Path:
        return self.folder / f"{split}.npy"

    def rows(self, split: str) -> CheckedArray:
        """(N, Dt) memory map in the order of the split's columns; NaN rows where a sample lacks the modality.

        Rows are compared with their hashes before they are used first.

        Raises:
            TeacherCacheError: the split was not embedded, or the file does not fit the shards.
        """
        if split not in self._opened:
            self._opened[split] = self._open(split)
        return self._opened[split]

    def _open(self, split: str) -> CheckedArray:
        path, remedy = self._file(split), self.remedies.get(split, f"delete {self.folder}, embed again")
        if split not in self.splits:
            raise TeacherCacheError(
                f"{self.folder}: split {split!r} was not embedded (embedded: {', '.join(self.splits) or 'no split'})",
                hint=self.remedies.get(split, f"imu-video embed {self.folder.parent.parent} TEACHER --split {split}"),
            )
        if split in self.behind:
            self.behind[split]()

        def refuse(reason: str) -> TeacherCacheError:
            return TeacherCacheError(f"{path}: damaged: {reason}", hint=remedy)

        entry = self.entries.get(split, {})
        if entry.get("rows", self.order.get(split)) != self.order.get(split):
            raise TeacherCacheError(
                f"{path}: computed for samples in another order: rows {entry['rows']}, "
                f"index.json has {self.order[split]}",
                hint=remedy,
            )
        try:
            facts = self._facts(split, remedy)
            sha256 = None if facts is not None else entry.get("sha256")
            # Embedding an older cache again adds hashes of blocks. Until then the hash of the whole file is compared.
            rows = CheckedArray(path, facts, refuse=refuse, sha256=sha256, dtypes=_DTYPES, examine=_implausible)
            if facts is None and sha256 is None:
                logger.warning(
                    "%s: no hashes: changed values that are plausible are not found; add them: %s", path, remedy
                )
        except OSError as error:
            raise refuse(f"cannot be read: {error.strerror}") from error
        if rows.ndim != 2 or len(rows) != self.samples.get(split) or rows.dtype.str not in _DTYPES:
            raise TeacherCacheError(
                f"{path}: {rows.dtype.str} of shape {rows.shape}, expected (N, Dt) with N={self.samples.get(split)}",
                hint=remedy,
            )
        return rows

    def _facts(self, split: str, remedy: str) -> ArrayFacts | None:
        entry, where = self.entries.get(split, {}), f"{self.folder / CACHE_FILE}: rows.{split}.array"
        if "array" not in entry:
            return None
        return validate(ArrayFacts, entry["array"], where, error=TeacherCacheError, hint=remedy)

    def without_damage(self) -> TeacherCache:
        """The cache without the splits whose rows are damaged, after a check of all rows."""
        found = dict(self.samples)
        for split in self.splits:
            try:
                self.rows(split).check()
            except TeacherCacheError as error:
                logger.warning("%s; it is computed again", error.message)
                del found[split]
        return replace(self, samples=found)

    def unhashed(self) -> dict[str, np.ndarray]:
        """Rows of the splits that have no hashes of blocks, checked as far as possible."""
        return {split: np.asarray(self.rows(split)) for split in self.splits if self.rows(split).hashed != "blocks"}


def _implausible(rows: np.ndarray) -> str | None:
    """Why rows without hashes cannot be features, or None."""
    finite = np.isfinite(rows)
    if not (finite.all(axis=1) | np.isnan(rows).all(axis=1)).all():
        return "rows that are neither finite nor NaN as a whole"
    largest = float(np.abs(rows, where=finite, out=np.zeros(rows.shape, rows.dtype)).max(initial=0.0))
    return f"a feature of {largest:.3g}, expected below {_LARGEST:.0e}" if largest > _LARGEST else None


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
        found[file.parent.name] = _read(file)
    return found


def _read(file: Path) -> dict[str, Any]:
    hint = f"delete {file.parent} and embed again"
    content: Any = read_json(file, error=TeacherCacheError, hint=hint)
    rows = content.get("rows", {}) if isinstance(content, dict) else None
    parts = [content.get("spec"), content.get("teacher", {}), *rows.values()] if isinstance(rows, dict) else [None]
    if not all(isinstance(part, dict) for part in parts):
        raise TeacherCacheError(f"{file}: expected objects `spec`, `teacher` and `rows`", hint=hint)
    if content.get(SEAL, wanted := seal_of(content)) != wanted:
        raise TeacherCacheError(f"{file}: damaged: its content differs from the one that was written", hint=hint)
    return content


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


def _embed_or_other(index: Index) -> str:
    """The next command for a folder without features; one that holds nothing but IMU gives a teacher no input."""
    if not index.streams:
        return (
            "its samples contain IMU only: train without a teacher, for example imu-pretrain launch "
            f"configs/pretrain/simclr_imu.yaml data.root={index.root} --run RUN"
        )
    return f"imu-video embed {index.root} configs/teacher/efficientnet_lite0.yaml (or another teacher)"


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
            hint=_embed_or_other(index),
        )
    if len(fitting) > 1 and fingerprint not in fitting:
        raise TeacherCacheError(
            f"{index.root} has features of {len(fitting)} matching teachers: {have}",
            hint=f"name one by its fingerprint: data.teacher={next(iter(fitting))}",
        )
    name = fingerprint if fingerprint in fitting else next(iter(fitting))
    content = fitting[name]
    if content.get("fingerprint", name) != name:
        folder = index.root / TEACHER_FOLDER / name
        raise TeacherCacheError(
            f"{folder / CACHE_FILE}: describes the features of teacher {content['fingerprint']!r}, expected {name!r}",
            hint=f"delete {folder} and embed again",
        )
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
        entries=content.get("rows", {}),
        order={split: index.rows_digest(split) for split in index.splits},
        remedies={split: embed_command(index, content, split) for split in index.splits},
        behind=_behind(index, name, content),
    )


def embed_command(index: Index, content: Mapping[str, Any], split: str) -> str:
    """The command that computes the rows of a split again, or adds their hashes.

    Args:
        index: of the data folder.
        content: of teacher.json.
        split: name of a split.
    """
    teacher = content.get("teacher", {})
    arguments = [f"{key}={json.dumps(value)}" for key, value in teacher.items() if key != "name"]
    camera = ["--camera", content["spec"]["view"]] if "view" in content["spec"] else []
    words = [
        "imu-video",
        "embed",
        str(index.root),
        str(teacher.get("name", "TEACHER.yaml")),
        *arguments,
        "--split",
        split,
        *camera,
    ]
    return shlex.join(words)


def save_rows(path: Path, rows: np.ndarray, index: Index, split: str) -> dict[str, Any]:
    """Write one split's rows and sync; returns the file's entry for teacher.json: size, hashes, digest of the rows."""
    facts = save_array(path, rows)
    sync_file(path)
    return entry_of(facts, index, split)


def entry_of(facts: ArrayFacts, index: Index, split: str) -> dict[str, Any]:
    """A split's entry for teacher.json; ``bytes`` and ``sha256`` are read by earlier versions, too."""
    found = {"bytes": facts.bytes, "sha256": facts.sha256, "array": facts.plain()}
    return {**found, "rows": index.rows_digest(split)}


def write_cache_file(folder: Path, content: Mapping[str, Any]) -> None:
    """Write teacher.json with its seal."""
    write_atomic(folder / CACHE_FILE, json.dumps(sealed(content), indent=1, sort_keys=True, allow_nan=False))


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
            listed[split] = save_rows(folder / f"{split}.npy", np.asarray(arranged), target, split)
        recipe = {"teacher": reread(content["teacher"]), "index": target.digest}
        if "view" in content["spec"]:
            recipe["view"] = content["spec"]["view"]
        fresh = {**content, "index": target.digest, "recipe": digest(recipe), "rows": listed}
        write_cache_file(folder, fresh)
