"""quality.json of a data folder: findings of the checks, sync estimates and normalisation statistics.

The checks are in `imu_video.recordings`; this module counts findings, and writes and reads the report.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_core import to_jsonable_python

from imu_video.config import Config
from imu_video.recordings.quality import Finding
from imu_video.recordings.recipe import ClockRow, NoteRow, SyncRow
from imu_video.runtime.files import open_atomic
from imu_video.shards.left_out import read_rows
from imu_video.shards.schema import QUALITY_FILE

QUALITY_VERSION = 1


class Total(Config):
    """Totals of one reason: number of findings, affected recordings and windows, and seconds."""

    findings: int
    recordings: int
    windows: int
    seconds: float


class QualityReport(Config):
    """Content of quality.json.

    Args:
        version: layout version.
        checks: every check with its policy and thresholds, as the build resolved them.
        recordings: number of recordings checked.
        devices: number of IMU devices in them.
        windows: number of windows checked.
        totals: reason -> its totals.
        findings: one row per recording, device or video, and reason, in the order of the build.
        sync: one row per recording with an estimate.
        clocks: one row per device whose time stamps were repaired; left out of the file where there is none.
        notes: one row per fact about a recording and its files; left out of the file where there is none.
        statistics: recording -> placement -> channel ``mean`` and ``std`` removed by ``signal.normalise``.
    """

    version: int = QUALITY_VERSION
    checks: dict[str, dict[str, Any]]
    recordings: int
    devices: int
    windows: int
    totals: dict[str, Total]
    findings: tuple[Finding, ...] = ()
    sync: tuple[SyncRow, ...] = ()
    clocks: tuple[ClockRow, ...] = ()
    notes: tuple[NoteRow, ...] = ()
    statistics: dict[str, dict[str, dict[str, list[float]]]] = Field(default_factory=dict)


class Totals:
    """Totals by reason of findings that are added in the order of a build: those of one recording follow each other.

    A window with two findings of a reason (two devices) counts twice.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, int, int, float]] = {}
        self._last: dict[str, str] = {}

    def add(self, findings: Iterable[Finding]) -> Totals:
        """Add findings; returns itself."""
        for row in findings:
            count, recordings, windows, seconds = self._sums.get(row.reason, (0, 0, 0, 0))
            recordings += self._last.get(row.reason) != row.recording
            self._last[row.reason] = row.recording
            self._sums[row.reason] = (count + 1, recordings, windows + row.windows, seconds + row.seconds)
        return self

    def by_reason(self) -> dict[str, Total]:
        """Reason -> its totals, sorted."""
        return {
            reason: Total(findings=count, recordings=recordings, windows=windows, seconds=float(f"{seconds:.6g}"))
            for reason, (count, recordings, windows, seconds) in sorted(self._sums.items())
        }


def join_reports(reports: Sequence[QualityReport], prefixes: Sequence[str]) -> QualityReport | None:
    """Merge the reports of several folders.

    Args:
        reports: one report per folder.
        prefixes: per folder, the prefix of its subject and recording names; usually empty.

    Returns:
        The report, or None if the folders were checked with different settings.
    """
    if any(report.checks != reports[0].checks for report in reports):
        return None

    def renamed(row: Any, prefix: str) -> Any:
        return row.model_copy(update={"recording": prefix + row.recording, "subject": prefix + row.subject})

    pairs = list(zip(reports, prefixes, strict=True))
    findings = tuple(renamed(row, prefix) for report, prefix in pairs for row in report.findings)
    return QualityReport(
        checks=reports[0].checks,
        recordings=sum(report.recordings for report in reports),
        devices=sum(report.devices for report in reports),
        windows=sum(report.windows for report in reports),
        totals=Totals().add(findings).by_reason(),
        findings=findings,
        sync=tuple(renamed(row, prefix) for report, prefix in pairs for row in report.sync),
        clocks=tuple(renamed(row, prefix) for report, prefix in pairs for row in report.clocks),
        notes=tuple(renamed(row, prefix) for report, prefix in pairs for row in report.notes),
        statistics={prefix + name: one for report, prefix in pairs for name, one in report.statistics.items()},
    )


def of_people(report: QualityReport, people: Sequence[str]) -> QualityReport:
    """The report with its rows reordered, equal to that of a build with this order of subjects."""
    place = {subject: i for i, subject in enumerate(people)}
    findings = tuple(sorted(report.findings, key=lambda row: place[row.subject]))
    sync = tuple(sorted(report.sync, key=lambda row: place[row.subject]))
    clocks = tuple(sorted(report.clocks, key=lambda row: place[row.subject]))
    notes = tuple(sorted(report.notes, key=lambda row: place[row.subject]))
    return report.model_copy(update={"findings": findings, "sync": sync, "clocks": clocks, "notes": notes})


def write_report(report: QualityReport, root: Path, *, rows: Mapping[str, Iterable[str]] | None = None) -> None:
    """Write quality.json atomically, one finding per line.

    Args:
        report: the report.
        root: the data folder.
        rows: ``findings``, ``sync``, ``clocks``, ``notes`` or ``statistics`` -> JSON of each row (``"NAME": JSON`` for
            statistics), instead of the rows in ``report``: they need not be in memory at the same time.
    """
    given = rows or {}
    with open_atomic(root / QUALITY_FILE) as file:
        between = "{\n"
        for key, value in report:
            if isinstance(value, tuple) or key in given:
                texts = iter(given.get(key) or (_json(row.model_dump(mode="json")) for row in value))
                first = next(texts, None)
                if first is None and key in ("clocks", "notes"):
                    continue  # a build without such rows writes the same file as before there were any
                opened, middle, closed = ("{", ", ", "}") if key == "statistics" else ("[\n  ", ",\n  ", "\n]")
                file.write(f"{between}{_json(key)}: {opened if first is not None else opened[0]}".encode())
                for number, text in enumerate(() if first is None else chain([first], texts)):
                    file.write(f"{middle if number else ''}{text}".encode())
                file.write((closed if first is not None else closed[-1]).encode())
            else:
                file.write(f"{between}{_json(key)}: {_json(to_jsonable_python(value))}".encode())
            between = ",\n"
        file.write(b"\n}\n")


def read_report(root: Path) -> QualityReport | None:
    """The report of a data folder; None if built before checks existed, or merged from such folders.

    Raises:
        ShardError: quality.json cannot be read.
    """
    return read_rows(root / QUALITY_FILE, QualityReport, hint=f"delete it, or build {root} again")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
