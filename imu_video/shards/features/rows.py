"""Writing of raw features into a cache folder: projection, float16 if it is exact, atomic rename."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from imu_video.errors import TeacherCacheError
from imu_video.runtime.files import (
    move_file,
    move_folder,
    remove,
    remove_dead_leftovers,
    temporary_path,
    write_atomic,
)
from imu_video.runtime.journal import Journal
from imu_video.runtime.references import restored
from imu_video.shards.features.blocks import Block, block_name, restore
from imu_video.shards.features.plan import FIT_SPLIT, Plan
from imu_video.shards.reading.arrays import SEAL
from imu_video.shards.reading.teacher_cache import (
    CACHE_FILE,
    WEIGHTS_FILE,
    TeacherCache,
    open_cache,
    read_caches,
    save_rows,
    write_cache_file,
)
from imu_video.shards.schema import TEACHER_FOLDER, Index
from imu_video.teachers.base import FrozenTeacher

_ROWS = 8192  # projected at a time
logger = logging.getLogger(__name__)


def restore_fitted(model: FrozenTeacher, known: TeacherCache | None, camera: str | None) -> Path | None:
    """Load the weights that an earlier run fitted, and verify the fingerprint in the name of the folder.

    Args:
        model: changed in place.
        known: the existing cache; None: nothing is loaded.
        camera: of the cache, see `cache_name`.

    Raises:
        TeacherCacheError: the teacher has another fingerprint than the cache.
    """
    if known is None:
        return None
    path = known.folder / WEIGHTS_FILE
    if path.is_file():
        restore(model, path)
    if cache_name(model, camera) != known.folder.name:
        raise TeacherCacheError(
            f"{known.folder}: the configured teacher has another fingerprint, {model.fingerprint}",
            hint=f"delete {known.folder} and embed again",
        )
    return path if path.is_file() else None


def cache_name(model: FrozenTeacher, camera: str | None) -> str:
    """Name of a teacher's cache folder."""
    return model.fingerprint if camera is None else f"{model.fingerprint}-{camera}"


def publish_rows(
    index: Index,
    plan: Plan,
    model: FrozenTeacher,
    known: TeacherCache | None,
    journals: Mapping[Block, Journal],
    device: str,
) -> TeacherCache:
    """Fit the projection if needed, project all rows and write them to the cache."""
    raw: dict[str, list[np.ndarray]] = {}
    for (split, number), journal in journals.items():
        file = journal.folder / f"{block_name((split, number))}.npy"
        raw.setdefault(split, []).append(np.load(file, allow_pickle=False))
    if known is None and model.projection.needs_fit:
        features = np.concatenate(raw[FIT_SPLIT])
        model.fit_projection(torch.from_numpy(features[np.isfinite(features).all(axis=1)]))
    rows = {split: _project(model, np.concatenate(raw[split]), device) for split in raw}
    name = cache_name(model, plan.camera)
    spec = model.describe() if plan.camera is None else {**model.describe(), "view": plan.camera}
    # A split that was computed only to fit the projection is not stored unless the plan requests it.
    content = {"fingerprint": name, "spec": restored(spec), "teacher": restored(plan.teacher), "recipe": plan.recipe}
    written = {split: rows[split] for split in rows if split in plan.splits}
    # Rows without hashes get them now: teacher.json lists either all rows of a cache or, in early versions, none.
    older = {} if known is None else known.unhashed()
    return _write(index, model, {**content, "index": index.digest}, {**older, **written})


def _project(model: FrozenTeacher, raw: np.ndarray, device: str) -> np.ndarray:
    """Project (N, width) to (N, Dt); rows of NaN stay NaN."""
    rows = np.full((len(raw), model.feature_dim), np.nan, np.float32)
    there = np.flatnonzero(np.isfinite(raw).all(axis=1))
    with torch.no_grad():
        for first in range(0, len(there), _ROWS):
            some = there[first : first + _ROWS]
            rows[some] = model.projection(torch.from_numpy(raw[some]).to(device)).cpu().numpy()
    return rows


def weights_of(model: FrozenTeacher) -> bytes:
    """A teacher's weights as the bytes of a safetensors file."""
    return save({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()})


def add_hashes(index: Index, known: TeacherCache) -> TeacherCache:
    """Write the rows of an earlier version, which have no hashes of blocks, again with them; nothing is computed.

    Args:
        index: of the data folder.
        known: the existing cache, already checked.
    """
    rows = known.unhashed()
    if not rows:
        return known
    logger.info("%s: hashes are added to %s", known.folder, ", ".join(rows))
    content = {key: value for key, value in read_caches(index)[known.folder.name].items() if key not in ("rows", SEAL)}
    return _write(index, None, content, rows)


def _write(
    index: Index, model: FrozenTeacher | None, content: Mapping[str, Any], rows: Mapping[str, np.ndarray]
) -> TeacherCache:
    """Publish rows: a new folder is renamed into place, further splits join an existing one file by file."""
    folder = index.root / TEACHER_FOLDER / str(content["fingerprint"])
    remove_dead_leftovers(folder.parent)
    temp = temporary_path(folder)
    temp.mkdir(parents=True)
    # A cache of the same shards gets further splits; a cache of other shards is replaced as a whole.
    stored = read_caches(index).get(folder.name, {})
    joins = stored.get("index") == index.digest
    listed = dict(stored.get("rows", {})) if joins else {}
    try:
        for split, values in rows.items():
            # float16 halves the bytes that training reads; it has room for every feature of a normalised network
            small = values.astype(np.float16)
            exact = np.isfinite(small) | ~np.isfinite(values)
            listed[split] = save_rows(temp / f"{split}.npy", small if exact.all() else values, index, split)
        if model is not None and (model.needs_fit or model.projection.describe().get("sha256")):
            write_atomic(temp / WEIGHTS_FILE, weights_of(model))
        write_cache_file(temp, {**content, "rows": listed})
        if joins:
            for split in rows:
                if (folder / f"{split}.npy").is_dir():
                    remove(folder / f"{split}.npy")
                move_file(temp / f"{split}.npy", folder / f"{split}.npy")
            # Written last, because it lists the other files: a process killed before leaves rows without a reference.
            move_file(temp / CACHE_FILE, folder / CACHE_FILE)
        else:
            move_folder(temp, folder, replace=True)  # replaced: one of other shards, which nothing can use any more
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return open_cache(index, folder.name)
