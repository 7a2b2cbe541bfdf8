"""The data folders of a run as its config uses them: one or several, with a cached, a live or no teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from imu_video import registry
from imu_video.bundle.encoder import InputSpec, fit_input_spec
from imu_video.config import digest
from imu_video.errors import ConfigError, DataError, nearest
from imu_video.runtime.distributed import World
from imu_video.shards.batches.arrays import windows_of
from imu_video.shards.batches.live import LiveLoader
from imu_video.shards.batches.loader import PairLoader
from imu_video.shards.reading.clips import ClipReader
from imu_video.shards.reading.columns import Columns, open_columns
from imu_video.shards.reading.index import load_index
from imu_video.shards.reading.teacher_cache import TeacherCache, cached_fingerprint, open_cache
from imu_video.shards.remote import Address, is_address
from imu_video.shards.schema import Index
from imu_video.teachers.base import FrozenTeacher
from pretrain.config import CONTROLS, LIVE_TEACHER, DataSection, PretrainConfig
from pretrain.prepare.needs import check_control, check_teacher_choice, needs_of


@dataclass(frozen=True, kw_only=True)
class Data:
    """The data folders of a run; opening them reads no samples.

    Args:
        indexes: of each folder; the first is the reference.
        caches: each folder's cache of the one teacher; empty with a live teacher or without one.
        live: the teacher that runs while training.
        section: what the config says.
    """

    indexes: tuple[Index, ...]
    caches: tuple[TeacherCache, ...]
    live: FrozenTeacher | None
    section: DataSection
    _clips: dict[str, list[ClipReader]] = field(default_factory=dict)

    @property
    def index(self) -> Index:
        """The reference folder's index: axes and units, which all share."""
        return self.indexes[0]

    @property
    def teacher(self) -> TeacherCache | None:
        """The cached teacher, None with a live one or without."""
        return self.caches[0] if self.caches else None

    @property
    def digest(self) -> str:
        """Digest of the index; of several, of all of them in order."""
        return self.index.digest if len(self.indexes) == 1 else digest([index.digest for index in self.indexes])

    @property
    def placements(self) -> tuple[str, ...]:
        """Devices of all folders, sorted."""
        return tuple(sorted({name for index in self.indexes for name in index.placements}))

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of the J joints of the folders' skeletons."""
        return () if self.index.skeleton is None else tuple(self.index.skeleton.joints)

    def teacher_dim(self, split: str) -> int | None:
        """Dt of the teacher's features, None without a teacher."""
        if self.live is not None:
            return self.live.feature_dim
        return None if self.teacher is None else int(self.teacher.rows(split).shape[1])

    def columns(self, split: str) -> list[Columns]:
        """Windows of a split, folder by folder; built on first use, so let one process go first."""
        return [open_columns(index, split, errors=self.section.errors) for index in self.indexes]

    def clips(self, split: str) -> list[ClipReader]:
        """Clips of a split as the live teacher looks at them, folder by folder."""
        if split not in self._clips and self.live is not None:
            change = None
            if self.section.clip_augment:
                from imu_video.transforms.video import ClipCompose

                change = ClipCompose.build(self.section.clip_augment)
            self._clips[split] = [
                ClipReader(
                    index,
                    split,
                    frames=self.live.sample_indices(index.clip.frames) if index.clip else None,
                    workers=self.section.workers,
                    change=change,
                    errors=self.section.errors,
                )
                for index in self.indexes
            ]
        return self._clips[split]

    def subjects(self, split: str) -> list[str]:
        """People of a split; with several folders, behind the name of their dataset."""
        if len(self.indexes) == 1:
            return list(self.index.splits[split].subjects)
        return sorted({f"{index.dataset}/{name}" for index in self.indexes for name in index.splits[split].subjects})

    def facts(self) -> dict[str, Any]:
        """Where the data comes from, for lineage."""
        splits = filter(None, (self.section.train_split, self.section.val_split))
        terms = {
            name: "; ".join(dict.fromkeys(getattr(index, name) for index in self.indexes))
            for name in ("dataset", "licence", "citation")
        }
        digests = [index.digest for index in self.indexes]
        return {**terms, "digest": "+".join(digests), "subjects": {split: self.subjects(split) for split in splits}}


def _refuse_signed(root: str) -> None:
    """A run's config and checkpoints hold `data.root`: what opens the folder to their readers has no place there."""
    if is_address(root) and Address.parse(root).query:
        raise ConfigError(
            f"data.root {Address.parse(root)}: the address has a signed query, which the run's config would keep",
            hint="imu-video fetch ADDRESS FOLDER, then data.root=FOLDER",
        )


def open_data(config: PretrainConfig) -> Data:
    """Open the folders and, where something needs it, the teacher that a config names.

    Raises:
        ConfigError: an address with a signed query, unknown split or placement, a teacher that is needed and left out
        or named and not needed, a tower
            without skeletons, changes of clips under a cached teacher, a control of pairs where there are none.
        ShardError, TeacherCacheError: a folder or its cache cannot be used.
    """
    section = config.data
    for one in section.folders:
        _refuse_signed(one.root)
    indexes = [load_index(one.root, check_shards=section.errors == "raise") for one in section.folders]
    for index in indexes:
        for key in ("train_split", "val_split"):
            split = getattr(section, key)
            if split is not None and split not in index.splits:
                raise ConfigError(f"data.{key}: {index.root} has no split {split!r}{nearest(split, index.splits)}")
    known = sorted({name for index in indexes for name in index.placements})
    for placement in section.placements or ():
        if placement not in known:
            where = " and ".join(one.root for one in section.folders)
            raise ConfigError(f"data.placements: {where} has no device {placement!r}{nearest(placement, known)}")
    needs = needs_of(config)
    check_teacher_choice(config, needs)
    check_control(config, needs)
    without = [index.root for index in indexes if index.skeleton is None]
    if config.tower is not None and without:
        raise ConfigError(
            f"tower: {without[0]} has no skeletons",
            hint="build the data with window.skeleton_fps=..., or tower=null",
        )
    if not needs.teacher:
        return Data(indexes=tuple(indexes), caches=(), live=None, section=section)
    if section.teacher == LIVE_TEACHER:
        return Data(indexes=tuple(indexes), caches=(), live=_live_teacher(section, indexes), section=section)
    caches = [open_cache(indexes[0], cached_fingerprint(indexes[0], section.teacher))]
    caches += [open_cache(index, caches[0].fingerprint) for index in indexes[1:]]
    for cache in caches:
        for split in filter(None, (section.train_split, section.val_split)):
            cache.rows(split)
    return Data(indexes=tuple(indexes), caches=tuple(caches), live=None, section=section)


def _live_teacher(section: DataSection, indexes: Sequence[Index]) -> FrozenTeacher:
    if section.live_teacher is None:
        raise ConfigError("data.teacher is live: which one?", hint="data.live_teacher={name: frames}")
    teacher: FrozenTeacher = registry.teachers.build(section.live_teacher)
    if teacher.modality != "video" or teacher.needs_fit or teacher.projection.needs_fit:
        raise ConfigError(
            f"data.live_teacher {section.live_teacher['name']!r} cannot run live: it looks at {teacher.modality}"
            + (", and is fitted on data first" if teacher.needs_fit or teacher.projection.needs_fit else ""),
            hint="imu-video embed computes its features once",
        )
    for index in indexes:
        if index.clip is None:
            raise DataError(f"{index.root}: a live teacher needs clips", hint="build it with window.clip_fps=...")
    return teacher


def pair_loader(config: PretrainConfig, data: Data, split: str, *, batch_size: int, world: World) -> PairLoader:
    """Batches of a split: of all folders; weights, sampling and changes of clips only where it is trained on."""
    needs, section = needs_of(config), config.data
    arguments: dict[str, Any] = {
        "columns": data.columns(split),
        "all_devices": needs.devices,
        "skeleton": needs.skeleton,
        "devices": section.placements,
        "batch_size": batch_size,
        "seed": config.seed,
        "world": world,
    }
    if split == section.train_split:
        weights = [one.weight for one in section.folders]
        arguments |= {"sampling": section.sampling, "leftover": section.leftover, "balance": section.balance}
        arguments["weights"] = None if None in weights else weights
        arguments["change_clips"] = bool(section.clip_augment)
        arguments["pairs"] = CONTROLS[section.control]
    if data.live is not None:
        return LiveLoader(live=data.live, clips=data.clips(split), **arguments)
    return PairLoader(teacher=[cache.rows(split) for cache in data.caches] or None, **arguments)


def fit_spec(config: PretrainConfig, data: Data) -> InputSpec:
    """Input specification with the normalisation of the training windows (of the placements that are trained on)."""
    return fit_input_spec(
        windows_of(data.columns(config.data.train_split), config.data.placements),  # type: ignore[arg-type]
        rate_hz=data.index.rate_hz,
        window_s=data.index.window_s,
        channels=tuple(data.index.channels),
        gravity=_gravity(data.indexes),
        normalised=data.index.normalised,
    )


def _gravity(indexes: Sequence[Index]) -> Literal["included", "removed"]:
    """Whether the data holds gravity.

    Raises:
        ConfigError: some recordings do and some do not, or folders were conditioned differently.
    """
    first = indexes[0]
    for index in indexes:
        if index.gravity == "mixed":
            raise ConfigError(
                f"{index.root}: some recordings hold gravity and some do not",
                hint="build it with signal.gravity=remove",
            )
        for fact in ("gravity", "frame", "normalised"):
            if getattr(index, fact) != getattr(first, fact):
                raise ConfigError(
                    f"{index.root} has {fact} {getattr(index, fact)!r}, {first.root} has {getattr(first, fact)!r}",
                    hint="build both with the same `signal` section",
                )
    return "removed" if first.gravity == "removed" else "included"
