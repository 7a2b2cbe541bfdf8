"""Files that repeat the content of another file, found by size and hash; similar signals are not compared."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from imu_video.datasets.layout import Take

Repeated = Literal["keep", "drop"]
_log = logging.getLogger(__name__)


def same_content(paths: Iterable[Path]) -> list[list[Path]]:
    """Groups of two or more files with equal bytes, sorted; a file is read only if another one has its size.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> for name, text in (("a", "1"), ("b", "2"), ("c", "1")):
        ...     _ = (root / name).write_text(text)
        >>> [[path.name for path in group] for group in same_content(root.iterdir())]
        [['a', 'c']]
    """
    by_size: dict[int, list[Path]] = {}
    for path in sorted(paths):
        by_size.setdefault(path.stat().st_size, []).append(path)
    by_hash: dict[bytes, list[Path]] = {}
    for group in by_size.values():
        for path in group if len(group) > 1 else ():
            by_hash.setdefault(hashlib.sha256(path.read_bytes()).digest(), []).append(path)
    return sorted(group for group in by_hash.values() if len(group) > 1)


def without_false_labels(takes: Iterable[Take], *, dataset: str, repeated: Repeated) -> list[Take]:
    """Takes of one file each, with repeated content tagged or left out, and its label removed where it is ambiguous.

    A file that occurs under two labels has at least one wrong label, and the files do not show which: no copy keeps its
    label. Copies name the first file in the tag ``same_as``. The numbers are logged.

    Args:
        takes: takes of one path each.
        dataset: name of the dataset, for the log.
        repeated: ``keep`` all copies, or ``drop`` all but the first.
    """
    known = {take.paths[0]: take for take in takes}
    dropped = ambiguous = copies = 0
    for group in same_content(known):
        labels = {known[path].label for path in group}
        copies += len(group) - 1
        ambiguous += len(group) if len(labels) > 1 else 0
        for path in group:
            take = known[path]
            if len(labels) > 1:
                take = replace(take, label=None, tags={**take.tags, "label": "ambiguous"})
            if path != group[0]:
                take = replace(take, tags={**take.tags, "same_as": known[group[0]].name})
                if repeated == "drop":
                    dropped += 1
                    del known[path]
                    continue
            known[path] = take
    if copies:
        _log.warning(
            "%s: %d files repeat the content of another one%s; %d files that have several labels get none",
            dataset,
            copies,
            " and are left out" if dropped else " (tag same_as)",
            ambiguous,
        )
    return list(known.values())
