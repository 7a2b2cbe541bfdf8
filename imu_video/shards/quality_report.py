"""quality.json of a data folder: what the checks of a build found, the sync estimates, and what was normalised away.

The checks are in `imu_video.recordings`; this file counts, writes and reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from imu_video.config import Config
from imu_video.errors import ShardError
from imu_video.recordings.quality import Finding
from imu_video.recordings.recipe import SyncRow
from imu_video.runtime.files import write_atomic
from imu_video.shards.schema import QUALITY_FILE

QUALITY_VERSION = 1


class Total(Config):
    """All findings of one reason: how many, in how many recordings and windows, and the seconds that they last."""

    findings: int
    recordings: int
    windows: int
    seconds: float


class QualityReport(Config):
    """Content of quality.json.

    Args:
        version: of this layout.
        checks: every check with its policy and thresholds, as the build resolved them.
        recordings: that were looked at.
        devices: IMU devices in them.
        windows: that were considered.
        totals: reason -> its totals.
        findings: one row for each recording, device or video, and reason, in the order of the build.
        sync: one row for each recording with an estimate.
        statistics: recording -> placement -> channel ``mean`` and ``std`` that ``signal.normalise`` took out.
    """

    version: int = QUALITY_VERSION
    checks: dict[str, dict[str, Any]]
    recordings: int
    devices: int
    windows: int
    totals: dict[str, Total]
    findings: tuple[Finding, ...] = ()
    sync: tuple[SyncRow, ...] = ()
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
    """One report of several folders that are put together.

    Args:
        reports: one of each folder.
        prefixes: what is put before its people's and recordings' names, mostly nothing.

    Returns:
        The report, or None where the folders were not checked alike.
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
        statistics={prefix + name: one for report, prefix in pairs for name, one in report.statistics.items()},
    )


def of_people(report: QualityReport, people: Sequence[str]) -> QualityReport:
    """The report with its rows in another order of people, as a build in that order would have written it."""
    place = {subject: i for i, subject in enumerate(people)}
    findings = tuple(sorted(report.findings, key=lambda row: place[row.subject]))
    sync = tuple(sorted(report.sync, key=lambda row: place[row.subject]))
    return report.model_copy(update={"findings": findings, "sync": sync})


def write_report(report: QualityReport, root: Path) -> None:
    """Write quality.json atomically, one finding a line."""
    parts = []
    for key, value in report.model_dump(mode="json").items():
        if isinstance(value, list) and value:
            rows = ",\n  ".join(_json(row) for row in value)
            parts.append(f"{_json(key)}: [\n  {rows}\n]")
        else:
            parts.append(f"{_json(key)}: {_json(value)}")
    write_atomic(root / QUALITY_FILE, ("{\n" + ",\n".join(parts) + "\n}\n"))


def read_report(root: Path) -> QualityReport | None:
    """The report of a data folder; None where it has none (built before there were checks, or merged from such).

    Raises:
        ShardError: quality.json that cannot be read.
    """
    file = root / QUALITY_FILE
    try:
        return QualityReport.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"]))
        raise ShardError(f"{file}: {key}: {fault['msg']}", hint=f"delete it, or build {root} again") from error
    except (ValueError, OSError) as error:
        raise ShardError(f"{file}: not readable as JSON: {error}", hint=f"delete it, or build {root} again") from error


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
