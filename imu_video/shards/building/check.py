"""All faults of a folder of recordings in one pass: reads and cuts everything as a build does, and writes nothing."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imu_video.config import Config, changes
from imu_video.errors import DataError, ImuVideoError, LeakageError, collecting
from imu_video.protocols import RecordingSource, Unread
from imu_video.recordings.quality import Inspector, resolve_checks
from imu_video.recordings.ranges import check_ranges
from imu_video.recordings.recipe import NoteRow, Recipe
from imu_video.recordings.splits import assign
from imu_video.recordings.windows import window_count
from imu_video.registry import datasets
from imu_video.runtime.logging import log_progress
from imu_video.runtime.references import reread, restored
from imu_video.shards.building.assemble import refuse_overlap
from imu_video.shards.building.build import BuildConfig, tags_of
from imu_video.shards.building.encode import Tally, counted_windows
from imu_video.shards.building.sources import (
    differences,
    hashes,
    items,
    label,
    listing,
    provenance_of,
    read_record,
    record,
    root_of,
    with_tables,
)
from imu_video.shards.names import check_member
from imu_video.shards.schema import Index, SourceFile

logger = logging.getLogger(__name__)
_PACKAGE = "pip install"


class Fault(Config):
    """One fault of a folder of recordings.

    Args:
        file: path relative to the folder, or name of the recording, split or config section.
        what: what is wrong.
        hint: what to do.
    """

    file: str
    what: str
    hint: str = ""


class CheckReport(Config):
    """Result of `check_recordings`.

    Args:
        faults: missing packages first, then by order of reading.
        recordings: number of recordings that were read without a fault.
        windows: number of windows that a build would keep.
        notes: facts that are not faults: unused files, similar names, labels beyond the recording.
    """

    faults: tuple[Fault, ...]
    recordings: int
    windows: int
    notes: tuple[str, ...] = ()


class _Faults:
    """Faults in the order in which they were found, each once."""

    def __init__(self, root: Path | None) -> None:
        self.rows: list[Fault] = []
        self.root = root

    def add(self, error: Exception, *, file: str, files: tuple[Path, ...] = ()) -> None:
        if isinstance(error, ImuVideoError):
            what, hint = error.message, error.hint or ""
        else:  # a defect of this package or of a library: reported, and the check continues
            what, hint = f"{type(error).__name__}: {error}", "report this as a bug, with the file"
        named = next((path for path in files if str(path) in what or label(path, self.root) in what), None)
        if named is not None:
            file = label(named, self.root)
            if not named.exists() and any(row.file == file for row in self.rows):
                return  # that a declared file does not exist is listed once, when the folder is opened
        elif self.root is not None:
            inside = re.search(rf"{re.escape(str(self.root))}/([^:\n]+?)(?=:|,|\s|$)", what)
            file = inside[1] if inside else file
        if self.root is not None and self.root != Path():
            what, hint = (text.replace(f"{self.root}/", "") for text in (what, hint))
        row = Fault(file=file, what=what, hint=hint)
        if row not in self.rows:
            self.rows.append(row)

    def sorted(self) -> tuple[Fault, ...]:
        """Missing packages first, one row per package: other faults may follow from them."""
        missing: dict[str, list[Fault]] = {}
        for row in self.rows:
            if _PACKAGE in row.hint:
                missing.setdefault(row.hint, []).append(row)
        first = [
            rows[0]
            if len(rows) == 1
            else rows[0].model_copy(update={"file": f"{rows[0].file} and {len(rows) - 1} more"})
            for rows in missing.values()
        ]
        return (*first, *(row for row in self.rows if _PACKAGE not in row.hint))


def check_recordings(
    config: BuildConfig, *, splits: bool = True, quick: bool = False, progress: bool = True
) -> CheckReport:
    """Read all recordings of a dataset as a build does, and list every fault.

    Args:
        config: the build config.
        splits: also check that every split of the config has windows.
        progress: log one line per subject.
        quick: read tables, labels and the headers of videos, but cut no windows and decode no frames.

    Returns:
        The faults; without any, a build with the same config succeeds.

    Example:
        >>> config = BuildConfig(dataset={"name": "folder", "root": "my-study"})
        >>> check_recordings(config, splits=False).faults
        ()
    """
    root = config.dataset.get("root")
    faults = _Faults(Path(str(root)).expanduser() if root is not None else None)
    source = _opened(config, faults)
    if source is None:
        return CheckReport(faults=faults.sorted(), recordings=0, windows=0)
    faults.root = root_of(source) or faults.root
    try:
        inspector = Inspector(config.quality)
    except ImuVideoError as error:
        faults.add(error, file="quality")
        inspector = Inspector({})
    total, kept, names = Tally(), {}, set[str]()
    subjects = source.subjects()
    for done, subject in enumerate(subjects, 1):
        before, faulty = total.kept, len(faults.rows)
        for item in items(source, subject):
            _check_item(item, subject, config.recipe, inspector, total, names, faults, quick)
        # Windows that a fault hides are not missing: that its split is empty would only repeat the fault.
        kept[subject] = total.kept - before + len(faults.rows) - faulty
        if progress:
            log_progress(logger, done, len(subjects), "subjects", subject)
    if splits:
        _check_splits(config, source, kept, faults, quick)
    return CheckReport(
        faults=faults.sorted(),
        recordings=total.read,
        windows=total.kept,
        notes=(*getattr(source, "notes", ()), *_facts(total)),
    )


def _opened(config: BuildConfig, faults: _Faults) -> RecordingSource | None:
    """The dataset, or None after the faults that prevent opening it."""
    source: RecordingSource | None = None
    with collecting() as found:
        for step in (config.signal.require_packages, lambda: datasets.build(config.dataset, seed=config.seed)):
            try:
                source = step()
            except Exception as error:
                faults.add(error, file="dataset.yaml" if faults.root is not None else "dataset")
    for one in found:
        faults.add(one, file="dataset.yaml")
    return source


def _check_item(
    item: Unread,
    subject: str,
    recipe: Recipe,
    inspector: Inspector,
    total: Tally,
    names: set[str],
    faults: _Faults,
    quick: bool,
) -> None:
    name = item.name or subject
    try:
        for recording in item.read():
            name, own = recording.name, Tally()
            if recording.subject != subject:
                raise LeakageError(f"recording {name!r} of subject {recording.subject!r} was read for {subject!r}")
            if name in names:
                raise LeakageError(f"recording {name!r} occurs twice", hint="names are unique within a dataset")
            own.begin(name)
            if quick:
                modalities, length = tuple(recipe.window.modalities), recipe.window.seconds
                facts = (*recording.notes, *check_ranges(recording, modalities=modalities, seconds=length))
                own.notes += [NoteRow(recording=name, subject=subject, note=note) for note in dict.fromkeys(facts)]
                own.empty_recordings += window_count(recording, recipe.window) == 0
                for stream in recording.streams.values():
                    _ = None if stream is None else stream.times
            else:
                for window, _specs in counted_windows(recording, recipe, inspector, own):
                    check_member(window.key, "meta.json", 0)
            total.add_counts(own, recording=name)
            total.notes += own.notes
            names.add(name)
    except Exception as error:
        before = len(faults.rows)
        for part in item.parts:
            try:
                part()
            except Exception as single:
                faults.add(single, file=name, files=item.files)
        # The error of the whole recording repeats that of its first damaged file, or concerns several files together.
        if len(faults.rows) == before or not item.parts:
            faults.add(error, file=name, files=item.files)


def _facts(total: Tally) -> Iterator[str]:
    """Notes on single recordings, which a build writes into its quality report."""
    yield from (f"{row.recording}: {row.note}" for row in total.notes)
    if total.empty_recordings:
        yield f"{total.empty_recordings} of {total.read} recordings are shorter than a window"


def _check_splits(
    config: BuildConfig, source: RecordingSource, kept: dict[str, int], faults: _Faults, quick: bool
) -> None:
    try:
        people = assign(source.subjects(), config.splits, tags_of(source))
        refuse_overlap(people)
    except ImuVideoError as error:
        faults.add(error, file="splits")
        return
    for split, members in people.items():
        if not quick and not any(kept[subject] for subject in members):
            what = f"split {split!r} ({', '.join(members)}) has no window"
            faults.add(DataError(what, hint="see the other faults, or change splits or window"), file="splits")


# ------------------------------------------------------------------------------------------- a data folder's recordings


def check_against(index: Index, dataset: Mapping[str, Any]) -> Iterator[Fault]:
    """Differences between the recordings that a data folder was built from and those that are there now.

    Args:
        index: the data folder, loaded from disk.
        dataset: config entry of the dataset, with the folder to compare.

    Yields:
        Changed keys of the declaration, changed tables and plugins, then source files that were added or removed or
        have another size, content or time.
    """
    recorded = read_record(index.root)
    known = {} if recorded is None else recorded.files
    if not known:
        yield Fault(
            file=index.root.name,
            what="its source files were not recorded, so that only the declaration can be compared",
            hint="an earlier version built it, or its dataset has no files",
        )
    sections = {key: value for key, value in reread(index.build.config).items() if key in BuildConfig.model_fields}
    config = BuildConfig.model_validate({**sections, "dataset": dataset})
    faults = _Faults(Path(str(dataset.get("root", ""))).expanduser())
    source = _opened(config, faults)
    yield from faults.rows
    if source is None:  # what was recorded is compared; what was added cannot be known
        assert faults.root is not None
        there = record([faults.root / name for name in known], faults.root)
        yield from (Fault(file=file, what=what) for file, what in differences(known, there, faults.root))
        return
    now: dict[str, SourceFile] = listing(source)
    tables: dict[str, str] = {}
    root = root_of(source)
    for subject in source.subjects():
        for item in items(source, subject):
            files = record(item.files, root)
            # A subject that the build left out is not new; one that came later is.
            if subject not in index.build.unused_subjects or files.keys() & known.keys():
                now |= files
                tables |= hashes(item.tables, root)
    checks = resolve_checks(config.quality)
    provenance = with_tables(provenance_of(source, window=config.window, checks=checks), tables)
    for line in changes(restored(index.build.provenance), restored(provenance)):
        section, _, rest = line.partition(".")
        yield Fault(file="dataset.yaml" if section == "declaration" else section, what=rest)
    for file, what in differences(known, now, root) if known else ():
        yield Fault(file=file, what=what)
