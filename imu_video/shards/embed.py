"""A frozen teacher over all clips or skeletons of a data folder, once; training then reads the rows it leaves.

Rows follow the columns. Teachers or projections that need data are fitted on the split `train` alone, and what was
fitted is kept in the cache folder, so that the same teacher can be embedded on further splits later.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from imu_video.config import digest
from imu_video.errors import ConfigError, DataError, TeacherCacheError
from imu_video.registry import teachers
from imu_video.shards.pipeline import Sample, read_samples
from imu_video.shards.schema import TEACHER_FOLDER, Index
from imu_video.shards.teacher_cache import CACHE_FILE, TeacherCache, open_cache, read_caches
from imu_video.shards.video import decode_mp4
from imu_video.shards.write import sync_folder, write_atomic
from imu_video.teachers.base import FrozenTeacher

FIT_SPLIT = "train"
WEIGHTS_FILE = "fitted.safetensors"
_M_ARENA_MAX, _M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -8, -1, -3  # malloc.h of glibc
Progress = Callable[[int, int, str], None]
"""Called with samples done, samples in all, and the split."""


def embed(
    index: Index,
    teacher: Mapping[str, Any] | str,
    *,
    splits: Sequence[str] | None = None,
    batch_size: int = 4,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> TeacherCache:
    """Compute a teacher's features of every sample and keep them under ``DATA/teachers/<fingerprint>``.

    What is already there is not computed again. Everything is written beside its place and renamed.

    Args:
        index: a loaded index.
        teacher: a registered teacher and its arguments.
        splits: splits to embed; all when None.
        batch_size: clips a forward pass, >= 1; a GPU likes more.
        device: where the teacher runs; a GPU where there is one when None.
        progress: called after every batch.

    Raises:
        ConfigError: unknown teacher, argument or split.
        DataError: the shards lack the teacher's modality.
        ShardError: damaged shards.

    Example:
        >>> cache = embed(load_index("data/demo"), {"name": "tiny"})  # doctest: +SKIP
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    wanted = list(index.splits) if splits is None else list(dict.fromkeys(splits))
    for split in wanted:
        index.split(split)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    context = {"joints": list(index.skeleton.joints)} if index.skeleton is not None else {}
    name, arguments = teachers.arguments(teacher, **context)
    entry = json.loads(json.dumps({"name": name, **arguments}))
    recipe = digest({"teacher": entry, "index": index.digest})
    known = _by_recipe(index, recipe)
    if known is not None and set(wanted) <= set(known.splits):
        return known
    model: FrozenTeacher = teachers.build(entry)
    _check_modality(index, model)
    model.to(device)
    rows: dict[str, np.ndarray] = {}
    if known is not None:
        _restore(model, known.folder)
    else:
        rows |= _fit(index, model, batch_size, device, progress)
    missing = [s for s in wanted if s not in rows and (known is None or s not in known.splits)]
    for split in missing:
        rows[split] = _embed_split(index, split, model, batch_size, device, progress)
    content = {"fingerprint": model.fingerprint, "spec": model.describe(), "teacher": entry, "recipe": recipe}
    return _write(index, model, {**content, "index": index.digest}, {s: rows[s] for s in rows if s in wanted})


def _by_recipe(index: Index, recipe: str) -> TeacherCache | None:
    for fingerprint, content in read_caches(index).items():
        if content.get("recipe") == recipe and content.get("index") == index.digest:
            return open_cache(index, fingerprint)
    return None


def _check_modality(index: Index, model: FrozenTeacher) -> None:
    have = [kind for kind, spec in (("video", index.clip), ("skeleton", index.skeleton)) if spec is not None]
    if model.modality not in have:
        key = {"video": "window.clip_fps", "skeleton": "window.skeleton_fps"}[model.modality]
        raise DataError(
            f"{index.root}: the teacher needs {model.modality}, the shards hold {' and '.join(have) or 'neither'}",
            hint=f"build them again with {key}=..., from recordings that have {model.modality}",
        )


def _fit(
    index: Index, model: FrozenTeacher, batch_size: int, device: str | torch.device, progress: Progress | None
) -> dict[str, np.ndarray]:
    """Fit what needs data on the training split; return its rows where they came out on the way."""
    if not model.needs_fit and not model.projection.needs_fit:
        return {}
    if FIT_SPLIT not in index.splits:
        raise ConfigError(
            f"{index.root}: this teacher is fitted on the split {FIT_SPLIT!r}, there are {list(index.splits)}",
            hint="build the data with a split of that name, or use a teacher that needs no fitting",
        )
    if model.needs_fit:
        inputs = [
            _inputs(index, one, model)
            for _, samples in _batches(index, FIT_SPLIT, model, batch_size)
            for one in samples
        ]
        if not inputs:
            raise DataError(f"{index.root}: no sample of split {FIT_SPLIT!r} has {model.modality} to fit a teacher on")
        total = len(inputs)
        model.fit(torch.stack(inputs), progress=lambda done, of: progress(done, of, "fit") if progress else None)
        if total and progress is not None:
            progress(total, total, "fit")
    if model.projection.needs_fit:
        raw = _embed_split(index, FIT_SPLIT, model, batch_size, device, progress, raw=True)
        there = np.isfinite(raw).all(axis=1)
        features = torch.from_numpy(raw[there])
        model.fit_projection(features)
        rows = np.full((len(raw), model.feature_dim), np.nan, np.float32)
        with torch.no_grad():
            rows[there] = model.projection(features.to(device)).cpu().numpy()
        return {FIT_SPLIT: rows}
    return {}


def _restore(model: FrozenTeacher, folder: Path) -> None:
    """Load what an earlier run fitted, and make sure that it is the teacher that the folder is named after."""
    path = folder / WEIGHTS_FILE
    if path.is_file():
        model.load_state_dict({**model.state_dict(), **load_file(path)})
    if model.fingerprint != folder.name:
        raise TeacherCacheError(
            f"{folder}: the teacher built now has fingerprint {model.fingerprint}",
            hint=f"delete {folder} and embed again",
        )


def _embed_split(
    index: Index,
    split: str,
    model: FrozenTeacher,
    batch_size: int,
    device: str | torch.device,
    progress: Progress | None,
    *,
    raw: bool = False,
) -> np.ndarray:
    """(N, Dt) float32 features, NaN rows where a sample lacks the modality."""
    total = index.split(split).samples
    width = model.projection.width if raw else model.feature_dim
    rows = np.full((total, width), np.nan, np.float32)
    encode = model.raw_features if raw else model.encode

    def work(numbers: list[int], samples: list[Sample]) -> int:
        inputs = torch.stack([_inputs(index, sample, model) for sample in samples])
        rows[numbers] = encode(inputs.to(device)).cpu().numpy()
        return numbers[-1] + 1

    for done in _in_threads(work, _batches(index, split, model, batch_size), on_cpu=str(device) == "cpu"):
        if progress is not None:
            progress(done, total, split)
    return rows


def _keep_freed_memory() -> None:
    """Tell glibc to keep large freed blocks: a network frees and takes the same ones for every batch.

    By default each thread hands them back to the kernel and faults them in again, which cost as much time as the
    arithmetic (docs/teachers.md). Other C libraries have no such switch and are left alone.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        for option, value in ((_M_ARENA_MAX, 1), (_M_TRIM_THRESHOLD, 2**30), (_M_MMAP_THRESHOLD, 2**25)):
            libc.mallopt(option, value)


def _in_threads(
    work: Callable[[list[int], list[Sample]], int],
    batches: Iterator[tuple[list[int], list[Sample]]],
    *,
    on_cpu: bool,
) -> Iterator[int]:
    """Decode and encode several batches at once: on a CPU one core each, which small images use better than sharing."""
    count = torch.get_num_threads()
    if on_cpu:
        _keep_freed_memory()
    with ThreadPoolExecutor(count, initializer=partial(torch.set_num_threads, 1) if on_cpu else None) as pool:
        pending: deque[Future[int]] = deque()
        try:
            for numbers, samples in batches:
                pending.append(pool.submit(work, numbers, samples))
                if len(pending) > 2 * count:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _batches(
    index: Index, split: str, model: FrozenTeacher, batch_size: int
) -> Iterator[tuple[list[int], list[Sample]]]:
    """Row numbers and samples, still encoded, of those that have the teacher's modality."""
    numbers: list[int] = []
    samples: list[Sample] = []
    for row, sample in enumerate(read_samples(index, split, {model.modality})):
        if (sample.video if model.modality == "video" else sample.skeleton) is None:
            continue
        numbers.append(row)
        samples.append(sample)
        if len(samples) == batch_size:
            yield numbers, samples
            numbers, samples = [], []
    if samples:
        yield numbers, samples


def _inputs(index: Index, sample: Sample, model: FrozenTeacher) -> Tensor:
    """What the teacher looks at: chosen frames (F, H, W, 3) uint8 or chosen poses (F, J, 3) float32."""
    if sample.video is not None and index.clip is not None:
        return torch.from_numpy(decode_mp4(sample.video, model.sample_indices(index.clip.frames)))
    if sample.skeleton is not None:
        return torch.from_numpy(np.ascontiguousarray(sample.skeleton[model.sample_indices(len(sample.skeleton))]))
    raise DataError(f"{index.root}: sample {sample.key!r} has no {model.modality}")


def _write(
    index: Index, model: FrozenTeacher, content: Mapping[str, Any], rows: Mapping[str, np.ndarray]
) -> TeacherCache:
    """Publish rows: a new folder is renamed into place, further splits join an existing one file by file."""
    folder = index.root / TEACHER_FOLDER / str(content["fingerprint"])
    temp = folder.with_name(f".{folder.name}.tmp-{secrets.token_hex(4)}")
    temp.mkdir(parents=True)
    try:
        for split, values in rows.items():
            # float16 halves the bytes that training reads; it has room for every feature of a normalised network
            small = values.astype(np.float16)
            exact = np.isfinite(small) | ~np.isfinite(values)
            np.save(temp / f"{split}.npy", small if exact.all() else values, allow_pickle=False)
            with (temp / f"{split}.npy").open("rb") as file:
                os.fsync(file.fileno())
        if model.needs_fit or model.projection.describe().get("sha256"):
            state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
            write_atomic(temp / WEIGHTS_FILE, save(state))
        write_atomic(temp / CACHE_FILE, json.dumps(content, indent=1, sort_keys=True, allow_nan=False).encode())
        if (folder / CACHE_FILE).is_file() and read_caches(index)[folder.name].get("index") == index.digest:
            for split in rows:
                os.replace(temp / f"{split}.npy", folder / f"{split}.npy")
        else:
            shutil.rmtree(folder, ignore_errors=True)  # of other shards: nothing can use it any more
            os.rename(temp, folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return open_cache(index, folder.name)
