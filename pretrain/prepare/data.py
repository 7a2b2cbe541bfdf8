"""The data folders of a run: one or several, with a cached, a live or no teacher; they are checked in checks.py."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imu_video.bundle.input_spec import InputSpec, Normalise, fit_input_spec
from imu_video.config import digest
from imu_video.runtime.distributed import World
from imu_video.shards.batches.arrays import channel_statistics, windows_of
from imu_video.shards.batches.live import LiveLoader
from imu_video.shards.batches.loader import PairLoader
from imu_video.shards.batches.pool import CLIPS
from imu_video.shards.reading.clips import ClipChange, ClipReader
from imu_video.shards.reading.columns import Columns, open_columns
from imu_video.shards.reading.index import load_index
from imu_video.shards.reading.plausible import check_signals
from imu_video.shards.reading.teacher_cache import TeacherCache, cached_fingerprint, open_cache
from imu_video.shards.schema import Index
from imu_video.teachers.base import FrozenTeacher
from pretrain.config import CONTROLS, LIVE_TEACHER, NO_TEACHER, DataSection
from pretrain.prepare.needs import Needs
from pretrain.prepare.texts import TextSource, WindowTexts


@dataclass(frozen=True, kw_only=True)
class Data:
    """The data folders of a run; opening them reads no samples.

    Args:
        section: section ``data`` of the config.
        indexes: index of each folder; the first is the reference.
        caches: each folder's cache of the teacher, None for a folder that is not paired; empty with a live teacher or
            without one.
        live: the teacher that computes features during training, None with a cached one or without.
        text: where the texts of windows come from, None if no objective needs texts.
    """

    section: DataSection
    indexes: tuple[Index, ...]
    caches: tuple[TeacherCache | None, ...] = ()
    live: FrozenTeacher | None = None
    text: TextSource | None = None

    @property
    def index(self) -> Index:
        """Index of the first folder; all folders share its axes and units."""
        return self.indexes[0]

    @property
    def splits(self) -> tuple[str, ...]:
        """The training split and, where there is one, the validation split."""
        return tuple(filter(None, (self.section.train_split, self.section.val_split)))

    @property
    def digest(self) -> str:
        """Digest of the index; of several folders, of all digests in order."""
        return self.index.digest if len(self.indexes) == 1 else digest([index.digest for index in self.indexes])

    @property
    def placements(self) -> tuple[str, ...]:
        """Devices of all folders, sorted."""
        return tuple(sorted({name for index in self.indexes for name in index.placements}))

    def context(self, stream: str | None) -> dict[str, Any]:
        """Arguments that a component on a stream takes from the data, such as joint names; empty without a stream."""
        return {} if stream is None else self.index.spec(stream).context

    @property
    def cache(self) -> TeacherCache | None:
        """The cached teacher in the first paired folder; None without a cached teacher."""
        return next((cache for cache in self.caches if cache is not None), None)

    @property
    def teacher(self) -> str:
        """Full fingerprint of the cached teacher, ``live`` or ``none``."""
        if self.live is not None:
            return LIVE_TEACHER
        return NO_TEACHER if self.cache is None else self.cache.fingerprint

    @property
    def teacher_dim(self) -> int | None:
        """Dt of the teacher's features, None without a teacher."""
        if self.live is not None:
            return self.live.feature_dim
        return None if self.cache is None else int(self.cache.rows(self.section.train_split).shape[1])

    def columns(self) -> dict[str, list[Columns]]:
        """Windows of each split, folder by folder; first use writes them beside the shards, so rank 0 goes first."""
        return {
            split: [open_columns(index, split, errors=self.section.errors) for index in self.indexes]
            for split in self.splits
        }

    def check_signals(self, columns: Mapping[str, Sequence[Columns]]) -> None:
        """Check the statistics of the windows of the devices that are trained on.

        Args:
            columns: of each split, folder by folder.

        Raises:
            ShardError: values that no motion has in m/s^2 and rad/s.
        """
        for split, folders in columns.items():
            for index, one in zip(self.indexes, folders, strict=True):
                check_signals(channel_statistics(one, self.section.placements), index, split)

    def loader(
        self,
        columns: list[Columns],
        *,
        needs: Needs,
        batch_size: int,
        seed: int,
        world: World,
        change: ClipChange | None,
        stack: contextlib.ExitStack,
        texts: WindowTexts | None = None,
    ) -> PairLoader:
        """Batches of a split of all folders; weights, sampling and augmented clips only where it is trained on.

        Args:
            columns: windows of the split, folder by folder.
            needs: what the batches must contain.
            batch_size: windows per global batch.
            seed: of the run.
            world: rank and world size.
            change: augmentation of the clips of a live teacher.
            stack: closes the clips.
            texts: of the windows of every split, None for batches without.
        """
        section, split = self.section, columns[0].split
        arguments: dict[str, Any] = {
            "columns": columns,
            "all_devices": needs.devices,
            "second_device": needs.augmented_pair and section.pair == "devices",
            "streams": needs.streams,
            "devices": section.placements,
            "batch_size": batch_size,
            "seed": seed,
            "world": world,
            "texts": None if texts is None else self._texts(texts.codes[split]),
        }
        if split == section.train_split:
            weights = [one.weight for one in section.folders]
            arguments |= {"sampling": section.sampling, "leftover": section.leftover, "balance": section.balance}
            arguments |= {"weighting": section.weighting, "subjects_per_batch": section.subjects_per_batch}
            arguments["weights"] = None if None in weights else weights
            arguments["change_clips"] = bool(section.clip_augment)
            arguments["pairs"] = CONTROLS[section.control]
        if self.live is None:
            paired = [cache is not None for cache in self.caches] or None
            return PairLoader(teacher=self._features(columns), paired=paired, **arguments)
        clips = [
            ClipReader(
                index,
                split,
                frames=self.live.sample_indices(index.spec(CLIPS).frames),
                workers=section.workers,
                change=change,
                errors=section.errors,
            )
            for index in self.indexes
        ]
        for reader in clips:
            stack.callback(reader.close)
        return LiveLoader(live=self.live, clips=clips, **arguments)

    def _features(self, columns: Sequence[Columns]) -> list[Any] | None:
        """Teacher features of a split, folder by folder; zeros that take no memory where a folder is not paired."""
        if self.cache is None:
            return None
        blank, width = np.zeros((), np.float16), int(self.cache.rows(self.section.train_split).shape[1])
        return [
            np.broadcast_to(blank, (len(one), width)) if cache is None else cache.rows(one.split)
            for one, cache in zip(columns, self.caches, strict=True)
        ]

    def _texts(self, codes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Numbers of texts, folder by folder; -1 in folders that are not paired, because texts are pairs as well."""
        folders = zip(self.section.folders, codes, strict=True)
        return [own if folder.paired else np.full_like(own, -1) for folder, own in folders]

    def subjects(self, split: str) -> list[str]:
        """Subjects of a split; with several folders, each after the name of its dataset."""
        if len(self.indexes) == 1:
            return list(self.index.splits[split].subjects)
        return sorted({f"{index.dataset}/{name}" for index in self.indexes for name in index.splits[split].subjects})

    def facts(self) -> dict[str, Any]:
        """Source, licence and subjects of the data, for lineage."""
        terms = {
            name: "; ".join(dict.fromkeys(getattr(index, name) for index in self.indexes))
            for name in ("dataset", "licence", "citation")
        }
        digests = [index.digest for index in self.indexes]
        return {
            **terms,
            "digest": "+".join(digests),
            "subjects": {split: self.subjects(split) for split in self.splits},
        }

    def teacher_facts(self) -> dict[str, Any]:
        """Fingerprint and description of the teacher, for lineage; fingerprint ``none`` without one."""
        if self.live is not None:
            return {"fingerprint": self.live.fingerprint, **self.live.describe()}
        return {"fingerprint": self.teacher} | ({} if self.cache is None else self.cache.spec)


def open_indexes(section: DataSection) -> tuple[Index, ...]:
    """The index of each folder.

    Raises:
        ShardError: a folder cannot be used.
    """
    return tuple(load_index(one.root, check_shards=section.errors == "raise") for one in section.folders)


def open_caches(section: DataSection, indexes: tuple[Index, ...]) -> tuple[TeacherCache | None, ...]:
    """The cached teacher of each folder, None for a folder that is not paired.

    Raises:
        TeacherCacheError: missing, ambiguous or damaged, or a split that was not embedded.
    """
    first = next(index for index, folder in zip(indexes, section.folders, strict=True) if folder.paired)
    # The full fingerprint: another folder may have features of another teacher alone.
    fingerprint = open_cache(first, cached_fingerprint(first, section.teacher)).fingerprint
    caches: list[TeacherCache | None] = []
    for index, folder in zip(indexes, section.folders, strict=True):
        cache = open_cache(index, fingerprint) if folder.paired else None
        for split in filter(None, (section.train_split, section.val_split)):
            if cache is not None:
                cache.rows(split)  # refuses a split that was not embedded now, not when its first batch is read
        caches.append(cache)
    return tuple(caches)


def blank_spec(index: Index) -> InputSpec:
    """Input specification of a folder's windows without normalisation: mean 0 and standard deviation 1."""
    return InputSpec(mean=(0.0,) * len(index.channels), std=(1.0,) * len(index.channels), **_window_facts(index))


def fit_spec(
    index: Index,
    columns: list[Columns],
    placements: tuple[str, ...] | None,
    normalise: Normalise = "sensors",
) -> InputSpec:
    """Input specification with the normalisation of the training windows.

    Args:
        index: of the first folder.
        columns: the training split in each folder.
        placements: devices that are trained on, None = all.
        normalise: see `fit_input_spec`.
    """
    facts = _window_facts(index)
    windows: Any = windows_of(columns, placements)
    return fit_input_spec(windows, **facts, normalise=normalise)


def _window_facts(index: Index) -> Mapping[str, Any]:
    return {
        "rate_hz": index.rate_hz,
        "window_s": index.window_s,
        "channels": tuple(index.channels),
        "gravity": "removed" if index.gravity == "removed" else "included",
        "normalised": index.normalised,
    }
