"""Merges the parts of a build into one data folder, identical to an unsplit build; encodes nothing."""

from __future__ import annotations

import shutil
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from imu_video.errors import ConfigError, ShardError
from imu_video.runtime.files import is_free
from imu_video.runtime.journal import JOB_FILE, Journal, describe_changes, kept_when_interrupted, read_job
from imu_video.runtime.parts import find_parts, part_of, share
from imu_video.runtime.references import resolve, settled
from imu_video.shards.building.assemble import Assembly, BuildJob, read_person
from imu_video.shards.building.build import WHAT
from imu_video.shards.building.sources import LISTING
from imu_video.shards.publish import (
    DATA_FOLDER,
    partial_folder,
    parts_folder,
    publish,
    require_data_folder,
)
from imu_video.shards.schema import Index, SourceFile


def merge_parts(out: str | Path, *, force: bool = False) -> Index:
    """Merge all parts written by `build_part` into a data folder, byte-identical to an unsplit build.

    The parts are removed when the folder is complete. Neither the recordings nor the dataset's
    plugin are needed.

    Args:
        out: the data folder to create; its parts are in ``OUT.parts``.
        force: replace a data folder of that name.

    Returns:
        The index of the folder.

    Raises:
        ConfigError: parts are missing, still running, or differ in config or number of parts; or ``out`` exists.
        ShardError: a part is unfinished or damaged.

    Example:
        >>> from imu_video.config import load_config
        >>> from imu_video.shards.building.build import BuildConfig, build_part
        >>> own = ["dataset.root=my-study", "splits={subjects: {train: [s01], test: [s02]}}"]
        >>> config = load_config("configs/data/folder.yaml", BuildConfig, own)
        >>> parts = [build_part(config, "data/mine", (number, 2)) for number in (1, 2)]
        >>> merge_parts("data/mine").split("train").samples
        4
    """
    target = Path(out)
    if not is_free(target):
        require_data_folder(target)
        if not force:
            raise ConfigError(f"{target} exists", hint="remove it, or replace it: --force")
    folders, job = _parts(target)
    with ExitStack() as stack:
        people: dict[str, Journal] = {}
        for number, folder in folders.items():
            journal = Journal(folder, {**job.model_dump(mode="json"), "part": [number, len(folders)]}, what=WHAT)
            stack.enter_context(journal)
            for subject in share(job.order, number, len(folders)):
                people[subject] = journal
        _refuse_unfinished(target, people)
        work = Journal(partial_folder(target), {**job.model_dump(mode="json"), "part": []}, what=WHAT, replace=force)
        with kept_when_interrupted(work):
            listed = people[job.order[0]].finished(LISTING) or {}
            files = {name: SourceFile.model_validate(facts) for name, facts in listed.items()}
            index = Assembly(job, work, people, drop=False, listing=files).write(lambda subject: None)
            publish(work.folder / DATA_FOLDER, target, force=force)
            work.remove()
    shutil.rmtree(parts_folder(target), ignore_errors=True)
    return index.at(target)


def _parts(target: Path) -> tuple[dict[int, Path], BuildJob]:
    """Folder of every part by number, and the job that all parts share."""
    root = parts_folder(target)
    folders = find_parts(root, command=f"imu-video build CONFIG {target}")
    jobs, of = {}, len(folders)
    for number, folder in folders.items():
        content = read_job(folder)
        if content is None or content.pop("part", None) != [number, of]:
            raise ConfigError(f"{folder} is not part {number}/{of} of a build", hint="delete it and build that part")
        jobs[number] = content
    odd = [number for number in jobs if jobs[number] != jobs[1]]
    if odd:
        raise ConfigError(
            f"{root}: part {odd[0]}/{of} was built from another config, version or dataset "
            f"({jobs[odd[0]].get('config_digest')}) than part 1/{of} ({jobs[1].get('config_digest')}). Different: "
            f"{'; '.join(describe_changes(jobs[1], jobs[odd[0]]))}",
            hint=f"build it again with the same config: --part {odd[0]}/{of} --force",
        )
    return folders, BuildJob.model_validate(settled(resolve(jobs[1], str(folders[1] / JOB_FILE))))


def _refuse_unfinished(target: Path, people: dict[str, Journal]) -> None:
    unfinished = Counter(
        journal.folder for subject, journal in people.items() if read_person(journal, subject, check=True) is None
    )
    if unfinished:
        lacking = ", ".join(
            f"{folder.name} (subjects missing: {count})" for folder, count in sorted(unfinished.items())
        )
        raise ShardError(
            f"{parts_folder(target)}: unfinished parts: {lacking}",
            hint=f"finish it: imu-video build CONFIG {target} --part {part_of(min(unfinished))}",
        )
