"""Contents of a data folder as rows of tables; the commands print them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from imu_video.modalities.base import counted_streams, lacking_key, modality_of
from imu_video.shards.left_out import read_left_out
from imu_video.shards.quality_report import QualityReport, read_report
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.teacher_cache import read_caches
from imu_video.shards.schema import QUALITY_FILE, TEACHER_FOLDER, Index

UNLABELLED = "(unlabelled)"
MOST_NOTES = 12
"""Different notes that are shown; the file holds all."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A titled table of plain values."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


def facts(index: Index) -> Table:
    """One row per fact: source, terms, rates, units, axes."""
    build = index.build
    units = {unit: [c for c, u in index.units.items() if u == unit] for unit in dict.fromkeys(index.units.values())}
    rows: list[tuple[object, ...]] = [
        ("dataset", index.dataset),
        ("licence", index.licence),
        ("citation", index.citation),
        ("window", f"{index.window_s:g} s, {index.samples_per_window} samples at {index.rate_hz:g} Hz"),
        ("units", "; ".join(f"{', '.join(channels)} in {unit}" for unit, channels in units.items())),
        ("gravity", f"{index.gravity}{', z points up' if index.frame == 'gravity' else ''}"),
        ("placements", ", ".join(index.placements)),
        *((_title(stream), index.streams[stream].text) for stream in index.streams),
        *((f"tag {tag}", ", ".join(values)) for tag, values in index.tags.items()),
        ("recordings", f"{build.recordings}, {build.empty_recordings} of them shorter than a window"),
        ("windows", f"{build.windows}, {sum(build.dropped.values())} of them dropped{_counts(build.dropped)}"),
        ("kept without", ", ".join(f"{what}: {n}" for what, n in _lacking(index).items()) or "nothing"),
        ("quality", _checked(read_report(index.root))),
        ("built by", f"imu-video {build.version}, config {build.config_digest}"),
        ("digest", index.digest),
    ]
    if build.unused_subjects:
        rows.append(("in no split", ", ".join(build.unused_subjects)))
    return Table(title="facts", columns=("fact", "value"), rows=tuple(rows))


def quality(index: Index) -> Table:
    """One row per reason of findings: numbers of recordings and windows, worst value; empty without findings.

    Raises:
        ShardError: quality.json that cannot be read.
    """
    report = read_report(index.root)
    rows: list[tuple[object, ...]] = []
    for reason, total in report.totals.items() if report is not None else ():
        mine = [finding for finding in report.findings if finding.reason == reason] if report is not None else []
        most = max(mine, key=lambda finding: (finding.windows, finding.seconds))
        example = f"{most.recording}, {most.part}: {most.value:g} {most.unit} (threshold {most.threshold:g})"
        rows.append((reason, most.policy, total.findings, total.recordings, total.windows, example))
    return Table(
        title="quality",
        columns=("reason", "policy", "findings", "recordings", "windows", "recording with most windows"),
        rows=tuple(rows),
    )


def notes(index: Index) -> Table:
    """Facts about recordings and their files, the same ones together; empty without any.

    Raises:
        ShardError: quality.json that cannot be read.
    """
    report = read_report(index.root)
    by_note: dict[str, list[str]] = {}
    for row in report.notes if report is not None else ():
        by_note.setdefault(row.note, []).append(row.recording)
    rows: list[tuple[object, ...]] = [(note, len(names), names[0]) for note, names in by_note.items()]
    if len(rows) > MOST_NOTES:
        rest = sum(len(names) for names in list(by_note.values())[MOST_NOTES:])
        rows = [*rows[:MOST_NOTES], (f"{len(rows) - MOST_NOTES} further notes in {QUALITY_FILE}", rest, "")]
    return Table(title="notes", columns=("note", "recordings", "first"), rows=tuple(rows))


def sync(index: Index) -> Table:
    """Spread of the sync estimates over recordings; empty without estimates.

    Raises:
        ShardError: quality.json that cannot be read.
    """
    report = read_report(index.root)
    rows = report.sync if report is not None else ()
    if not rows:
        return Table(title="sync", columns=(), rows=())
    spread = [
        (
            name,
            *(round(float(x), 4) for x in np.quantile([getattr(row, name) for row in rows], (0, 0.25, 0.5, 0.75, 1))),
        )
        for name in ("offset_s", "drift_ppm", "score")
    ]
    corrected = sum(row.corrected for row in rows)
    return Table(
        title=f"sync estimates (recordings: {len(rows)}, corrected: {corrected})",
        columns=("estimate", "minimum", "25 %", "median", "75 %", "maximum"),
        rows=tuple(spread),
    )


def left_out(index: Index) -> Table:
    """One row per recording that the build could not read; empty without any.

    Raises:
        ShardError: left_out.json that cannot be read.
    """
    rows = read_left_out(index.root) if index.build.left_out else ()
    return Table(
        title=f"recordings left out ({len(rows)})",
        columns=("recording", "subject", "reason", "try"),
        rows=tuple((row.recording, row.subject, row.reason, row.hint) for row in rows),
    )


def splits(index: Index) -> Table:
    """One row per split: samples, number of subjects, shards, megabytes, names of the subjects."""
    return Table(
        title="splits",
        columns=("split", "samples", "subjects", "shards", "MB", "names"),
        rows=tuple(
            (
                name,
                split.samples,
                len(split.subjects),
                len(split.shards),
                round(sum(s.bytes for s in split.shards) / 1e6, 1),
                ", ".join(split.subjects),
            )
            for name, split in index.splits.items()
        ),
    )


def labels(index: Index) -> Table:
    """One row per split and label: samples, and the number measured by each placement."""
    rows: list[tuple[object, ...]] = []
    for name in index.splits:
        columns = open_columns(index, name)
        of_label = Counter(label or UNLABELLED for label in columns.labels)
        for label in (*index.labels, UNLABELLED):
            if of_label[label]:
                mine = [(one or UNLABELLED) == label for one in columns.labels]
                rows.append((name, label, of_label[label], *columns.present[mine].sum(axis=0).tolist()))
    return Table(title="labels", columns=("split", "label", "samples", *index.placements), rows=tuple(rows))


def teachers(index: Index) -> Table:
    """One row per teacher cache: fingerprint, teacher, and whether it belongs to these shards.

    Raises:
        TeacherCacheError: a teacher.json that cannot be read.
    """
    rows = []
    for fingerprint, cache in read_caches(index).items():
        embedded = sorted(path.stem for path in (index.root / TEACHER_FOLDER / fingerprint).glob("*.npy"))
        shards = "these shards" if cache.get("index") == index.digest else "other shards: embed again"
        rows.append((fingerprint, cache.get("spec", {}).get("name", ""), ", ".join(embedded), shards))
    return Table(title="teachers", columns=("fingerprint", "teacher", "splits", "computed from"), rows=tuple(rows))


def _lacking(index: Index) -> dict[str, int]:
    """Samples without something that others have: a folder without clips does not lack them."""
    titles = {lacking_key(stream): _title(stream) for stream in index.streams}
    absent = {lacking_key(stream) for stream in counted_streams({})} - titles.keys()
    return {titles.get(what, what): n for what, n in index.build.without.items() if what not in absent}


def _title(stream: str) -> str:
    """Name of a stream in a table: ``clip``, ``clip of camera depth``."""
    modality, part = modality_of(stream), stream.partition(".")[2]
    return f"{modality.noun} of {modality.part} {part}" if part else modality.noun


def _checked(report: QualityReport | None) -> str:
    if report is None:
        return "not checked"
    made = sum(check.get("policy") != "off" for check in report.checks.values())
    found = ", ".join(report.totals) or "nothing"
    return f"{made} checks of {report.devices} device recordings and {report.windows} windows found {found}"


def _counts(reasons: dict[str, int]) -> str:
    return f" ({', '.join(f'{reason}: {n}' for reason, n in reasons.items())})" if reasons else ""
