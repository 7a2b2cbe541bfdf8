"""Small files of every reader, faithful to their format, whose motion is known; shared by the tests of readers."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

START = 1_715_000_000.25
"""POSIX seconds of the first sample's zero."""
RATE = 50.0
SAMPLES = 101
TIMES = np.arange(SAMPLES) / RATE


def turning() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gravity, linear acceleration (both m/s^2, as specific force) and angular rate (rad/s), each (3, T).

    The device starts upright on its y axis and turns about x; gravity stays fixed in the room, so that
    d(gravity)/dt = -rate x gravity holds.
    """
    angle = 0.8 * np.sin(2 * np.pi * 0.5 * TIMES)
    rate = np.gradient(angle, TIMES)
    gravity = 9.80665 * np.stack([np.zeros(SAMPLES), np.cos(angle), -np.sin(angle)])
    linear = np.stack([0.5 * np.sin(9 * TIMES), 0.2 * np.cos(7 * TIMES), 0.1 * np.sin(5 * TIMES)])
    return gravity, linear, np.stack([rate, np.zeros(SAMPLES), np.zeros(SAMPLES)])


def csv_text(columns: Mapping[str, Any], delimiter: str = ",") -> str:
    """Columns as text; floats as Python writes them."""
    rows = zip(*columns.values(), strict=True)
    return "\n".join([delimiter.join(columns), *(delimiter.join(map(str, row)) for row in rows)]) + "\n"


# ------------------------------------------------------------------------------------------------------ Sensor Logger


def _stamps(offset_s: float = 0.0) -> dict[str, Any]:
    elapsed = TIMES + offset_s
    stamps = [int(START * 1e9) + round(t * 1e9) for t in elapsed]
    return {"time": stamps, "seconds_elapsed": elapsed.tolist()}


def _zyx(values: np.ndarray) -> dict[str, Any]:
    return {"z": values[2].tolist(), "y": values[1].tolist(), "x": values[0].tolist()}


def sensor_logger_sheets(platform: str = "android", *, standardised: bool = False) -> dict[str, dict[str, Any]]:
    """The sheets of an export of the same motion, in the units and signs of the platform."""
    gravity, linear, rate = turning()
    ios = platform == "ios" and not standardised
    sign, g = (-1.0, 9.80665) if ios else (1.0, 1.0)
    sheets = {
        "Accelerometer": _stamps() | _zyx(sign * linear),
        "Gravity": _stamps() | _zyx(sign * gravity),
        "Gyroscope": _stamps(0.004) | _zyx(rate),
        "Magnetometer": _stamps() | _zyx(np.full((3, SAMPLES), 20.0)),
        "AccelerometerUncalibrated": _stamps() | _zyx(sign * (gravity + linear) / g),
        "Metadata": {
            "version": ["3"],
            "device name": ["Pixel 7"],
            "recording epoch time": [int(START * 1e3)],
            "recording time": ["2024-05-06_12-53-20"],
            "recording timezone": ["Europe/Berlin"],
            "platform": [platform],
            "appVersion": ["1.47"],
            "standardisation": [str(standardised).lower()],
        },
        "Annotation": {
            "time": [int((START + 0.5) * 1e9), int((START + 1.5) * 1e9)],
            "seconds_elapsed": [0.5, 1.5],
            "text": ["walk", "sit"],
            "millisecond_press_duration": [100, 100],
        },
    }
    if platform == "android":
        sheets["TotalAcceleration"] = _stamps() | _zyx(gravity + linear)
    else:
        for name, unit in (("WristMotion", g), ("Headphone", 1.0)):
            sheets[name] = _stamps()
            for part, values, per in (
                ("rotationRate", rate, 1.0),
                ("gravity", sign * gravity, unit),  # of the headphones always in m/s^2 (UNITS.md)
                ("acceleration", sign * linear, g),
            ):
                sheets[name] |= {f"{part}{axis}": (row / per).tolist() for axis, row in zip("XYZ", values, strict=True)}
    return sheets


def write_zip(path: Path, files: Mapping[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def write_folder(path: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def sensor_logger(folder: Path, form: str = "zip", **how: Any) -> Path:
    """An export as ``zip``, ``folder``, ``json`` or ``sqlite``."""
    sheets = sensor_logger_sheets(**how)
    texts = {f"{name}.csv": csv_text(columns) for name, columns in sheets.items()}
    if form == "zip":
        return write_zip(folder / "walk.zip", texts)
    if form == "folder":
        return write_folder(folder / "walk", texts)
    if form == "json":
        records = [
            {"sensor": name} | {key: str(value) for key, value in zip(columns, row, strict=True)}
            for name, columns in sheets.items()
            for row in zip(*columns.values(), strict=True)
        ]
        (folder / "walk.json").write_text(json.dumps(records))
        return folder / "walk.json"
    database = sqlite3.connect(folder / "walk.sqlite")
    for name, columns in sheets.items():
        names = ", ".join(f'"{column}"' for column in columns)
        database.execute(f"CREATE TABLE {name} ({names})")
        marks = ", ".join("?" * len(columns))
        database.executemany(f"INSERT INTO {name} VALUES ({marks})", list(zip(*columns.values(), strict=True)))
    database.commit()
    database.close()
    return folder / "walk.sqlite"


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"reader_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FILES: dict[str, Callable[[Path], Path]] = {
    **_beside("device_files").FILES,
    "sensor_logger": sensor_logger,
}
"""Reader -> a function that writes one of its files into an empty folder; every registered reader needs one."""
