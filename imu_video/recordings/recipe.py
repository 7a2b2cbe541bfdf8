"""One recording to its windows: checks, synchronisation, signal conditioning and cutting in order; no files.

Order: the checks run on the streams of the adapter; the sync estimate is computed and, if configured, applied; windows
are cut from the conditioned signals; each window is marked with the findings that overlap it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from imu_video.config import Config
from imu_video.recordings.prepare import Conditioned, SignalConfig
from imu_video.recordings.quality import Finding, Inspector
from imu_video.recordings.ranges import check_ranges, duration, longest_gap
from imu_video.recordings.sync import SyncConfig, SyncEstimate, correct, estimate_sync
from imu_video.recordings.windows import WindowConfig, cut, window_count, window_starts
from imu_video.types import Recording, Window

NOT_MEASURED = "no device measured enough"
LONG_GAP_S = 900.0
"""Gaps from this length on, in seconds, are stated where windows were dropped; time zones differ by multiples of it."""


class Recipe(Config):
    """The sections of a build config that determine how a recording is processed.

    Args:
        window: cutting into windows.
        signal: signal conditioning.
        sync: alignment of video and skeleton with the IMU.
        quality: check -> policy, or -> mapping of policy and thresholds.
        missing: ``error``, or ``warn`` for recordings with a video, label file or device whose time range does not
            overlap with the others (`recordings.ranges`).
    """

    window: WindowConfig = WindowConfig()
    signal: SignalConfig = SignalConfig()
    sync: SyncConfig = SyncConfig()
    quality: dict[str, Any] = Field(default_factory=dict)
    missing: Literal["error", "warn"] = "error"

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # The digest of a build config names its folder: configs from before this key keep the digest they had.
        return {key: value for key, value in dump(self).items() if key != "missing" or value != "error"}


class SyncRow(Config):
    """The sync estimate of one recording as a row of the quality report; see `sync.SyncEstimate`."""

    recording: str
    subject: str
    reference: str
    placement: str
    offset_s: float
    drift_ppm: float
    score: float
    correlation: float
    corrected: bool


class ClockRow(Config):
    """The repair of one device's time stamps as a row of the quality report; see `timestamps.ClockReport`."""

    recording: str
    subject: str
    placement: str
    samples: int
    non_finite: int
    backwards: int
    duplicates: int
    wraps: int
    jumps: int
    resets: int
    glitches: int
    period_s: float
    jitter_s: float
    moved_s: float
    model: str
    batch_samples: int
    tick_s: float
    lost: int
    delays: str
    excess_s: float


class NoteRow(Config):
    """A fact about one recording in the quality report: repaired files, parts that do not overlap."""

    recording: str
    subject: str
    note: str


class Processed:
    """The windows of one recording and its quality findings; the findings are complete after the last window.

    Args:
        recording: as returned by the adapter.
        recipe: how it is processed.
        inspector: the checks of ``recipe.quality``, constructed once for all recordings.

    Raises:
        RecordingError: a check with policy ``refuse`` has a finding, a video is unreadable, or time ranges do not
            overlap.

    Example:
        >>> from imu_video.recordings.quality import Inspector
        >>> from imu_video.types import ImuStream
        >>> import numpy as np
        >>> dead = ImuStream(placement="waist", times=np.arange(500) / 100, values=np.full((6, 500), 9.8))
        >>> processed = Processed(Recording(dataset="d", subject="s", name="r", imu=(dead,)), Recipe(), Inspector({}))
        >>> next(iter(processed)).flags
        ('waist:flat', 'waist:gravity_norm')
    """

    def __init__(self, recording: Recording, recipe: Recipe, inspector: Inspector) -> None:
        self._recipe = recipe
        self.gravity: Literal["included", "removed"] = (
            "removed" if recording.tags.get("gravity") == "removed" else "included"
        )
        if recipe.missing == "warn":
            recording = replace(recording, missing="warn")
        # First of all: a wrong epoch makes a recording of fifty years, which later steps refuse without its cause.
        synced = recipe.sync.mode == "correct"
        used = () if synced else tuple(recipe.window.modalities)
        self._ranges = check_ranges(recording, modalities=used, seconds=recipe.window.seconds)
        self.considered = window_count(recording, recipe.window)
        self.dropped: Counter[str] = Counter()
        self.lost: dict[str, list[float]] = {}
        """Starts in seconds of the windows in ``dropped``, by reason."""
        self.statistics: dict[str, dict[str, list[float]]] = {}
        self.clocks: dict[str, Mapping[str, Any]] = {
            stream.placement: stream.clock for stream in recording.imu if stream.clock is not None
        }
        self.estimate: SyncEstimate | None = None
        if recipe.sync.mode != "off":
            self.estimate = estimate_sync(recording, recipe.sync)
        self._inspection = inspector.inspect(
            recording,
            self.estimate,
            min_score=recipe.sync.min_score,
            gravity=self.gravity == "included",
        )
        sure = self.estimate is not None and self.estimate.score >= recipe.sync.min_score
        self.corrected = recipe.sync.mode in ("correct", "pair") and sure
        self._original = recording
        self._recording = (
            correct(recording, self.estimate) if self.corrected and self.estimate is not None else recording
        )
        if synced:  # the streams are compared where the estimate puts them
            self._ranges += check_ranges(
                replace(self._recording, segments=()),
                modalities=tuple(recipe.window.modalities),
                seconds=recipe.window.seconds,
            )
        if recipe.sync.mode == "pair" and not sure:
            # Without a clock and a confident estimate there is no evidence that the streams belong together.
            self._recording = replace(recording, streams={})
        if recipe.signal.gravity == "remove":
            self.gravity = "removed"

    def __iter__(self) -> Iterator[Window]:
        sync = None if self.estimate is None else self.estimate.plain()
        yielded = 0
        met: set[str] = set()
        considered = dict.fromkeys(_short(window_starts(self._recording, self._recipe.window)))
        for window in cut(self._recording, self._recipe.window, signal=self._recipe.signal, note=self._note):
            marked, reason = self._inspection.mark(window, self._recipe.window.seconds)
            considered.pop(_short([window.start])[0], None)
            if marked is None:
                self.dropped[str(reason)] += 1
                self.lost.setdefault(str(reason), []).extend(_short([window.start]))
                continue
            yielded += 1
            met.update(marked.streams, ["labels"] if marked.label is not None else [])
            yield marked if sync is None else replace(marked, sync=sync)
        unmeasured = self.considered - yielded - sum(self.dropped.values())
        if unmeasured:
            reason = self._not_measured()
            self.dropped[reason] += unmeasured
            self.lost[reason] = list(considered)
        if yielded:
            self._ranges += tuple(self._unmet(met))
        if self.considered and not yielded:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in sorted(self.dropped.items()))
            self._ranges += (f"none of its {self.considered} windows is kept: {reasons}",)

    def _unmet(self, met: set[str]) -> Iterator[str]:
        """Notes on streams and labels that no window has, for another reason than their time range."""
        parts = {
            name for name in self._recording.streams if name.partition(".")[0] in self._recipe.window.modalities
        } | ({"labels"} if self._recording.segments else set())
        for part in sorted(parts - met):
            file = self._recording.files.get(part)
            named = part if file is None else f"{part} ({file})"
            if not any(named in note for note in self._ranges) and not (part == "labels" and self._ranges):
                yield f"no window has {named}: it lies in a gap, or in pieces shorter than a window"

    def _not_measured(self) -> str:
        """The reason why windows have no device, with the longest gap of the recording if it is long."""
        gap, where = longest_gap(self._recording)
        if gap < LONG_GAP_S:
            return NOT_MEASURED
        self._ranges += (f"no device has a sample for {duration(gap)}: {where}",)
        # Rounded, so that the recordings of a study give a few reasons and not one each.
        hours = round(gap / 900) / 4
        return f"{NOT_MEASURED}: a gap of about {hours:g} hours between samples"

    def _note(self, placement: str, device: Conditioned) -> None:
        if device.statistics is not None:
            self.statistics[placement] = device.statistics
        if device.clock is not None:
            self.clocks[placement] = device.clock

    def findings(self) -> list[Finding]:
        """Rows of the quality report."""
        return self._inspection.findings()

    def clock_rows(self) -> list[ClockRow]:
        """The repairs of the devices' time stamps as rows of the quality report."""
        names = {"recording": self._original.name, "subject": self._original.subject}
        return [ClockRow(**names, placement=placement, **self.clocks[placement]) for placement in sorted(self.clocks)]

    def note_rows(self) -> list[NoteRow]:
        """Facts about the recording as rows of the quality report; complete after the last window."""
        names = {"recording": self._original.name, "subject": self._original.subject}
        return [NoteRow(**names, note=note) for note in dict.fromkeys((*self._original.notes, *self._ranges))]

    def sync_row(self) -> SyncRow | None:
        """The sync estimate as a row of the quality report."""
        if self.estimate is None:
            return None
        return SyncRow(
            recording=self._original.name,
            subject=self._original.subject,
            reference=self.estimate.reference,
            placement=self.estimate.placement,
            **self.estimate.plain(),
            correlation=round(self.estimate.correlation, 4),
            corrected=self.corrected,
        )


def _short(starts: Iterable[float]) -> list[float]:
    """Starts rounded to microseconds, so that two computations of one start agree."""
    return [round(float(start), 6) for start in starts]
