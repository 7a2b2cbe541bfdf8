"""Builds a data folder, whole or in parts: splits subjects, encodes, resumes; assemble.py writes the shards.

Subjects are assigned to splits before windows are cut. Each worker has one recording in memory at a time. The result
is byte-identical for any number of workers, parts or restarts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_core import to_jsonable_python

from imu_video.config import digest
from imu_video.errors import ConfigError
from imu_video.protocols import RecordingSource
from imu_video.recordings.quality import resolve_checks
from imu_video.recordings.recipe import Recipe
from imu_video.recordings.splits import SplitConfig, assign
from imu_video.registry import datasets
from imu_video.runtime.journal import Journal, kept_when_interrupted, read_job
from imu_video.runtime.logging import log_progress
from imu_video.runtime.parts import check_part, part_folder, share
from imu_video.runtime.workers import check, run
from imu_video.shards.building.assemble import Assembly, BuildJob, read_person, refuse_overlap
from imu_video.shards.building.encode import EncodePerson
from imu_video.shards.publish import (
    DATA_FOLDER,
    partial_folder,
    parts_folder,
    publish,
    require_data_folder,
)
from imu_video.shards.reading.index import load_index
from imu_video.shards.schema import Index
from imu_video.version import __version__

WHAT = "build"
logger = logging.getLogger(__name__)
_PRELOAD = ("imu_video.shards.building.encode", "imu_video.datasets")


class BuildConfig(Recipe):
    """Config of `imu-video build`.

    Args:
        dataset: a registered dataset and its arguments: ``{name: folder, root: recordings}``.
        window: how recordings are cut.
        signal: how signals are conditioned before cutting; no conditioning by default.
        sync: whether video and skeleton are aligned with the IMU by their motion; off by default.
        quality: check -> ``drop``, ``flag``, ``refuse`` or ``off``, or a mapping of ``policy`` and thresholds; every
            registered check defaults to ``flag``.
        splits: assignment of subjects to splits.
        shard_samples: samples per tar.
        seed: passed to datasets that accept a ``seed`` and do not set one.
    """

    dataset: dict[str, Any]
    splits: SplitConfig = SplitConfig()
    shard_samples: int = Field(default=512, ge=1, le=100_000)
    seed: int = Field(default=0, ge=0)

    @property
    def recipe(self) -> Recipe:
        """The sections that determine how a recording is processed."""
        return Recipe(window=self.window, signal=self.signal, sync=self.sync, quality=self.quality)

    def resolved(self) -> dict[str, Any]:
        """The config as JSON with every default of the dataset filled in.

        Raises:
            ConfigError: unknown dataset, check or argument.
        """
        name, arguments = datasets.arguments(self.dataset, seed=self.seed)
        plain: dict[str, Any] = {
            **self.model_dump(mode="json"),
            "dataset": {"name": name, **arguments},
            "quality": resolve_checks(self.quality),
        }
        return dict(to_jsonable_python(plain))


def build(
    config: BuildConfig,
    out: str | Path,
    *,
    force: bool = False,
    workers: int = 1,
    engine: str = "local",
    plugins: Sequence[str | Path] = (),
) -> Index:
    """Build a data folder, or return the index of the one already built with the same config.

    The build writes to ``OUT.partial`` beside ``out`` and renames it when complete. If the build is stopped, killed or
    out of disk space, that folder is kept and the same call resumes: finished subjects and shards are reused. If the
    build fails because of its data or config, the folder is removed.

    Args:
        config: dataset, windows, splits.
        out: the data folder to create.
        force: replace a data folder, with its feature caches, or an unfinished build of a different config.
        workers: subjects encoded in parallel, one per process; does not change the result.
        engine: ``local`` or ``ray``, see `engine.run`.
        plugins: files that register datasets, imported by every worker.

    Returns:
        The index of the folder.

    Raises:
        ConfigError: unknown dataset or argument, ``out`` exists and is not this build's data folder, or another
            build is running there.
        LeakageError: a subject or recording is in two splits.
        RecordingError: a recording cannot be read.
        ShardError: a split has no window, an existing folder is damaged, or a worker died.

    Example:
        >>> from imu_video.config import load_config
        >>> own = ["dataset.root=my-study", "splits={subjects: {train: [s01], test: [s02]}}"]
        >>> config = load_config("configs/data/folder.yaml", BuildConfig, own)
        >>> build(config, "data/mine").split("train").samples
        4
    """
    target = Path(out)
    check(engine, workers)
    resolved = config.resolved()
    identity = digest(resolved)
    if not force:
        built = _built_from(identity, target)
        if built is not None:
            return built
    elif target.exists():
        require_data_folder(target)
    job = plan(config, resolved, identity)
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Journal(partial_folder(target), job.model_dump(mode="json"), what=WHAT, replace=force)
    with kept_when_interrupted(work):
        assembly = Assembly(job, work, dict.fromkeys(job.order, work), drop=True)
        index = _encode_and_write(config, assembly, workers, engine, plugins)
        publish(work.folder / DATA_FOLDER, target, force=force)
        work.remove()
    return index.at(target)


def build_part(
    config: BuildConfig,
    out: str | Path,
    part: tuple[int, int],
    *,
    force: bool = False,
    workers: int = 1,
    engine: str = "local",
    plugins: Sequence[str | Path] = (),
) -> Path:
    """Encode one of n shares of the subjects into ``OUT.parts/i-of-n``; `merge.merge_parts` makes the data folder.

    A part contains every n-th subject in the build's order. An interrupted part resumes; a finished part is checked and
    not encoded again.

    Args:
        config, out, force, workers, engine, plugins: as for `build`.
        part: (i, n) with 1 <= i <= n.

    Returns:
        The folder of the part.

    Raises:
        ConfigError, LeakageError, RecordingError, ShardError: as for `build`.
    """
    target, (number, of) = Path(out), part
    check_part(number, of)
    resolved = config.resolved()
    identity = digest(resolved)
    if not force and _built_from(identity, target) is not None:
        raise ConfigError(f"{target} is already built from this config", hint="build into another folder")
    job = plan(config, resolved, identity)
    mine = share(job.order, number, of)
    folder = part_folder(parts_folder(target), number, of)
    work = Journal(folder, {**job.model_dump(mode="json"), "part": [number, of]}, what=WHAT, replace=force)
    with kept_when_interrupted(work):
        missing = [subject for subject in mine if read_person(work, subject, check=True) is None]
        _log_continued(work, len(mine) - len(missing), len(mine))
        results = run(_task(config, work, plugins), missing, workers=workers, engine=engine, preload=_PRELOAD)
        for done, subject in enumerate(missing, len(mine) - len(missing) + 1):
            next(results)
            log_progress(logger, done, len(mine), "subjects", subject)
    return folder


def plan(config: BuildConfig, resolved: dict[str, Any], identity: str) -> BuildJob:
    """Open the dataset and assign its subjects to splits.

    Args:
        config: dataset, windows, splits.
        resolved: the same with all defaults, from `BuildConfig.resolved`.
        identity: digest of ``resolved``.

    Raises:
        ConfigError: unknown subject, or a package that the config needs is missing.
        LeakageError: a subject is in two splits.
    """
    config.signal.require_packages()
    source: RecordingSource = datasets.build(config.dataset, seed=config.seed)
    everybody = source.subjects()
    people = assign(everybody, config.splits)
    refuse_overlap(people)
    return BuildJob(
        version=__version__,
        config=resolved,
        config_digest=identity,
        dataset=source.name,  # not the registered name: samples carry the name that a folder of recordings declares
        licence=source.licence,
        citation=source.citation,
        url=source.url,
        window=config.window,
        signal=config.signal,
        shard_samples=config.shard_samples,
        everybody=tuple(everybody),
        people={split: tuple(subjects) for split, subjects in people.items()},
    )


def _task(config: BuildConfig, journal: Journal, plugins: Sequence[str | Path]) -> EncodePerson:
    return EncodePerson(
        dataset=dict(config.dataset),
        seed=config.seed,
        recipe=config.recipe,
        plugins=tuple(str(plugin) for plugin in plugins),
        journal=journal,
    )


def _encode_and_write(
    config: BuildConfig,
    assembly: Assembly,
    workers: int,
    engine: str,
    plugins: Sequence[str | Path],
) -> Index:
    missing, order = assembly.unfinished(), assembly.job.order
    _log_continued(assembly.work, len(order) - len(missing), len(order))
    results = run(_task(config, assembly.work, plugins), missing, workers=workers, engine=engine, preload=_PRELOAD)
    awaited = set(missing)

    def ready(subject: str) -> None:
        if subject in awaited:
            next(results)

    return assembly.write(ready)


def _log_continued(work: Journal, done: int, of: int) -> None:
    if work.continued and done:
        logger.info(
            "continuing %s: %d of %d subjects are finished (delete that folder if their recordings changed since)",
            work.folder,
            done,
            of,
        )


def already_built(config: BuildConfig, out: str | Path) -> Index | None:
    """The index of ``out`` if the same config built it, or None if ``out`` does not exist.

    Removes leftovers of a build that was killed between the final rename and its clean-up.

    Raises:
        ConfigError: ``out`` is not a data folder, or a different config built it.
        ShardError: the folder is damaged.
    """
    return _built_from(digest(config.resolved()), Path(out))


def _built_from(identity: str, target: Path) -> Index | None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return None
    require_data_folder(target)
    index = load_index(target)
    if index.build.config_digest != identity:
        raise ConfigError(
            f"{target} was built from another config ({index.build.config_digest}, this one is {identity})",
            hint=f"build into another folder, or replace it: imu-video build CONFIG {target} --force",
        )
    left = read_job(partial_folder(target))
    if left is not None and left.get("config_digest") == index.build.config_digest:
        with Journal(partial_folder(target), left, what=WHAT) as work:
            work.remove()
    return index
