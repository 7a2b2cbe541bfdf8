"""Paths of unfinished data folders and the final rename; other modules write the content."""

from __future__ import annotations

from pathlib import Path

from imu_video.errors import ConfigError, ShardError
from imu_video.runtime.files import is_free, move_folder, remove_dead_leftovers
from imu_video.runtime.journal import PARTIAL_SUFFIX, PARTS_SUFFIX
from imu_video.shards.schema import FACTS_FILE, INDEX_FILE

DATA_FOLDER = "data"


def partial_folder(out: Path) -> Path:
    """Path of the unfinished build of ``out``."""
    return out.with_name(out.name + PARTIAL_SUFFIX)


def parts_folder(out: Path) -> Path:
    """Path of the folder with the parts of ``out``."""
    return out.with_name(out.name + PARTS_SUFFIX)


def require_data_folder(target: Path) -> None:
    """Refuse to replace anything but a data folder or an empty one.

    Raises:
        ConfigError: ``target`` is neither a data folder nor an empty folder.
    """
    if not is_free(target) and not any((target / name).is_file() for name in (INDEX_FILE, FACTS_FILE)):
        raise ConfigError(f"{target} exists and is not a data folder", hint="name a folder that does not exist yet")


def publish(temp: Path, target: Path, *, force: bool) -> None:
    """Rename a finished folder to its final name.

    With ``force``, the old folder is renamed first and removed last.

    Raises:
        ShardError: ``target`` was created by another process meanwhile.
    """
    remove_dead_leftovers(target.parent, name=target.name)
    try:
        move_folder(temp, target, replace=force)
    except OSError as error:
        raise ShardError(f"another process wrote {target} in the meantime: {error.strerror}") from error
