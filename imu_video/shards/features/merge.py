"""Merge parts of an embedding that several machines computed; the cache is equal to that of a single machine."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from imu_video.errors import ConfigError, ShardError
from imu_video.registry import load_plugin, teachers
from imu_video.runtime.journal import JOB_FILE, PARTS_SUFFIX, Journal, read_job
from imu_video.runtime.parts import find_parts, part_of, share
from imu_video.runtime.references import resolve, settled
from imu_video.shards.features.blocks import Block, block_name
from imu_video.shards.features.plan import WHAT, by_recipe, missing_blocks, plan_of
from imu_video.shards.features.rows import publish_rows, restore_fitted
from imu_video.shards.reading.teacher_cache import TeacherCache
from imu_video.shards.schema import TEACHER_FOLDER, Index
from imu_video.teachers.base import FrozenTeacher


def merge_features(index: Index, *, plugins: Sequence[str | Path] = ()) -> list[TeacherCache]:
    """Create the caches whose parts `Embedding.part` computed; the bytes equal those of an embedding without parts.

    Args:
        index: a loaded index.
        plugins: files that register teachers.

    Raises:
        ConfigError: no parts, a missing part, parts of different divisions or teachers.
        ShardError: a part that is not finished.
    """
    for plugin in plugins:
        load_plugin(plugin)
    roots = sorted((index.root / TEACHER_FOLDER).glob(f".*{PARTS_SUFFIX}"))
    if not roots:
        raise ConfigError(
            f"{index.root}: no parts of features to merge", hint=f"imu-video embed {index.root} TEACHER --part 1/4"
        )
    return [_merge(index, root) for root in roots]


def _merge(index: Index, root: Path) -> TeacherCache:
    folders = find_parts(root, command=f"imu-video embed {index.root} TEACHER")
    jobs = [read_job(folder) or {} for folder in folders.values()]
    # The number of the part is the only field in which the jobs of one division differ.
    if any({**job, "part": 0} != {**jobs[0], "part": 0} for job in jobs) or jobs[0].get("index") != index.digest:
        raise ConfigError(
            f"{root}: the parts belong to different versions, splits or shards",
            hint=f"delete {root} and embed the parts again",
        )
    teacher = settled(resolve(jobs[0]["teacher"], str(folders[1] / JOB_FILE)))
    plan = plan_of(index, teacher, jobs[0]["splits"], jobs[0]["camera"], jobs[0]["batch_size"])
    known = by_recipe(index, plan.recipe)
    model: FrozenTeacher = teachers.build(plan.teacher)
    restore_fitted(model, known, plan.camera)
    blocks = missing_blocks(index, plan, known, model)
    with ExitStack() as stack:
        journals: dict[Block, Journal] = {}
        for number, folder in folders.items():
            journal = stack.enter_context(Journal(folder, jobs[number - 1], what=WHAT))
            journals |= dict.fromkeys(share(blocks, number, len(folders)), journal)
        unfinished = [block for block in blocks if journals[block].finished(block_name(block)) is None]
        if unfinished:
            first = unfinished[0]
            raise ShardError(
                f"{root}: {len(unfinished)} of {len(blocks)} shards are not embedded, the first: {block_name(first)}",
                hint=f"finish it: imu-video embed {index.root} TEACHER --part {part_of(journals[first].folder)}",
            )
        cache = publish_rows(index, plan, model, known, journals, "cpu")
    shutil.rmtree(root, ignore_errors=True)
    return cache
