"""Copy of a whole data folder from an address to the local disk, verified and resumable; single files: remote.py."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from imu_video.errors import ConfigError
from imu_video.runtime.files import is_free
from imu_video.runtime.journal import Journal, kept_when_interrupted
from imu_video.runtime.logging import log_progress
from imu_video.shards.publish import DATA_FOLDER, partial_folder, publish
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.index import load_index
from imu_video.shards.reading.teacher_cache import CACHE_FILE, WEIGHTS_FILE, read_caches
from imu_video.shards.schema import (
    DROPPED_FILE,
    FACTS_FILE,
    INDEX_FILE,
    LEFT_OUT_FILE,
    MEMBERS_GLOB,
    QUALITY_FILE,
    SHARD_FOLDER,
    TEACHER_FOLDER,
    Index,
)

WHAT = "fetch"
logger = logging.getLogger(__name__)


def fetch(address: str, out: str | Path) -> Index:
    """Copy a data folder from an address: index, verified shards, teacher features; columns are created.

    Copied shards are kept when the process is interrupted or the network fails, and the same call resumes.

    Args:
        address: of the folder; see `remote.EXTRAS` for the schemes.
        out: folder to create; must not exist.

    Returns:
        The index of the local folder.

    Raises:
        ConfigError: not an address, an unknown scheme, or ``out`` exists.
        ShardError: no data folder at the address, or files that are unreachable or damaged.

    Example:
        >>> fetch("s3://bucket/data", "data/copy").split("train").samples  # doctest: +SKIP
        2048
    """
    target = Path(out)
    if not is_free(target):
        raise ConfigError(f"{target} exists", hint="name a folder that does not exist yet")
    index = load_index(address)
    remote = index.remote
    if remote is None:
        raise ConfigError(f"{address!r} is not an address", hint="for example s3://bucket/data")
    target.parent.mkdir(parents=True, exist_ok=True)
    job = {"fetch": remote.address.slug, "index": index.digest}
    work = Journal(partial_folder(target), job, what=WHAT)
    with kept_when_interrupted(work):
        folder = work.folder / DATA_FOLDER
        (folder / SHARD_FOLDER).mkdir(parents=True, exist_ok=True)
        shards = [shard for split in index.splits.values() for shard in split.shards]
        missing = [shard for shard in shards if work.finished(Path(shard.path).stem) is None]
        if work.continued:
            there = len(shards) - len(missing)
            logger.info("continuing %s: %d of %d shards are copied", work.folder, there, len(shards))
        for done, shard in enumerate(missing, len(shards) - len(missing) + 1):
            remote.fetch(shard.path, folder / shard.path, size=shard.bytes, sha256=shard.sha256)
            work.finish(Path(shard.path).stem, {}, file=f"{DATA_FOLDER}/{shard.path}", sha256=shard.sha256)
            log_progress(logger, done, len(shards), "shards", shard.path)
        members = [path.name for path in index.root.glob(MEMBERS_GLOB)]
        for name in (*members, INDEX_FILE, FACTS_FILE, QUALITY_FILE, LEFT_OUT_FILE, DROPPED_FILE):
            if (index.root / name).is_file():
                (folder / name).write_bytes((index.root / name).read_bytes())
        _fetch_teachers(index, folder, remote.fetch)
        local = load_index(folder)
        for split in local.splits:
            open_columns(local, split)
        publish(folder, target, force=False)
        work.remove()
    return load_index(target)


def _fetch_teachers(index: Index, folder: Path, bring: Callable[..., None]) -> None:
    for name, content in read_caches(index).items():
        # Features of other shards could not be opened with this folder, so they are not downloaded.
        if content.get("index") != index.digest or not content.get("rows"):
            continue
        cache = folder / TEACHER_FOLDER / name
        cache.mkdir(parents=True, exist_ok=True)
        for split, said in content["rows"].items():
            if split in index.splits:
                file = f"{TEACHER_FOLDER}/{name}/{split}.npy"
                bring(file, folder / file, size=said["bytes"], sha256=said["sha256"])
        if content["spec"].get("projection", {}).get("sha256"):
            bring(f"{TEACHER_FOLDER}/{name}/{WEIGHTS_FILE}", cache / WEIGHTS_FILE)
        # Written last, because a cache counts as complete as soon as its description exists.
        (cache / CACHE_FILE).write_bytes((index.root / TEACHER_FOLDER / name / CACHE_FILE).read_bytes())
