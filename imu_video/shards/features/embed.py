"""A frozen teacher over all clips or skeletons of a data folder, once; training then reads the rows it leaves.

Rows follow the columns. Teachers or projections that need data are fitted on the split `train` alone, and what was
fitted is kept in the cache folder, so that the same teacher can be embedded on further splits later. Raw features are
computed shard by shard (blocks.py), in one process, several, or on several machines; the projection comes last.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from imu_video.errors import ConfigError, DataError, ShardError, TeacherCacheError
from imu_video.registry import load_plugin, teachers
from imu_video.shards.features.blocks import Block, EmbedBlock, batches_of, block_name, inputs_of, restore
from imu_video.shards.features.plan import (
    FIT_SPLIT,
    Plan,
    blocks_of,
    by_recipe,
    check_modality,
    missing_blocks,
    plan_of,
    refuse_remote,
    require_fit_split,
)
from imu_video.shards.jobs.engine import run
from imu_video.shards.jobs.journal import PARTS_SUFFIX, Journal, Note, kept_when_interrupted, read_job
from imu_video.shards.reading.teacher_cache import (
    CACHE_FILE,
    WEIGHTS_FILE,
    TeacherCache,
    open_cache,
    read_caches,
    save_rows,
)
from imu_video.shards.schema import TEACHER_FOLDER, Index
from imu_video.shards.write import sync_folder, write_atomic
from imu_video.teachers.base import FrozenTeacher

WHAT = "embedding"
_PRELOAD = ("imu_video.shards.features.blocks", "imu_video.teachers")
_FITTED = "fitted"
_ROWS = 8192  # projected at a time
_PART = re.compile(r"(\d+)-of-(\d+)")
Progress = Callable[[int, int, str], None]
"""Called with samples done, samples in all, and the split."""


def embed(
    index: Index,
    teacher: Mapping[str, Any] | str,
    *,
    splits: Sequence[str] | None = None,
    view: str | None = None,
    batch_size: int = 4,
    device: str | torch.device | None = None,
    workers: int = 1,
    engine: str = "local",
    plugins: Sequence[str | Path] = (),
    force: bool = False,
    progress: Progress | None = None,
    note: Note | None = None,
) -> TeacherCache:
    """Compute a teacher's features of every sample and keep them under ``DATA/teachers/<fingerprint>``.

    What is already there is not computed again. Shards that are finished are kept when the work is stopped or killed,
    and the same call continues. The bytes do not depend on workers or restarts.

    Args:
        index: a loaded index.
        teacher: a registered teacher and its arguments.
        splits: splits to embed; all when None.
        view: a further video of the samples; the default one when None. The cache is then named
            ``<fingerprint>-<view>``.
        batch_size: clips a forward pass, >= 1; a GPU likes more.
        device: where the teacher runs; a GPU where there is one when None.
        workers: processes, a shard each at a time. One uses all cores with threads already; several serve several GPUs
            and decoding beside them.
        engine: ``local`` or ``ray``, see `engine.run`.
        plugins: files that register teachers, imported by every worker.
        force: throw away unfinished work of this teacher by another version.
        progress: called after every batch, with several workers after every shard.
        note: is told when unfinished work is continued or thrown away.

    Raises:
        ConfigError: unknown teacher, argument, split or view; the same work goes on in another process.
        DataError: the shards lack the teacher's modality.
        ShardError: damaged shards, a worker that died.

    Example:
        >>> cache = embed(load_index("data/demo"), {"name": "tiny"})  # doctest: +SKIP
    """
    refuse_remote(index)
    plan = plan_of(index, teacher, splits, view, batch_size)
    known = by_recipe(index, plan.recipe)
    if known is not None and set(plan.splits) <= set(known.splits):
        return known
    work = Journal(plan.folder(index), plan.job(index), what=WHAT, replace=force, note=note)
    with kept_when_interrupted(work):
        model, weights = _model(index, plan, known, work, progress)
        model.to(_device(device))
        blocks = missing_blocks(index, plan, known, model)
        journals = dict.fromkeys(blocks, work)
        _compute(index, plan, blocks, work, weights, device, workers, engine, plugins, progress, note)
        cache = _publish(index, plan, model, known, journals, device)
        work.remove()
    return cache


def embed_part(
    index: Index,
    teacher: Mapping[str, Any] | str,
    part: tuple[int, int],
    *,
    splits: Sequence[str] | None = None,
    view: str | None = None,
    batch_size: int = 4,
    device: str | torch.device | None = None,
    workers: int = 1,
    engine: str = "local",
    plugins: Sequence[str | Path] = (),
    force: bool = False,
    progress: Progress | None = None,
    note: Note | None = None,
) -> Path:
    """Compute one of n shares of the shards; `merge_features` makes the cache when all parts are there.

    Args:
        part: (i, n) with 1 <= i <= n.
        index, teacher, splits, view, batch_size, device, workers, engine, plugins, force, progress, note: as for
            `embed`.

    Returns:
        The folder of the part.

    Raises:
        ConfigError: as for `embed`; a network that must be fitted first, in one process.
        DataError, ShardError: as for `embed`.
    """
    number, of = part
    if not 1 <= number <= of:
        raise ConfigError(f"part {number}/{of}: expected i/n with 1 <= i <= n", hint="for example --part 3/16")
    refuse_remote(index)
    plan = plan_of(index, teacher, splits, view, batch_size)
    known = by_recipe(index, plan.recipe)
    job = {**plan.job(index), "splits": list(plan.splits), "part": [number, of]}
    folder = plan.folder(index, PARTS_SUFFIX) / f"{number}-of-{of}"
    model: FrozenTeacher = teachers.build(plan.teacher)
    check_modality(index, model, view)
    if model.needs_fit and known is None:
        raise ConfigError(
            f"teacher {plan.teacher['name']!r} is fitted on {FIT_SPLIT!r} first: its parts need the fitted network",
            hint=f"imu-video embed {index.root} TEACHER --split {FIT_SPLIT}, then the parts",
        )
    weights = _restore(model, known, view)
    work = Journal(folder, job, what=WHAT, replace=force, note=note)
    with kept_when_interrupted(work):
        blocks = missing_blocks(index, plan, known, model)[number - 1 :: of]
        _compute(index, plan, blocks, work, weights, device, workers, engine, plugins, progress, note)
    return folder


def merge_features(index: Index, *, plugins: Sequence[str | Path] = (), note: Note | None = None) -> list[TeacherCache]:
    """Make the caches of which `embed_part` computed all parts: the bytes of an unsplit embedding.

    Args:
        index: a loaded index.
        plugins: files that register teachers.
        note: is told what happens to unfinished work.

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
    plan = plan_of(index, jobs[0]["teacher"], jobs[0]["splits"], jobs[0]["view"], jobs[0]["batch_size"])
    known = by_recipe(index, plan.recipe)
    model: FrozenTeacher = teachers.build(plan.teacher)
    _restore(model, known, plan.view)
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
        cache = _publish(index, plan, model, known, journals, "cpu")
    shutil.rmtree(root, ignore_errors=True)
    return cache


# ------------------------------------------------------------------------------------------------------- compute


def _model(
    index: Index, plan: Plan, known: TeacherCache | None, work: Journal, progress: Progress | None
) -> tuple[FrozenTeacher, Path | None]:
    """The teacher as far as it can be fitted before its features are computed, and the file of what was fitted."""
    model: FrozenTeacher = teachers.build(plan.teacher)
    check_modality(index, model, plan.view)
    if known is not None:
        return model, _restore(model, known, plan.view)
    if not model.needs_fit:
        return model, None
    file = work.folder / WEIGHTS_FILE
    if work.finished(_FITTED) is not None:
        restore(model, file)
        return model, file
    require_fit_split(index)
    inputs: list[torch.Tensor] = []
    labels: list[str | None] = []
    for block in blocks_of(index, [FIT_SPLIT]):
        for _, samples in batches_of(index, block, model, plan.batch_size, plan.view):
            inputs += [inputs_of(index, one, model, plan.view) for one in samples]
            labels += [one.meta.get("label") for one in samples]
    if not inputs:
        raise DataError(f"{index.root}: no sample of split {FIT_SPLIT!r} has {model.modality} to fit a teacher on")

    def say(done: int, of: int) -> None:
        if progress:
            progress(done, of, "fit")

    if model.needs_labels:
        model.fit(torch.stack(inputs), labels=labels, progress=say)
    else:
        model.fit(torch.stack(inputs), progress=say)
    write_atomic(file, _state(model))
    work.finish(_FITTED, {}, file=WEIGHTS_FILE)
    return model, file


def _restore(model: FrozenTeacher, known: TeacherCache | None, view: str | None) -> Path | None:
    """Load what an earlier run fitted, and make sure that it is the teacher that the folder is named after."""
    if known is None:
        return None
    path = known.folder / WEIGHTS_FILE
    if path.is_file():
        restore(model, path)
    if cache_name(model, view) != known.folder.name:
        raise TeacherCacheError(
            f"{known.folder}: the teacher built now has fingerprint {model.fingerprint}",
            hint=f"delete {known.folder} and embed again",
        )
    return path if path.is_file() else None


def cache_name(model: FrozenTeacher, view: str | None) -> str:
    """Name of a teacher's cache folder."""
    return model.fingerprint if view is None else f"{model.fingerprint}-{view}"


def _compute(
    index: Index,
    plan: Plan,
    blocks: Sequence[Block],
    work: Journal,
    weights: Path | None,
    device: str | torch.device | None,
    workers: int,
    engine: str,
    plugins: Sequence[str | Path],
    progress: Progress | None,
    note: Note | None,
) -> None:
    """Finish the blocks that are not finished."""
    missing = [block for block in blocks if work.finished(block_name(block)) is None]
    if len(missing) < len(blocks) and note is not None:
        note(f"continuing {work.folder}: {len(blocks) - len(missing)} of {len(blocks)} shards are embedded")
    report = _Report(index, blocks, missing, progress)
    task = EmbedBlock(
        root=index.root,
        teacher=plan.teacher,
        weights=weights,
        view=plan.view,
        batch_size=plan.batch_size,
        device=_device(device),
        plugins=tuple(str(plugin) for plugin in plugins),
        journal=work,
        progress=report.within,
    )
    for block, _ in zip(missing, run(task, missing, workers=workers, engine=engine, preload=_PRELOAD), strict=True):
        report.after(block)


class _Report:
    """Samples done of each split, told after every batch (this process) and every block."""

    def __init__(
        self, index: Index, blocks: Sequence[Block], missing: Sequence[Block], progress: Progress | None
    ) -> None:
        self._samples = {block: index.split(block[0]).shards[block[1]].samples for block in blocks}
        self._done = {split: 0 for split, _ in blocks}
        self._progress = progress
        for block in set(blocks) - set(missing):
            self._done[block[0]] += self._samples[block]

    def within(self, block: Block, done: int) -> None:
        if done < self._samples[block]:
            self._tell(block[0], self._done[block[0]] + done)

    def after(self, block: Block) -> None:
        self._done[block[0]] += self._samples[block]
        self._tell(block[0], self._done[block[0]])

    def _tell(self, split: str, done: int) -> None:
        if self._progress is not None:
            self._progress(done, sum(n for (s, _), n in self._samples.items() if s == split), split)


# ------------------------------------------------------------------------------------------------------- publish


def _publish(
    index: Index,
    plan: Plan,
    model: FrozenTeacher,
    known: TeacherCache | None,
    journals: Mapping[Block, Journal],
    device: str | torch.device | None,
) -> TeacherCache:
    """Fit the projection where it needs it, project all rows and put them in their place."""
    raw: dict[str, list[np.ndarray]] = {}
    for (split, number), journal in journals.items():
        file = journal.folder / f"{block_name((split, number))}.npy"
        raw.setdefault(split, []).append(np.load(file, allow_pickle=False))
    if known is None and model.projection.needs_fit:
        features = np.concatenate(raw[FIT_SPLIT])
        model.fit_projection(torch.from_numpy(features[np.isfinite(features).all(axis=1)]))
    rows = {split: _project(model, np.concatenate(raw[split]), _device(device)) for split in raw}
    name = cache_name(model, plan.view)
    spec = model.describe() if plan.view is None else {**model.describe(), "view": plan.view}
    content = {"fingerprint": name, "spec": spec, "teacher": plan.teacher, "recipe": plan.recipe}
    return _write(index, model, {**content, "index": index.digest}, {s: rows[s] for s in rows if s in plan.splits})


def _device(device: str | torch.device | None) -> str:
    return str(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _project(model: FrozenTeacher, raw: np.ndarray, device: str) -> np.ndarray:
    """(N, Dt) of (N, width), NaN rows where the raw ones are."""
    rows = np.full((len(raw), model.feature_dim), np.nan, np.float32)
    there = np.flatnonzero(np.isfinite(raw).all(axis=1))
    with torch.no_grad():
        for first in range(0, len(there), _ROWS):
            some = there[first : first + _ROWS]
            rows[some] = model.projection(torch.from_numpy(raw[some]).to(device)).cpu().numpy()
    return rows


def _state(model: FrozenTeacher) -> bytes:
    return save({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()})


def _write(
    index: Index, model: FrozenTeacher, content: Mapping[str, Any], rows: Mapping[str, np.ndarray]
) -> TeacherCache:
    """Publish rows: a new folder is renamed into place, further splits join an existing one file by file."""
    folder = index.root / TEACHER_FOLDER / str(content["fingerprint"])
    temp = folder.with_name(f".{folder.name}.tmp-{secrets.token_hex(4)}")
    temp.mkdir(parents=True)
    joins = (folder / CACHE_FILE).is_file() and read_caches(index)[folder.name].get("index") == index.digest
    listed = dict(read_caches(index)[folder.name].get("rows", {})) if joins else {}
    try:
        for split, values in rows.items():
            # float16 halves the bytes that training reads; it has room for every feature of a normalised network
            small = values.astype(np.float16)
            exact = np.isfinite(small) | ~np.isfinite(values)
            listed[split] = save_rows(temp / f"{split}.npy", small if exact.all() else values)
        if model.needs_fit or model.projection.describe().get("sha256"):
            write_atomic(temp / WEIGHTS_FILE, _state(model))
        text = json.dumps({**content, "rows": listed}, indent=1, sort_keys=True, allow_nan=False)
        write_atomic(temp / CACHE_FILE, text.encode())
        if joins:
            for split in rows:
                os.replace(temp / f"{split}.npy", folder / f"{split}.npy")
            os.replace(temp / CACHE_FILE, folder / CACHE_FILE)
        else:
            shutil.rmtree(folder, ignore_errors=True)  # of other shards: nothing can use it any more
            os.rename(temp, folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return open_cache(index, folder.name)
