"""Exports of the app phyphox: ZIP of CSV files, XLSX, or one CSV file, in every delimiter and decimal mark it offers.

A ZIP holds one CSV per set of the experiment, and `meta/time.csv` with the moments of START and PAUSE: the time of the
experiment stands still while it is paused. Accelerations have the sign of a specific force on Android and iOS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.members import Members, head, names_in
from imu_video.readers.sheets import Sheet, decoded, ordered
from imu_video.readers.xlsx import sheets_of
from imu_video.registry import readers

_AXIS = re.compile(r"(?P<what>.*?)\s*(?P<axis>[xyz])\s*\((?P<unit>[^()]*)\)", re.IGNORECASE)
_TIME = re.compile(r".*\(s\)", re.IGNORECASE)
_UNITS = {
    "m/s^2": ("acc", "m/s^2"),
    "m/s²": ("acc", "m/s^2"),
    "g": ("acc", "g"),
    "rad/s": ("gyr", "rad/s"),
    "°/s": ("gyr", "deg/s"),
    "µt": ("mag", "uT"),
    "μt": ("mag", "uT"),
    "ut": ("mag", "uT"),
}
_KNOWN = re.compile(r'"?Time \(s\)"?[\t;,]"?(?:(Linear )?Acceleration|Gyroscope|Magnetic [Ff]ield)?\s*[xX] \(')
"""First line of a CSV file as phyphox writes it in English."""


@dataclass(frozen=True, kw_only=True)
class _Found:
    kind: str
    unit: str
    linear: bool
    sheet: Sheet
    columns: tuple[str, str, str]


@readers.register("phyphox")
class Phyphox(Reader):
    """The app phyphox on Android and iOS: ZIP, XLSX and CSV exports.

    Args:
        acceleration: ``with_g``: the experiment "Acceleration with g"; ``linear``: "Acceleration (without g)", which
            has gravity removed. ``auto`` reads the one with gravity if both were recorded.

    Example:
        >>> from imu_video.registry import readers
        >>> readers.build("phyphox").formats
        ('.zip', '.xlsx', '.csv', '/')
    """

    name = "phyphox"
    title = "phyphox (RWTH Aachen), Android and iOS"
    formats = (".zip", ".xlsx", ".csv", "/")
    reads = "acceleration, gyroscope, magnetometer; start and pauses; phone model"
    gravity = "included in Acceleration, removed in Linear Acceleration: from the names of the columns"
    clock = "UTC where the export has meta/time.csv, pauses restored; else seconds of the experiment"
    url = "https://phyphox.org"

    def __init__(self, *, acceleration: Literal["auto", "with_g", "linear"] = "auto") -> None:
        self.acceleration = acceleration

    def recognises(self, path: Path) -> str | None:
        start = head(path, 400)
        if path.suffix.lower() == ".csv":
            first = decoded(start).split("\n", 1)[0]
            return f"first line {first[:60]!r}" if _KNOWN.match(first) else None
        names = names_in(path) if path.is_dir() or start.startswith(b"PK") else ()
        if any(name.endswith("meta/time.csv") for name in names):
            return "contains meta/time.csv"
        if path.suffix.lower() == ".xlsx" and "xl/workbook.xml" in names:
            try:
                found = [name for name, sheet in _sheets(path)[0].items() if _KNOWN.match("\t".join(sheet.names))]
            except RecordingError:
                return None
            return f"sheet {found[0]!r} with the columns of phyphox" if found else None
        if any(name.lower().endswith(".csv") for name in names):
            try:
                members = Members(path)
                csvs = [name for name in names if name.lower().endswith(".csv")][:8]
                found = [name for name in csvs if _KNOWN.match(decoded(members.read(name)[:400]))]
            except RecordingError:
                return None
            return f"contains {found[0]} with the columns of phyphox" if found else None
        return None

    def read(self, path: Path) -> Reading:
        sheets, times, facts = _sheets(path)
        notes: list[str] = []
        found = [part for name, sheet in sheets.items() for part in _sensors(name, sheet)]
        linear = self._choose(path, {part.linear for part in found if part.kind == "acc"})
        clock = _Clock(times, str(path))
        tracks: dict[str, Track] = {}
        for kind in ("acc", "gyr", "mag"):
            parts = [part for part in found if part.kind == kind and (kind != "acc" or part.linear == linear)]
            if len(parts) > 1:
                raise RecordingError(
                    f"{path}: {len(parts)} sets of {kind} columns: "
                    f"{', '.join(f'{p.sheet.where}: {p.columns[0]}' for p in parts)}",
                    hint="declare the CSV file of one set",
                )
            if parts:
                tracks[kind] = _track(parts[0], clock, notes)
        if not {"acc", "gyr"} & set(tracks):
            raise RecordingError(
                f"{path}: no columns of acceleration or gyroscope, expected for example 'Acceleration x (m/s^2)'",
                hint="record an experiment with the raw sensors, for example 'Acceleration with g'",
            )
        if clock.pauses:
            notes.append(f"paused {len(clock.pauses)} times, {sum(clock.pauses):.1f} s in all: restored as gaps")
        tags = {"app": "phyphox"} | {tag: facts[key] for key, tag in _FACTS.items() if facts.get(key)}
        gravity = not linear if "acc" in tracks else None
        phone = DeviceReading(name="phone", tracks=tracks, gravity=gravity)
        return Reading(devices=(phone,), tags=tags, notes=tuple(notes), start_utc=clock.start_utc)

    def _choose(self, path: Path, there: set[bool]) -> bool:
        if self.acceleration == "auto":
            return there == {True}
        wanted = self.acceleration == "linear"
        if there and wanted not in there:
            raise ConfigError(
                f"{path}: no acceleration {'without' if wanted else 'with'} gravity, only the other one",
                hint="remove `acceleration` from the reader's entry",
            )
        return wanted


_FACTS = {"deviceModel": "phone", "version": "app_version"}


class _Clock:
    """Time of the experiment to seconds since the first START, pauses included."""

    def __init__(self, events: Sheet | None, where: str) -> None:
        self.start_utc: float | None = None
        self.pauses: list[float] = []
        self._experiment, self._system = np.zeros(1), np.zeros(1)
        if events is None:
            return
        kinds = [text.upper() for text in events.texts("event")]
        starts = [row for row, kind in enumerate(kinds) if kind == "START"]
        experiment, system = events.numbers(["experiment time", "system time"])
        if not starts or not np.isfinite(experiment[starts]).all() or not np.isfinite(system[starts]).all():
            raise RecordingError(f"{events.where}: no START with its times", hint="export the recording again")
        if np.any(np.diff(experiment[starts]) < 0) or np.any(np.diff(system[starts]) < 0):
            raise RecordingError(f"{events.where}: times of START run backwards", hint="export the recording again")
        self._experiment, self._system = experiment[starts], system[starts]
        self.start_utc = float(self._system[0] - self._experiment[0])
        self.pauses = [
            float(b - a)
            for a, b in zip(self._system - self._experiment, (self._system - self._experiment)[1:], strict=False)
        ]

    def seconds(self, times: np.ndarray) -> np.ndarray:
        if self.start_utc is None:
            return times
        at = np.clip(np.searchsorted(self._experiment, times, side="right") - 1, 0, None)
        return np.asarray(times + (self._system - self._experiment)[at] - self.start_utc)


def _sheets(path: Path) -> tuple[dict[str, Sheet], Sheet | None, Mapping[str, str]]:
    """The sets of the experiment by name, the events of its clock, and facts about the phone."""
    members = Members(path)
    if "xl/workbook.xml" in members.names:
        contents = {f"{name}.csv": content for name, content in sheets_of(members).items() if content.strip()}
        where = {name: f"{path}, {name}" for name in contents}
    else:
        contents = {n: members.read(n) for n in members.names if n.lower().endswith(".csv")}
        where = {name: members.where(name) for name in contents}
    if not contents:
        old = path.suffix.lower() == ".xls"
        raise RecordingError(
            f"{path}: no table of phyphox in it" + (": the old Excel format is not read" if old else ""),
            hint="export as CSV (any delimiter) or as Excel .xlsx",
        )
    sheets: dict[str, Sheet] = {}
    times: Sheet | None = None
    facts: dict[str, str] = {}
    for name, content in contents.items():
        if not content.strip():
            continue
        sheet = Sheet(where[name], content)
        stem = PurePosixPath(name).stem.lower()
        if stem in ("time", "metadata time") and "system time" in sheet.names:
            times = sheet
        elif stem in ("device", "metadata device") and set(sheet.names) >= {"property", "value"}:
            facts = dict(zip(sheet.texts("property"), sheet.texts("value"), strict=True))
        else:
            sheets[PurePosixPath(name).stem] = sheet
    return sheets, times, facts


def _sensors(name: str, sheet: Sheet) -> list[_Found]:
    """Groups of three columns x, y, z of one quantity and unit."""
    groups: dict[tuple[str, str], dict[str, str]] = {}
    for column in sheet.names:
        match = _AXIS.fullmatch(column)
        if match and match["unit"].lower() in _UNITS:
            groups.setdefault((match["what"], match["unit"].lower()), {})[match["axis"].lower()] = column
    found = []
    for (what, unit), axes in groups.items():
        if set(axes) == {"x", "y", "z"}:
            kind, canonical = _UNITS[unit]
            text = f"{name} {what}".lower()
            # "linear" in the languages of the app: lineare, linéaire, lineal, liniowe, lineaire ...
            linear = bool(re.search(r"\blin[eéi]|without g|ohne g|sans g|senza g|sin g", text))
            found.append(
                _Found(kind=kind, unit=canonical, linear=linear, sheet=sheet, columns=(axes["x"], axes["y"], axes["z"]))
            )
    return found


def _track(part: _Found, clock: _Clock, notes: list[str]) -> Track:
    time = next((column for column in part.sheet.names if _TIME.fullmatch(column)), None)
    if time is None:
        raise RecordingError(f"{part.sheet.where}: no column of time, expected 'Time (s)'")
    numbers = part.sheet.numbers([time, *part.columns])
    track = Track(times=clock.seconds(numbers[0]), values=numbers[1:], unit=part.unit)
    return ordered(track, where=part.sheet.where, notes=notes)
