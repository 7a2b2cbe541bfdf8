"""A dataset into a data folder, all or nothing: divide people, cut, encode, write, index; signals are recordings' work.

People are divided before anything is cut. One recording is in memory at a time (in each worker). The result does not
depend on the number of workers, byte for byte.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_core import to_jsonable_python

from imu_video import __version__
from imu_video.config import Config, digest
from imu_video.errors import ConfigError, LeakageError, ShardError
from imu_video.protocols import RecordingSource
from imu_video.recordings.splits import SplitConfig, assign
from imu_video.recordings.windows import WindowConfig
from imu_video.registry import datasets
from imu_video.shards.columns import open_columns
from imu_video.shards.encode import Encode, Tally, encoders
from imu_video.shards.index import load_index, write_index
from imu_video.shards.schema import (
    FACTS_FILE,
    INDEX_FILE,
    BuildFacts,
    ClipSpec,
    Index,
    SkeletonSpec,
    SplitEntry,
)
from imu_video.shards.write import ShardWriter, sync_folder
from imu_video.types import IMU_CHANNELS, channel_unit

Progress = Callable[[int, int, str], None]
"""Called with people done, people in all, and what was done last."""


class BuildConfig(Config):
    """What `imu-video build` reads from its YAML file.

    Args:
        dataset: a registered dataset and its arguments: ``{name: folder, root: recordings}``.
        window: how recordings are cut.
        splits: who belongs to which split.
        shard_samples: samples a tar.
        seed: passed to datasets that take a ``seed`` and were given none.
    """

    dataset: dict[str, Any]
    window: WindowConfig = WindowConfig()
    splits: SplitConfig = SplitConfig()
    shard_samples: int = Field(default=512, ge=1, le=100_000)
    seed: int = Field(default=0, ge=0)

    def resolved(self) -> dict[str, Any]:
        """The config as JSON with every default of the dataset filled in.

        Raises:
            ConfigError: unknown dataset or argument.
        """
        name, arguments = datasets.arguments(self.dataset, seed=self.seed)
        plain: dict[str, Any] = {**self.model_dump(mode="json"), "dataset": {"name": name, **arguments}}
        return dict(to_jsonable_python(plain))


def build(
    config: BuildConfig,
    out: str | Path,
    *,
    force: bool = False,
    workers: int = 1,
    plugins: Sequence[str | Path] = (),
    progress: Progress | None = None,
) -> Index:
    """Build a data folder, or return the one that the same config already built.

    Everything is written to ``OUT.partial-...`` beside ``out`` and renamed when complete; a failure removes it.

    Args:
        config: dataset, windows, splits.
        out: the data folder to be.
        force: replace a data folder that another config built (its teacher caches go with it).
        workers: processes that cut and encode, a person each at a time; the result is the same for any number.
        plugins: files that register datasets, imported by every worker; needed only with several workers.
        progress: called after every person.

    Returns:
        The index of the folder.

    Raises:
        ConfigError: unknown dataset or argument, ``out`` exists and is something else.
        LeakageError: a person or recording in two splits.
        RecordingError: a recording that cannot be read.
        ShardError: a split without any window, or an existing folder that is damaged.

    Example:
        >>> config = load_config("configs/data/demo.yaml", BuildConfig)  # doctest: +SKIP
        >>> build(config, "data/demo").split("train").samples  # doctest: +SKIP
        2048
    """
    target = Path(out)
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    resolved = config.resolved()
    if not force:
        built = already_built(config, target)
        if built is not None:
            return built
    elif target.exists():
        _require_data_folder(target)
    source: RecordingSource = datasets.build(config.dataset, seed=config.seed)
    everybody = source.subjects()
    people = assign(everybody, config.splits)
    refuse_overlap(people)
    target.parent.mkdir(parents=True, exist_ok=True)
    temp = target.with_name(f"{target.name}.partial-{secrets.token_hex(4)}")
    temp.mkdir()
    try:
        with encoders(
            config.dataset, config.seed, config.window, parts=temp / "parts", workers=workers, plugins=plugins
        ) as encode:
            splits, tally = _write_splits(config, people, temp, encode, progress)
        index = _index(config, resolved, source, everybody, splits, tally)
        index = write_index(index, temp)
        for split in index.splits:
            open_columns(index, split)
        _publish(temp, target, force=force)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return index.at(target)


def already_built(config: BuildConfig, out: str | Path) -> Index | None:
    """The index of ``out`` where the same config built it, None where ``out`` does not exist.

    Raises:
        ConfigError: ``out`` is no data folder, or another config built it.
        ShardError: the folder is damaged.
    """
    target = Path(out)
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return None
    _require_data_folder(target)
    index = load_index(target)
    if index.build.config_digest != digest(config.resolved()):
        raise ConfigError(
            f"{target} was built from another config ({index.build.config_digest}, this one is "
            f"{digest(config.resolved())})",
            hint=f"build into another folder, or replace it: imu-video build CONFIG {target} --force",
        )
    return index


def refuse_overlap(people: dict[str, list[str]]) -> None:
    """Check that no person is in two splits.

    Raises:
        LeakageError: somebody is.
    """
    owner: dict[str, str] = {}
    for split, subjects in people.items():
        for subject in subjects:
            if owner.setdefault(subject, split) != split:
                raise LeakageError(
                    f"subject {subject!r} is in split {owner[subject]!r} and in split {split!r}",
                    hint="a person belongs to one split only",
                )


def _require_data_folder(target: Path) -> None:
    empty = target.is_dir() and not any(target.iterdir())
    if not empty and not any((target / name).is_file() for name in (INDEX_FILE, FACTS_FILE)):
        raise ConfigError(f"{target} exists and is no data folder", hint="name a folder that does not exist yet")


def _publish(temp: Path, target: Path, *, force: bool) -> None:
    """Rename the finished folder to its name; with ``force`` the old one steps aside first and is then removed."""
    old = target.with_name(f"{target.name}.old-{secrets.token_hex(4)}")
    replace = force and target.exists()
    if replace:
        os.rename(target, old)
    try:
        os.rename(temp, target)
    except OSError as error:
        if replace:
            os.rename(old, target)
        raise ShardError(f"{target} appeared while it was being built: {error.strerror}") from error
    sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _write_splits(
    config: BuildConfig, people: dict[str, list[str]], temp: Path, encode: Encode, progress: Progress | None
) -> tuple[dict[str, SplitEntry], Tally]:
    order = [(split, subject) for split, subjects in people.items() for subject in subjects]
    encoded = encode([subject for _, subject in order])
    total, done = Tally(), 0
    splits = {}
    for split, subjects in people.items():
        present = []
        before = total.kept
        with ShardWriter(folder=temp, split=split, shard_samples=config.shard_samples) as writer:
            for subject in subjects:
                samples, tally = next(encoded)
                for sample in samples:
                    writer.add(sample)
                total.add(tally)
                done += 1
                if tally.kept:
                    present.append(subject)
                if progress is not None:
                    progress(done, len(order), f"{split}: {subject}, {tally.kept} windows")
        if not writer.shards:
            raise ShardError(
                f"split {split!r} ({', '.join(subjects)}) has no window: {total.empty_recordings} of "
                f"{len(total.recordings)} recordings so far are shorter than a window, dropped {dict(total.dropped)}",
                hint="check window.seconds and window.min_measured, or move people between splits",
            )
        splits[split] = SplitEntry(subjects=tuple(present), samples=total.kept - before, shards=tuple(writer.shards))
    return splits, total


def _index(
    config: BuildConfig,
    resolved: dict[str, Any],
    source: RecordingSource,
    everybody: list[str],
    splits: dict[str, SplitEntry],
    tally: Tally,
) -> Index:
    window = config.window
    lacking = Counter({f"view {view}": tally.kept - n for view, n in tally.with_view.items()})
    used = {subject for split in splits.values() for subject in split.subjects}
    skeleton = None
    if tally.skeleton is not None and tally.joints is not None and window.skeleton_fps is not None:
        skeleton = SkeletonSpec(fps=window.skeleton_fps, frames=tally.skeleton[0], joints=tally.joints)
    return Index(
        dataset=str(resolved["dataset"]["name"]),
        licence=source.licence,
        citation=source.citation,
        url=source.url,
        channels=IMU_CHANNELS,
        units={channel: channel_unit(channel) for channel in IMU_CHANNELS},
        rate_hz=window.rate_hz,
        window_s=window.seconds,
        samples_per_window=window.samples,
        placements=tuple(sorted(tally.placements)),
        labels=tuple(sorted(tally.labels)),
        tags={tag: tuple(sorted(values)) for tag, values in sorted(tally.tags.items())},
        clip=_clip_spec(tally.clip, window),
        views={view: spec for view, shape in sorted(tally.views.items()) if (spec := _clip_spec(shape, window))},
        skeleton=skeleton,
        splits=splits,
        build=BuildFacts(
            config=resolved,
            config_digest=digest(resolved),
            version=__version__,
            recordings=len(tally.recordings),
            empty_recordings=tally.empty_recordings,
            windows=tally.windows,
            dropped=dict(sorted(tally.dropped.items())),
            without=dict(sorted((tally.without + lacking).items())),
            split_order=tuple(splits),
            unused_subjects=tuple(sorted(set(everybody) - used)),
        ),
    )


def _clip_spec(shape: tuple[int, ...] | None, window: WindowConfig) -> ClipSpec | None:
    if shape is None or window.clip_fps is None:
        return None
    frames, height, width = shape
    return ClipSpec(fps=window.clip_fps, frames=frames, height=height + height % 2, width=width + width % 2)
