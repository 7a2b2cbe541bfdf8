"""Checks every array that is derived from the shards of a data folder; it does not check the shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imu_video.errors import ImuVideoError, ShardError, TeacherCacheError
from imu_video.shards.reading.arrays import CheckedArray
from imu_video.shards.reading.columns import column_arrays
from imu_video.shards.reading.teacher_cache import embed_command, open_cache, read_caches
from imu_video.shards.schema import COLUMN_FOLDER, TEACHER_FOLDER, Index


@dataclass(kw_only=True)
class ArrayReport:
    """What `verify_arrays` compared, and what it found.

    Args:
        arrays: path of each compared file in the data folder -> number of its rows.
        blocks: number of blocks that were compared with a hash.
        problems: one line per damaged file, with the command that makes it again.
        notes: files without hashes, or that no command uses, and what makes them complete.
    """

    arrays: dict[str, int] = field(default_factory=dict)
    blocks: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, root: Path, array: CheckedArray) -> None:
        """Compare all of a file."""
        array.check_file()
        self.arrays[array.path.relative_to(root).as_posix()] = len(array)
        self.blocks += array.facts.blocks if array.facts is not None else 0

    def fail(self, error: ImuVideoError) -> None:
        """Record a damaged file."""
        self.problems.append(f"{error.message}; {error.hint}" if error.hint else error.message)


def verify_arrays(index: Index) -> ArrayReport:
    """Compare all columns and teacher features of a data folder with their hashes.

    Args:
        index: a loaded index.

    Example:
        >>> from imu_video.shards import load_index, open_columns
        >>> index = load_index("data/demo")
        >>> columns = open_columns(index, "train")  # writes them, if they are missing
        >>> report = verify_arrays(index)
        >>> report.problems, report.arrays["columns/train/imu.npy"]
        ([], 48)
    """
    report = ArrayReport()
    folder = index.root / COLUMN_FOLDER
    present = sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []
    for split in present:
        if split in index.splits:
            _columns(index, split, folder / split, report)
        else:
            report.notes.append(f"{COLUMN_FOLDER}/{split}: the index has no such split; the folder is not used")
    try:
        caches = read_caches(index)
    except TeacherCacheError as error:
        report.fail(error)
        return report
    for name, content in caches.items():
        if content.get("index") == index.digest:
            _features(index, name, content, report)
        else:
            report.notes.append(f"{TEACHER_FOLDER}/{name}: computed from other shards; the folder is not used")
    return report


def _columns(index: Index, split: str, folder: Path, report: ArrayReport) -> None:
    try:
        found = column_arrays(index, split, folder)
    except ShardError as error:
        report.fail(error)
        return
    if found is None:
        report.notes.append(
            f"{COLUMN_FOLDER}/{split}: of other shards or of an earlier version, without hashes; the next command that "
            "opens the split writes it again"
        )
        return
    for array in found[1].values():
        try:
            report.add(index.root, array)
        except ShardError as error:
            report.fail(error)


def _features(index: Index, name: str, content: Mapping[str, object], report: ArrayReport) -> None:
    try:
        cache = open_cache(index, name)
    except TeacherCacheError as error:
        report.fail(error)
        return
    for split in cache.splits:
        try:
            rows = cache.rows(split)
            report.add(index.root, rows)
        except TeacherCacheError as error:
            report.fail(error)
            continue
        if rows.hashed != "blocks":
            compared = "the hash of the file fits" if rows.hashed == "file" else "shape and values were checked only"
            report.notes.append(
                f"{TEACHER_FOLDER}/{name}/{split}.npy: no hashes of blocks ({compared}); add them: "
                f"{embed_command(index, content, split)}"
            )
