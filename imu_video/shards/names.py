"""Names of shards and of their members, and the sizes that members may have; members.py has their places."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from imu_video.errors import ShardError
from imu_video.modalities.base import member_limit
from imu_video.registry import modalities

NAME_PATTERN = r"[A-Za-z0-9_-]+"
"""Letters of a sample key, and of the name of a split or recording."""
LONGEST_NAME = 100
"""Letters of a member's full name: what a USTAR header holds."""

_META_SUFFIX, _META_LIMIT = "meta.json", 1 << 20
_KEY = re.compile(NAME_PATTERN)
_SHARD = re.compile(rf"(?P<split>{NAME_PATTERN})-(?P<number>\d{{6}})\.tar")

Name = Annotated[str, Field(pattern=rf"^{NAME_PATTERN}$")]


def shard_name(split: str, number: int) -> str:
    """File name of a shard.

    Example:
        >>> shard_name("train", 3)
        'train-000003.tar'
    """
    return f"{split}-{number:06d}.tar"


def parse_shard_name(name: str) -> tuple[str, int] | None:
    """Split and number of a shard's file name, or None for another file.

    Example:
        >>> parse_shard_name("train-000003.tar")
        ('train', 3)
    """
    match = _SHARD.fullmatch(name)
    return (match["split"], int(match["number"])) if match else None


def parse_member(name: str) -> tuple[str, str]:
    """Split a tar member's name into key and suffix.

    Args:
        name: the name in the tar.

    Returns:
        Key and suffix: ``meta.json``, or the suffix of a registered modality, such as ``imu.<placement>.npy``.

    Raises:
        ShardError: any other name: folders, absolute paths, ``..``, unknown suffixes.

    Example:
        >>> parse_member("walk_00001.imu.right_wrist.npy")
        ('walk_00001', 'imu.right_wrist.npy')
    """
    key, _, suffix = name.partition(".")
    if not _KEY.fullmatch(key) or size_limit(suffix) is None:
        known = [modalities.get(one).member_form() for one in modalities.names()]
        raise ShardError(
            f"tar member {name!r}: expected {', '.join(known)} or KEY.{_META_SUFFIX}",
            hint="only shards written by `imu-video build` are read; a modality of your own needs --plugin FILE.py",
        )
    return key, suffix


def check_member(key: str, suffix: str, size: int) -> str:
    """Check that readers accept a member, and return its full name.

    Raises:
        ShardError: the name is illegal or too long, or the member exceeds the size limit of its modality.
    """
    name = f"{key}.{suffix}"
    limit = size_limit(suffix) if _KEY.fullmatch(key) else None
    if limit is None:
        parse_member(name)
        raise ShardError(f"tar member {name!r}: expected a sample key and the suffix of a modality")
    if len(name) > LONGEST_NAME:
        raise ShardError(
            f"tar member {name!r} has {len(name)} letters, the format allows {LONGEST_NAME}",
            hint="give the recording a shorter name",
        )
    if size > limit:
        raise ShardError(f"tar member {name!r} has {size} bytes, the limit is {limit}", hint="cut shorter windows")
    return name


def size_limit(suffix: str) -> int | None:
    """Largest size of a member with this suffix; None for an unknown suffix."""
    return _META_LIMIT if suffix == _META_SUFFIX else member_limit(suffix)
