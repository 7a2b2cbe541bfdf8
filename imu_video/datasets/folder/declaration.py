"""The content of a `dataset.yaml`: file patterns, formats and units; finds and reads no files."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from imu_video.config import Config, merge
from imu_video.datasets.folder.patterns import placement_name
from imu_video.errors import ConfigError, nearest
from imu_video.readers.tables import TimeUnit, text_encoding
from imu_video.readers.zones import zone_of
from imu_video.recordings.signal import UNITS
from imu_video.recordings.timestamps import MAX_MOVE_S
from imu_video.registry import readers
from imu_video.types import IMU_CHANNELS

DECLARATION = "dataset.yaml"
VARIABLES = ("subject", "session", "recording", "placement")
WORD = "[A-Za-z0-9_-]+"
Seconds = Annotated[float, Field(ge=-1e12, le=1e12)]
Encoding = Annotated[str, AfterValidator(text_encoding)]


def _known_zone(value: str | None) -> str | None:
    if value is not None:
        zone_of(value)
    return value


class TimeFormat(Config):
    """Source of the sample times: a ``column`` with its ``unit``, or a fixed ``rate_hz`` for files without times.

    Args:
        column: name of the time column.
        unit: ``s``, ``ms``, ``us``, ``ns`` or ``iso8601``.
        rate_hz: samples per second of a file without a time column.
        start_s: time of the first sample in seconds, with ``rate_hz``.
        offset_s: seconds that are added to the times of a column.
        timezone: zone of local times in a column (``Europe/Berlin``, ``+02:00``); they become UTC.
        repair: replace repeated, bunched or backward times by an even clock (`recordings.timestamps.repair_times`);
            without it they are an error.
        repair_within_s: with ``repair``, the largest distance in seconds by which a time may be moved beyond the
            length of its packet; a recording that needs more is an error.
    """

    column: str | None = None
    unit: TimeUnit = "s"
    rate_hz: float | None = Field(default=None, gt=0, le=1e6)
    start_s: Seconds = 0.0
    offset_s: Seconds = 0.0
    timezone: str | None = None
    repair: bool = False
    repair_within_s: float = Field(default=MAX_MOVE_S, gt=0, le=100_000)

    _zone = field_validator("timezone")(_known_zone)

    @model_validator(mode="after")
    def _one_way(self) -> TimeFormat:
        if (self.column is None) == (self.rate_hz is None):
            raise ValueError("give either 'column' (with 'unit') or 'rate_hz'")
        if (self.offset_s or self.timezone) and self.column is None:
            raise ValueError("'offset_s' and 'timezone' apply to a time column; with 'rate_hz', give 'start_s'")
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
        encoding: of CSV files that are not UTF-8, such as ``utf-16`` or ``cp1252``.
        decimal: decimal mark of CSV files, ``.`` or ``,``.
        scale: ``acc`` or ``gyr`` -> factor from the numbers of the file to the declared unit, for raw counts.
        gravity: ``included``, or ``removed`` from the acceleration (Android's linear, Apple's user acceleration).
        label: column with the label of each row; rows with an empty field have none.
        reader: name of a reader (`imu-video list readers`), or a mapping of ``name``, its options, and ``device`` where
            a file contains several; it replaces ``time``, ``channels`` and ``units``.
        clock: of a reader's files: ``utc``, POSIX time where the file contains it; ``recording``, seconds from the zero
            of the file.
    """

    time: TimeFormat | None = None
    channels: dict[str, str] | None = None
    units: dict[str, str] | None = None
    columns: list[str] | None = None
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    skip_rows: int = Field(default=0, ge=0)
    encoding: Encoding | None = None
    decimal: Literal[".", ","] = "."
    scale: dict[Literal["acc", "gyr"], float] | None = None
    gravity: Literal["included", "removed"] = "included"
    label: str | None = None
    reader: dict[str, Any] | None = None
    clock: Literal["utc", "recording"] = "utc"

    @field_validator("reader", mode="before")
    @classmethod
    def _reader(cls, value: object) -> object:
        entry = {"name": value} if isinstance(value, str) else value
        if isinstance(entry, Mapping):
            try:
                readers.entry({key: option for key, option in entry.items() if key != "device"})
            except ConfigError as error:
                raise ValueError(error.message) from error
        return entry

    @model_validator(mode="after")
    def _one_source(self) -> ImuFormat:
        for key in sorted(set(ImuFormat.model_fields) - {"reader", "clock"}):
            if self.reader is not None and key in self.model_fields_set:
                raise ValueError(f"'reader' replaces {key!r}: give one of the two")
        return self

    @field_validator("channels")
    @classmethod
    def _channels(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        for channel in value or {}:
            if channel.startswith("mag"):
                raise ValueError(f"channel {channel!r}: windows contain accelerometer and gyroscope only; remove it")
            if channel not in IMU_CHANNELS:
                raise ValueError(f"unknown channel {channel!r}{nearest(channel, IMU_CHANNELS)}")
        by_column: dict[tuple[str, str], str] = {}  # sensors in separate files may have columns of one name
        for channel, column in (value or {}).items():
            other = by_column.setdefault((channel[:3], column), channel)
            if other != channel:
                raise ValueError(f"{other} and {channel} both name the column {column!r}; expected one column for each")
        return value

    @field_validator("scale")
    @classmethod
    def _scale(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        for kind, factor in (value or {}).items():
            if not 1e-12 <= abs(factor) <= 1e12:
                raise ValueError(f"scale of {kind} is {factor}, expected a size between 1e-12 and 1e12")
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


def _no_tag_of_ours(tags: Any) -> Any:
    if "gravity" in (tags or ()):
        raise ValueError(
            "the tag 'gravity' is reserved: it states whether acceleration includes gravity; use another name"
        )
    return tags


class VideoFile(Config):
    """A video and the time of its first frame.

    Either ``offset_s`` in seconds on the IMU's clock, or ``start`` in the format of the time column.
    """

    file: str
    offset_s: Seconds | None = None
    start: str | float | None = None

    @model_validator(mode="after")
    def _one_way(self) -> VideoFile:
        if self.offset_s is not None and self.start is not None:
            raise ValueError("give either 'offset_s' or 'start'")
        return self


class Entry(Config):
    """One recording, file by file.

    Args:
        subject, name, session: as in `Recording`.
        imu: placement -> file, or -> ``{acc: file, gyr: file}`` for sensors in separate files.
        video: the main video.
        cameras: name -> a further video.
        labels: the label file.
        tags: as in `Recording`.
    """

    subject: str
    name: str
    session: str = "1"
    imu: dict[str, str | dict[Literal["acc", "gyr"], str]] = Field(min_length=1)
    video: VideoFile | None = None
    cameras: dict[str, VideoFile] = Field(default_factory=dict)
    labels: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)

    _tags = field_validator("tags")(_no_tag_of_ours)

    @field_validator("imu")
    @classmethod
    def _placements(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {placement_name(placement): path for placement, path in value.items()}

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not re.fullmatch(WORD, value):
            raise ValueError(f"recording {value!r}: use letters, digits, '-' and '_' only")
        return value


class Pattern(Config):
    """Recordings by file name: ``{subject}``, ``{session}``, ``{recording}`` and ``{placement}`` stand for any text
    without ``/``, and ``*`` for text that is not used. Endings match in upper and lower case.

    Args:
        imu: path of the IMU files, with ``{subject}``; several for files of several kinds; ``{acc: path, gyr: path}``
            for sensors in separate files, which become one device. Without ``{placement}``, all declared placements
            read one file.
        video: path of the video, with the variables of ``imu`` except ``{placement}``.
        cameras: name -> path of a further video, with the same variables as ``video``.
        labels: path of the label file, with the same variables as ``video``.
        offset_s: time of the first frame in seconds on the IMU's clock, for all or by recording name. Without it and
            without ``start`` the video begins at time 0 of the IMU's clock.
        start: recording name -> time of the first frame, in the format of the time column.
        camera_offset_s: as ``offset_s``, by camera.
        optional: parts that a recording may lack: ``video``, ``cameras``, ``labels``; ``acc`` or ``gyr`` of separate
            files.
        variables: variable -> regular expression that its text must match, for names that can be read in several ways.
    """

    imu: str | list[str] | dict[Literal["acc", "gyr"], str | list[str]]
    video: str | None = None
    cameras: dict[str, str] = Field(default_factory=dict)
    labels: str | None = None
    offset_s: Seconds | dict[str, Seconds] | None = None
    start: dict[str, str | float] = Field(default_factory=dict)
    camera_offset_s: dict[str, Seconds] = Field(default_factory=dict)
    optional: list[Literal["video", "cameras", "labels", "acc", "gyr"]] = Field(default_factory=list)
    variables: dict[str, str] = Field(default_factory=dict)

    @property
    def imu_patterns(self) -> list[str]:
        """The patterns of IMU files."""
        return [pattern for patterns in self.by_sensor.values() for pattern in patterns]

    @property
    def by_sensor(self) -> dict[str, list[str]]:
        """Sensor -> patterns of its files; the sensor is ``""`` where a file holds all of a device."""
        given = self.imu if isinstance(self.imu, dict) else {"": self.imu}
        return {kind: [value] if isinstance(value, str) else value for kind, value in given.items()}

    @field_validator("variables")
    @classmethod
    def _expressions(cls, value: dict[str, str]) -> dict[str, str]:
        for variable, expression in value.items():
            if variable not in VARIABLES:
                raise ValueError(f"unknown variable {variable!r}{nearest(variable, VARIABLES)}")
            try:
                re.compile(expression)
            except re.error as error:
                raise ValueError(f"{variable}: {expression!r} is not a regular expression: {error}") from error
        return value

    @model_validator(mode="after")
    def _variables(self) -> Pattern:
        if not self.imu_patterns:
            raise ValueError("'imu' lists no pattern")
        own = set(VARIABLES)
        for template in self.imu_patterns:
            here = set(re.findall(r"{(\w*)}", template))
            _only(template, here, VARIABLES)
            if "subject" not in here:
                raise ValueError(f"{template!r} has no variable {{subject}}")
            own &= here
        for camera in self.camera_offset_s:
            if camera not in self.cameras:
                raise ValueError(f"camera_offset_s: unknown camera {camera!r}{nearest(camera, self.cameras)}")
        for other in (self.video or "", self.labels or "", *self.cameras.values()):
            _only(other, set(re.findall(r"{(\w*)}", other)), own - {"placement"})
        return self


def _only(template: str, variables: Iterable[str], known: Collection[str]) -> None:
    for variable in sorted(variables):
        if variable not in known:
            raise ValueError(f"{template!r} has the variable {{{variable}}}{nearest(variable, known)}")


class LabelFormat(Config):
    """Columns of the label files (CSV or Parquet).

    Args:
        start, end, label: names of the columns.
        unit: of the times; the unit of the IMU's time column by default.
        delimiter: of CSV files.
        offset_s: seconds that are added to the times.
        timezone: zone of local times, as for `TimeFormat`.
    """

    start: str = "start"
    end: str = "end"
    label: str = "label"
    unit: TimeUnit | None = None
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    encoding: Encoding | None = None
    decimal: Literal[".", ","] = "."
    offset_s: Seconds = 0.0
    timezone: str | None = None

    _zone = field_validator("timezone")(_known_zone)


class SubjectTable(Config):
    """A table with one row per subject, whose columns become tags of its recordings.

    Args:
        file: path of the table (CSV or Parquet).
        subject: column with the subjects, named as in the recordings.
        tags: columns that become tags, or tag -> column.
        delimiter, encoding, decimal: of a CSV file.
    """

    file: str
    subject: str = "subject"
    tags: list[str] | dict[str, str] = Field(min_length=1)
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    encoding: Encoding | None = None
    decimal: Literal[".", ","] = "."

    _tags = field_validator("tags")(_no_tag_of_ours)

    @property
    def columns(self) -> dict[str, str]:
        """Tag -> column."""
        return dict(self.tags) if isinstance(self.tags, dict) else {tag: tag for tag in self.tags}


class Declaration(Config):
    """The whole `dataset.yaml`.

    Args:
        dataset, licence, citation, url: name and terms of the data.
        imu: format of the IMU files.
        placements: placement -> what differs from ``imu``; upper case becomes lower case, spaces and hyphens ``_``.
        files: recordings by file name.
        recordings: recordings one by one, in place of ``files``.
        formats: names of recordings (``s03-*``) -> what differs in their files from ``imu`` and ``placements``.
        subjects: table with ages, sexes or groups of the subjects.
        ignore: files below the folder that do not belong to it: names (``*.bak``), paths (``old/*.csv``), folders
            (``old/``).
        labels: the labels that may occur; any if None.
        label_files: format of the label files.
        check_units: whether implausible values and rates are an error (default: yes).
        missing: ``error`` or ``warn`` for a video, label file or device whose times do not overlap with the recording.
    """

    dataset: str = Field(pattern=f"^{WORD}$")
    licence: str
    citation: str = ""
    url: str = ""
    imu: ImuFormat = Field(default_factory=ImuFormat)
    placements: dict[str, ImuFormat] = Field(min_length=1)
    files: Pattern | None = None
    recordings: list[Entry] | None = None
    formats: dict[str, ImuFormat] = Field(default_factory=dict)
    subjects: SubjectTable | None = None
    ignore: list[str] = Field(default_factory=list)
    labels: list[str] | None = None
    label_files: LabelFormat = Field(default_factory=LabelFormat)
    check_units: bool = True
    missing: Literal["error", "warn"] = "error"

    @field_validator("placements", mode="before")
    @classmethod
    def _empty_means_default(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        named: dict[str, object] = {}
        for key, form in value.items():
            if not isinstance(key, str):
                raise ValueError(f"placement {key!r} is no text; put it in quotation marks: 'no', '1'")
            name = placement_name(key)
            if name in named:
                raise ValueError(f"placement {key!r} is declared twice, as {name!r}")
            named[name] = {} if form is None else form
        return named

    @model_validator(mode="after")
    def _complete(self) -> Declaration:
        if (self.files is None) == (self.recordings is None):
            raise ValueError("give either 'files' (a pattern) or 'recordings' (a list)")
        for placement in self.placements:
            if not re.fullmatch("[a-z0-9_]+", placement):
                raise ValueError(f"placement {placement!r}: use letters, digits and '_' only")
            form = self.format_of(placement)
            if form.reader is not None:
                continue
            if form.time is None or not form.channels:
                raise ValueError(
                    f"placement {placement!r} needs 'time' and 'channels', or 'reader'; under the placement or 'imu'"
                )
            for one in (form, *(_overridden(form, own) for own in self.formats.values())):
                for kind in sorted({c.split("_")[0] for c in one.channels or ()}):
                    if kind not in (one.units or {}):
                        raise ValueError(f"placement {placement!r} has {kind} channels: declare 'units.{kind}'")
            if form.label and self.files and self.files.labels:
                raise ValueError(f"labels are in the column {form.label!r} and in files.labels: give one of the two")
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

    def format_of(self, placement: str, recording: str | None = None) -> ImuFormat:
        """The format of a placement: ``imu``, overridden by the placement's own keys and by those of ``formats``."""
        form = _overridden(self.imu, self.placements[placement])
        for pattern, own in self.formats.items():
            # A format of single recordings for tables does not apply to devices that a reader reads.
            applies = form.reader is None or {"reader", "channels"} & own.model_fields_set
            if recording is not None and applies and fnmatch.fnmatchcase(recording, pattern):
                form = _overridden(form, own)
        return form


def _overridden(base_form: ImuFormat, own_form: ImuFormat) -> ImuFormat:
    """A format with the keys that another one sets."""
    own = own_form.model_dump(exclude_unset=True)
    base = base_form.model_dump(exclude_unset=True)
    # `time` and `channels` are replaced as a whole, since a mixture of two declarations fits neither file
    for whole in ("time", "channels", "reader"):
        if whole in own:
            base.pop(whole, None)
    if "reader" in own:
        base = {key: value for key, value in base.items() if key == "clock"}
    elif {"time", "channels"} & set(own):
        base.pop("reader", None)
    return ImuFormat.model_validate(merge(base, own))
