"""quality.json of a data folder: findings of the checks, sync estimates and normalisation statistics.

The checks are in `imu_video.recordings`; this module counts findings, and writes and reads the report.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from imu_video.config import Config
from imu_video.errors import ShardError
from imu_video.recordings.quality import Finding
from imu_video.recordings.recipe import ClockRow, NoteRow, SyncRow
from imu_video.runtime.documents import read_model
from imu_video.runtime.files import write_atomic
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


def totals(findings: Iterable[Finding]) -> dict[str, Total]:
    """Totals by reason, sorted.

    A window with two findings of a reason (two devices) counts twice.
    """
    by_reason: dict[str, list[Finding]] = {}
    for finding in findings:
        by_reason.setdefault(finding.reason, []).append(finding)
    return {
        reason: Total(
            findings=len(rows),
            recordings=len({row.recording for row in rows}),
            windows=sum(row.windows for row in rows),
            seconds=float(f"{sum(row.seconds for row in rows):.6g}"),
        )
        for reason, rows in sorted(by_reason.items())
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
        totals=totals(findings),
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


def write_report(report: QualityReport, root: Path) -> None:
    """Write quality.json atomically, one finding per line."""
    parts = []
    content = report.model_dump(mode="json")
    for key in ("clocks", "notes"):
        if not content[key]:
            del content[key]  # a build without such rows writes the same file as before there were any
    for key, value in content.items():
        if isinstance(value, list) and value:
            rows = ",\n  ".join(_json(row) for row in value)
            parts.append(f"{_json(key)}: [\n  {rows}\n]")
        else:
            parts.append(f"{_json(key)}: {_json(value)}")
    write_atomic(root / QUALITY_FILE, ("{\n" + ",\n".join(parts) + "\n}\n"))


def read_report(root: Path) -> QualityReport | None:
    """The report of a data folder; None if built before checks existed, or merged from such folders.

    Raises:
        ShardError: quality.json cannot be read.
    """
    file = root / QUALITY_FILE
    if not file.exists():
        return None
    return read_model(file, QualityReport, error=ShardError, hint=f"delete it, or build {root} again")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
