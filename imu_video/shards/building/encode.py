"""Encodes the recordings of each subject into one finished piece; build.py assigns subjects to splits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter

from imu_video.config import changes
from imu_video.errors import ConfigError, LeakageError, RecordingError
from imu_video.modalities.base import StreamSpec, StreamSpecs
from imu_video.protocols import RecordingSource, Unread
from imu_video.recordings.quality import Finding, Inspector, resolve_checks
from imu_video.recordings.recipe import ClockRow, NoteRow, Processed, Recipe, SyncRow
from imu_video.registry import datasets, load_plugin
from imu_video.runtime.journal import Journal, piece_name
from imu_video.runtime.workers import WorkerLost, working_on
from imu_video.shards.building.sources import hashes, items, provenance_of, record, root_of
from imu_video.shards.damage import ErrorPolicy
from imu_video.shards.left_out import LeftOut, still_listed
from imu_video.shards.schema import ShardEntry
from imu_video.shards.write import EncodedSample, TarFile, encode_window
from imu_video.types import Recording, Window

_DEADLY = "copy its files from their source again, or leave the recording out"


@dataclass
class Counts:
    """Counts of a build and the distinct values that its index lists; the sum does not depend on the order of addition.

    Its size does not depend on the number of recordings.
    """

    read: int = 0
    unreadable: int = 0
    empty_recordings: int = 0
    kept: int = 0
    windows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    without: Counter[str] = field(default_factory=Counter)
    placements: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)
    tags: dict[str, set[str]] = field(default_factory=dict)
    streams: StreamSpecs = field(default_factory=dict)
    with_stream: Counter[str] = field(default_factory=Counter)
    devices: int = 0
    gravity: set[str] = field(default_factory=set)
    tables: dict[str, str] = field(default_factory=dict)

    def take(self, window: Window, specs: Mapping[str, StreamSpec]) -> None:
        """Count one kept window.

        Args:
            window: the window.
            specs: specification of each of its streams.

        Raises:
            RecordingError: the specification of a stream differs from that of earlier windows.
        """
        self.kept += 1
        self.placements.update(window.imu)
        if window.label is not None:
            self.labels.add(window.label)
        for tag, value in window.tags.items():
            self.tags.setdefault(tag, set()).add(value)
        if window.label is None:
            self.without["label"] += 1
        for stream in window.streams:
            self.with_stream[stream] += 1
            self._alike(stream, specs[stream], window.recording)

    def add_counts(self, other: Counts, *, recording: str) -> None:
        """Add other counts.

        Args:
            other: what is added.
            recording: a recording of ``other``, for the message.

        Raises:
            RecordingError: the specification of a stream differs; nothing was added then.
            ConfigError: a table changed between two subjects.
        """
        for stream, spec in other.streams.items():
            self._alike(stream, spec, recording)
        for table in self.tables.keys() & other.tables.keys():
            if self.tables[table] != other.tables[table]:
                raise ConfigError(
                    f"{table} changed while the build was running: subjects were encoded with different versions of it",
                    hint="build again with --force",
                )
        self.read += other.read
        self.unreadable += other.unreadable
        self.empty_recordings += other.empty_recordings
        self.kept += other.kept
        self.windows += other.windows
        self.dropped += other.dropped
        self.without += other.without
        self.devices += other.devices
        self.gravity |= other.gravity
        self.placements |= other.placements
        self.labels |= other.labels
        for tag, values in other.tags.items():
            self.tags.setdefault(tag, set()).update(values)
        self.with_stream += other.with_stream
        self.tables |= other.tables

    def _alike(self, stream: str, spec: StreamSpec, recording: str) -> None:
        known = self.streams.setdefault(stream, spec)
        if known is not spec and known != spec:
            raise RecordingError(
                f"recording {recording!r}: {stream} is {spec!r}, other recordings have {known!r}",
                hint="build them into separate folders",
            )


@dataclass
class Tally(Counts):
    """Counts of some recordings, with the rows of the reports by recording; of one subject in a build."""

    recordings: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    sync: list[SyncRow] = field(default_factory=list)
    clocks: list[ClockRow] = field(default_factory=list)
    notes: list[NoteRow] = field(default_factory=list)
    statistics: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    lost: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)

    def begin(self, recording: str) -> None:
        """Count a recording that is read."""
        self.recordings.append(recording)
        self.read += 1

    def leave_out(self, row: LeftOut) -> None:
        """Count a recording that is not read."""
        self.left_out.append(row)
        self.unreadable += 1

    def learn(self, recording: Recording, processed: Processed) -> None:
        """Count a recording and its findings; call it after the last of its windows."""
        self.windows += processed.considered
        self.empty_recordings += processed.considered == 0
        self.dropped += processed.dropped
        self.devices += len(recording.imu)
        self.gravity.add(processed.gravity)
        self.findings += processed.findings()
        row = processed.sync_row()
        self.sync += [] if row is None else [row]
        self.clocks += processed.clock_rows()
        self.notes += processed.note_rows()
        if processed.lost:
            self.lost[recording.name] = processed.lost
        if processed.statistics:
            self.statistics[recording.name] = processed.statistics

    def add(self, other: Tally) -> None:
        """Add the counts and rows of other recordings; their names are not compared.

        Raises:
            RecordingError, ConfigError: see `Counts.add_counts`; nothing was added then.
        """
        self.add_counts(other, recording=other.recordings[0] if other.recordings else "")
        self.recordings += other.recordings
        self.findings += other.findings
        self.sync += other.sync
        self.clocks += other.clocks
        self.notes += other.notes
        self.statistics |= other.statistics
        self.left_out += other.left_out
        self.lost |= other.lost
        self.sources |= other.sources


@dataclass(frozen=True, kw_only=True)
class ReadPlan:
    """How the recordings of a build are read, in every process the same.

    Args:
        dataset: registered name and arguments, as in the config.
        seed: for datasets that accept a seed and do not set one.
        recipe: how a recording is processed.
        plugins: files that register datasets or checks, imported first.
        provenance: the declaration of the recordings when the build was planned.
        errors: policy for recordings that cannot be read.
        hash_sources: record the sha256 of every file.
        quarantined: recordings that an earlier build of the folder listed; left out while their files are unchanged.
        deadly: what ended the process that read it, and how (`EncodePerson.after_death`).
    """

    dataset: Mapping[str, Any]
    seed: int
    recipe: Recipe
    plugins: tuple[str, ...] = ()
    provenance: Mapping[str, Any] | None = None
    errors: ErrorPolicy = "raise"
    hash_sources: bool = False
    quarantined: Mapping[str, LeftOut] = field(default_factory=dict)
    deadly: Mapping[str, str] = field(default_factory=dict)

    def open(self) -> RecordingSource:
        """Open the dataset in this process.

        Raises:
            ConfigError: its declaration or code changed since the build was planned.
        """
        for plugin in self.plugins:
            load_plugin(plugin)
        source: RecordingSource = datasets.build(self.dataset, seed=self.seed)
        if self.provenance is not None:
            checks = resolve_checks(self.recipe.quality)
            now = provenance_of(source, window=self.recipe.window, checks=checks)
            changed = changes(self.provenance, now)
            if changed:
                raise ConfigError(
                    f"{source.name} changed while the build was running: {'; '.join(changed[:3])}",
                    hint="start the build again",
                )
        return source


def _encode_person(
    source: RecordingSource, subject: str, plan: ReadPlan, inspector: Inspector, tally: Tally, tar: TarFile
) -> Iterator[EncodedSample]:
    """Samples of a subject, in order; those of a damaged recording are removed from the tar again."""
    root, seen = root_of(source), set[str]()
    for item in items(source, subject):
        files = record(item.files, root, hashed=plan.hash_sources)
        tally.sources |= {name: file.plain() for name, file in files.items()}
        tally.tables |= hashes(item.tables, root)
        if plan.errors != "raise":
            listed = still_listed(item.name, files, plan.quarantined)
            if listed is not None:
                tally.leave_out(listed)
                continue
        recordings, part = _each(item), _part(item.name, files)
        while True:
            own, mark, name = Tally(), tar.mark(), None
            try:
                working_on(part)
                _refuse_deadly(plan, part)
                recording = next(recordings, None)
                if recording is None:
                    break
                name = recording.name
                _refuse_foreign(recording, subject, seen)
                own.begin(recording.name)
                working_on(_part(name, files))
                _refuse_deadly(plan, _part(name, files))
                yield from _encode_recording(recording, plan.recipe, inspector, own)
                tally.add(own)
                seen.add(recording.name)
                part = _part(item.name, files, after=name)
            except (RecordingError, ConfigError) as error:
                # An error in the declaration does not concern one recording, and no policy skips it.
                if plan.errors == "raise" or isinstance(error, ConfigError):
                    error.message = _located(error.message, name or item.name, subject)
                    error.unfinished = True  # type: ignore[union-attr]  # finished subjects are kept
                    raise
                tar.rewind(mark)
                last = tally.recordings[-1] if tally.recordings else subject
                tally.leave_out(
                    LeftOut(
                        recording=name or item.name or f"after {last}",
                        subject=subject,
                        # Without the time of day that decoders write: two builds give the same bytes.
                        reason=re.sub(r"\[\d\d:\d\d:\d\d\] ", "", error.message.replace(f"{root}/", "")),
                        hint=error.hint or "",
                        files=files,
                        quarantined=plan.errors == "quarantine",
                    )
                )
                if name is None:
                    break  # a generator that raised yields no further items
                part = _part(item.name, files, after=name)


def _part(name: str, files: Mapping[str, Any], *, after: str = "") -> str:
    """What is read next, for messages: the recording, or what follows one in the same files, with the first files."""
    what = f"what follows {after!r}" if after else f"recording {name!r}" if name else "the first recording"
    return f"{what} ({', '.join(list(files)[:3])}{', ...' if len(files) > 3 else ''})" if files else what


def _refuse_deadly(plan: ReadPlan, part: str) -> None:
    """Raise an error instead of reading what ended the process that read it."""
    if part in plan.deadly:
        raise RecordingError(f"{part}: the process that read it {plan.deadly[part]}, twice", hint=_DEADLY)


def _each(item: Unread) -> Iterator[Recording]:
    yield from item.read()


def _located(message: str, recording: str, subject: str) -> str:
    """The message of an error with the recording, unless it is named already."""
    return message if not recording or recording in message else f"subject {subject!r}, {recording!r}: {message}"


def _refuse_foreign(recording: Recording, subject: str, seen: set[str]) -> None:
    if recording.subject != subject:
        raise LeakageError(
            f"the dataset returned recording {recording.name!r} of subject {recording.subject!r} "
            f"for subject {subject!r}",
            hint="recordings(subjects) of the dataset must yield the given subjects only",
        )
    if recording.name in seen:
        raise LeakageError(f"recording {recording.name!r} occurs twice; names are unique within a dataset")


def _encode_recording(
    recording: Recording, recipe: Recipe, inspector: Inspector, tally: Tally
) -> Iterator[EncodedSample]:
    for window, specs in counted_windows(recording, recipe, inspector, tally):
        yield encode_window(window, dataset=recording.dataset, specs=specs)


def counted_windows(
    recording: Recording, recipe: Recipe, inspector: Inspector, tally: Tally
) -> Iterator[tuple[Window, Mapping[str, StreamSpec]]]:
    """The windows of a recording with the specification of each stream; the tally is complete after the last one.

    Raises:
        RecordingError: a stream cannot be read, its specification differs, or a check refuses the recording.
    """
    processed = Processed(recording, recipe, inspector)
    modalities = recipe.window.modalities
    specs: dict[str, StreamSpec] = {}
    for window in processed:
        for stream, values in window.streams.items():
            if stream not in specs:  # once per recording: all its windows have one specification
                modality = modalities[stream.partition(".")[0]]
                specs[stream] = modality.describe(recording.streams[stream], values)
        tally.take(window, specs)
        yield window, specs
    tally.learn(recording, processed)


@dataclass(frozen=True, kw_only=True)
class Person:
    """One subject's samples in a separate tar, before they are collected into shards.

    Args:
        tally: counts of the subject's recordings and windows.
        entry: places of the samples in the tar; None if the subject has no samples or its tar was removed.
        collected: whether finished shards contain the samples, and the tar was removed.
    """

    tally: Tally
    entry: ShardEntry | None
    collected: bool = False

    def facts(self) -> dict[str, Any]:
        """The content as JSON, for a journal."""
        entry = None if self.entry is None else self.entry.plain()
        return {"tally": _TALLY.dump_python(self.tally, mode="json"), "entry": entry, "collected": self.collected}

    @classmethod
    def of(cls, facts: Mapping[str, Any], *, check: bool = True) -> Person:
        """Restore from a journal; ``check=False`` skips validation of places that this run already checked."""
        made = ShardEntry.model_validate if check else ShardEntry.trusted
        entry = None if facts["entry"] is None else made(facts["entry"])
        return cls(tally=_TALLY.validate_python(facts["tally"]), entry=entry, collected=facts["collected"])


_TALLY: TypeAdapter[Tally] = TypeAdapter(Tally)


def tar_of(subject: str) -> str:
    """File name of a subject's tar in a journal's folder."""
    return f"{piece_name(subject)}.tar"


@dataclass
class EncodePerson:
    """Task for an engine: encode one subject's recordings as a finished piece of a journal.

    Args:
        plan: how the recordings are read.
        journal: the journal, kept open by the process that started the engine.
    """

    plan: ReadPlan
    journal: Journal
    source: RecordingSource | None = None
    inspector: Inspector | None = None

    def __call__(self, subject: str) -> None:
        """Encode one subject.

        Raises:
            RecordingError: a recording cannot be read, or its axes differ from those of the others.
            LeakageError: the dataset returned a recording of a different subject.
            ConfigError: the declaration of the recordings changed while the build was running.
        """
        if self.source is None or self.inspector is None:
            self.source = self.plan.open()
            self.inspector = Inspector(self.plan.recipe.quality)
        tally = Tally()
        tar = TarFile(self.journal.folder / tar_of(subject), sync=False)
        try:
            for sample in _encode_person(self.source, subject, self.plan, self.inspector, tally, tar):
                tar.add(sample)
            entry = tar.close() if len(tar.members) else None
        finally:
            tar.discard()
        self.journal.finish(
            piece_name(subject),
            Person(tally=tally, entry=entry).facts(),
            file=None if entry is None else tar_of(subject),
            sha256=None if entry is None else entry.sha256,
        )

    def after_death(self, subject: str, part: str, reason: str) -> EncodePerson:
        """The task for a subject of which one recording ended the process twice: it is not read again.

        Args:
            subject: the subject.
            part: the recording with its files.
            reason: how the process ended.

        Returns:
            A task that raises an error in place of the recording, which the policy for errors leaves out.

        Raises:
            RecordingError: the policy is ``raise``.
            WorkerLost: the process ended at a recording that was not read.
        """
        if part in self.plan.deadly:
            raise WorkerLost(f"subject {subject!r}, {part}: a worker process {reason}, though it did not read this")
        if self.plan.errors == "raise":
            error = RecordingError(
                f"subject {subject!r}, {part}: the process that read it {reason}, twice", hint=_DEADLY
            )
            error.unfinished = True  # type: ignore[attr-defined]  # finished subjects are kept
            raise error
        return replace(self, plan=replace(self.plan, deadly={**self.plan.deadly, part: reason}))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "source": None, "inspector": None}
