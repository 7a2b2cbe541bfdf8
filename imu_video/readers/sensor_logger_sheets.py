"""The four forms of an export of Sensor Logger as sheets: one per sensor, columns by name; no units."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from imu_video.errors import RecordingError
from imu_video.readers.files import MAX_BYTES
from imu_video.readers.members import Members, head
from imu_video.readers.tables import Table
from imu_video.runtime.documents import parse_json

SENSORS = (
    "Accelerometer",
    "AccelerometerUncalibrated",
    "Annotation",
    "Gravity",
    "Gyroscope",
    "GyroscopeUncalibrated",
    "Headphone",
    "Magnetometer",
    "MagnetometerUncalibrated",
    "Metadata",
    "TotalAcceleration",
    "WatchAccelerometerUncalibrated",
    "WristMotion",
)
"""Sensors of the export that are read; others (Location, Barometer ...) hold no motion."""
MOTION = frozenset(SENSORS) - {"Annotation", "Metadata"}
XYZ = ("x", "y", "z")
_NAMES = {name.lower(): name for name in SENSORS}  # the app has written metadata.csv and Metadata.csv


@dataclass(kw_only=True)
class Sheet:
    """One sensor of the export: where it stands, and its columns."""

    where: str
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)


def sensor_of(name: str) -> tuple[str, str] | None:
    """Prefix and sensor of a CSV file's name: ``a_Gyroscope.csv`` is (``a_``, ``Gyroscope``).

    Example:
        >>> sensor_of("export/a_Gyroscope.csv"), sensor_of("WristMotion.csv"), sensor_of("Notes.csv")
        (('a_', 'Gyroscope'), ('', 'WristMotion'), None)
    """
    found = re.fullmatch(rf"(|.*[^A-Za-z])({'|'.join(SENSORS)})\.csv", PurePosixPath(name).name, re.IGNORECASE)
    return (found[1], _NAMES[found[2].lower()]) if found else None


def read_sheets(path: Path) -> dict[str, Sheet]:
    start = head(path, 16)
    if start.startswith(b"SQLite format 3\x00"):
        return _from_sqlite(path)
    if path.is_file() and path.suffix.lower() == ".json":
        return _from_json(path)
    if path.is_file() and not start.startswith(b"PK"):
        return _from_siblings(path)
    members = Members(path)
    found: dict[tuple[str, str, str], str] = {}
    for name in members.names:
        own = sensor_of(name)
        if own is not None:
            found[str(PurePosixPath(name).parent), *own] = name
    exports = sorted({key[:2] for key in found if key[2] in MOTION})
    if len(exports) > 1:
        several = ", ".join(repr(f"{folder}/{prefix}".removeprefix("./")) for folder, prefix in exports[:3])
        raise RecordingError(
            f"{path}: contains several exports: {several}",
            hint="give each recording a folder or a ZIP archive of its own",
        )
    return {
        key[2]: _from_csv(members.where(name), members.read(name), key[2])
        for key, name in found.items()
        if exports and key[:2] == exports[0]
    }


def _from_siblings(path: Path) -> dict[str, Sheet]:
    own = sensor_of(path.name)
    if own is None:
        raise RecordingError(
            f"{path}: not a file of Sensor Logger, expected the name of a sensor such as Accelerometer.csv",
            hint="declare the ZIP archive or the folder of the export",
        )
    sheets = {}
    for file in sorted(path.parent.iterdir()):
        sibling = sensor_of(file.name) if file.is_file() else None
        if sibling is not None and sibling[0] == own[0]:
            sheets[sibling[1]] = _from_csv(str(file), Members(file).read(file.name), sibling[1])
    return sheets


def _from_csv(where: str, content: bytes, sensor: str) -> Sheet:
    first = content.split(b"\n", 1)[0].decode("utf-8-sig", errors="replace").strip()
    names = [name.strip() for name in first.split(",")]
    if sensor in MOTION | {"Annotation"} and "time" not in names:
        raise RecordingError(f"{where}: first line is {first[:60]!r}, expected a header with the column 'time'")
    sheet = Sheet(where=where)
    if len(content.strip().splitlines()) < 2 and sensor in ("Annotation", "Metadata"):
        return sheet  # an export without annotations still has the file
    if sensor == "Metadata":
        table = Table(Path(where), names, content=content)
        sheet.texts = {name: table.texts(name) for name in names}
        return sheet
    wanted = [n for n in names if n in {"time", "seconds_elapsed", *XYZ, "text"} or re.fullmatch(r"\w+[XYZ]", n)]
    table = Table(Path(where), wanted, content=content)
    sheet.columns = {name: table.numbers(name) for name in wanted if name != "text"}
    sheet.texts = {"text": table.texts("text")} if "text" in wanted else {}
    return sheet


def _from_json(path: Path) -> dict[str, Sheet]:
    records = parse_json(
        Members(path).read(path.name),
        str(path),
        error=RecordingError,
        hint="export the recording again",
        limit=MAX_BYTES,
        finite=False,
    )
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise RecordingError(f"{path}: expected a list of records with the key 'sensor'")
    rows: dict[str, list[dict[str, object]]] = {}
    for record in records:
        rows.setdefault(str(record.get("sensor", "")), []).append(record)
    return {_NAMES[n.lower()]: _from_rows(f"{path}, {n}", found) for n, found in rows.items() if n.lower() in _NAMES}


def sqlite_tables(path: Path) -> list[str]:
    """Names of the tables of a SQLite file; empty where it cannot be read."""
    try:
        with closing(_open(path)) as database:
            return [str(row[0]) for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    except sqlite3.Error:
        return []


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    database.execute("PRAGMA trusted_schema = OFF")  # a schema from elsewhere may not call functions
    return database


def _from_sqlite(path: Path) -> dict[str, Sheet]:
    sheets = {}
    try:
        with closing(_open(path)) as database:
            for name in sqlite_tables(path):
                if name.lower() in _NAMES:
                    # The name is one of SENSORS in upper or lower case, and no other text from the file.
                    cursor = database.execute(f'SELECT * FROM "{name}"')  # noqa: S608
                    names = [column[0] for column in cursor.description]
                    rows = [dict(zip(names, row, strict=True)) for row in cursor]
                    sheets[_NAMES[name.lower()]] = _from_rows(f"{path}, {name}", rows)
    except (sqlite3.Error, OverflowError, UnicodeDecodeError) as error:
        raise RecordingError(
            f"{path}: not a readable SQLite file: {error}", hint="export the recording again"
        ) from error
    return sheets


def _from_rows(where: str, rows: Sequence[Mapping[str, object]]) -> Sheet:
    """Records of one sensor as columns; a value that is not a number is an error where a number is needed."""
    sheet = Sheet(where=where)
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    for name in names:
        values = ["" if row.get(name) is None else str(row[name]) for row in rows]
        sheet.texts[name] = values
        if name in {"time", "seconds_elapsed", *XYZ} or re.fullmatch(r"\w+[XYZ]", name):
            sheet.columns[name] = _numbers(where, name, values)
    return sheet


def _numbers(where: str, name: str, values: Sequence[str]) -> np.ndarray:
    out = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        try:
            out[row] = float(value) if value.strip() else np.nan
        except ValueError as error:
            raise RecordingError(f"{where}, record {row + 1}: {name!r} is {value!r}, expected a number") from error
    out[~np.isfinite(out)] = np.nan
    return out
