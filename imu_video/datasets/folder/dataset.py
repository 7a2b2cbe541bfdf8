"""Your own recordings: IMU tables and videos, declared in a `dataset.yaml` (docs/guides/your-recordings.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from imu_video.config import read_yaml, validate
from imu_video.datasets.common import chosen
from imu_video.datasets.folder.declaration import DECLARATION, Declaration, TimeFormat, VideoFile
from imu_video.datasets.folder.devices import Devices, versions
from imu_video.datasets.folder.files import Planned, files_of, find
from imu_video.datasets.folder.unfilled import require_filled
from imu_video.datasets.folder.zones import to_utc
from imu_video.errors import ConfigError, RecordingError, nearest
from imu_video.modalities.mp4 import Mp4Source
from imu_video.protocols import Unread
from imu_video.readers.tables import PER_SECOND, Table, TimeUnit, iso_seconds
from imu_video.recordings.units import check_plausible, convert
from imu_video.registry import datasets
from imu_video.types import IMU_CHANNELS, ImuStream, Recording, Segment

RATES_HZ = (1.0, 10_000.0)
"""Range of plausible sampling rates of a wearable in Hz; outside it the declared unit of time is wrong."""


@datasets.register("folder")
class Folder:
    """A folder of your own recordings with a `dataset.yaml` that declares the content of the files.

    Args:
        root: the folder, or the path of the declaration; paths in the declaration are relative to its own folder.

    Raises:
        ConfigError: a declaration with unknown keys, missing units, or both ways of naming files.
        RecordingError: no declaration, or no file that matches its pattern.

    Example:
        >>> source = Folder(root="my-study")
        >>> next(source.recordings(["s01"])).imu[0].placement
        'right_wrist'
    """

    name = "folder"
    licence: str = "declared in dataset.yaml"
    citation: str = "declared in dataset.yaml"
    url: str = "your own files"
    streams: ClassVar[tuple[str, ...]] = ("imu", "video")
    tested_on: ClassVar[str] = "made-up tree"
    placements: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    rate_hz: float = 0.0
    """0: every file has its own rate."""

    def __init__(self, *, root: str) -> None:
        given = Path(root).expanduser()
        self.declaration = given / DECLARATION if given.is_dir() else given
        self.root = self.declaration.parent
        if not self.declaration.is_file():
            raise RecordingError(
                f"dataset 'folder': root {root} "
                + (f"contains no {DECLARATION}" if given.is_dir() else "does not exist"),
                hint=(
                    f"`imu-video init {given}` proposes one; docs/guides/your-recordings.md explains it"
                    if given.is_dir()
                    else "name the folder of your recordings: dataset.root=FOLDER"
                ),
            )
        require_filled(self.declaration)
        self.config = validate(read_yaml(self.declaration), Declaration, source=str(self.declaration))
        self.name = self.config.dataset
        self.licence, self.citation, self.url = self.config.licence, self.config.citation, self.config.url
        self.placements = tuple(sorted(self.config.placements))
        self.labels = tuple(sorted(self.config.labels or ()))
        found = find(self.root, self.config, self.declaration)
        self._planned = found.planned
        self.notes = found.notes
        """Facts about files of the folder that are not used, and names that look alike."""

    def subjects(self) -> list[str]:
        """Sorted subjects, from the declaration or the file names."""
        return sorted({p.subject for p in self._planned})

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """Recordings in the order of the declaration, or of their names."""
        wanted = chosen(subjects, self.subjects(), dataset=self.name)
        for planned in self._planned:
            if planned.subject in wanted:
                yield self._recording(planned)

    def unread(self, subject: str) -> Iterator[Unread]:
        """The recordings of a subject, unread, in the order of `recordings`."""
        for planned in self._planned:
            if planned.subject == subject:
                yield Unread(
                    name=planned.name,
                    files=tuple(files_of(self.root, planned)),
                    tables=(planned.labels,) if planned.labels else (),
                    read=partial(self._read, planned),
                    parts=self._parts(planned),
                )

    def provenance(self) -> dict[str, Any]:
        """What the declaration says, without its comments, and the versions of the readers."""
        declared = {"declaration": self.config.model_dump(mode="json", exclude_unset=True)}
        readers = versions(self.config)
        return {**declared, "readers": readers} if readers else declared

    def _parts(self, planned: Planned) -> tuple[Callable[[], object], ...]:
        """Readings of the single files; times of labels and videos need the streams of a reader first."""
        devices, starts = Devices(self.config), [0.0]

        def stream(placement: str, path: Path) -> None:
            read = self._stream if self.config.format_of(placement).reader is None else devices.stream
            starts.append(float(read(placement, path).times[0]))

        def unit() -> TimeUnit:
            read = self.config.format_of(min(planned.imu)).reader is not None
            return devices.time_unit or ("s" if read else self._time_unit(planned))

        def video() -> None:
            if planned.video is not None:
                _ = self._video(planned.video, unit(), starts[1] if starts[1:] else starts[0]).times

        def labels() -> None:
            if planned.labels is not None:
                self._segments(planned.labels, unit())

        return (*(partial(stream, placement, path) for placement, path in sorted(planned.imu.items())), video, labels)

    def _read(self, planned: Planned) -> tuple[Recording, ...]:
        return (self._recording(planned),)

    # ------------------------------------------------------------------------------------------------ reading

    def _recording(self, planned: Planned) -> Recording:
        devices = Devices(self.config)
        streams = tuple(
            devices.stream(placement, path)
            if self.config.format_of(placement).reader is not None
            else self._stream(placement, path)
            for placement, path in sorted(planned.imu.items())
        )
        unit = devices.time_unit or self._time_unit(planned)
        return Recording(
            dataset=self.name,
            subject=planned.subject,
            name=planned.name,
            imu=streams,
            streams={"video": self._video(planned.video, unit, float(streams[0].times[0])) if planned.video else None},
            segments=self._segments(planned.labels, unit) if planned.labels else devices.segments(self.config.labels),
            session=planned.session,
            tags={**devices.tags(), **planned.tags},
            notes=devices.notes(),
            files=self._names(planned),
            missing=self.config.missing,
        )

    def _names(self, planned: Planned) -> dict[str, str]:
        """Files by part, as messages name them."""
        names = {f"imu.{p}": _shown(path, self.root) for p, path in planned.imu.items()}
        names |= {"video": planned.video.file} if planned.video else {}
        return names | ({"labels": _shown(planned.labels, self.root)} if planned.labels else {})

    def _stream(self, placement: str, path: Path) -> ImuStream:
        form = self.config.format_of(placement)
        assert form.time is not None
        assert form.channels is not None
        units = form.units or {}
        columns = ([form.time.column] if form.time.column else []) + list(form.channels.values())
        table = Table(
            path,
            columns,
            texts=[form.time.column] if form.time.column and form.time.unit == "iso8601" else [],
            header=form.columns,
            delimiter=form.delimiter,
            skip_rows=form.skip_rows,
            encoding=form.encoding,
            decimal=form.decimal,
        )
        channels = tuple(c for c in IMU_CHANNELS if c in form.channels)
        values = np.stack([convert(table.numbers(form.channels[c]), units[c[:3]], c[:3]) for c in channels])
        clock = None
        if form.time.column is not None:
            if form.time.repair:
                times, report = table.repaired_seconds(
                    form.time.column, form.time.unit, max_move_s=form.time.repair_within_s
                )
                clock = report.plain()
            else:
                times = table.increasing_seconds(form.time.column, form.time.unit)
            times = to_utc(times, form.time.timezone) + form.time.offset_s
        else:
            times = form.time.start_s + np.arange(len(table)) / (form.time.rate_hz or 1.0)
        if not np.isfinite(values).any():
            raise RecordingError(f"{path}: no numbers in the columns {list(form.channels.values())}")
        if self.config.check_units:
            _check_rate(times, path, form.time)
            check_plausible(
                values,
                channels,
                source=str(path),
                acc_unit=units.get("acc", "m/s^2"),
                gyr_unit=units.get("gyr", "rad/s"),
                times=times,
            )
        return ImuStream(placement=placement, times=times, values=values, channels=channels, clock=clock)

    def _time_unit(self, planned: Planned) -> TimeUnit:
        form = self.config.format_of(next(iter(sorted(planned.imu))))
        assert form.time is not None
        return form.time.unit

    def _video(self, video: VideoFile, unit: TimeUnit, first: float = 0.0) -> Mp4Source:
        offset = video.offset_s or 0.0
        if video.start is not None:
            if unit == "iso8601":
                offset = float(iso_seconds([str(video.start)])[0])
            else:
                try:
                    offset = float(video.start) / PER_SECOND[unit]
                except ValueError:
                    offset = float("nan")
            if not np.isfinite(offset):
                raise ConfigError(f"{self.declaration}: video start {video.start!r} of {video.file}, expected {unit}")
        elif unit == "iso8601" and video.offset_s is None:
            raise ConfigError(
                f"{self.declaration}: {video.file} needs 'start': "
                "its first frame's time as the IMU's times are written",
                hint=f'files: {{start: {{RECORDING: "{datetime.fromtimestamp(first, UTC).isoformat()}"}}}} '
                "(this is the first sample of the IMU), or `video: {file: ..., start: ...}` in a list of recordings",
            )
        return Mp4Source(self.root / video.file, offset_s=offset)

    def _segments(self, path: Path, unit: TimeUnit) -> tuple[Segment, ...]:
        form = self.config.label_files
        times = [form.start, form.end]
        table = Table(
            path,
            [*times, form.label],
            texts=[form.label, *(times if (form.unit or unit) == "iso8601" else [])],
            delimiter=form.delimiter,
            encoding=form.encoding,
            decimal=form.decimal,
            empty=True,  # a header alone is what annotation tools write for a recording without labels
        )
        starts, ends = (to_utc(table.seconds(c, form.unit or unit), form.timezone) + form.offset_s for c in times)
        segments = []
        for row, (start, end, label) in enumerate(zip(starts, ends, table.texts(form.label), strict=True)):
            if not label:
                raise RecordingError(
                    f"{table.where(row)}: the label {form.label!r} is empty",
                    hint="name the activity, or remove the line: time outside all segments has no label",
                )
            if not start < end:
                raise RecordingError(f"{table.where(row)}: {label!r} from {start} s to {end} s, expected start < end")
            if self.config.labels is not None and label not in self.config.labels:
                raise RecordingError(
                    f"{table.where(row)}: label {label!r} is not declared{nearest(label, self.labels)}",
                    hint=f"correct it, or add it under 'labels' in {self.declaration}",
                )
            segments.append(Segment(start=float(start), end=float(end), label=label))
        return tuple(segments)


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


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
