"""Merge parts of an embedding that several machines computed; the cache is equal to that of a single machine."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from imu_video.errors import ConfigError, ShardError
from imu_video.registry import load_plugin, teachers
from imu_video.runtime.journal import PARTS_SUFFIX, Journal, read_job
from imu_video.shards.features.blocks import Block, block_name
from imu_video.shards.features.plan import WHAT, by_recipe, missing_blocks, plan_of
from imu_video.shards.features.rows import publish_rows, restore_fitted
from imu_video.shards.reading.teacher_cache import TeacherCache
from imu_video.shards.schema import TEACHER_FOLDER, Index
from imu_video.teachers.base import FrozenTeacher

_PART = re.compile(r"(\d+)-of-(\d+)")


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
    found = {(int(m[1]), int(m[2])): p for p in sorted(root.glob("*")) if (m := _PART.fullmatch(p.name))}
    counts = sorted({of for _, of in found})
    of = counts[0] if counts else 0
    missing = [n for n in range(1, of + 1) if (n, of) not in found]
    if len(counts) != 1 or missing:
        lacking = ", ".join(f"{n}/{of}" for n in missing)
        raise ConfigError(
            f"{root}: {f'part {lacking} is missing' if missing else f'parts of {counts}: one division only'}",
            hint=f"imu-video embed {index.root} TEACHER --part {missing[0] if missing else 1}/{of}, or delete {root}",
        )
    jobs = [read_job(found[number, of]) or {} for number in range(1, of + 1)]
    if any({**job, "part": 0} != {**jobs[0], "part": 0} for job in jobs) or jobs[0].get("index") != index.digest:
        raise ConfigError(
            f"{root}: its parts are of different versions or splits, or of other shards",
            hint=f"delete {root} and embed the parts again",
        )
    plan = plan_of(index, jobs[0]["teacher"], jobs[0]["splits"], jobs[0]["camera"], jobs[0]["batch_size"])
    known = by_recipe(index, plan.recipe)
    model: FrozenTeacher = teachers.build(plan.teacher)
    restore_fitted(model, known, plan.camera)
    blocks = missing_blocks(index, plan, known, model)
    with ExitStack() as stack:
        journals: dict[Block, Journal] = {}
        for number in range(1, of + 1):
            journal = stack.enter_context(Journal(found[number, of], jobs[number - 1], what=WHAT))
            journals |= dict.fromkeys(blocks[number - 1 :: of], journal)
        open_ = [block for block in blocks if journals[block].finished(block_name(block)) is None]
        if open_:
            part = journals[open_[0]].folder.name.replace("-of-", "/")
            raise ShardError(
                f"{root}: {len(open_)} of {len(blocks)} shards are not embedded, the first: {block_name(open_[0])}",
                hint=f"run it to its end: imu-video embed {index.root} TEACHER --part {part}",
            )
        cache = publish_rows(index, plan, model, known, journals, "cpu")
    shutil.rmtree(root, ignore_errors=True)
    return cache
