"""Collects encoded subjects into shards in order and writes the index; encodes nothing.

Finished shards are kept when the job is killed. A subject's tar is removed once finished shards contain all of its
samples, so that a build needs little more disk space than its result.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from imu_video.config import Config
from imu_video.errors import LeakageError, ShardError
from imu_video.modalities.base import counted_streams, lacking_key
from imu_video.recordings.prepare import SignalConfig
from imu_video.recordings.windows import WindowConfig
from imu_video.runtime.journal import Journal, piece_name
from imu_video.runtime.logging import log_progress
from imu_video.runtime.references import restored
from imu_video.shards.building.encode import Counts, Person, tar_of
from imu_video.shards.building.sources import with_tables, write_record
from imu_video.shards.building.spool import Spool
from imu_video.shards.left_out import refuse_mostly_left_out, write_dropped_rows, write_left_out
from imu_video.shards.publish import DATA_FOLDER
from imu_video.shards.quality_report import QualityReport, write_report
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.index import write_index
from imu_video.shards.schema import BuildFacts, Index, ShardEntry, SourceFile, SplitEntry, identity
from imu_video.shards.write import ShardWriter
from imu_video.types import IMU_CHANNELS, stored_unit

logger = logging.getLogger(__name__)


class BuildJob(Config):
    """Everything that determines the bytes of a build, except the recordings.

    Args:
        version: imu_video version.
        config: resolved build config.
        config_digest: hash of config and provenance.
        provenance: what else determines the windows, except the content of tables of single subjects.
        dataset, licence, citation, url: the source and its terms.
        window: how recordings are cut.
        signal: how signals are conditioned.
        shard_samples: samples per tar.
        everybody: all subjects of the dataset.
        people: split -> its subjects in the order of the shards.
    """

    version: str
    config: dict[str, Any]
    config_digest: str
    dataset: str
    licence: str
    citation: str
    url: str
    window: WindowConfig
    signal: SignalConfig = SignalConfig()
    shard_samples: int
    everybody: tuple[str, ...]
    people: dict[str, tuple[str, ...]]
    provenance: dict[str, Any] = {}

    @property
    def order(self) -> list[str]:
        """Subjects in the order of encoding and collection."""
        return [subject for subjects in self.people.values() for subject in subjects]


def read_person(journal: Journal, subject: str, *, check: bool) -> Person | None:
    """A finished subject of a journal, or None if it is not finished."""
    facts = journal.finished(piece_name(subject), check=check)
    if facts is None:
        facts = _collected(journal, subject)
    return None if facts is None else Person.of(facts, check=check)


def forget_stale(journal: Journal, subject: str, stale: Callable[[str, Person], str | None]) -> bool:
    """Mark a finished subject as unfinished if its recordings have changed; True if so."""
    person = read_person(journal, subject, check=False)
    reason = None if person is None else stale(subject, person)
    if reason is None:
        return False
    logger.info("%s is encoded again: %s", subject, reason)
    for name in (piece_name(subject), f"{piece_name(subject)}.collected"):
        journal.forget(name)
    return True


def _collected(journal: Journal, subject: str) -> dict[str, Any] | None:
    return journal.finished(f"{piece_name(subject)}.collected")


class Assembly:
    """Collects subjects into the shards of a data folder, one split after the other.

    Args:
        job: the build.
        work: journal of the unfinished data folder; records the finished shards.
        people: journal that has a subject's tar.
        drop: remove a subject's tar when finished shards contain all of it.
        listing: source files of a dataset that does not list the files of a subject.
    """

    def __init__(
        self,
        job: BuildJob,
        work: Journal,
        people: Mapping[str, Journal],
        *,
        drop: bool,
        listing: Mapping[str, SourceFile] | None = None,
    ) -> None:
        self.job, self.work, self._people, self._drop = job, work, people, drop
        self._listing = dict(listing or {})
        self.folder = work.folder / DATA_FOLDER
        self.shards = {split: self._finished_shards(split) for split in job.people}

    def _finished_shards(self, split: str) -> list[ShardEntry]:
        """Shards of a split that an earlier run finished, from the first up to the first that is missing or damaged."""
        found: list[ShardEntry] = []
        while (facts := self.work.finished(f"{split}-{len(found):06d}")) is not None:
            found.append(ShardEntry.model_validate(facts))
        return found

    def forget(self, stale: Callable[[str, Person], str | None]) -> None:
        """Mark finished subjects as unfinished whose recordings have changed, and the shards of their splits.

        Args:
            stale: reason why a finished subject must be encoded again, or None.
        """
        for split, subjects in self.job.people.items():
            for subject in subjects:
                if forget_stale(self._people[subject], subject, stale):
                    for shard in self.shards[split]:
                        self.work.forget(Path(shard.path).stem)
                        (self.folder / shard.path).unlink(missing_ok=True)
                    self.shards[split] = []

    def unfinished(self) -> list[str]:
        """Subjects still to encode: they have no valid piece, and finished shards lack some of their samples."""
        missing = []
        for split, subjects in self.job.people.items():
            there, end, known = sum(s.samples for s in self.shards[split]), 0, True
            for subject in subjects:
                person = read_person(self._people[subject], subject, check=True)
                end += 0 if person is None else person.tally.kept
                known = known and person is not None
                if person is not None and (not person.collected or (known and end <= there)):
                    continue
                self._people[subject].forget(f"{piece_name(subject)}.collected")
                missing.append(subject)
        return missing

    def write(self, ready: Callable[[str], None]) -> Index:
        """Collect all subjects and write index and columns.

        Args:
            ready: called before a subject is read; returns when its piece is finished.

        Returns:
            The index, located in the working folder.

        Raises:
            ShardError: a split has no window, or a key occurs twice.
            LeakageError: a recording belongs to two subjects.
            RecordingError: subjects whose streams differ in their specification, or most recordings were left out.
        """
        with Spool(self.work.folder / "rows") as spool:
            return self._write(ready, spool)

    def _write(self, ready: Callable[[str], None], spool: Spool) -> Index:
        total, splits, done = Counts(), {}, 0
        for split, subjects in self.job.people.items():
            before, present = total.kept, []
            with ShardWriter(
                folder=self.folder,
                split=split,
                shard_samples=self.job.shard_samples,
                shards=self.shards[split],
                closed=self._remember,
            ) as writer:
                collecting = _Collecting(self, writer)
                for subject in subjects:
                    ready(subject)
                    person = collecting.add(subject)
                    spool.add(person.tally)
                    total.add_counts(person.tally, recording=next(iter(person.tally.recordings), subject))
                    done += 1
                    if person.tally.kept:
                        present.append(subject)
                    what = f"{split}: {subject}, {person.tally.kept} windows"
                    log_progress(logger, done, len(self.job.order), "subjects", what)
            collecting.drop()
            if not writer.shards:
                refuse_mostly_left_out(spool.first, total.unreadable, total.read, self.job.config["dataset"])
                raise ShardError(
                    f"split {split!r} ({', '.join(subjects)}) has no window: {total.empty_recordings} of "
                    f"{total.read} recordings so far are shorter than a window, dropped "
                    f"{dict(total.dropped)}"
                    + (f", {total.unreadable} recordings cannot be read" if total.unreadable else ""),
                    hint="check window.seconds and window.min_measured, or change splits.subjects",
                )
            splits[split] = SplitEntry(
                subjects=tuple(present), samples=total.kept - before, shards=tuple(writer.shards)
            )
        refuse_mostly_left_out(spool.first, total.unreadable, total.read, self.job.config["dataset"])
        index = write_index(index_of(self.job, splits, total), self.folder)
        self._write_reports(total, spool)
        for split in index.splits:
            open_columns(index, split)
        return index

    def _write_reports(self, total: Counts, spool: Spool) -> None:
        report = QualityReport(
            checks=self.job.config["quality"],
            recordings=total.read,
            devices=total.devices,
            windows=total.windows,
            totals=spool.totals.by_reason(),
        )
        lists = ("findings", "sync", "clocks", "notes", "statistics")
        write_report(report, self.folder, rows={kind: spool.rows(kind) for kind in lists})
        if total.unreadable:
            write_left_out(spool.rows("left_out"), self.folder)
        if spool.has("dropped"):
            write_dropped_rows(spool.table("dropped"), self.folder)
        spool.add_sources(self._listing)
        if spool.has("sources"):
            write_record(spool.table("sources"), self.folder)

    def _remember(self, shard: ShardEntry) -> None:
        self.work.finish(
            Path(shard.path).stem,
            shard.plain(),
            file=f"{DATA_FOLDER}/{shard.path}",
            sha256=shard.sha256,
        )

    def person(self, subject: str) -> tuple[Person, Path]:
        """A finished subject and the path of its tar.

        Raises:
            ShardError: the piece no longer exists.
        """
        journal = self._people[subject]
        person = read_person(journal, subject, check=False)
        if person is None:
            raise ShardError(f"{journal.folder}: {subject!r} is not finished", hint="run the same command again")
        return person, journal.folder / tar_of(subject)

    def collected(self, subject: str, person: Person) -> None:
        """Remove a subject's tar when finished shards contain it; its tally is kept for restarts."""
        if not self._drop or person.collected:
            return
        journal, name = self._people[subject], piece_name(subject)
        kept = Person(tally=person.tally, entry=None, collected=True)
        # In this order, a kill at any point leaves either the piece with its tar or the collected tally.
        journal.finish(f"{name}.collected", kept.facts())
        journal.forget(name)
        (journal.folder / tar_of(subject)).unlink(missing_ok=True)


class _Collecting:
    """Collects one split: skips samples in finished shards and drops tars that are no longer needed."""

    def __init__(self, assembly: Assembly, writer: ShardWriter) -> None:
        self._assembly, self._writer = assembly, writer
        self._skip = sum(s.samples for s in writer.shards)
        self._seen = 0
        self._open: list[tuple[str, Person, int]] = []  # subjects with samples in the unfinished shard

    def add(self, subject: str) -> Person:
        person, path = self._assembly.person(subject)
        there = max(0, self._skip - self._seen)
        self._seen += person.tally.kept
        if person.entry is not None and there < person.tally.kept:
            with path.open("rb") as tar:
                self._writer.copy(person.entry.members, range(there, person.entry.samples), tar)
        self._open.append((subject, person, self._seen))
        self.drop()
        return person

    def drop(self) -> None:
        """Remove the tars of subjects that finished shards contain completely."""
        closed = sum(s.samples for s in self._writer.shards)
        for name, one, end in self._open:
            if end <= closed:
                self._assembly.collected(name, one)
        self._open = [entry for entry in self._open if entry[2] > closed]


def refuse_overlap(people: Mapping[str, list[str] | tuple[str, ...]]) -> None:
    """Check that no subject is in two splits.

    Raises:
        LeakageError: a subject is in two splits.
    """
    owner: dict[str, str] = {}
    for split, subjects in people.items():
        for subject in subjects:
            if owner.setdefault(subject, split) != split:
                raise LeakageError(
                    f"subject {subject!r} is in split {owner[subject]!r} and in split {split!r}",
                    hint="assign each subject to one split",
                )


def index_of(job: BuildJob, splits: dict[str, SplitEntry], tally: Counts) -> Index:
    """The index of finished shards, from the counts of the build."""
    window = job.window
    lacking = Counter(
        {lacking_key(stream): tally.kept - tally.with_stream[stream] for stream in counted_streams(tally.streams)}
    )
    used = {subject for split in splits.values() for subject in split.subjects}
    provenance = with_tables(job.provenance, tally.tables)
    return Index(
        dataset=job.dataset,
        licence=job.licence,
        citation=job.citation,
        url=job.url,
        channels=IMU_CHANNELS,
        units={channel: stored_unit(channel, job.signal.normalise) for channel in IMU_CHANNELS},
        gravity=_gravity(tally.gravity),
        frame="gravity" if job.signal.gravity == "align" else "sensor",
        normalised=job.signal.normalise,
        rate_hz=window.rate_hz,
        window_s=window.seconds,
        samples_per_window=window.samples,
        placements=tuple(sorted(tally.placements)),
        labels=tuple(sorted(tally.labels)),
        tags={tag: tuple(sorted(values)) for tag, values in sorted(tally.tags.items())},
        streams=dict(sorted(tally.streams.items())),
        splits=splits,
        build=BuildFacts(
            config=restored(job.config),
            config_digest=identity(job.config, provenance) if provenance else job.config_digest,
            version=job.version,
            recordings=tally.read,
            empty_recordings=tally.empty_recordings,
            windows=tally.windows,
            dropped=dict(sorted(tally.dropped.items())),
            without=dict(sorted((tally.without + lacking).items())),
            split_order=tuple(splits),
            unused_subjects=tuple(sorted(set(job.everybody) - used)),
            provenance=restored(provenance),
            left_out=tally.unreadable,
        ),
    )


def _gravity(seen: set[str]) -> Literal["included", "removed", "mixed"]:
    return "mixed" if len(seen) > 1 else "removed" if "removed" in seen else "included"
