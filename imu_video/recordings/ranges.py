"""Comparison of the time ranges of devices, videos and labels of a recording; no times are changed.

Where two ranges do not overlap, the likely cause is computed: a change of unit, epoch, zone or zero is named only if
the ranges overlap after it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from imu_video.errors import RecordingError
from imu_video.types import Recording, Segment

_EARLIEST = 631_152_000.0  # 1990-01-01: smaller numbers of seconds count from some start, larger ones from 1970
_LATEST = 4_102_444_800.0  # 2100-01-01
_DAY = 86_400.0
_MOMENT_S = 0.05  # no activity is shorter
_OVERLAP_S = 0.5  # ends of labels that were set by hand overlap by less

UNITS: dict[str, float] = {"ms": 1e3, "us": 1e6, "ns": 1e9}
"""Ticks per second of the units that are confused with seconds."""

EPOCHS: dict[str, tuple[float, float]] = {
    "GPS time (zero at 1980-01-06, without leap seconds)": (1.0, 315_964_800.0 - 18.0),
    "seconds since 2001 (Apple)": (1.0, 978_307_200.0),
    "seconds since 1904 (LabVIEW)": (1.0, -2_082_844_800.0),
    "seconds since 1900 (NTP)": (1.0, -2_208_988_800.0),
    "days since 1899-12-30 (Excel)": (_DAY, -2_209_161_600.0),
    "days of Matlab's datenum": (_DAY, -719_529.0 * _DAY),
    "days since 1970": (_DAY, 0.0),
    "100 ns since 1601 (Windows)": (1e-7, -11_644_473_600.0),
    "100 ns since year 1 (.NET)": (1e-7, -62_135_596_800.0),
}
"""Name -> (factor, shift) with POSIX seconds = factor * number + shift."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """A time range of one part of a recording.

    Args:
        what: the part, for messages: ``labels of walk.csv``.
        start, end: seconds on the recording's clock.
        kind: ``imu``, ``labels`` or the modality of a stream.
    """

    what: str
    start: float
    end: float
    kind: str

    def __str__(self) -> str:
        return f"{self.what}: {moments(self.start, self.end)}"

    @property
    def length(self) -> float:
        """Its duration in seconds."""
        return self.end - self.start


def moments(start: float, end: float) -> str:
    """A range in words: dates where the numbers are seconds since 1970, else seconds.

    Example:
        >>> moments(0.0, 10.0)
        '0 s to 10 s'
        >>> moments(1727600000.0, 1727600010.5)
        '2024-09-29 08:53:20.0 to 2024-09-29 08:53:30.5 UTC'
    """
    if _EARLIEST <= start <= end <= _LATEST:
        first, last = (datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-5] for t in (start, end))
        return f"{first} to {last} UTC"
    return f"{_number(start)} s to {_number(end)} s"


def _number(value: float) -> str:
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return text if abs(value) < 1e15 else f"{value:.6g}"


def duration(seconds: float) -> str:
    """A duration in words.

    Example:
        >>> duration(7200.4), duration(0.25), duration(3e8)
        ('2.00 hours', '0.25 s', '9.51 years')
    """
    for unit, length in (("years", 365.25 * _DAY), ("days", _DAY), ("hours", 3600.0)):
        if abs(seconds) >= length:
            return f"{seconds / length:.2f} {unit}"
    return f"{_number(seconds)} s"


def overlap(one: Range, other: Range) -> float:
    """Seconds that two ranges share; negative: the seconds between them.

    Example:
        >>> a, b = (Range(what=w, start=s, end=s + 10, kind="imu") for w, s in (("a", 0.0), ("b", 25.0)))
        >>> overlap(a, b)
        -15.0
    """
    return min(one.end, other.end) - max(one.start, other.start)


# ------------------------------------------------------------------------------------------------------------- causes


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why two ranges may not overlap, and what would make them overlap.

    Args:
        text: the cause, with numbers.
        remedy: an edit of the declaration.
        kind: ``unit``, ``epoch``, ``start``, ``zone``, ``day`` or ``offset``.
        shift_s: seconds to add to the second range, where that is all; else None.
    """

    text: str
    remedy: str
    kind: str
    shift_s: float | None = None


def _meets(one: Range, start: float, end: float, share: float = 0.5) -> bool:
    """Whether a moved range covers enough of the shorter one of the two."""
    both = min(one.end, end) - max(one.start, start)
    return both > 0 and both >= share * min(one.length, end - start)


def likely_cause(one: Range, other: Range) -> Cause | None:
    """The first change of ``other``, or of ``one``, after which the two ranges overlap.

    Units are tried first, then epochs, a count from the start, time zones, the day, and last a constant offset, which
    fits any two ranges of similar length.

    Args:
        one: the range that is more likely right (the IMU).
        other: the range that does not overlap with it.

    Example:
        >>> imu = Range(what="imu", start=1.7e9, end=1.7e9 + 60, kind="imu")
        >>> cause = likely_cause(imu, Range(what="labels", start=1.7e12, end=1.7e12 + 6e4, kind="labels"))
        >>> cause.kind, cause.text
        ('unit', 'the times of labels are 1000 times too large (ms read as s, or us as ms)')
    """
    for wrong, right in ((other, one), (one, other)):
        cause = _unit(wrong, right) or _epoch(wrong, right)
        if cause is not None:
            return cause
    return _from_start(one, other) or _zone(one, other) or _offset(one, other)


def _unit(wrong: Range, right: Range) -> Cause | None:
    for unit, factor in UNITS.items():
        for scale, size, example in (
            (1 / factor, "large", f"{unit} read as s"),
            (factor, "small", f"s read as {unit}"),
        ):
            start, end = wrong.start * scale, wrong.end * scale
            # Of a range near zero every part of a second lies inside: its length has to fit as well.
            if 0.1 <= (end - start) / max(right.length, 1e-9) <= 10 and _meets(right, start, end):
                also = {"ms": ", or us as ms"}.get(unit, "") if size == "large" else ""
                return Cause(
                    kind="unit",
                    text=f"the times of {wrong.what} are {factor:.0f} times too {size} ({example}{also})",
                    remedy=f"declare a unit {factor:.0f} times {'smaller' if size == 'large' else 'larger'} for them: "
                    + ("`label_files: {unit: ...}`" if wrong.kind == "labels" else "`time: {unit: ...}`"),
                )
    return None


def _epoch(wrong: Range, right: Range) -> Cause | None:
    if not _EARLIEST <= right.start <= _LATEST:
        return None
    for name, (factor, shift) in EPOCHS.items():
        for ticks in (1.0, *UNITS.values()):
            start, end = (t * ticks * factor + shift for t in (wrong.start, wrong.end))
            if _meets(right, start, end) and 0.05 <= (end - start) / max(right.length, 1e-9) <= 20:
                return Cause(
                    kind="epoch",
                    text=f"{wrong.what} counts {name}, {right.what} seconds since 1970",
                    remedy=(
                        f"declare offset_s: {_number(shift)} for its times"
                        if factor == 1.0 and ticks == 1.0
                        else "convert its times to seconds since 1970"
                    ),
                    shift_s=shift if factor == 1.0 and ticks == 1.0 else None,
                )
    return None


def _from_start(one: Range, other: Range) -> Cause | None:
    """One clock counts from 1970, the other from the start of its file."""
    by_date = [_EARLIEST <= r.start <= _LATEST for r in (one, other)]
    if by_date[0] == by_date[1]:
        return None
    dated, bare = (one, other) if by_date[0] else (other, one)
    if not -_DAY <= bare.start <= 31 * _DAY:
        return None
    shift = one.start - other.start
    return Cause(
        kind="start",
        text=f"{dated.what} counts from 1970, {bare.what} from its own start",
        remedy=f"if both begin at the same time, declare {_entry(other, shift)}",
        shift_s=shift,
    )


def _zone(one: Range, other: Range) -> Cause | None:
    """Whole hours first, then half hours and quarters: the coarsest step after which the ranges overlap."""
    apart = one.start - other.start
    for step in (3600.0, 1800.0, 900.0):
        shift = round(apart / step) * step
        if 0 < abs(shift) <= 14 * 3600 and _meets(one, other.start + shift, other.end + shift):
            # Ranges longer than half a step are near some multiple of it at any offset: both causes are then possible.
            either = f", or a constant offset of {duration(apart)}" if min(one.length, other.length) > step / 2 else ""
            return Cause(
                kind="zone",
                text=f"another time zone: {_moved(other, shift)} overlaps with {one.what}{either}",
                remedy=(
                    "declare `timezone` for local times (of a reader: `reader: {name: ..., timezone: ...}`), "
                    f"or {_entry(other, shift)}"
                ),
                shift_s=shift,
            )
    shift = round(apart / _DAY) * _DAY
    if 0 < abs(shift) <= 7 * _DAY and _meets(one, other.start + shift, other.end + shift):
        return Cause(
            kind="day",
            text=f"another day: {_moved(other, shift)} overlaps with {one.what}",
            remedy=f"correct its date, or declare {_entry(other, shift)}",
            shift_s=shift,
        )
    return None


def _offset(one: Range, other: Range) -> Cause | None:
    if not 0.5 <= other.length / max(one.length, 1e-9) <= 2:
        return None
    shift = one.start - other.start
    return Cause(
        kind="offset",
        text=f"a constant offset: {_moved(other, shift)} begins with {one.what}",
        remedy=f"if both begin at the same time, declare {_entry(other, shift)}",
        shift_s=shift,
    )


def _moved(what: Range, shift: float) -> str:
    return f"{what.what} {duration(abs(shift))} {'later' if shift > 0 else 'earlier'}"


def _entry(of: Range, shift: float) -> str:
    """The entry of a declaration that moves a part."""
    camera = of.what.partition(" ")[0].partition(".")[2]
    if of.kind == "video" and camera:
        return f"files.camera_offset_s: {{{camera}: {_number(shift)}}}"
    key = {"labels": "label_files.offset_s", "imu": "offset_s under its `time`"}.get(of.kind, "files.offset_s")
    return f"{key}: {_number(shift)}"


# ------------------------------------------------------------------------------------------------------------- checks


def check_ranges(
    recording: Recording, *, modalities: Collection[str] = ("video",), seconds: float = 0.0
) -> tuple[str, ...]:
    """Compare the time ranges of devices, streams and labels of a recording.

    Args:
        recording: as returned by the adapter.
        modalities: those of its streams that are used.
        seconds: length of a window; labels and streams that cover less are reported.

    Returns:
        Facts for the quality report: labels that extend beyond the recording or cover less than a window, and, if the
        recording allows it (`Recording.missing`), parts that do not overlap with it.

    Raises:
        RecordingError: a part overlaps with no device, a stream with less than a window of it, or labels extend so far
            that they must be in another unit; the error contains both ranges and the likely cause.
    """
    devices = [_device(recording, stream) for stream in recording.imu]
    whole = Range(what="the IMU", start=min(d.start for d in devices), end=max(d.end for d in devices), kind="imu")
    notes: list[str] = []
    parts: list[tuple[Range, Range]] = []
    if len(devices) > 1:
        reference = max(devices, key=lambda device: device.length)
        parts += [(reference, device) for device in devices if device is not reference]
    parts += [(whole, one) for one in _streams(recording, modalities)]
    labels = _labels(recording)
    notes += _contradictions(recording.segments)
    parts += [(whole, labels)] if labels is not None else []
    for one, other in parts:
        chained = other.kind == "imu" and any(overlap(other, d) > 0 for d in devices if d is not other)
        if overlap(one, other) <= 0 and not chained:
            _refuse(recording, one, other, notes)
        elif other.kind == "labels":
            _past(recording, one, other, notes)
        elif other.kind != "imu":
            _reach(recording, one, other, seconds, notes)
    if labels is not None and seconds:
        covered = _covered(recording.segments, whole)
        if 0 < covered < min(seconds, whole.length):
            _refuse_moments(recording, whole, labels)
            notes.append(f"its labels cover {duration(covered)}, less than a window of {duration(seconds)}")
    return tuple(notes)


def _reach(recording: Recording, whole: Range, stream: Range, seconds: float, notes: list[str]) -> None:
    """A stream that overlaps with less than a window: an error if most of it lies outside the recording."""
    both = overlap(whole, stream)
    shorter = min(whole.length, stream.length)
    # A sample less than a window is not a fault: the last window begins and ends with samples.
    if both >= 0.9 * seconds or whole.length < seconds:
        return
    text = f"{stream} overlaps with only {duration(both)} of {whole}, less than a window of {duration(seconds)}"
    cause = likely_cause(whole, stream)
    text += f". Likely cause: {cause.text}" if cause is not None and both < 0.5 * shorter else ""
    if recording.missing == "warn" or both >= 0.5 * shorter:
        notes.append(text)
        return
    accept = "`missing: warn` accepts it"
    raise RecordingError(
        f"recording {recording.name!r} of {recording.subject!r}: {text}",
        hint=f"{cause.remedy}; {accept}" if cause is not None else f"correct its times or its file name; {accept}",
    )


def _refuse_moments(recording: Recording, whole: Range, labels: Range) -> None:
    """Refuse labels shorter than any activity if they are of the recording's length in another unit."""
    cause = _unit(labels, whole)
    median = float(np.median([segment.end - segment.start for segment in recording.segments]))
    if median < _MOMENT_S and cause is not None and recording.missing != "warn":
        raise RecordingError(
            f"recording {recording.name!r} of {recording.subject!r}: {labels} has labels of {duration(median)}, beside "
            f"{whole}. Likely cause: {cause.text}",
            hint=f"{cause.remedy}; `missing: warn` accepts it",
        )


def _refuse(recording: Recording, one: Range, other: Range, notes: list[str]) -> None:
    cause = likely_cause(one, other)
    text = f"{other} does not overlap with {one}; they are {duration(max(-overlap(one, other), 0.0))} apart"
    text += f". Likely cause: {cause.text}" if cause is not None else ""
    if recording.missing == "warn":
        notes.append(text)
        return
    accept = "`missing: warn` accepts it"
    raise RecordingError(
        f"recording {recording.name!r} of {recording.subject!r}: {text}",
        hint=f"{cause.remedy}; {accept}" if cause is not None else f"correct its times or its file name; {accept}",
    )


def _past(recording: Recording, whole: Range, labels: Range, notes: list[str]) -> None:
    """Labels beyond the recording: an error if most of them are and another unit explains it, else a note."""
    total = sum(segment.end - segment.start for segment in recording.segments)
    inside = sum(max(0.0, min(s.end, whole.end) - max(s.start, whole.start)) for s in recording.segments)
    beyond = max(labels.end - whole.end, whole.start - labels.start)
    # One sample is no excess: the last label often ends one period after the last time stamp.
    if beyond <= max(0.05 * whole.length, 2 * max(stream.period for stream in recording.imu)):
        return
    cause = _unit(labels, whole) if inside < 0.5 * total else None
    if cause is not None and recording.missing != "warn":
        raise RecordingError(
            f"recording {recording.name!r} of {recording.subject!r}: {labels} extends beyond {whole}; "
            f"{100 * inside / total:.3g} % of the labelled time lies inside. Likely cause: {cause.text}",
            hint=f"{cause.remedy}; `missing: warn` accepts it",
        )
    outside = sum(s.end <= whole.start or s.start >= whole.end for s in recording.segments)
    notes.append(
        f"{labels} extends beyond {whole} by {duration(beyond)}"
        + (f"; {outside} of {len(recording.segments)} labels lie outside" if outside else "")
        + (f". Likely cause: {cause.text}" if cause is not None else "")
    )


def _covered(segments: Sequence[Segment], whole: Range) -> float:
    return sum(max(0.0, min(s.end, whole.end) - max(s.start, whole.start)) for s in segments)


def _contradictions(segments: Sequence[Segment]) -> Iterator[str]:
    """A note on times that have two labels."""
    seconds, first, last = 0.0, "", None
    for segment in sorted(segments, key=lambda s: (s.start, s.end)):
        if last is not None and segment.label != last.label and segment.start < last.end:
            seconds += min(segment.end, last.end) - segment.start
            first = first or f"{last.label!r} and {segment.label!r} from {_number(segment.start)} s"
        if last is None or segment.end > last.end:
            last = segment
    if seconds > _OVERLAP_S:
        yield f"labels overlap for {duration(seconds)}, first {first}"


def _device(recording: Recording, stream: Any) -> Range:
    return Range(
        what=_named(recording, f"imu.{stream.placement}", f"{stream.placement}"),
        start=float(stream.times[0]),
        end=float(stream.times[-1]) + stream.period,
        kind="imu",
    )


def _streams(recording: Recording, modalities: Collection[str]) -> Iterator[Range]:
    for name, stream in sorted(recording.streams.items()):
        modality = name.partition(".")[0]
        times = np.asarray(stream.times) if modality in modalities and hasattr(stream, "times") else np.empty(0)
        if len(times):
            step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
            yield Range(
                what=_named(recording, name, name), start=float(times[0]), end=float(times[-1]) + step, kind=modality
            )


def _labels(recording: Recording) -> Range | None:
    if not recording.segments:
        return None
    return Range(
        what=_named(recording, "labels", "labels"),
        start=min(segment.start for segment in recording.segments),
        end=max(segment.end for segment in recording.segments),
        kind="labels",
    )


def _named(recording: Recording, part: str, word: str) -> str:
    file = recording.files.get(part)
    return word if file is None else f"{word} ({file})"


def longest_gap(recording: Recording) -> tuple[float, str]:
    """The longest time without a sample of any device, in seconds, and where it lies.

    Example:
        >>> from imu_video.types import ImuStream
        >>> times = np.concatenate([np.arange(50) / 50, 7200 + np.arange(50) / 50])
        >>> stream = ImuStream(placement="wrist", times=times, values=np.zeros((6, 100)))
        >>> longest_gap(Recording(dataset="d", subject="s", name="r", imu=(stream,)))
        (7199.02, '0.98 s to 7200 s')
    """
    times = np.sort(np.concatenate([stream.times for stream in recording.imu]))
    steps = np.diff(times)
    at = int(np.argmax(steps))
    return round(float(steps[at]), 6), moments(float(times[at]), float(times[at + 1]))
