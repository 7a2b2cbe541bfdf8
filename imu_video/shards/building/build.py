"""Builds a data folder, whole or in parts: splits subjects, encodes, resumes; assemble.py writes the shards.

Subjects are assigned to splits before windows are cut. Each worker has one recording in memory at a time. The result
is byte-identical for any number of workers, parts or restarts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_core import to_jsonable_python

from imu_video.arguments import Seed
from imu_video.errors import ConfigError, RecordingError
from imu_video.protocols import RecordingSource
from imu_video.recordings.quality import resolve_checks
from imu_video.recordings.recipe import Recipe
from imu_video.recordings.splits import SplitConfig, assign
from imu_video.registry import datasets
from imu_video.runtime.content import shorten
from imu_video.runtime.files import is_free, remove
from imu_video.runtime.journal import JOB_FILE, Journal, describe_changes, kept_when_interrupted, read_job
from imu_video.runtime.logging import log_progress
from imu_video.runtime.parts import check_part, part_folder, share
from imu_video.runtime.references import reread, restored
from imu_video.runtime.workers import check, run
from imu_video.shards.building.assemble import Assembly, BuildJob, forget_stale, read_person, refuse_overlap
from imu_video.shards.building.encode import EncodePerson, Person, ReadPlan
from imu_video.shards.building.sources import (
    LISTING,
    differences,
    hashes,
    items,
    listing,
    provenance_of,
    read_record,
    record,
    root_of,
    with_tables,
)
from imu_video.shards.damage import ErrorPolicy
from imu_video.shards.left_out import check_hint, read_left_out
from imu_video.shards.publish import (
    DATA_FOLDER,
    partial_folder,
    parts_folder,
    publish,
    require_data_folder,
)
from imu_video.shards.reading.index import load_index
from imu_video.shards.schema import LEFT_OUT_FILE, Index, SourceFile, identity
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
        errors: policy for recordings that cannot be read: ``raise``; ``skip`` leaves them out and lists them in
            left_out.json; ``quarantine`` also lists them for later builds of the same folder, which do not read them
            again while their files are unchanged. Not part of the config's digest.
    """

    dataset: dict[str, Any]
    splits: SplitConfig = SplitConfig()
    shard_samples: int = Field(default=512, ge=1, le=100_000)
    seed: Seed = 0
    errors: ErrorPolicy = "raise"

    @property
    def recipe(self) -> Recipe:
        """The sections that determine how a recording is processed."""
        return Recipe(
            window=self.window, signal=self.signal, sync=self.sync, quality=self.quality, missing=self.missing
        )

    def resolved(self) -> dict[str, Any]:
        """The config as JSON with every default of the dataset filled in.

        Raises:
            ConfigError: unknown dataset, check or argument.
        """
        # Arguments that earlier versions did not have are left out at their default: folders keep their digest.
        dataset = datasets.entry(self.dataset, seed=self.seed).config
        plain: dict[str, Any] = {
            # The policy changes nothing about recordings that can be read, so a failed build may go on with another.
            **self.model_dump(mode="json", exclude={"errors"}),
            "dataset": dataset,
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
    hash_sources: bool = False,
) -> Index:
    """Build a data folder, or return the index of the one already built with the same config.

    The build writes to ``OUT.partial`` beside ``out`` and renames it when complete. If the build is stopped, killed or
    out of disk space, or a recording cannot be read, that folder is kept and the same call resumes: finished subjects
    and shards are reused, except those whose files have changed since. If the build fails because of its config, the
    folder is removed.

    Args:
        config: dataset, windows, splits.
        out: the data folder to create.
        force: replace a data folder, with its feature caches, or an unfinished build of a different config.
        workers: subjects encoded in parallel, one per process; does not change the result.
        engine: ``local`` or ``ray``, see `engine.run`.
        plugins: files that register datasets, imported by every worker.
        hash_sources: record the sha256 of every source file in sources.json; reads each file once more.

    Returns:
        The index of the folder.

    Raises:
        ConfigError: unknown dataset or argument, ``out`` exists and is not this build's data folder, the declaration
            of the recordings or a plugin changed since, or another build is running there.
        LeakageError: a subject or recording is in two splits.
        RecordingError: a recording cannot be read and ``errors`` is ``raise``, or most cannot be read.
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
    if not force:
        built = _built_from(config, resolved, target)
        if built is not None:
            return built
    else:
        require_data_folder(target)
    source = open_source(config)
    job = plan(config, resolved, source)
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Journal(partial_folder(target), job.model_dump(mode="json"), what=WHAT, replace=force)
    with kept_when_interrupted(work), kept_after_damage(work, job.order, resolved["dataset"]):
        files = _same_listing(work, source, job, hash_sources)
        people = dict.fromkeys(job.order, work)
        assembly = Assembly(job, work, people, drop=True, listing=files)
        assembly.forget(partial(_stale, source, config.errors))
        task = _task(config, job, work, plugins, hash_sources, target)
        index = _encode_and_write(task, assembly, workers, engine, recorded=_recorded(source))
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
    hash_sources: bool = False,
) -> Path:
    """Encode one of n shares of the subjects into ``OUT.parts/i-of-n``; `merge.merge_parts` makes the data folder.

    A part contains every n-th subject in the build's order. An interrupted part resumes; a finished part is checked and
    not encoded again.

    Args:
        config, out, force, workers, engine, plugins, hash_sources: as for `build`.
        part: (i, n) with 1 <= i <= n.

    Returns:
        The folder of the part.

    Raises:
        ConfigError, LeakageError, RecordingError, ShardError: as for `build`.
    """
    target, (number, of) = Path(out), part
    check_part(number, of)
    resolved = config.resolved()
    if not force and _built_from(config, resolved, target) is not None:
        raise ConfigError(f"{target} is already built from this config", hint="build into another folder")
    source = open_source(config)
    job = plan(config, resolved, source)
    mine = share(job.order, number, of)
    folder = part_folder(parts_folder(target), number, of)
    work = Journal(folder, {**job.model_dump(mode="json"), "part": [number, of]}, what=WHAT, replace=force)
    with kept_when_interrupted(work), kept_after_damage(work, mine, resolved["dataset"]):
        _same_listing(work, source, job, hash_sources)
        for subject in mine:
            forget_stale(work, subject, partial(_stale, source, config.errors))
        missing = [subject for subject in mine if read_person(work, subject, check=True) is None]
        _log_continued(work, len(mine) - len(missing), len(mine), recorded=_recorded(source))
        task = _task(config, job, work, plugins, hash_sources, target)
        results = run(task, missing, workers=workers, engine=engine, preload=_PRELOAD)
        for done, subject in enumerate(missing, len(mine) - len(missing) + 1):
            next(results)
            log_progress(logger, done, len(mine), "subjects", subject)
    return folder


def open_source(config: BuildConfig) -> RecordingSource:
    """The dataset of a config, after a check of the packages that the config needs.

    Raises:
        ConfigError: unknown dataset or argument, or a package is missing.
        RecordingError: the files of the dataset are not there.
    """
    config.signal.require_packages()
    try:
        source: RecordingSource = datasets.build(config.dataset, seed=config.seed)
    except OSError as error:  # a path that is too long, a folder without permission
        named = shorten(str(error.filename or ""))
        raise ConfigError(
            f"dataset {config.dataset.get('name')!r}: {named}: {error.strerror or error}",
            hint="correct dataset.root, or the other files that the section `dataset` names",
        ) from error
    return source


def plan(config: BuildConfig, resolved: dict[str, Any], source: RecordingSource) -> BuildJob:
    """Assign the subjects of the dataset to splits.

    Args:
        config: dataset, windows, splits.
        resolved: the same with all defaults, from `BuildConfig.resolved`.
        source: the dataset, opened.

    Raises:
        ConfigError: unknown subject.
        LeakageError: a subject is in two splits.
    """
    for note in getattr(source, "notes", ()):
        logger.warning("%s: %s", source.name, note)
    everybody = source.subjects()
    people = assign(everybody, config.splits, tags_of(source))
    refuse_overlap(people)
    provenance = provenance_of(source, window=config.window, checks=resolved["quality"])
    return BuildJob(
        version=__version__,
        config=resolved,
        config_digest=identity(resolved, provenance),
        dataset=source.name,  # not the registered name: samples carry the name that a folder of recordings declares
        licence=source.licence,
        citation=source.citation,
        url=source.url,
        window=config.window,
        signal=config.signal,
        shard_samples=config.shard_samples,
        everybody=tuple(everybody),
        people={split: tuple(subjects) for split, subjects in people.items()},
        provenance=provenance,
    )


def tags_of(source: RecordingSource) -> dict[str, dict[str, str]]:
    """Tags by subject of a dataset that knows them without reading signals."""
    known: dict[str, dict[str, str]] = source.subject_tags() if hasattr(source, "subject_tags") else {}
    return known


def _task(
    config: BuildConfig,
    job: BuildJob,
    journal: Journal,
    plugins: Sequence[str | Path],
    hash_sources: bool,
    target: Path,
) -> EncodePerson:
    read_plan = ReadPlan(
        dataset=dict(config.dataset),
        seed=config.seed,
        recipe=config.recipe,
        plugins=tuple(str(plugin) for plugin in plugins),
        provenance=job.provenance,
        errors=config.errors,
        hash_sources=hash_sources,
        quarantined={row.recording: row for row in read_left_out(target) if row.quarantined},
    )
    return EncodePerson(plan=read_plan, journal=journal)


def _encode_and_write(task: EncodePerson, assembly: Assembly, workers: int, engine: str, *, recorded: bool) -> Index:
    missing, order = assembly.unfinished(), assembly.job.order
    _log_continued(assembly.work, len(order) - len(missing), len(order), recorded=recorded)
    results = run(task, missing, workers=workers, engine=engine, preload=_PRELOAD)
    awaited = set(missing)

    def ready(subject: str) -> None:
        if subject in awaited:
            next(results)

    return assembly.write(ready)


def _log_continued(work: Journal, done: int, of: int, *, recorded: bool) -> None:
    if work.continued and done:
        unknown = "" if recorded else " (delete that folder if their recordings changed since)"
        logger.info("continuing %s: %d of %d subjects are finished%s", work.folder, done, of, unknown)


# --------------------------------------------------------------------------------------------------- changed sources


def _recorded(source: RecordingSource) -> bool:
    """Whether the build knows the files of the dataset, so that it notices their changes."""
    return hasattr(source, "unread") or root_of(source) is not None


def _stale(source: RecordingSource, errors: str, subject: str, person: Person) -> str | None:
    """Why a finished subject must be encoded again: its files changed, or it lacks recordings that are an error now."""
    if errors == "raise" and person.tally.left_out:
        return f"{len(person.tally.left_out)} of its recordings could not be read"
    root = root_of(source)
    now = record([file for item in items(source, subject) for file in item.files], root)
    before = {name: SourceFile.model_validate(facts) for name, facts in person.tally.sources.items()}
    changed = differences(before, now, root)
    return f"{changed[0][0]} changed ({changed[0][1]})" if changed else None


def _same_listing(work: Journal, source: RecordingSource, job: BuildJob, hash_sources: bool) -> dict[str, SourceFile]:
    """Files of a dataset that does not list them by subject; a change discards all finished subjects."""
    now = listing(source, hashed=hash_sources)
    known = work.finished(LISTING)
    before = {name: SourceFile.model_validate(facts) for name, facts in (known or {}).items()}
    changed = differences(before, now, root_of(source)) if known is not None else []
    if changed:
        logger.info("all subjects are encoded again: %s changed (%s)", *changed[0])
        for path in work.folder.glob("*.json"):
            if path.name != JOB_FILE:
                path.unlink()
        remove(work.folder / DATA_FOLDER)
    if now:
        work.finish(LISTING, {name: file.plain() for name, file in now.items()})
    return now


@contextmanager
def kept_after_damage(work: Journal, subjects: Sequence[str], dataset: Mapping[str, Any]) -> Iterator[None]:
    """Keep the finished subjects of a build that a damaged recording ends, and add the ways to continue to the hint."""
    try:
        yield
    except (RecordingError, ConfigError) as error:
        if not hasattr(error, "unfinished"):
            raise
        finished = sum(read_person(work, subject, check=False) is not None for subject in subjects)
        skip = "--errors skip leaves it out" if isinstance(error, RecordingError) else ""
        kept = f"the finished subjects ({finished} of {len(subjects)}) are kept in {work.folder}" if finished else ""
        error.hint = "; ".join(filter(None, (error.hint, skip, check_hint(dataset), kept))) or None
        if finished:
            work.failed()
        else:
            del error.unfinished
        raise


# --------------------------------------------------------------------------------------------------- finished folders


def already_built(config: BuildConfig, out: str | Path) -> Index | None:
    """The index of ``out`` if the same config built it from the same recordings, or None if ``out`` does not exist.

    Removes leftovers of a build that was killed between the final rename and its clean-up.

    Raises:
        ConfigError: ``out`` is not a data folder, or a different config or declaration built it.
        ShardError: the folder is damaged.
    """
    return _built_from(config, config.resolved(), Path(out))


def _built_from(config: BuildConfig, resolved: dict[str, Any], target: Path) -> Index | None:
    if is_free(target):
        return None
    require_data_folder(target)
    index = load_index(target)
    provenance = _provenance_now(config, resolved, index)
    if identity(resolved, provenance) != index.build.config_digest:
        changed = describe_changes(
            restored({"config": index.build.config, "recordings": index.build.provenance}),
            restored({"config": resolved, "recordings": provenance}),
        )
        raise ConfigError(
            f"{target} was built from another config ({index.build.config_digest}, this one is "
            f"{identity(resolved, provenance)}). Changed since: {'; '.join(changed)}",
            hint=f"build into another folder, or replace it: imu-video build CONFIG {target} --force",
        )
    if index.build.left_out and config.errors == "raise":
        raise ConfigError(
            f"{target} was built without {index.build.left_out} recordings that could not be read ({LEFT_OUT_FILE})",
            hint=f"accept this with --errors skip, or build it again: imu-video build CONFIG {target} --force",
        )
    left = read_job(partial_folder(target))
    if left is not None and left.get("config") == index.build.config:
        with Journal(partial_folder(target), left, what=WHAT) as work:
            work.remove()
    return index


def _provenance_now(config: BuildConfig, resolved: dict[str, Any], index: Index) -> dict[str, Any]:
    """Provenance of the recordings as they are; that of the folder if they can no longer be opened.

    Raises:
        ConfigError: source files were added or have other content than when the folder was built.
    """
    known, files = index.build.provenance, read_record(index.root)
    if not known and files is None:
        return {}  # of an adapter without files, or of a version that recorded nothing
    try:
        source = open_source(config)
        subjects = [s for split in assign(source.subjects(), config.splits, tags_of(source)).values() for s in split]
        provenance = provenance_of(source, window=config.window, checks=resolved["quality"])
        root, now = root_of(source), listing(source)
        tables: dict[str, str] = {}
        for item in (item for subject in subjects for item in items(source, subject)):
            now |= record(item.files, root)
            tables |= hashes(item.tables, root)
    except RecordingError as error:
        logger.warning("%s: not compared with its recordings: %s", index.root, error.message)
        return dict(reread(known))
    provenance = with_tables(provenance, tables)
    if files is None or restored(provenance) != restored(known):
        return provenance  # a changed declaration explains changed files, and is reported first
    changed = differences(files.files, now, root)
    weighty = [row for row in changed if row[1] != "removed" and not row[1].startswith("other time")]
    if weighty:
        raise ConfigError(
            f"{index.root} is built from this config, but {len(weighty)} of its source files changed: "
            + "; ".join(f"{file} ({what})" for file, what in weighty[:3]),
            hint=f"`imu-video check {index.root} --against RECORDINGS` lists them; replace the folder with --force",
        )
    if changed:
        logger.warning(
            "%s: %d of its source files were removed or have another time of last change, for example %s",
            index.root,
            len(changed),
            changed[0][0],
        )
    return provenance
