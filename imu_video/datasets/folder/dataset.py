"""Your own recordings: IMU tables and videos, declared in a `dataset.yaml` (docs/guides/your-recordings.md)."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from imu_video.config import read_yaml, validate
from imu_video.datasets.common import chosen
from imu_video.datasets.folder.declaration import DECLARATION, Declaration, VideoFile
from imu_video.datasets.folder.devices import Devices, versions
from imu_video.datasets.folder.files import Planned, files_of, find
from imu_video.datasets.folder.read import one_set_of_labels, read_device, unmeasured
from imu_video.datasets.folder.subjects import read_subjects
from imu_video.datasets.folder.unfilled import require_filled
from imu_video.errors import ConfigError, RecordingError, nearest, report
from imu_video.modalities.mp4 import Mp4Source
from imu_video.protocols import Unread
from imu_video.readers.tables import PER_SECOND, Table, TimeUnit, iso_seconds
from imu_video.readers.zones import to_utc, zone_of
from imu_video.registry import datasets
from imu_video.types import ImuStream, Recording, Segment


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
                    f"`imu-video init {given}` proposes one; see docs/guides/your-recordings.md"
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
        """Facts about files of the folder that are not used, and similar names."""
        for pattern in self.config.formats:
            if not any(fnmatch.fnmatchcase(planned.name, pattern) for planned in self._planned):
                names = [planned.name for planned in self._planned]
                report(ConfigError(f"{self.declaration}: formats: no recording {pattern!r}{nearest(pattern, names)}"))
        self._tags: dict[str, dict[str, str]] = {}
        if self.config.subjects is not None:
            self._tags, note = read_subjects(self.root, self.config.subjects, self.subjects())
            self.notes += note

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
                    files=tuple(files_of(self.root, planned, self.config)),
                    tables=(planned.labels,) if planned.labels else (),
                    read=partial(self._read, planned),
                    parts=self._parts(planned),
                )

    def provenance(self) -> dict[str, Any]:
        """Content of the declaration without its comments, and the versions of the readers."""
        declared = {"declaration": self.config.model_dump(mode="json", exclude_unset=True)}
        readers = versions(self.config)
        return {
            **declared,
            **({"readers": readers} if readers else {}),
            **({"subjects": self._tags} if self._tags else {}),
        }

    def subject_tags(self) -> dict[str, dict[str, str]]:
        """Subject -> tags of the table of subjects, by which splits can be stratified."""
        return self._tags

    def _parts(self, planned: Planned) -> tuple[Callable[[], object], ...]:
        """Calls that read the single files; times of labels and videos need the streams of a reader first."""
        devices, starts = Devices(self.config, planned.name), [0.0]

        def stream(placement: str, path: Path) -> None:
            if self.config.format_of(placement, planned.name).reader is None:
                read = self._stream(planned, placement)[0]
            else:
                read = devices.stream(placement, path)
            starts.append(float(read.times[0]))

        def unit() -> TimeUnit:
            read = self.config.format_of(min(planned.imu), planned.name).reader is not None
            return devices.time_unit or ("s" if read else self._time_unit(planned))

        def times(video: VideoFile) -> None:
            _ = self._video(video, unit(), starts[1] if starts[1:] else starts[0]).times

        def labels() -> None:
            if planned.labels is not None:
                self._segments(planned.labels, unit())

        streams = [partial(stream, placement, path) for placement, path in sorted(planned.imu.items())]
        return (*streams, *(partial(times, video) for video in planned.videos.values()), labels)

    def _read(self, planned: Planned) -> tuple[Recording, ...]:
        return (self._recording(planned),)

    # ------------------------------------------------------------------------------------------------ reading

    def _recording(self, planned: Planned) -> Recording:
        devices = Devices(self.config, planned.name)
        self._gravity(planned, {})  # before a file is read
        streams: list[ImuStream] = []
        columns: dict[str, tuple[Segment, ...]] = {}
        for placement, path in sorted(planned.imu.items()):
            if self.config.format_of(placement, planned.name).reader is not None:
                streams.append(devices.stream(placement, path))
                continue
            stream, segments = self._stream(planned, placement)
            streams.append(stream)
            columns |= {placement: segments} if segments else {}
        unit, first = devices.time_unit or self._time_unit(planned), float(streams[0].times[0])
        labels = self._segments(planned.labels, unit) if planned.labels else one_set_of_labels(columns)
        return Recording(
            dataset=self.name,
            subject=planned.subject,
            name=planned.name,
            imu=tuple(streams),
            streams={name: self._video(video, unit, first) for name, video in planned.videos.items()},
            segments=labels or devices.segments(self.config.labels),
            session=planned.session,
            tags={
                **devices.tags(),
                **self._gravity(planned, devices.gravity()),
                **self._tags.get(planned.subject, {}),
                **planned.tags,
            },
            notes=(*devices.notes(), *(note for stream in streams for note in unmeasured(stream))),
            files=self._names(planned),
            missing=self.config.missing,
        )

    def _gravity(self, planned: Planned, read: Mapping[str, str]) -> dict[str, str]:
        """The tag of accelerations without gravity, which a build stores in the index.

        Args:
            planned: the recording.
            read: ``included`` or ``removed`` by placement, as far as a reader states it.
        """
        forms = {placement: self.config.format_of(placement, planned.name) for placement in planned.imu}
        states: dict[str, str] = {**read} | {
            placement: form.gravity
            for placement, form in forms.items()
            if form.reader is None and any(channel.startswith("acc") for channel in form.channels or ())
        }
        if len(set(states.values())) > 1:
            removed = [placement for placement, state in states.items() if state == "removed"]
            raise ConfigError(
                f"{self.declaration}: recording {planned.name!r}: gravity is removed from {', '.join(removed)}, "
                "but not from its other placements",
                hint="declare them as separate recordings, or declare only one kind",
            )
        return {"gravity": "removed"} if "removed" in states.values() else {}

    def _names(self, planned: Planned) -> dict[str, str]:
        """Files by part, as messages name them."""
        names = {f"imu.{p}": _shown(path, self.root) for p, path in planned.imu.items()}
        names |= {stream: video.file for stream, video in planned.videos.items()}
        return names | ({"labels": _shown(planned.labels, self.root)} if planned.labels else {})

    def _stream(self, planned: Planned, placement: str) -> tuple[ImuStream, tuple[Segment, ...]]:
        files = planned.sensors.get(placement) or {"": planned.imu[placement]}
        form = self.config.format_of(placement, planned.name)
        stream, segments = read_device(placement, files, form, check_units=self.config.check_units)
        for segment in segments:
            self._known(segment.label, f"{next(iter(files.values()))}, column {form.label!r}")
        return stream, segments

    def _known(self, label: str, where: str) -> None:
        if self.config.labels is not None and label not in self.config.labels:
            raise RecordingError(
                f"{where}: label {label!r} is not declared{nearest(label, self.labels)}",
                hint=f"correct it, or add it under 'labels' in {self.declaration}",
            )

    def _zone(self) -> tzinfo | None:
        """The zone of times in the declaration: that of the IMU's time column."""
        names = {form.time.timezone for p in self.placements if (form := self.config.format_of(p)).time is not None}
        return zone_of(name) if len(names) == 1 and (name := names.pop()) is not None else None

    def _time_unit(self, planned: Planned) -> TimeUnit:
        form = self.config.format_of(next(iter(sorted(planned.imu))), planned.name)
        assert form.time is not None
        return form.time.unit

    def _video(self, video: VideoFile, unit: TimeUnit, first: float = 0.0) -> Mp4Source:
        offset = video.offset_s or 0.0
        if video.start is not None:
            if unit == "iso8601":
                offset = float(iso_seconds([str(video.start)], self._zone())[0])
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
                "the time of its first frame, in the format of the IMU's times",
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
        zone = None if form.timezone is None else zone_of(form.timezone)
        local = form.timezone if (form.unit or unit) != "iso8601" else None
        starts, ends = (to_utc(table.seconds(c, form.unit or unit, zone), local) + form.offset_s for c in times)
        segments = []
        for row, (start, end, label) in enumerate(zip(starts, ends, table.texts(form.label), strict=True)):
            if not label:
                raise RecordingError(
                    f"{table.where(row)}: the label {form.label!r} is empty",
                    hint="name the activity, or remove the line: time outside all segments has no label",
                )
            if any(ord(character) < 32 for character in label):
                raise RecordingError(
                    f"{table.where(row)}: the label {label!r} contains a line end or a control character",
                    hint="correct the label; perhaps a quotation mark is not closed",
                )
            if not start < end:
                raise RecordingError(
                    f"{table.where(row)}: {label!r} from {start} s to {end} s, expected start < end",
                    hint="correct the times of this line, or the columns under `label_files`",
                )
            self._known(label, table.where(row))
            segments.append(Segment(start=float(start), end=float(end), label=label))
        return tuple(segments)


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
