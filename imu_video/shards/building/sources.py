"""Record of what a build read: its provenance, source files with size and time; nothing is decoded here."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from imu_video import registry
from imu_video.config import Config
from imu_video.protocols import RecordingSource, Unread
from imu_video.recordings.windows import WindowConfig
from imu_video.registry import source_hash
from imu_video.runtime.files import file_sha256
from imu_video.runtime.journal import JOB_FILE, PARTIAL_SUFFIX, PARTS_SUFFIX
from imu_video.shards.left_out import read_rows, write_lines
from imu_video.shards.schema import INDEX_FILE, SOURCES_FILE, SourceFile

_UNFINISHED = (PARTIAL_SUFFIX, PARTS_SUFFIX)
LISTING = "sources"
"""Name of the journal's piece with the files of an adapter that does not list the files of a subject."""


class SourceRecord(Config):
    """Content of sources.json: files by path relative to the folder of the recordings."""

    files: dict[str, SourceFile]

    @property
    def hashed(self) -> bool:
        """Whether every file was hashed."""
        return all(file.sha256 is not None for file in self.files.values())


def provenance_of(source: RecordingSource, *, window: WindowConfig, checks: Mapping[str, Any]) -> dict[str, Any]:
    """JSON that determines the meaning of a dataset's files, apart from the build config; empty for plain adapters.

    Args:
        source: the opened dataset.
        window: its modalities may come from plugins.
        checks: resolved quality checks; those of plugins count.

    Returns:
        The provenance of the adapter (`protocols.RecordingSource`), its ``version`` if that is not 1, and ``code``: a
        hash of the source of each component that does not belong to this package.
    """
    declared = getattr(source, "provenance", None)
    found: dict[str, Any] = {} if declared is None else dict(declared())
    version = getattr(source, "version", 1)
    if version != 1:
        found["version"] = version
    used: dict[str, type] = {f"dataset {source.name}": type(source)}
    used |= {f"check {name}": registry.checks.get(name) for name, one in checks.items() if one.get("policy") != "off"}
    used |= {f"modality {name}": type(modality) for name, modality in window.modalities.items()}
    code = {name: hashed for name, kind in used.items() if (hashed := source_hash(kind)) is not None}
    if code:
        found["code"] = code
    return dict(to_jsonable_python(found))


def with_tables(provenance: Mapping[str, Any], tables: Mapping[str, str]) -> dict[str, Any]:
    """Provenance with the hashes of the tables of single subjects, which are known when the subjects are read."""
    joined = {**provenance.get("tables", {}), **tables}
    return {**provenance, "tables": dict(sorted(joined.items()))} if joined else dict(provenance)


def items(source: RecordingSource, subject: str) -> Iterator[Unread]:
    """The recordings of a subject, each readable on its own; one item for all if the adapter has no ``unread``."""
    unread = getattr(source, "unread", None)
    if unread is not None:
        yield from unread(subject)
    else:
        yield Unread(name="", files=(), read=lambda: source.recordings([subject]))


def label(path: Path, root: Path | None) -> str:
    """A path for records that others may read: relative to the dataset's folder, never absolute.

    Example:
        >>> label(Path("/home/mia/study/s01/imu.csv"), Path("/home/mia/study"))
        's01/imu.csv'
    """
    if root is not None and path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return f"(outside)/{path.name}"


def root_of(source: RecordingSource) -> Path | None:
    """The folder of a dataset's files, if it has one."""
    root = getattr(source, "root", None)
    return root if isinstance(root, Path) else None


def record(files: Iterable[Path], root: Path | None, *, hashed: bool = False) -> dict[str, SourceFile]:
    """Size and time of files that exist; folders count with every file in them.

    Args:
        files: paths of files or folders.
        root: folder of the dataset.
        hashed: compute sha256 too, which reads every file once more.
    """
    found = {}
    for path in files:
        for file in _files_in(path) if path.is_dir() else [path]:
            if file.is_file():
                facts = file.stat()
                found[label(file, root)] = SourceFile(
                    bytes=facts.st_size, mtime_ns=facts.st_mtime_ns, sha256=file_sha256(file) if hashed else None
                )
    return found


def hashes(files: Iterable[Path], root: Path | None) -> dict[str, str]:
    """sha256 of the tables that exist."""
    return {label(file, root): file_sha256(file) for file in files if file.is_file()}


def listing(source: RecordingSource, *, hashed: bool = False) -> dict[str, SourceFile]:
    """All files below the folder of an adapter that does not list the files of a subject."""
    root = root_of(source)
    if root is None or hasattr(source, "unread") or not root.is_dir():
        return {}
    return record([root], root, hashed=hashed)


def _files_in(folder: Path) -> Iterator[Path]:
    """Files below a folder, sorted, without hidden ones and without data folders and unfinished builds."""
    for here, folders, files in os.walk(folder):
        if Path(here) != folder and ({INDEX_FILE, JOB_FILE} & set(files) or here.endswith(_UNFINISHED)):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here) / name for name in sorted(files) if not name.startswith("."))


def differences(
    before: Mapping[str, SourceFile], now: Mapping[str, SourceFile], root: Path | None = None
) -> list[tuple[str, str]]:
    """Changed files as (file, what changed), sorted.

    Args:
        before: the record of a build.
        now: the files as they are.
        root: folder of ``now``: where a record has hashes, a file with another time is hashed, and equal content is no
            change. Without it, another time is a change.
    """
    rows = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if new is None:
            rows.append((name, "removed"))
        elif old is None:
            rows.append((name, "added"))
        elif old.bytes != new.bytes:
            rows.append((name, f"other size: {old.bytes} -> {new.bytes} bytes"))
        elif old.sha256 is not None and root is not None:
            if (new.sha256 or file_sha256(root / name)) != old.sha256:
                rows.append((name, "other content, same size"))
        elif old.mtime_ns != new.mtime_ns:
            rows.append((name, "other time of last change, same size"))
    return rows


def write_record(rows: Iterable[tuple[str, str]], root: Path) -> None:
    """Write sources.json, one file per line, from the names of files, sorted, each with the JSON of its facts."""
    lines = (f"{json.dumps(name, ensure_ascii=False)}: {facts}" for name, facts in rows)
    write_lines(root / SOURCES_FILE, '{"files": {\n', lines, "\n}}\n")


def read_record(root: Path) -> SourceRecord | None:
    """The record of a data folder; None if it was built before records existed, or of an adapter without files.

    Raises:
        ShardError: sources.json cannot be read.
    """
    return read_rows(root / SOURCES_FILE, SourceRecord, hint=f"build {root} again")
