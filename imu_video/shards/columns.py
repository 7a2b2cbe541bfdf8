"""A split as memory-mapped arrays, so that training and probes never open a tar; clips stay in the shards.

Columns are made from the shards once, under DATA/columns/<split>, and made again when the shards change.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import ConfigError, ShardError, nearest
from imu_video.shards.pipeline import read_samples
from imu_video.shards.schema import COLUMN_FOLDER, Index
from imu_video.shards.write import sync_folder, write_atomic

COLUMN_VERSION = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """The N samples of one split, in shard order; row i of every column is sample i.

    Args:
        split: name of the split.
        imu: (N, V, C, T) float32 memory map in SI units, NaN where a device, channel or sample is missing.
        placements: names of the V devices.
        present: (N, V) bool: the device measured anything in that window.
        keys, subjects, sessions: N strings.
        recordings: N recording names.
        recording_id: (N,) int64, equal for windows of one recording, numbered in order of appearance.
        labels: N activities, None where unlabelled.
        start: (N,) float64 seconds on the recording's clock.
        tags: N mappings.
        flags: N tuples of findings of quality checks, ``<placement>:<reason>`` or ``video:<reason>``; mostly empty.
        channels: names of the C rows.
        rate_hz: samples per second.
        digest: digest of the index that they were made from.

    Example:
        >>> columns = open_columns(load_index("data/demo"), "train")  # doctest: +SKIP
        >>> columns.select("right_wrist").shape  # doctest: +SKIP
        (2048, 6, 100)
    """

    split: str
    imu: np.ndarray
    placements: tuple[str, ...]
    present: np.ndarray
    keys: list[str]
    subjects: list[str]
    sessions: list[str]
    recordings: list[str]
    recording_id: np.ndarray
    labels: list[str | None]
    start: np.ndarray
    tags: list[dict[str, str]]
    flags: list[tuple[str, ...]]
    channels: tuple[str, ...]
    rate_hz: float
    digest: str

    def __len__(self) -> int:
        return len(self.keys)

    def device(self, placement: str) -> int:
        """Position of a placement on the device axis.

        Raises:
            ConfigError: the data has no such placement.
        """
        if placement not in self.placements:
            raise ConfigError(f"the data has no placement {placement!r}{nearest(placement, self.placements)}")
        return self.placements.index(placement)

    def select(self, placement: str) -> np.ndarray:
        """One device's windows as an (N, C, T) view; rows where it is absent are NaN (see ``present``).

        Raises:
            ConfigError: the data has no such placement.
        """
        view: np.ndarray = self.imu[:, self.device(placement)]
        return view


def open_columns(index: Index, split: str) -> Columns:
    """Open a split's columns, making them first where they are missing or belong to other shards.

    Several processes may call this at once: the first complete copy wins.

    Args:
        index: a loaded index.
        split: name of a split.

    Raises:
        ShardError: unknown split, damaged shards, or columns to be made in a folder that cannot be written.
    """
    index.split(split)
    folder = index.root / COLUMN_FOLDER / split
    columns = _open(index, split, folder)
    if columns is None:
        _make(index, split, folder)
        columns = _open(index, split, folder)
    if columns is None:
        raise ShardError(f"{folder}: columns were replaced while they were opened", hint="run the command again")
    return columns


def _open(index: Index, split: str, folder: Path) -> Columns | None:
    """The columns in ``folder``, or None where they are absent or stale."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ShardError(
            f"{folder / 'meta.json'}: not JSON: {error}", hint=f"delete {folder}, it is made again"
        ) from error
    if meta.get("version") != COLUMN_VERSION or meta.get("digest") != index.digest:
        return None
    try:
        imu = np.load(folder / "imu.npy", mmap_mode="r", allow_pickle=False)
        present = np.load(folder / "present.npy", allow_pickle=False)
    except FileNotFoundError:  # another process is replacing stale columns
        return None
    except (OSError, ValueError) as error:
        raise ShardError(
            f"{folder}: columns are damaged: {error}", hint=f"delete {folder}, it is made again"
        ) from error
    expected = (index.split(split).samples, len(index.placements), len(index.channels), index.samples_per_window)
    if imu.shape != expected or present.shape != expected[:2] or len(meta["keys"]) != expected[0]:
        raise ShardError(
            f"{folder}: imu.npy has shape {imu.shape}, expected (N, V, C, T) = {expected}",
            hint=f"delete {folder}, it is made again",
        )
    numbers: dict[str, int] = {}
    recording_id = [numbers.setdefault(name, len(numbers)) for name in meta["recordings"]]
    return Columns(
        split=split,
        imu=imu,
        placements=index.placements,
        present=present,
        recording_id=np.array(recording_id, dtype=np.int64),
        start=np.array(meta["start"], dtype=np.float64),
        # Columns made before flags existed belong to shards without any: the digest ties them together.
        flags=[tuple(found) for found in meta.get("flags", [()] * expected[0])],
        channels=index.channels,
        rate_hz=index.rate_hz,
        digest=index.digest,
        **{name: meta[name] for name in ("keys", "subjects", "sessions", "recordings", "labels", "tags")},
    )


def _make(index: Index, split: str, folder: Path) -> None:
    """Read the split's tars once, write the columns to a temporary folder and rename it."""
    temp = folder.with_name(f".{split}.tmp-{secrets.token_hex(4)}")
    try:
        temp.mkdir(parents=True)
    except OSError as error:
        raise ShardError(
            f"{folder}: columns cannot be made there: {error.strerror}",
            hint="make the data folder writable once, or copy it",
        ) from error
    try:
        _fill(index, split, temp)
        _publish(index, temp, folder)
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def _fill(index: Index, split: str, temp: Path) -> None:
    samples = index.split(split).samples
    shape = (samples, len(index.placements), len(index.channels), index.samples_per_window)
    imu = np.lib.format.open_memmap(temp / "imu.npy", mode="w+", dtype=np.float32, shape=shape)
    present = np.zeros(shape[:2], dtype=bool)
    facts: dict[str, list[Any]] = {
        name: [] for name in ("keys", "subjects", "sessions", "recordings", "labels", "start", "tags", "flags")
    }
    for row, sample in enumerate(read_samples(index, split, {"imu", "meta"})):
        for device, placement in enumerate(index.placements):
            values = sample.imu.get(placement)
            imu[row, device] = np.nan if values is None else values
            present[row, device] = values is not None and bool(np.isfinite(values).any())
        meta = sample.meta
        facts["keys"].append(sample.key)
        facts["subjects"].append(meta["subject"])
        facts["sessions"].append(meta["session"])
        facts["recordings"].append(meta["recording"])
        facts["labels"].append(meta["label"])
        facts["start"].append(meta["start"])
        facts["tags"].append(meta["tags"])
        facts["flags"].append(meta["flags"])
    imu.flush()
    del imu
    np.save(temp / "present.npy", present, allow_pickle=False)
    meta_json = {"version": COLUMN_VERSION, "digest": index.digest, **facts}
    write_atomic(temp / "meta.json", json.dumps(meta_json, ensure_ascii=False, allow_nan=False).encode())
    for name in ("imu.npy", "present.npy"):
        with (temp / name).open("rb") as file:
            os.fsync(file.fileno())


def _publish(index: Index, temp: Path, folder: Path) -> None:
    """Rename the finished folder into place; stale columns step aside, a finished copy of another process stays."""
    split = folder.name
    for _ in range(5):
        if _open(index, split, folder) is not None:
            return
        old = folder.with_name(f".{split}.old-{secrets.token_hex(4)}")
        with contextlib.suppress(FileNotFoundError):
            os.rename(folder, old)
        shutil.rmtree(old, ignore_errors=True)
        try:
            os.rename(temp, folder)
        except OSError:
            continue  # another process was faster: look whether its columns serve
        sync_folder(folder.parent)
        return
    raise ShardError(f"{folder}: other processes keep replacing these columns", hint="run the command again")
