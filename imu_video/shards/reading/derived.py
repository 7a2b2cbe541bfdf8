"""The rows of shards that derived files belong to; the files are columns.py and teacher_cache.py."""

from __future__ import annotations

import hashlib

from imu_video.shards.schema import Index


def rows_digest(index: Index, split: str) -> str:
    """12 hex digits of a hash of a split's rows: shards with their hashes, and keys in row order.

    Args:
        index: a loaded index.
        split: name of a split.
    """
    found = hashlib.sha256()
    for shard in index.split(split).shards:
        found.update(f"{shard.path}\n{shard.sha256}\n".encode())
        found.update("\n".join(shard.keys).encode())
    return found.hexdigest()[:12]
