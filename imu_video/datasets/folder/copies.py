"""IMU files with equal bytes: a copy under another name can be in training and test; reads no content."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_END = 65536  # bytes of both ends that are compared first: files of one size are common, copies are not


def copies(root: Path, paths: Iterable[Path]) -> Iterator[str]:
    """Notes on files with equal bytes.

    Args:
        root: folder to which the names in the notes are relative.
        paths: the files; folders, empty files and files that cannot be opened are skipped.
    """
    by_size: dict[int, list[Path]] = {}
    for path in sorted(set(paths)):
        if path.is_file():
            by_size.setdefault(path.stat().st_size, []).append(path)
    for size, alike in sorted(by_size.items()):
        by_ends: dict[bytes, list[Path]] = {}
        for path in alike if size and alike[1:] else []:
            try:
                by_ends.setdefault(_ends(path, size), []).append(path)
            except OSError:
                continue  # reading the recording gives the error
        for first, *others in by_ends.values():
            names = [os.path.relpath(path, root) for path in others if filecmp.cmp(first, path, shallow=False)]
            if names:
                names = [repr(name) for name in (os.path.relpath(first, root), *names)]
                shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")
                yield (
                    f"{len(names)} IMU files have equal bytes: {shown}; name copies under `ignore`, or their windows "
                    "can be in training and test"
                )


def _ends(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        start = file.read(_END)
        file.seek(max(0, size - _END))
        return start + file.read(_END)
