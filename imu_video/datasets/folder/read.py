"""Devices of a recording from tables as declared: one file or one per sensor, units, scales, labels in a column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imu_video.datasets.common import runs, union_of_times
from imu_video.datasets.folder.declaration import ImuFormat, TimeFormat
from imu_video.datasets.layout import LARGEST_GAP_S
from imu_video.errors import RecordingError
from imu_video.readers.tables import Table
from imu_video.readers.zones import to_utc, zone_of
from imu_video.recordings.ranges import Range, likely_cause, moments, overlap
from imu_video.recordings.units import check_plausible, convert
from imu_video.types import IMU_CHANNELS, ImuStream, JsonDict, Segment

RATES_HZ = (1.0, 10_000.0)
"""Range of plausible sampling rates of a wearable in Hz; outside it the declared unit of time is wrong."""
_LARGEST = 1e15
"""Largest size of a value in SI units, also without `check_units`: squares of larger ones exceed float32."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """The channels of one file in SI units, on its own times."""

    path: Path
    channels: tuple[str, ...]
    times: np.ndarray
    values: np.ndarray
    clock: JsonDict | None
    segments: tuple[Segment, ...]


def read_device(
    placement: str, files: Mapping[str, Path], form: ImuFormat, *, check_units: bool
) -> tuple[ImuStream, tuple[Segment, ...]]:
    """A device from its table, or from one table per sensor, and the segments of its label column.

    Args:
        placement: of the device.
        files: ``{"": path}``, or ``acc`` and ``gyr`` with a file each.
        form: format of the files.
        check_units: whether implausible values and rates are an error.

    Raises:
        RecordingError: a file that cannot be read as declared, or sensors whose times do not overlap.
    """
    parts = [_read(path, kind, form, check_units=check_units) for kind, path in sorted(files.items())]
    if len(parts) == 1:
        part = parts[0]
        times, values, channels = part.times, part.values, part.channels
    else:
        times, values, channels = _joined(placement, *parts)
    if check_units:
        units = form.units or {}
        check_plausible(
            values,
            channels,
            source=" and ".join(str(part.path) for part in parts),
            acc_unit=units.get("acc", "m/s^2"),
            gyr_unit=units.get("gyr", "rad/s"),
            times=times,
            gravity=form.gravity,
            scale={str(kind): factor for kind, factor in (form.scale or {}).items()},
        )
    clock = next((part.clock for part in parts if part.clock is not None), None)
    stream = ImuStream(placement=placement, times=times, values=values, channels=channels, clock=clock)
    return stream, next((part.segments for part in parts if part.segments), ())


def _joined(placement: str, acc: _Part, gyr: _Part) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Accelerometer and gyroscope on the union of their times, or on their own if these are the same."""
    channels = acc.channels + gyr.channels
    if np.array_equal(acc.times, gyr.times):
        return acc.times, np.concatenate([acc.values, gyr.values]), channels
    one, other = (
        Range(what=str(part.path), start=float(part.times[0]), end=float(part.times[-1]), kind="imu")
        for part in (acc, gyr)
    )
    if overlap(one, other) <= 0:
        cause = likely_cause(one, other)
        raise RecordingError(
            f"{placement}: the times of accelerometer and gyroscope do not overlap: {one}, "
            f"{other.what}: {moments(other.start, other.end)}" + (f". Likely cause: {cause.text}" if cause else ""),
            hint=cause.remedy if cause else "name the files of one recording, or declare only one of the two sensors",
        )
    times, values = union_of_times((acc.times, _three(acc)), (gyr.times, _three(gyr)))
    return times, values[[IMU_CHANNELS.index(channel) for channel in channels]], channels


def _three(part: _Part) -> np.ndarray:
    """(3, T) with NaN for an axis that the file lacks."""
    out = np.full((3, len(part.times)), np.nan)
    out[["xyz".index(channel[-1]) for channel in part.channels]] = part.values
    return out


def _read(path: Path, kind: str, form: ImuFormat, *, check_units: bool) -> _Part:
    assert form.time is not None
    assert form.channels is not None
    names = form.channels
    channels = tuple(c for c in IMU_CHANNELS if c in names and c.startswith(kind))
    clock_column = [form.time.column] if form.time.column else []
    table = Table(
        path,
        [*clock_column, *(names[c] for c in channels), *([form.label] if form.label else [])],
        texts=[*(clock_column if form.time.unit == "iso8601" else []), *([form.label] if form.label else [])],
        header=form.columns,
        delimiter=form.delimiter,
        skip_rows=form.skip_rows,
        encoding=form.encoding,
        decimal=form.decimal,
    )
    units, scale = form.units or {}, {str(kind): factor for kind, factor in (form.scale or {}).items()}
    values = np.stack([convert(table.numbers(names[c]) * scale.get(c[:3], 1.0), units[c[:3]], c[:3]) for c in channels])
    times, clock = _times(table, form.time)
    if not np.isfinite(values).any():
        raise RecordingError(f"{path}: no numbers in the columns {[names[c] for c in channels]}")
    if (largest := np.abs(values[np.isfinite(values)]).max()) > _LARGEST:
        raise RecordingError(
            f"{path}: a value of {largest:.3g} m/s^2 or rad/s, expected at most {_LARGEST:g}",
            hint="correct the file, or units and scale in the declaration",
        )
    if check_units:
        _check_rate(times, path, form.time)
    segments = _runs_of(times, table.texts(form.label)) if form.label else ()
    return _Part(path=path, channels=channels, times=times, values=values, clock=clock, segments=segments)


def _times(table: Table, form: TimeFormat) -> tuple[np.ndarray, JsonDict | None]:
    """Times of the rows, and the report of a repair."""
    if form.column is None:
        return form.start_s + table.rows() / (form.rate_hz or 1.0), None
    zone, clock = None if form.timezone is None else zone_of(form.timezone), None
    if form.repair:
        times, report = table.repaired_seconds(form.column, form.unit, max_move_s=form.repair_within_s, zone=zone)
        clock = report.plain()
    else:
        times = table.increasing_seconds(form.column, form.unit, zone=zone)
    # The table layer applies the zone to dates; seconds since 1970 by a clock on the wall are numbers to it.
    local = form.timezone if form.unit != "iso8601" else None
    return to_utc(times, local) + form.offset_s, clock


def _runs_of(times: np.ndarray, labels: list[str]) -> tuple[Segment, ...]:
    """Segments of rows with one label, cut where samples are missing; rows with an empty field have none."""
    period = float(np.median(np.diff(times)))
    words = np.array(labels, dtype=object)
    changes = np.concatenate([[False], (words[1:] != words[:-1]) | (np.diff(times) > LARGEST_GAP_S)])
    return tuple(
        Segment(start=float(times[a]), end=float(times[b - 1]) + period, label=str(words[a]))
        for a, b in runs(np.cumsum(changes))
        if words[a]
    )


def unmeasured(stream: ImuStream) -> tuple[str, ...]:
    """Notes on channels of a device without a number, and on a sensor that measured only part of the time.

    Example:
        >>> values = np.stack([np.ones(9), np.full(9, np.nan)])
        >>> unmeasured(ImuStream(placement="waist", times=np.arange(9.0), values=values, channels=("acc_x", "gyr_x")))
        ('waist: no numbers in gyr_x',)
    """
    known = np.isfinite(stream.values)
    empty = [channel for channel, row in zip(stream.channels, known, strict=True) if not row.any()]
    notes = [f"{stream.placement}: no numbers in {', '.join(empty)}"] if empty else []
    ranges = {}
    for kind in ("acc", "gyr"):
        rows = [i for i, channel in enumerate(stream.channels) if channel.startswith(kind)]
        measured = np.flatnonzero(known[rows].any(axis=0))
        if len(measured):
            ranges[kind] = stream.times[measured[[0, -1]]]
    whole = float(stream.times[-1] - stream.times[0])
    for kind, (start, end) in ranges.items():
        if end - start < 0.9 * whole:
            notes.append(f"{stream.placement}: {kind} was measured from {moments(start, end)} only")
    return tuple(notes)


def one_set_of_labels(by_placement: Mapping[str, tuple[Segment, ...]]) -> tuple[Segment, ...]:
    """The labels of a recording from the label columns of its devices: those of the first one, if the others agree.

    Args:
        by_placement: segments of each label column, in order and without overlap.

    Raises:
        RecordingError: two devices have different labels for more than a twentieth of the time that both label.

    Example:
        >>> walk, sit = (Segment(start=0.0, end=9.0, label=label) for label in ("walk", "sit"))
        >>> one_set_of_labels({"waist": (walk,), "wrist": (walk,)})[0].label
        'walk'
    """
    (first, labels), *others = by_placement.items() or [("", ())]
    for placement, segments in others:
        shared, unlike, worst = 0.0, 0.0, None
        for a, b, seconds in _shared(labels, segments):
            shared += seconds
            if a.label != b.label:
                unlike += seconds
                worst = worst or (max(a.start, b.start), a.label, b.label)
        if worst is not None and unlike > 0.05 * shared:
            raise RecordingError(
                f"the label columns of {first} and {placement} differ for {unlike:.3g} of {shared:.3g} s: "
                f"{worst[1]!r} and {worst[2]!r} at {worst[0]:.3f} s",
                hint="correct one of the two, or declare `label` for one placement only",
            )
    return labels


def _shared(ours: tuple[Segment, ...], theirs: tuple[Segment, ...]) -> Iterator[tuple[Segment, Segment, float]]:
    """Pairs of segments that overlap, with the seconds that both cover."""
    i = j = 0
    while i < len(ours) and j < len(theirs):
        a, b = ours[i], theirs[j]
        seconds = min(a.end, b.end) - max(a.start, b.start)
        if seconds > 0:
            yield a, b, seconds
        if a.end <= b.end:
            i += 1
        else:
            j += 1


def _check_rate(times: np.ndarray, path: Path, form: TimeFormat) -> None:
    """Raise an error for implausible rates: with a wrong unit 16 seconds become four hours, at 0.06 Hz."""
    if form.column is None or len(times) < 2:
        return
    rate = 1 / float(np.median(np.diff(times)))
    if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
        raise RecordingError(
            f"{path}: {rate:.3g} samples per second when {form.column!r} is read as {form.unit}, "
            f"expected {RATES_HZ[0]:g} .. {RATES_HZ[1]:g}",
            hint="declare the time column's unit: s, ms, us, ns or iso8601; `check_units: false` accepts it as it is",
        )
