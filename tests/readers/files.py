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


# ------------------------------------------------------------------------------------------------------------ phyphox


PHYPHOX_TIME = (
    '"event","experiment time","system time","system time text"\n'
    f'"START",0.000000000E0,{START:.3f},"2024-05-06 14:53:20.250 UTC+02:00"\n'
)


def phyphox_set(times: np.ndarray, values: np.ndarray, names: str, delimiter: str = ",", decimal: str = ".") -> str:
    """One set as phyphox writes it: quoted names, numbers such as 9.806650000E0; {} in ``names`` is the axis."""
    heads = ["Time (s)", *(names.format(axis) for axis in "xyz")]
    rows = (f"{number:.9E}" for row in zip(times, *values, strict=True) for number in row)
    numbers = [number.replace("E+0", "E").replace("E-0", "E-").replace(".", decimal) for number in rows]
    lines = [delimiter.join(numbers[i : i + 4]) for i in range(0, len(numbers), 4)]
    return "\n".join([delimiter.join(f'"{head}"' for head in heads), *lines]) + "\n"


def phyphox_sets(delimiter: str = ",", decimal: str = ".", *, linear: bool = True) -> dict[str, str]:
    gravity, moved, rate = turning()
    sets = {
        "Accelerometer.csv": phyphox_set(TIMES, gravity + moved, "Acceleration {} (m/s^2)", delimiter, decimal),
        "Gyroscope.csv": phyphox_set(TIMES + 0.003, rate, "Gyroscope {} (rad/s)", delimiter, decimal),
    }
    if linear:
        sets["Linear Accelerometer.csv"] = phyphox_set(
            TIMES, moved, "Linear Acceleration {} (m/s^2)", delimiter, decimal
        )
    return sets


def phyphox(folder: Path, form: str = "zip", *, time: str = PHYPHOX_TIME, **how: Any) -> Path:
    """An export as ``zip``, ``folder``, ``xlsx`` or ``csv`` (with gravity only)."""
    sets = phyphox_sets(**how)
    device = '"property","value"\n"version","1.1.16"\n"deviceModel","Pixel 6a"\n'
    meta = {"meta/time.csv": time, "meta/device.csv": device}
    if form == "zip":
        return write_zip(folder / "walk.zip", sets | meta)
    if form == "folder":
        return write_folder(folder / "walk", sets | meta)
    if form == "xlsx":
        names = {"meta/time.csv": "Metadata Time", "meta/device.csv": "Metadata Device"}
        tables = {names.get(name, name.removesuffix(".csv")): text for name, text in (sets | meta).items()}
        return write_xlsx(folder / "walk.xlsx", tables)
    (folder / "walk.csv").write_text(sets["Accelerometer.csv"])
    return folder / "walk.csv"


def write_xlsx(path: Path, tables: Mapping[str, str]) -> Path:
    """A workbook with shared strings and numbers, as the phone's library writes it."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    strings: list[str] = []
    parts: dict[str, str] = {}
    for number, text in enumerate(tables.values(), 1):
        rows = []
        for row, line in enumerate(text.splitlines(), 1):
            cells = []
            for column, field in enumerate(line.split(",")):
                place = f"{chr(65 + column)}{row}"
                if field.startswith('"'):
                    strings.append(field.strip('"').replace("&", "&amp;"))
                    cells.append(f'<c r="{place}" t="s"><v>{len(strings) - 1}</v></c>')
                else:
                    cells.append(f'<c r="{place}"><v>{field}</v></c>')
            rows.append(f'<row r="{row}">{"".join(cells)}</row>')
        parts[f"xl/worksheets/sheet{number}.xml"] = (
            f'<worksheet xmlns="{main}"><sheetData>{"".join(rows)}</sheetData></worksheet>'
        )
    sheets = "".join(f'<sheet name="{name}" sheetId="{i}" r:id="rId{i}"/>' for i, name in enumerate(tables, 1))
    links = "".join(f'<Relationship Id="rId{i}" Target="worksheets/sheet{i}.xml"/>' for i in range(1, len(tables) + 1))
    texts = "".join(f"<si><t>{string}</t></si>" for string in strings)
    parts["xl/workbook.xml"] = f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>{sheets}</sheets></workbook>'
    parts["xl/_rels/workbook.xml.rels"] = f"<Relationships>{links}</Relationships>"
    parts["xl/sharedStrings.xml"] = f'<sst xmlns="{main}">{texts}</sst>'
    return write_zip(path, parts)


# ----------------------------------------------------------------------------------------- Core Motion, Physics Toolbox


def _axes(pattern: str, values: np.ndarray, axes: str = "XYZ") -> dict[str, Any]:
    return {pattern.format(axis): row.tolist() for axis, row in zip(axes, values, strict=True)}


def sensorlog(folder: Path, name: str = "stream iPhone 240506.csv", *, raw: bool = True) -> Path:
    """A file of SensorLog: a row per log interval, in which the slower gyroscope repeats its last sample."""
    gravity, linear, rate = turning()
    gravity, linear = -gravity / 9.80665, -linear / 9.80665  # the sign and unit of Core Motion
    since = 62_608.0 + TIMES
    held = np.arange(SAMPLES) // 2 * 2
    stamps = (np.datetime64(int(START * 1000) + 7, "ms") + (TIMES * 1000).round().astype("timedelta64[ms]")).astype(str)
    columns = {
        "loggingTime(txt)": [f"{str(stamp).replace('T', ' ')} +0000" for stamp in stamps],
        "loggingSample(N)": list(range(1, SAMPLES + 1)),
    }
    if raw:
        columns |= {"accelerometerTimestamp_sinceReboot(s)": since.tolist()}
        columns |= _axes("accelerometerAcceleration{}(G)", gravity + linear)
        columns |= {"gyroTimestamp_sinceReboot(s)": since[held].tolist()} | _axes(
            "gyroRotation{}(rad/s)", rate[:, held]
        )
    columns |= {"motionTimestamp_sinceReboot(s)": since.tolist()}
    columns |= _axes("motionRotationRate{}(rad/s)", rate) | _axes("motionUserAcceleration{}(G)", linear)
    columns |= _axes("motionGravity{}(G)", gravity)
    columns |= {"label(N)": [0] * 25 + [2] * 50 + [0] * (SAMPLES - 75)}
    (folder / name).write_text(csv_text(columns))
    return folder / name


def core_motion(folder: Path, name: str = "watch.csv", *, per_second: float = 1.0, zero: float = START) -> Path:
    """A file of an Apple Watch app with Core Motion's own names."""
    gravity, linear, rate = turning()
    columns = {"timestamp": [round((zero + t) * per_second, 6) for t in TIMES]}
    columns |= _axes("userAcceleration.{}", -linear / 9.80665, "xyz") | _axes("gravity.{}", -gravity / 9.80665, "xyz")
    columns |= _axes("rotationRate.{}", rate, "xyz")
    (folder / name).write_text(csv_text(columns))
    return folder / name


def physics_toolbox(folder: Path, name: str = "walk.csv", *, clock: bool = False, semicolon: bool = False) -> Path:
    """A file of Physics Toolbox with g-force and gyroscope."""
    gravity, linear, rate = turning()
    g = (gravity + linear) / 9.80665
    times = [f"{t:.3f}" for t in TIMES]
    if clock:  # one second before midnight
        day = (86_399.0 + TIMES) % 86_400
        times = [
            f"{int(t // 3600):02d}:{int(t // 60 % 60):02d}:{int(t % 60):02d}:{round(t % 1 * 1000):03d}" for t in day
        ]
    columns: dict[str, Any] = {"time": times} | _axes("gF{}", g, "xyz") | {"TgF": np.linalg.norm(g, axis=0).tolist()}
    text = csv_text(columns | _axes("w{}", rate, "xyz"))
    (folder / name).write_text(text.replace(",", ";").replace(".", ",") if semicolon else text)
    return folder / name


# ----------------------------------------------------------------------------------------------- Xsens, Shimmer, others


def xsens_dot(folder: Path, *, first: int = 2**32 - 400_000) -> Path:
    """A file of the DOT Data Exporter, whose SampleTimeFine wraps around after 0.4 s."""
    gravity, linear, rate = turning()
    columns: dict[str, Any] = {"PacketCounter": list(range(1, SAMPLES + 1))}
    columns |= {"SampleTimeFine": [(first + round(t * 1e6)) % 2**32 for t in TIMES]}
    columns |= _axes("Acc_{}", gravity + linear) | _axes("Gyr_{}", np.degrees(rate))
    header = "DeviceTag:,left shank\nFirmwareVersion:,2.0.0\nMeasurementMode:,Rate quantities\nOutputRate:,50 Hz\n\n"
    (folder / "dot.csv").write_text(header + csv_text(columns))
    return folder / "dot.csv"


def xsens_mtw(folder: Path, *, first: int = 65_500, lost: int = 10) -> Path:
    """A tab-separated file of MT Manager whose packet counter wraps around and loses packets."""
    gravity, linear, rate = turning()
    keep = [i for i in range(SAMPLES) if not 60 <= i < 60 + lost]
    columns: dict[str, Any] = {"PacketCounter": [(first + i) % 65_536 for i in keep]}
    columns |= {"SampleTimeFine": [""] * len(keep)}
    columns |= _axes("Acc_{}", (gravity + linear)[:, keep]) | _axes("Gyr_{}", rate[:, keep])
    header = "// Start Time: Unknown\n// Update Rate: 50.0Hz\n// Filter Profile: human (46.1)\n"
    (folder / "mtw.txt").write_text(header + csv_text(columns, "\t"))
    return folder / "mtw.txt"


def shimmer(folder: Path, *, devices: tuple[str, ...] = ("Shimmer_8665",), calibrated: bool = True) -> Path:
    """A file of Consensys: a separator line, names, units, and a delimiter at the end of every line."""
    gravity, linear, rate = turning()
    form = "CAL" if calibrated else "RAW"
    columns: dict[str, Any] = {}
    units: list[str] = []
    for device in devices:
        columns |= {f"{device}_Timestamp_Unix_{form}": [f"{(START + t) * 1e3:.3f}" for t in TIMES]}
        columns |= _axes(f"{device}_Accel_LN_{{}}_{form}", gravity + linear)
        columns |= _axes(f"{device}_Accel_WR_{{}}_{form}", gravity)
        columns |= _axes(f"{device}_Gyro_{{}}_{form}", np.degrees(rate))
        units += ["ms", *["m/(s^2)"] * 6, *["deg/s"] * 3] if calibrated else ["no_units"] * 10
    names, *rows = csv_text(columns, "\t").splitlines()
    lines = ['"sep=\t"', *(f"{line}\t" for line in (names, "\t".join(units), *rows))]
    (folder / "shimmer.csv").write_text("\n".join(lines) + "\n")
    return folder / "shimmer.csv"


def metamotion(folder: Path, form: str = "csv") -> Path:
    """Accelerometer and gyroscope of one sensor in two files, as MetaBase names them."""
    gravity, linear, rate = turning()
    texts = {}
    for sensor, unit, values, late in (
        ("Accelerometer", "g", (gravity + linear) / 9.80665, 0.0),
        ("Gyroscope", "deg/s", np.degrees(rate), 0.005),
    ):
        columns: dict[str, Any] = {
            "epoc (ms)": [round((START + late + t) * 1e3) for t in TIMES],
            "timestamp (+0200)": ["2024-05-06T14:53:20.250"] * SAMPLES,
            "elapsed (s)": [f"{t:.3f}" for t in TIMES],
        }
        columns |= _axes(f"{{}}-axis ({unit})", values, "xyz")
        name = f"MetaWear_2024-05-06T14.53.20.250_E8C9A9D9D4D7_{sensor}_50.000Hz_1.5.0.csv"
        texts[name] = csv_text(columns)
    if form == "zip":
        return write_zip(folder / "walk.zip", texts)
    return write_folder(folder, texts) / next(iter(texts))


def movesense(folder: Path, form: str = "data") -> Path:
    """Batches of 8 samples, as the Showcase app writes them, or one stream record per line."""
    gravity, linear, rate = turning()
    acc, gyr = gravity + linear, np.degrees(rate)

    def rows(values: np.ndarray, begin: int) -> list[dict[str, float]]:
        return [dict(zip("xyz", sample, strict=True)) for sample in values.T[begin : begin + 8].tolist()]

    stamps = {begin: 120_000 + round(TIMES[begin] * 1e3) for begin in range(0, SAMPLES - 5, 8)}
    if form == "lines":
        records = [
            {
                "Body": {"Timestamp": t, "ArrayAcc": rows(acc, i), "ArrayGyro": rows(gyr, i)},
                "Uri": "174630000192/Meas/IMU6/52",
            }
            for i, t in stamps.items()
        ]
        (folder / "walk.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n")
        return folder / "walk.jsonl"
    data: list[dict[str, Any]] = [{"acc": {"Timestamp": t, "ArrayAcc": rows(acc, i)}} for i, t in stamps.items()]
    data += [{"gyro": {"Timestamp": t, "ArrayGyro": rows(gyr, i)}} for i, t in stamps.items()]
    (folder / "walk.json").write_text(json.dumps({"data": data}))
    return folder / "walk.json"


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"reader_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FILES: dict[str, Callable[[Path], Path]] = {
    **_beside("device_files").FILES,
    "core_motion": core_motion,
    "metamotion": metamotion,
    "movesense": movesense,
    "phyphox": phyphox,
    "physics_toolbox": physics_toolbox,
    "sensor_logger": sensor_logger,
    "sensorlog": sensorlog,
    "shimmer": shimmer,
    "xsens_dot": xsens_dot,
    "xsens_mtw": xsens_mtw,
}
"""Reader -> a function that writes one of its files into an empty folder; every registered reader needs one."""
