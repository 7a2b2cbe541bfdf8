"""Division of a long job into n parts for several machines: shares, folders, completeness; callers do the work."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from imu_video.errors import ConfigError

_NAME = re.compile(r"(\d+)-of-(\d+)")
_T = TypeVar("_T")


def check_part(number: int, of: int, *, given: str | None = None) -> None:
    """Validate part i of n.

    Args:
        number, of: i and n.
        given: the part as a user wrote it, for the error.

    Raises:
        ConfigError: not 1 <= i <= n.
    """
    if not 1 <= number <= of:
        raise ConfigError(
            f"{given or f'part {number}/{of}'}: expected i/n with 1 <= i <= n, because parts count from 1",
            hint="--part 1/4, 2/4, 3/4 and 4/4",
        )


def share(items: Sequence[_T], number: int, of: int) -> Sequence[_T]:
    """Every n-th item, from the i-th on: the shares of all parts are disjoint and contain every item.

    Args:
        items: all items of the job, in the same order on every machine.
        number, of: i and n.

    Example:
        >>> [share("abcde", number, 2) for number in (1, 2)]
        ['ace', 'bd']
    """
    # Strides, not blocks: expensive items, which often lie side by side, are spread over the parts.
    return items[number - 1 :: of]


def part_folder(root: Path, number: int, of: int) -> Path:
    """Folder of part i of n below the folder of all parts; `part_of` is the inverse.

    Args:
        root: folder of all parts.
        number, of: i and n.
    """
    return root / f"{number}-of-{of}"


def part_of(folder: Path) -> str:
    """``i/n`` of a part's folder, as the option ``--part`` takes it.

    Example:
        >>> part_of(part_folder(Path("mine.parts"), 3, 16))
        '3/16'
    """
    return folder.name.replace("-of-", "/")


def find_parts(root: Path, *, command: str) -> dict[int, Path]:
    """Folders of all parts of one division, by number in ascending order.

    Args:
        root: folder of the parts.
        command: computes a part when ``--part i/n`` is appended, for hints.

    Raises:
        ConfigError: no part, parts of several divisions, or a missing part.
    """
    found = {(int(m[1]), int(m[2])): path for path in root.glob("*") if (m := _NAME.fullmatch(path.name))}
    if not found:
        raise ConfigError(f"{root}: no parts to merge", hint=f"{command} --part 1/4, and the other parts")
    counts = sorted({of for _, of in found})
    if len(counts) > 1:
        # The shares of two divisions overlap: merging both would store some items twice.
        raise ConfigError(
            f"{root} contains divisions into {' and '.join(map(str, counts))} parts: only one division can be merged",
            hint="delete the folders of the other divisions",
        )
    (of,) = counts
    missing = [number for number in range(1, of + 1) if (number, of) not in found]
    if missing:
        raise ConfigError(
            f"{root}: part {', '.join(f'{number}/{of}' for number in missing)} is missing",
            hint=f"{command} --part {missing[0]}/{of}",
        )
    return {number: found[number, of] for number in range(1, of + 1)}
