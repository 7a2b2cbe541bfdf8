"""Plan of an embedding: resolved teacher, splits, shards and existing caches; no features are computed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imu_video.config import digest
from imu_video.errors import ConfigError, DataError, nearest
from imu_video.modalities.base import modality_of, stream_name
from imu_video.registry import teachers
from imu_video.runtime.journal import PARTIAL_SUFFIX
from imu_video.shards.features.blocks import Block
from imu_video.shards.reading.teacher_cache import TeacherCache, open_cache, read_caches
from imu_video.shards.schema import TEACHER_FOLDER, Index
from imu_video.teachers.base import FrozenTeacher
from imu_video.version import __version__

FIT_SPLIT = "train"
WHAT = "embedding"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Work of an embedding: teacher with all arguments, its recipe, splits, camera, batch size."""

    teacher: dict[str, Any]
    recipe: str
    splits: tuple[str, ...]
    camera: str | None
    batch_size: int

    def job(self, index: Index) -> dict[str, Any]:
        """Settings that determine the raw features."""
        return {
            "version": __version__,
            "index": index.digest,
            "teacher": self.teacher,
            "camera": self.camera,
            "batch_size": self.batch_size,
        }

    def folder(self, index: Index, suffix: str = PARTIAL_SUFFIX) -> Path:
        """Folder of unfinished work."""
        return index.root / TEACHER_FOLDER / f".{self.recipe}{suffix}"


def plan_of(
    index: Index, teacher: Mapping[str, Any] | str, splits: Sequence[str] | None, camera: str | None, batch_size: int
) -> Plan:
    """Resolve teacher, splits and camera.

    Raises:
        ConfigError: unknown teacher, argument, split or camera.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    wanted = tuple(index.splits) if splits is None else tuple(dict.fromkeys(splits))
    for split in wanted:
        index.split(split)
    cameras = [stream.partition(".")[2] for stream in index.streams if "." in stream]
    if camera is not None and camera not in cameras:
        raise ConfigError(f"{index.root}: the shards have no camera {camera!r}{nearest(camera, cameras)}")
    context = {key: value for spec in index.streams.values() for key, value in spec.context.items()}
    name, arguments = teachers.arguments(teacher, **context)
    # A round trip through JSON: a recipe must not depend on whether a value was a tuple or a list.
    entry = json.loads(json.dumps({"name": name, **arguments}))
    recipe = {"teacher": entry, "index": index.digest}
    # Absent for the default camera, so that further cameras do not change its recipe; `view` is the stored word.
    if camera is not None:
        recipe["view"] = camera
    return Plan(teacher=entry, recipe=digest(recipe), splits=wanted, camera=camera, batch_size=batch_size)


def refuse_remote(index: Index) -> None:
    """Check that a data folder is local.

    Raises:
        ConfigError: the folder is at a remote address, which cannot be written to.
    """
    if index.remote is not None:
        raise ConfigError(
            f"{index.remote.address} cannot be written to",
            hint=f"imu-video fetch {index.remote.address} DATA, then embed DATA",
        )


def by_recipe(index: Index, recipe: str) -> TeacherCache | None:
    """Existing cache of the same teacher with the same arguments for these shards, without splits that are damaged."""
    for fingerprint, content in read_caches(index).items():
        if content.get("recipe") == recipe and content.get("index") == index.digest:
            return open_cache(index, fingerprint).without_damage()
    return None


def check_modality(index: Index, plan: Plan, model: FrozenTeacher) -> None:
    """Check that the shards contain the teacher's modality.

    Raises:
        ConfigError: a camera for a teacher that uses no video.
        DataError: the shards lack its modality.
    """
    modality, camera = modality_of(model.modality), plan.camera
    if camera is not None and modality.check_part(camera) is not None:
        raise ConfigError(
            f"teacher {plan.teacher['name']!r} needs {model.modality}, which has no cameras (--camera {camera})",
            hint="remove --camera",
        )
    stream = stream_name(model.modality, camera)
    if stream not in index.streams:
        rebuild = f"build again, with {modality.window_key()}=..., from recordings that contain {model.modality}"
        film = f"use a teacher of video: imu-video embed {index.root} configs/teacher/efficientnet_lite0.yaml; or "
        raise DataError(
            f"teacher {plan.teacher['name']!r} needs {stream}, but {index.root} has none "
            f"(its samples contain: {', '.join(['imu', *index.streams])})",
            hint=f"{film if 'video' in index.streams and camera is None else ''}{rebuild}",
        )


def blocks_of(index: Index, splits: Sequence[str]) -> list[Block]:
    """Every shard of the splits, in order."""
    return [(split, number) for split in splits for number in range(len(index.split(split).shards))]


def missing_blocks(index: Index, plan: Plan, known: TeacherCache | None, model: FrozenTeacher) -> list[Block]:
    """Blocks to compute: those of requested splits without features and of the split that a projection is fitted on."""
    splits = [split for split in plan.splits if known is None or split not in known.splits]
    # A projection is fitted on training samples, also where only other splits are requested.
    if known is None and model.projection.needs_fit:
        require_fit_split(index)
        splits = list(dict.fromkeys([FIT_SPLIT, *splits]))
    return blocks_of(index, splits)


def require_fit_split(index: Index) -> None:
    """Check that there are training subjects to fit a teacher on.

    Raises:
        ConfigError: no split `train`.
    """
    if FIT_SPLIT not in index.splits:
        raise ConfigError(
            f"{index.root}: this teacher is fitted on split {FIT_SPLIT!r}, but the splits are {list(index.splits)}",
            hint="build the data with a split of that name, or use a teacher that needs no fitting",
        )
