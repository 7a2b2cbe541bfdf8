"""Your own recordings: IMU tables and videos, declared in a `dataset.yaml` (docs/guides/your-recordings.md)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from imu_video.config import Config, merge, read_yaml, validate
from imu_video.datasets.common import chosen
from imu_video.errors import ConfigError, RecordingError, nearest
from imu_video.modalities.mp4 import Mp4Source
from imu_video.readers.tables import PER_SECOND, Table, TimeUnit, iso_seconds
from imu_video.recordings.signal import UNITS, check_plausible, convert
from imu_video.registry import datasets
from imu_video.types import IMU_CHANNELS, ImuStream, Recording, Segment

DECLARATION = "dataset.yaml"
_VARIABLES = ("subject", "session", "recording", "placement")
_WORD = "[A-Za-z0-9_-]+"
RATES_HZ = (1.0, 10_000.0)
"""Range of plausible sampling rates of a wearable in Hz; outside it the declared unit of time is wrong."""


class TimeFormat(Config):
    """Source of the sample times: a ``column`` with its ``unit``, or a fixed ``rate_hz`` for files without times.

    Args:
        column: name of the time column.
        unit: ``s``, ``ms``, ``us``, ``ns`` or ``iso8601``.
        rate_hz: samples per second of a file without a time column.
        start_s: time of the first sample in seconds, with ``rate_hz``.
        repair: replace repeated, bunched or backward times by an even clock (`recordings.timestamps.repair_times`);
            without it they are an error.
    """

    column: str | None = None
    unit: TimeUnit = "s"
    rate_hz: float | None = Field(default=None, gt=0)
    start_s: float = 0.0
    repair: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> TimeFormat:
        if (self.column is None) == (self.rate_hz is None):
            raise ValueError("give either 'column' (with 'unit') or 'rate_hz'")
        if self.repair and self.column is None:
            raise ValueError("'repair' applies to a time column, but 'rate_hz' declares that the files have none")
        return self


class ImuFormat(Config):
    """Format of the IMU files; under ``placements`` each key overrides the one under ``imu``.

    Args:
        time: see `TimeFormat`.
        channels: canonical channel -> column of the file; other channels are missing on this device.
        units: ``acc`` -> m/s^2, g or mg; ``gyr`` -> rad/s or deg/s.
        columns: names of all columns of a CSV file without a header line.
        delimiter: of CSV files.
        skip_rows: lines of CSV files before the header.
    """

    time: TimeFormat | None = None
    channels: dict[str, str] | None = None
    units: dict[str, str] | None = None
    columns: list[str] | None = None
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    skip_rows: int = Field(default=0, ge=0)

    @field_validator("channels")
    @classmethod
    def _channels(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        for channel in value or {}:
            if channel not in IMU_CHANNELS:
                raise ValueError(f"unknown channel {channel!r}{nearest(channel, IMU_CHANNELS)}")
        return value

    @field_validator("units")
    @classmethod
    def _units(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        for kind, unit in (value or {}).items():
            if kind not in UNITS:
                raise ValueError(f"unknown kind {kind!r}{nearest(kind, UNITS)}")
            if unit not in UNITS[kind]:
                raise ValueError(f"unknown unit {unit!r} of {kind}; known: {', '.join(UNITS[kind])}")
        return value


class VideoFile(Config):
    """A video and the time of its first frame.

    Either ``offset_s`` in seconds on the IMU's clock, or ``start`` in the format of the time column.
    """

    file: str
    offset_s: float | None = None
    start: str | float | None = None

    @model_validator(mode="after")
    def _one_way(self) -> VideoFile:
        if self.offset_s is not None and self.start is not None:
            raise ValueError("give either 'offset_s' or 'start'")
        return self


class Entry(Config):
    """One recording, file by file."""

    subject: str
    name: str
    session: str = "1"
    imu: dict[str, str] = Field(min_length=1)
    video: VideoFile | None = None
    labels: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)


class Pattern(Config):
    """Recordings by file name: ``{subject}``, ``{session}``, ``{recording}`` and ``{placement}`` stand for letters,
    digits, ``-`` and ``_``.

    Args:
        imu: path of the IMU files, with ``{subject}``; without ``{placement}``, all declared placements read one file.
        video: path of the video, with the variables of ``imu`` except ``{placement}``.
        labels: path of the label file, with the same variables as ``video``.
        offset_s: time of the first frame in seconds on the IMU's clock, for all or by recording name.
        optional: which of ``video`` and ``labels`` a recording may lack.
    """

    imu: str
    video: str | None = None
    labels: str | None = None
    offset_s: float | dict[str, float] = 0.0
    optional: list[Literal["video", "labels"]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _variables(self) -> Pattern:
        own = set(re.findall(r"{(\w*)}", self.imu))
        for template, known in (
            (self.imu, set(_VARIABLES)),
            (self.video or "", own - {"placement"}),
            (self.labels or "", own - {"placement"}),
        ):
            for variable in re.findall(r"{(\w*)}", template):
                if variable not in known:
                    raise ValueError(f"{template!r} has the variable {{{variable}}}{nearest(variable, known)}")
        if "subject" not in own:
            raise ValueError(f"{self.imu!r} has no variable {{subject}}")
        return self


class LabelFormat(Config):
    """Columns of the label files (CSV or Parquet); ``unit`` defaults to the unit of the IMU's time column."""

    start: str = "start"
    end: str = "end"
    label: str = "label"
    unit: TimeUnit | None = None
    delimiter: str = Field(default=",", min_length=1, max_length=1)


class Declaration(Config):
    """The whole `dataset.yaml`."""

    dataset: str = Field(pattern=f"^{_WORD}$")
    licence: str
    citation: str = ""
    url: str = ""
    imu: ImuFormat = Field(default_factory=ImuFormat)
    placements: dict[str, ImuFormat] = Field(min_length=1)
    files: Pattern | None = None
    recordings: list[Entry] | None = None
    labels: list[str] | None = None
    label_files: LabelFormat = Field(default_factory=LabelFormat)
    check_units: bool = True

    @field_validator("placements", mode="before")
    @classmethod
    def _empty_means_default(cls, value: object) -> object:
        return {k: {} if v is None else v for k, v in value.items()} if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _complete(self) -> Declaration:
        if (self.files is None) == (self.recordings is None):
            raise ValueError("give either 'files' (a pattern) or 'recordings' (a list)")
        for placement in self.placements:
            if not re.fullmatch("[a-z0-9_]+", placement):
                raise ValueError(f"placement {placement!r}: use lower case letters, digits and '_' only")
            form = self.format_of(placement)
            if form.time is None or not form.channels:
                raise ValueError(
                    f"placement {placement!r} needs 'time' and 'channels', under the placement or under 'imu'"
                )
            for kind in sorted({c.split("_")[0] for c in form.channels}):
                if kind not in (form.units or {}):
                    raise ValueError(f"placement {placement!r} has {kind} channels: declare 'units.{kind}'")
        for entry in self.recordings or []:
            for placement in entry.imu:
                if placement not in self.placements:
                    raise ValueError(
                        f"recording {entry.name!r}: placement {placement!r} is not declared"
                        f"{nearest(placement, self.placements)}"
                    )
        names = [e.name for e in self.recordings or []]
        if len(set(names)) != len(names):
            raise ValueError(f"two recordings are called {next(n for n in names if names.count(n) > 1)!r}")
        return self

    def format_of(self, placement: str) -> ImuFormat:
        """The format of a placement: the defaults under ``imu``, overridden by the placement's own keys."""
        own = self.placements[placement].model_dump(exclude_unset=True)
        base = self.imu.model_dump(exclude_unset=True)
        # `time` and `channels` are replaced as a whole, since a mixture of two declarations fits neither file
        for whole in ("time", "channels"):
            if whole in own:
                base.pop(whole, None)
        return ImuFormat.model_validate(merge(base, own))


@dataclass(kw_only=True)
class _Planned:
    """The files of one recording; they exist but are not read yet."""

    subject: str
    name: str
    session: str = "1"
    imu: dict[str, Path] = field(default_factory=dict)
    video: VideoFile | None = None
    labels: Path | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


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
                    f"declare your recordings in {self.declaration}; docs/guides/your-recordings.md shows how"
                    if given.is_dir()
                    else "name the folder of your recordings: dataset.root=FOLDER"
                ),
            )
        self.config = validate(read_yaml(self.declaration), Declaration, source=str(self.declaration))
        self.name = self.config.dataset
        self.licence, self.citation, self.url = self.config.licence, self.config.citation, self.config.url
        self.placements = tuple(sorted(self.config.placements))
        self.labels = tuple(sorted(self.config.labels or ()))
        self._planned = self._find() if self.config.files else self._list()
        self._require_files()

    def subjects(self) -> list[str]:
        """Sorted subjects, from the declaration or the file names."""
        return sorted({p.subject for p in self._planned})

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """Recordings in the order of the declaration, or of their names."""
        wanted = chosen(subjects, self.subjects(), dataset=self.name)
        for planned in self._planned:
            if planned.subject in wanted:
                yield self._recording(planned)

    # ------------------------------------------------------------------------------------------------ finding

    def _list(self) -> list[_Planned]:
        return [
            _Planned(
                subject=entry.subject,
                name=entry.name,
                session=entry.session,
                imu={placement: self.root / path for placement, path in entry.imu.items()},
                video=entry.video,
                labels=self.root / entry.labels if entry.labels else None,
                tags=entry.tags,
            )
            for entry in self.config.recordings or []
        ]

    def _find(self) -> list[_Planned]:
        pattern = self.config.files
        assert pattern is not None
        expression = _expression(pattern.imu, self.config.placements)
        anything = _expression(pattern.imu)
        labels = _expression(pattern.labels) if pattern.labels else None
        found: dict[str, _Planned] = {}
        for path in sorted(self.root.glob(re.sub(r"{\w+}", "*", pattern.imu))):
            relative = path.relative_to(self.root).as_posix()
            match = expression.fullmatch(relative)
            if not match:
                other = anything.fullmatch(relative)
                if other and not (labels and labels.fullmatch(relative)):
                    placement = other["placement"]
                    raise RecordingError(
                        f"{path}: placement {placement!r} is not declared{nearest(placement, self.config.placements)}",
                        hint=f"add it under 'placements' in {self.declaration}, or remove the file from the folder",
                    )
                continue
            words = match.groupdict()
            placement = words.pop("placement", "")
            name = "-".join(words[v] for v in _VARIABLES if v in words)
            planned = found.get(name)
            if planned is None:
                planned = found[name] = self._plan(pattern, name, words)
            planned.imu.update(dict.fromkeys([placement] if placement else self.config.placements, path))
        if not found:
            raise RecordingError(
                f"{self.declaration}: no file in {self.root} matches files.imu = {pattern.imu!r}",
                hint=f"correct the pattern; each variable matches {_WORD}",
            )
        if isinstance(pattern.offset_s, dict):
            for name in pattern.offset_s:
                if name not in found:
                    raise ConfigError(f"{self.declaration}: files.offset_s names {name!r}{nearest(name, found)}")
        return [found[name] for name in sorted(found)]

    def _plan(self, pattern: Pattern, name: str, words: Mapping[str, str]) -> _Planned:
        planned = _Planned(subject=words["subject"], name=name, session=words.get("session", "1"))
        if pattern.video:
            file = pattern.video.format(**words)
            if (self.root / file).is_file() or "video" not in pattern.optional:
                offset = pattern.offset_s
                if isinstance(offset, dict):
                    if name not in offset:
                        raise ConfigError(f"{self.declaration}: files.offset_s has no entry for recording {name!r}")
                    offset = offset[name]
                planned.video = VideoFile(file=file, offset_s=offset)
        if pattern.labels:
            labels = self.root / pattern.labels.format(**words)
            if labels.is_file() or "labels" not in pattern.optional:
                planned.labels = labels
        return planned

    def _require_files(self) -> None:
        """Raise an error for declared files that do not exist, before hours of building reach them."""
        missing = []
        for planned in self._planned:
            video = self.root / planned.video.file if planned.video else None
            missing += [path for path in (*planned.imu.values(), video, planned.labels) if path and not path.is_file()]
        if missing:
            raise RecordingError(
                f"{missing[0]}: no such file{f', and {len(missing) - 1} more' if missing[1:] else ''}",
                hint=f"correct {self.declaration}; `files.optional: [video, labels]` lets recordings lack them",
            )

    # ------------------------------------------------------------------------------------------------ reading

    def _recording(self, planned: _Planned) -> Recording:
        streams = tuple(self._stream(placement, path) for placement, path in sorted(planned.imu.items()))
        unit = self._time_unit(planned)
        return Recording(
            dataset=self.name,
            subject=planned.subject,
            name=planned.name,
            imu=streams,
            streams={"video": self._video(planned.video, unit) if planned.video else None},
            segments=self._segments(planned.labels, unit) if planned.labels else (),
            session=planned.session,
            tags=dict(planned.tags),
        )

    def _stream(self, placement: str, path: Path) -> ImuStream:
        form = self.config.format_of(placement)
        assert form.time is not None
        assert form.channels is not None
        units = form.units or {}
        columns = ([form.time.column] if form.time.column else []) + list(form.channels.values())
        table = Table(path, columns, header=form.columns, delimiter=form.delimiter, skip_rows=form.skip_rows)
        channels = tuple(c for c in IMU_CHANNELS if c in form.channels)
        values = np.stack([convert(table.numbers(form.channels[c]), units[c[:3]], c[:3]) for c in channels])
        if form.time.column is not None:
            times = table.increasing_seconds(form.time.column, form.time.unit, repair=form.time.repair)
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
            )
        return ImuStream(placement=placement, times=times, values=values, channels=channels)

    def _time_unit(self, planned: _Planned) -> TimeUnit:
        form = self.config.format_of(next(iter(sorted(planned.imu))))
        assert form.time is not None
        return form.time.unit

    def _video(self, video: VideoFile, unit: TimeUnit) -> Mp4Source:
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
                f"{self.declaration}: {video.file} needs 'start': its first frame's time as the IMU's times are written"
            )
        return Mp4Source(self.root / video.file, offset_s=offset)

    def _segments(self, path: Path, unit: TimeUnit) -> tuple[Segment, ...]:
        form = self.config.label_files
        table = Table(path, [form.start, form.end, form.label], delimiter=form.delimiter)
        starts, ends = (table.seconds(c, form.unit or unit) for c in (form.start, form.end))
        segments = []
        for row, (start, end, label) in enumerate(zip(starts, ends, table.texts(form.label), strict=True)):
            if not start < end or not label:
                raise RecordingError(f"{table.where(row)}: {label!r} from {start} s to {end} s, expected start < end")
            if self.config.labels is not None and label not in self.config.labels:
                raise RecordingError(
                    f"{table.where(row)}: label {label!r} is not declared{nearest(label, self.labels)}",
                    hint=f"correct it, or add it under 'labels' in {self.declaration}",
                )
            segments.append(Segment(start=float(start), end=float(end), label=label))
        return tuple(segments)


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


def _expression(template: str, placements: Iterable[str] = ()) -> re.Pattern[str]:
    """The template as a regular expression; a variable used twice must match the same text twice."""
    seen: set[str] = set()

    def piece(part: str) -> str:
        if not re.fullmatch(r"{\w+}", part):
            return re.escape(part)
        variable = part[1:-1]
        if variable in seen:
            return f"(?P={variable})"
        seen.add(variable)
        known = "|".join(map(re.escape, placements)) if variable == "placement" else ""
        return f"(?P<{variable}>{known or _WORD + '?'})"

    return re.compile("".join(piece(part) for part in re.split(r"({\w+})", template)))
