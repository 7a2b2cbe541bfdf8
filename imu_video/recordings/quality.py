"""Quality checks of recordings with thresholds and policies, applied to windows; nothing is repaired.

A check is a class registered in `imu_video.registry.checks`. Its keyword-only constructor holds the thresholds, so a
build config sets them by name. It checks devices (`stream`), clips (`clip`) or the sync estimate (`sync`). The policy
of a check decides what happens to a finding: ``flag`` (the windows carry ``<placement>:<reason>``), ``drop`` (the
device or clip is removed from those windows), ``refuse`` (the build ends with an error) or ``off``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, Literal, get_args

from imu_video.config import Config
from imu_video.errors import ConfigError, RecordingError, nearest
from imu_video.recordings.checks import Check, Spell
from imu_video.recordings.sync import SyncEstimate
from imu_video.registry import checks
from imu_video.types import Recording, Window

Policy = Literal["drop", "flag", "refuse", "off"]

VIDEO = "video"
"""The stream whose clips checks read."""


class Finding(Config):
    """One row of the quality report: the findings of one check in one device or video of one recording.

    Args:
        recording, subject: recording and its subject.
        part: the placement, ``video`` or ``skeleton``.
        reason: name of the check.
        policy: the policy that was applied.
        value: the worst value, in ``unit``.
        threshold: the value from which on the check reports a finding, in ``unit``.
        unit: unit of value and threshold.
        spells: number of separate intervals (for clips: windows).
        seconds: their total duration.
        windows: windows that were flagged, or from which the device or clip was removed.
    """

    recording: str
    subject: str
    part: str
    reason: str
    policy: Policy
    value: float
    threshold: float
    unit: str
    spells: int
    seconds: float
    windows: int


def resolve_checks(entries: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every registered check with its policy and thresholds, after applying the entries of the config.

    Args:
        entries: check name -> policy, or -> mapping of ``policy`` and thresholds.

    Returns:
        Name -> ``policy`` and all thresholds, sorted by name.

    Raises:
        ConfigError: unknown check, policy or threshold.

    Example:
        >>> resolve_checks({"flat": "drop", "gap": {"seconds": 2.0}})["flat"]["policy"]
        'drop'
    """
    unknown = sorted(set(entries) - set(checks.names()))
    if unknown:
        raise ConfigError(
            f"quality: unknown check {unknown[0]!r}{nearest(unknown[0], checks.names())}",
            hint="`imu-video list checks`",
        )
    resolved = {}
    for name in sorted(checks.names()):
        given = entries.get(name, {})
        entry = dict(given) if isinstance(given, Mapping) else {"policy": given}
        policy = entry.pop("policy", "flag")
        policy = "off" if policy is False else policy  # YAML reads a bare `off` as false
        if policy not in get_args(Policy):
            raise ConfigError(
                f"quality.{name}: policy is {policy!r}, expected one of: {', '.join(get_args(Policy))}",
                hint=f"quality.{name}=flag",
            )
        _, arguments = checks.arguments({"name": name, **entry})
        resolved[name] = {"policy": policy, **arguments}
    return resolved


class Inspector:
    """All checks of a build, constructed once and applied to every recording.

    Args:
        entries: as in `resolve_checks`.

    Raises:
        ConfigError: as in `resolve_checks`.
    """

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self.resolved = resolve_checks(entries)
        self.checks: list[tuple[str, Policy, Check]] = [
            (name, entry["policy"], checks.build({"name": name, **{k: v for k, v in entry.items() if k != "policy"}}))
            for name, entry in self.resolved.items()
            if entry["policy"] != "off"
        ]

    def inspect(
        self,
        recording: Recording,
        estimate: SyncEstimate | None = None,
        *,
        min_score: float = 0.0,
        gravity: bool = True,
    ) -> Inspection:
        """Run the checks of devices and sync on a recording; clips are checked by `Inspection.mark`.

        Args:
            recording: as returned by the adapter, not yet corrected.
            estimate: its sync estimate, if it has one.
            min_score: score below which an estimate is not reliable.
            gravity: whether its accelerations include gravity.

        Raises:
            RecordingError: a finding of a check whose policy is ``refuse``.
        """
        inspection = Inspection(recording, self)
        for stream in recording.imu:
            for name, policy, check in self.checks:
                if check.needs_gravity and not gravity:
                    continue
                for spell in check.stream(stream):
                    inspection.add(stream.placement, name, policy, check, spell)
        if estimate is not None:
            for name, policy, check in self.checks:
                for spell in check.sync(estimate, min_score):
                    inspection.add(estimate.reference, name, policy, check, spell, threshold=min_score)
        return inspection


@dataclass
class _Found:
    policy: Policy
    check: Check
    threshold: float
    spells: list[Spell] = field(default_factory=list)
    windows: int = 0
    _starts: list[float] = field(default_factory=list)
    _reached: list[float] = field(default_factory=list)

    def touches(self, start: float, end: float) -> bool:
        """Whether a spell overlaps start .. end."""
        if len(self._starts) != len(self.spells):
            ordered = sorted(self.spells, key=lambda spell: spell.start)
            self._starts = [spell.start for spell in ordered]
            self._reached = list(accumulate((spell.end for spell in ordered), max))
        before = bisect_left(self._starts, end)
        return before > 0 and self._reached[before - 1] > start


class Inspection:
    """The findings in one recording, applied to its windows one after the other."""

    def __init__(self, recording: Recording, inspector: Inspector) -> None:
        self._recording = recording
        self._inspector = inspector
        self._found: dict[tuple[str, str], _Found] = {}

    def add(
        self, part: str, reason: str, policy: Policy, check: Check, spell: Spell, threshold: float | None = None
    ) -> None:
        """Record a finding.

        Raises:
            RecordingError: the policy is ``refuse``.
        """
        bound = check.threshold if threshold is None else threshold
        if policy == "refuse":
            raise RecordingError(
                f"recording {self._recording.name!r} of {self._recording.subject!r}, {part}: {reason} from "
                f"{spell.start:.6g} s to {spell.end:.6g} s: {spell.value:.4g} {check.unit}, "
                f"threshold {bound:.4g} {check.unit}",
                hint=f"inspect the file, or set quality.{reason}=drop (remove it) or quality.{reason}=flag (keep it)",
            )
        found = self._found.setdefault((part, reason), _Found(policy, check, bound))
        found.spells.append(spell)

    def mark(self, window: Window, seconds: float) -> tuple[Window | None, str | None]:
        """A window with its flags, and without the parts that the policies drop.

        Args:
            window: as cut; findings apply where they overlap it.
            seconds: its length.

        Returns:
            The window, or None and the reason when no device is left.

        Raises:
            RecordingError: the clip has a finding of a check whose policy is ``refuse``.
        """
        end = window.start + seconds
        if VIDEO in window.streams:
            for name, policy, check in self._inspector.checks:
                value = check.clip(window.streams[VIDEO])
                if value is not None:
                    self.add(VIDEO, name, policy, check, Spell(start=window.start, end=end, value=value))
        if not self._found:
            return window, None
        flags, lost = set(window.flags), []
        present = {*window.imu, *window.streams}
        gone: set[str] = set()
        for (part, reason), found in self._found.items():
            if part not in present or not found.touches(window.start, end):
                continue
            found.windows += 1
            if found.policy == "drop":
                gone.add(part)
                lost.append(reason)
            else:
                flags.add(f"{part}:{reason}")
        imu = {placement: values for placement, values in window.imu.items() if placement not in gone}
        if not imu:
            return None, lost[0]
        marked = replace(
            window,
            imu=imu,
            streams={name: values for name, values in window.streams.items() if name not in gone},
            flags=tuple(sorted(flag for flag in flags if flag.split(":")[0] not in gone)),
        )
        return marked, None

    def findings(self) -> list[Finding]:
        """Rows of the report; complete after all windows were marked."""
        first = min(float(stream.times[0]) for stream in self._recording.imu)
        last = max(float(stream.times[-1]) for stream in self._recording.imu)
        rows = []
        for (part, reason), found in self._found.items():
            lengths = [min(spell.end, last) - max(spell.start, first) for spell in found.spells]
            worst = found.check.worst([spell.value for spell in found.spells])
            rows.append(
                Finding(
                    recording=self._recording.name,
                    subject=self._recording.subject,
                    part=part,
                    reason=reason,
                    policy=found.policy,
                    value=_short(worst),
                    threshold=_short(found.threshold),
                    unit=found.check.unit,
                    spells=len(found.spells),
                    seconds=_short(sum(max(length, 0.0) for length in lengths)),
                    windows=found.windows,
                )
            )
        return rows


def _short(value: float) -> float:
    """Six significant digits: enough for a report, and independent of the order in which a sum was computed."""
    return float(f"{value:.6g}")
