"""Small files of research devices and containers, built byte by byte from their documented formats."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.readers.camera_files import gopro, telemetry, vrs
from tests.readers.recorded import LOCAL_START, RATE, SAMPLES, TIMES, motion

# ------------------------------------------------------------------------------------------------------------- Axivity


def packed_time(seconds: int = 5, minutes: int = 30) -> int:
    return (20 << 26) | (2 << 22) | (1 << 17) | (12 << 12) | (minutes << 6) | seconds


def axivity_block(samples: np.ndarray, *, start: float, packed: bool = False, exact: bool = True) -> bytes:
    """One block whose first sample is ``start`` seconds after 12:30:05; samples are integers (n, 3) or (n, 6)."""
    whole = int(np.floor(start))
    part = int((start - whole) * 32768)
    # The stamp belongs to sample 0; the stored index is what it would be for the whole second.
    index = -((part * 2 * RATE) >> 16) if exact else round((whole - start) * RATE)
    axes = samples.shape[1]
    block = struct.pack("<2sHHIIIHHBBBBhH", b"AX", 508, 0x8000 | part if exact else 0, 7, 0,
                        packed_time(5 + whole), 0 if axes == 3 else (3 << 13) | (2 << 10), 0, 0, 0,
                        0x49, axes << 4 | (0 if packed else 2), index, len(samples))  # fmt: skip
    if packed:
        words = [(int(x) & 0x3FF) | (int(y) & 0x3FF) << 10 | (int(z) & 0x3FF) << 20 for x, y, z in samples]
        block += struct.pack(f"<{len(words)}I", *words)
    else:
        block += samples.astype("<i2").tobytes()
    block = block.ljust(510, b"\0")
    return block + struct.pack("<H", -sum(struct.unpack("<255H", block)) & 0xFFFF)


def axivity(folder: Path, *, kind: str = "ax6", exact: bool = True, missing: tuple[int, ...] = ()) -> Path:
    """An AX6 file (40 samples per block at 50 Hz), or an AX3 file (packed: 100 of the 120 that fit, or 80)."""
    acc, gyr = motion()
    size = {"ax6": 40, "ax3": 100, "ax3_unpacked": 80}[kind]
    if kind == "ax6":
        counts = np.concatenate([np.round(gyr / 2000 * 32768), np.round(acc * 2048)], axis=1)
    else:
        counts = np.round(acc * 256)
    header = struct.pack("<2sHBHI", b"MD", 1020, 0x64 if kind == "ax6" else 0x17, 9, 7).ljust(1024, b"\xff")
    blocks = [
        axivity_block(counts[i : i + size], start=i / RATE, packed=kind == "ax3", exact=exact)
        for i in range(0, SAMPLES, size)
    ]
    path = folder / f"{kind}.cwa"
    path.write_bytes(header + b"".join(b for i, b in enumerate(blocks) if i not in missing))
    return path


# ----------------------------------------------------------------------------------------------------------- ActiGraph


def gt3x_record(kind: int, second: int, payload: bytes) -> bytes:
    record = struct.pack("<BBIH", 0x1E, kind, LOCAL_START + second, len(payload)) + payload
    check = 0
    for byte in record:
        check ^= byte
    return record + bytes([~check & 0xFF])


def twelve_bits(samples: np.ndarray) -> bytes:
    """Integers (n, 3) as packed numbers of 12 bits in the order y, x, z."""
    digits = "".join(f"{int(v) & 0xFFF:03x}" for row in samples for v in (row[1], row[0], row[2]))
    return bytes.fromhex(digits + "0" * (len(digits) % 2))


GT3X_INFO = (
    "Serial Number: TAS1E00000000\r\nDevice Type: Link\r\nSample Rate: 50\r\nStart Date: 637161570050000000\r\n"
    "TimeZone: -05:00:00\r\nAcceleration Scale: 256.0\r\n"
)


def gt3x(folder: Path, *, kind: int = 26, imu: bool = False, log: bytes | None = None, info: str = GT3X_INFO) -> Path:
    """One record per second of 50 samples; second 4 is spent in idle sleep mode."""
    acc, gyr = motion()
    parts = [gt3x_record(21, 0, struct.pack("<HHI", 0, 55, 0x09400000))]  # 256 steps per g
    if imu:
        columns = [(f"{s} {a}", scale) for s, scale in (("Accelerometer", 0x0C400000), ("Gyroscope", 0x05418937))
                   for a in "XYZ"]  # fmt: skip
        schema = struct.pack("<HHH", 3, len(columns), RATE)
        for place, (label, scale) in enumerate(columns):
            schema += struct.pack("<BBBI16s", 2, 16 * place, 16, scale, label.encode().ljust(16))
        parts.append(gt3x_record(24, 0, schema))
    for second in range(SAMPLES // RATE):
        rows = slice(second * RATE, (second + 1) * RATE)
        if second == 4:
            parts += [gt3x_record(3, 4, b"\x08"), gt3x_record(3, 5, b"\x09"), b"\0\0"]
            continue
        counts = np.round(acc[rows] * 256)
        parts.append(gt3x_record(kind, second, counts.astype("<i2").tobytes() if kind == 26 else twelve_bits(counts)))
        if imu:
            both = np.concatenate([np.round(acc[rows] * 2048), np.round(gyr[rows] * 16.384)], axis=1)
            parts.append(gt3x_record(25, second, struct.pack("<H", 3) + both.astype("<i2").tobytes()))
    path = folder / "waist.gt3x"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("info.txt", info)
        archive.writestr("log.bin", b"".join(parts) if log is None else log)
    return path


def actigraph_csv(folder: Path, *, stamps: bool = False, names: bool = True, comma: bool = False) -> Path:
    acc, _ = motion()
    header = [
        "------------ Data File Created By ActiGraph GT3X+ ActiLife v6.13.4 Firmware v2.5.0 date format dd/MM/yyyy "
        "at 50 Hz  Filter Normal -----------",
        "Serial Number: NEO1C00000000", "Start Time 12:30:05", "Start Date 01/02/2020",
        "Epoch Period (hh:mm:ss) 00:00:00", "Download Time 13:00:00", "Download Date 02/02/2020",
        "Current Memory Address: 0", "Current Battery Voltage: 4.26     Mode = 12", "-" * 50,
    ]  # fmt: skip
    columns = [f"Accelerometer {axis}" for axis in "XYZ"]
    rows = [[f"{v:.3f}" for v in row] for row in acc]
    if stamps:
        columns = ["Timestamp", *columns]
        rows = [[f"01/02/2020 12:30:{5 + t:06.3f}", *row] for t, row in zip(TIMES, rows, strict=True)]
    lines = [columns, *rows] if names else rows
    body = [(";" if comma else ",").join(row).replace(".", "," if comma else ".") for row in lines]
    path = folder / "waist.csv"
    path.write_text("\r\n".join([*header, *body]) + "\r\n")
    return path


# ----------------------------------------------------------------------------------------------------------- GENEActiv


GENEACTIV_HEADER = (
    "Device Identity\r\nDevice Unique Serial Code:051386\r\nDevice Type:GENEActiv\r\nDevice Model:1.1\r\n\r\n"
    "Configuration Info\r\nMeasurement Frequency:50 Hz\r\nTime Zone:GMT -04:00\r\n\r\nCalibration Data\r\n"
    "x gain:25522\r\nx offset:272\r\ny gain:25457\r\ny offset:-1129\r\nz gain:24829\r\nz offset:101\r\nVolts:42\r\n"
    "Lux:886\r\n\r\nMemory Status\r\nNumber of Pages:4\r\n\r\n"
)


def geneactiv(folder: Path, *, per_page: int = 100) -> Path:
    acc, _ = motion()
    counts = np.round((acc * [25522, 25457, 24829] + [272, -1129, 101]) / 100).astype(int)
    pages = []
    for number, first in enumerate(range(0, SAMPLES, per_page)):
        half = np.floor(first / RATE * 2 + 0.5) / 2  # the device writes half seconds
        words = [
            f"{x & 0xFFF:03X}{y & 0xFFF:03X}{z & 0xFFF:03X}{5 << 2:03X}" for x, y, z in counts[first : first + per_page]
        ]
        pages.append(
            f"Recorded Data\r\nDevice Unique Serial Code:051386\r\nSequence Number:{number}\r\n"
            f"Page Time:2020-02-01 12:30:{5 + int(half):02d}:{int(half % 1 * 1000):03d}\r\nUnassigned:\r\n"
            "Temperature:28.2\r\nBattery voltage:4.1642\r\nDevice Status:Recording\r\nMeasurement Frequency:50.0\r\n"
            + "".join(words)
            + "\r\n"
        )
    path = folder / "wrist.bin"
    path.write_text(GENEACTIV_HEADER + "".join(pages), newline="")
    return path


# ------------------------------------------------------------------------------------------------------------ Empatica


def empatica_e4(folder: Path) -> Path:
    acc, _ = motion()
    rows = "\n".join(",".join(str(int(v)) for v in row) for row in np.round(acc * 64))
    path = folder / "1580560205_A01234.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ACC.csv", f"{LOCAL_START}.00, {LOCAL_START}.00, {LOCAL_START}.00\n" + "50.000000, " * 2
                         + f"50.000000\n{rows}\n")  # fmt: skip
        archive.writestr("BVP.csv", f"{LOCAL_START}.00\n64.000000\n-0.00\n")
        archive.writestr("EDA.csv", f"{LOCAL_START}.00\n4.000000\n0.1\n")
        archive.writestr("tags.csv", f"{LOCAL_START + 2}.50\n{LOCAL_START + 3}.50\n")
        archive.writestr("info.txt", "ACC.csv\nData from 3-axis accelerometer sensor.\n")
    return path


def empatica_embrace(folder: Path, *, codec: str = "deflate") -> Path:
    import fastavro

    def record(name: str, fields: dict[str, Any]) -> dict[str, Any]:
        return {"type": "record", "name": name, "fields": [{"name": k, "type": t} for k, t in fields.items()]}

    limits = record("imu", dict.fromkeys(("physicalMin", "physicalMax", "digitalMin", "digitalMax"), "int"))
    numbers = {"type": "array", "items": "int"}
    sensor = record("sensor", {"timestampStart": "long", "samplingFrequency": "float", "imuParams": limits,
                               "x": numbers, "y": numbers, "z": numbers})  # fmt: skip
    raw = record("raw", {"accelerometer": sensor, "gyroscope": "sensor"})
    schema = fastavro.parse_schema(record("all", {"schemaVersion": "string", "timezone": "int", "rawData": raw}))
    acc, gyr = motion()

    def part(values: np.ndarray, reach: int) -> dict[str, Any]:
        counts = np.round(values / reach * 32768).astype(int)
        return {
            "timestampStart": LOCAL_START * 1_000_000, "samplingFrequency": 50.0,
            "imuParams": {"physicalMin": -reach, "physicalMax": reach, "digitalMin": -32768, "digitalMax": 32768},
            **{axis: counts[:, i].tolist() for i, axis in enumerate("xyz")},
        }  # fmt: skip

    path = folder / "1-1-P01_1580560205.avro"
    content = {"schemaVersion": "6.5", "timezone": 3600,
               "rawData": {"accelerometer": part(acc, 16), "gyroscope": part(gyr, 500)}}  # fmt: skip
    with path.open("wb") as file:
        fastavro.writer(file, schema, [content], codec=codec, sync_marker=b"0123456789abcdef")
    return path


# ---------------------------------------------------------------------------------------------------------- APDM, C3D


def apdm(folder: Path) -> Path:
    import h5py

    acc, gyr = motion()
    path = folder / "trial.h5"
    with h5py.File(path, "w") as file:
        file.attrs["FileFormatVersion"] = 5
        for serial, label in (("1234", "Left Foot"), ("1235", "Lumbar")):
            group = file.create_group(f"Sensors/{serial}")
            group["Time"] = (LOCAL_START * 1_000_000 + TIMES * 1e6).astype("u8")
            group.create_dataset("Accelerometer", data=acc * 9.80665, compression="gzip")
            group["Gyroscope"] = np.deg2rad(gyr)
            group["Magnetometer"] = np.full((SAMPLES, 3), 20.0)
            group.create_group("Configuration").attrs["Label 0"] = np.bytes_(label.ljust(32, "\0"))
        file.create_group("Processed")
        file["Annotations"] = np.zeros(2, dtype=[("Time", "u8"), ("Annotation", "S16")])
    return path


def c3d(folder: Path, *, floats: bool = True, order: str = "<", units: tuple[str, str] = ("g", "deg/s")) -> Path:
    """One marker at 25 frames per second, two analog samples per frame, an IMU and an EMG channel."""
    acc, gyr = motion()
    labels = [*(f"Sensor 1.ACC{a}1" for a in "XYZ"), *(f"Sensor 1.GYRO{a}1" for a in "XYZ"), "Sensor 1.EMG1"]
    given = [*[units[0]] * 3, *[units[1]] * 3, "V"]
    scales = [0.001] * 3 + [0.01] * 3 + [1.0]
    values = np.concatenate([acc, gyr, np.ones((SAMPLES, 1))], axis=1)

    def parameter(group: int, name: str, kind: int, shape: tuple[int, ...], data: bytes) -> bytes:
        body = struct.pack("bB", kind, len(shape)) + bytes(shape) + data + b"\0"
        return struct.pack("bb", len(name), group) + name.encode() + struct.pack(f"{order}h", len(body) + 2) + body

    def group(number: int, name: str) -> bytes:
        return struct.pack("bb", len(name), -number) + name.encode() + struct.pack(f"{order}hB", 3, 0)

    def texts(words: list[str]) -> tuple[tuple[int, ...], bytes]:
        encoded = [w.encode() for w in words]
        width = max(map(len, encoded))
        return (width, len(words)), b"".join(w.ljust(width) for w in encoded)

    section = (
        bytes([0, 0, 4, 84 if order == "<" else 86])
        + group(1, "ANALOG")
        + parameter(1, "USED", 2, (), struct.pack(f"{order}h", 7))
        + parameter(1, "LABELS", -1, *texts(labels))
        + parameter(1, "UNITS", -1, *texts(given))
        + parameter(1, "SCALE", 4, (7,), struct.pack(f"{order}7f", *([1.0] * 7 if floats else scales)))
        + parameter(1, "GEN_SCALE", 4, (), struct.pack(f"{order}f", 1.0))
        + parameter(1, "OFFSET", 2, (7,), struct.pack(f"{order}7h", *[0] * 7))
        + b"\0\0"
    ).ljust(4 * 512, b"\0")
    frames = SAMPLES // 2
    header = struct.pack(f"{order}BBHHHHHfHHf", 2, 0x50, 1, 14, 1, frames, 0, -1.0 if floats else 0.1, 6, 2, 25.0)
    kind = np.dtype(f"{order}f4" if floats else f"{order}i2")
    analog = (values if floats else np.round(values / scales)).reshape(frames, 14)
    data = np.concatenate([np.zeros((frames, 4)), analog], axis=1).astype(kind).tobytes()
    path = folder / "trial.c3d"
    path.write_bytes(header.ljust(512, b"\0") + section + data.ljust(-(-len(data) // 512) * 512, b"\0"))
    return path


# ----------------------------------------------------------------------------------------------------------------- ROS


def imu_message(index: int, encoding: str) -> bytes:
    acc, gyr = motion()
    numbers = [0.0, 0.0, 0.0, 1.0, *[0.0] * 9, *np.deg2rad(gyr[index]), *[0.0] * 9, *acc[index] * 9.80665, *[0.0] * 9]
    nanoseconds = LOCAL_START * 10**9 + index * 10**9 // RATE
    second, rest = divmod(nanoseconds, 10**9)
    if encoding == "json":
        return json.dumps({
            "header": {"stamp": {"sec": second, "nanosec": rest}},
            "angular_velocity": dict(zip("xyz", numbers[13:16], strict=True)),
            "linear_acceleration": dict(zip("xyz", numbers[25:28], strict=True)),
        }).encode()  # fmt: skip
    frame = b"imu_link" + (b"\0" if encoding == "cdr" else b"")
    if encoding == "ros1":
        return struct.pack("<IIII", index, second, rest, len(frame)) + frame + struct.pack("<37d", *numbers)
    start = struct.pack("<iII", second, rest, len(frame)) + frame
    return b"\0\1\0\0" + start + b"\0" * (-len(start) % 8) + struct.pack("<37d", *numbers)


def mcap(folder: Path, *, encoding: str = "cdr", cut: bool = False) -> Path:
    """Two chunks without compression, with checksums."""

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode()

    def record(code: int, data: bytes) -> bytes:
        return struct.pack("<BQ", code, len(data)) + data

    schema = record(3, struct.pack("<H", 1) + text("sensor_msgs/msg/Imu") + text("ros2msg") + struct.pack("<I", 0))
    image = record(3, struct.pack("<H", 2) + text("sensor_msgs/msg/Image") + text("ros2msg") + struct.pack("<I", 0))
    channel = record(4, struct.pack("<HH", 0, 1) + text("/imu/data") + text(encoding) + struct.pack("<I", 0))
    other = record(4, struct.pack("<HH", 1, 2) + text("/camera") + text(encoding) + struct.pack("<I", 0))
    messages = [
        record(5, struct.pack("<HIQQ", 0, i, stamp, stamp) + imu_message(i, encoding))
        for i, stamp in enumerate((LOCAL_START * 10**9 + TIMES * 1e9).astype(np.int64).tolist())
    ]
    chunks = []
    for part in (messages[:200], messages[200:]):
        inner = b"".join([schema, image, channel, other, *part])
        crc = zlib.crc32(inner)
        body = struct.pack("<QQQI", 0, 0, len(inner), crc) + text("") + struct.pack("<Q", len(inner)) + inner
        chunks.append(record(6, body))
    whole = (
        b"\x89MCAP0\r\n" + record(1, text("ros2") + text("test")) + b"".join(chunks) + record(15, struct.pack("<I", 0))
    )
    path = folder / "walk.mcap"
    path.write_bytes(whole[:-3000] if cut else whole + record(2, bytes(20)) + b"\x89MCAP0\r\n")
    return path


def rosbag(folder: Path, *, compression: str = "bz2") -> Path:
    import bz2

    def record(fields: dict[str, bytes], data: bytes) -> bytes:
        header = b"".join(struct.pack("<I", len(k) + 1 + len(v)) + k.encode() + b"=" + v for k, v in fields.items())
        return struct.pack("<I", len(header)) + header + struct.pack("<I", len(data)) + data

    def fields(**values: bytes) -> bytes:
        return b"".join(struct.pack("<I", len(k) + 1 + len(v)) + k.encode() + b"=" + v for k, v in values.items())

    number = struct.pack("<I", 0)
    inner = record({"op": b"\7", "conn": number, "topic": b"/imu/data"}, fields(type=b"sensor_msgs/Imu", md5sum=b"0"))
    for i in range(SAMPLES):
        stamp = struct.pack("<II", LOCAL_START + i // RATE, i % RATE * 10**9 // RATE)
        inner += record({"op": b"\2", "conn": number, "time": stamp}, imu_message(i, "ros1"))
    packed = bz2.compress(inner) if compression == "bz2" else inner
    chunk = record({"op": b"\5", "compression": compression.encode(), "size": struct.pack("<I", len(inner))}, packed)
    start = record(
        {"op": b"\3", "index_pos": bytes(8), "conn_count": b"\1\0\0\0", "chunk_count": b"\1\0\0\0"}, b" " * 64
    )
    path = folder / "walk.bag"
    path.write_bytes(b"#ROSBAG V2.0\n" + start + chunk)
    return path


# ---------------------------------------------------------------------------------------------------------------- BIDS


def bids_motion(folder: Path) -> Path:
    """Two tracked points of one system at a fixed rate; the sidecar is inherited from the root."""
    acc, gyr = motion()
    root = folder / "study"
    base = root / "sub-01" / "motion" / "sub-01_task-walk_tracksys-imu"
    base.parent.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "Study", "BIDSVersion": "1.9.0"}')
    (root / "task-walk_tracksys-imu_motion.json").write_text('{"SamplingFrequency": 50, "TaskName": "walk"}')
    (root / "sub-01" / "sub-01_scans.tsv").write_text(
        f"filename\tacq_time\nmotion/{base.name}_motion.tsv\t2020-02-01T12:30:05.500000\n"
    )
    rows = ["name\tcomponent\ttype\ttracked_point\tunits"]
    columns = []
    for point, sign in (("LeftFoot", 1), ("RightWrist", -1)):
        for kind, values, unit in (("ACCEL", acc, "g"), ("GYRO", gyr, "deg/s")):
            for i, axis in enumerate("xyz"):
                rows.append(f"{point}_{kind}_{axis}\t{axis}\t{kind}\t{point}\t{unit}")
                columns.append(sign * values[:, i])
    rows.append("LeftFoot_ORNT_x\tx\tORNT\tLeftFoot\tdeg")
    columns.append(np.zeros(SAMPLES))
    Path(f"{base}_channels.tsv").write_text("\n".join(rows) + "\n")
    lines = ["\t".join(f"{v:.6f}" for v in row) for row in np.stack(columns, axis=1)]
    lines[7] = "\t".join(["n/a"] * 3 + lines[7].split("\t")[3:])
    Path(f"{base}_motion.tsv").write_text("\n".join(lines) + "\n")
    Path(f"{base}_events.tsv").write_text(
        "onset\tduration\ttrial_type\n0.5\t2.0\twalk\n3.0\t0\tmark\n3.0\t1.5\tn/a\n4.0\t1.5\tturn\n"
    )
    return Path(f"{base}_motion.tsv")


FILES: dict[str, Callable[[Path], Path]] = {
    "actigraph_csv": actigraph_csv,
    "apdm": apdm,
    "axivity": axivity,
    "bids_motion": bids_motion,
    "c3d": c3d,
    "empatica_e4": empatica_e4,
    "empatica_embrace": empatica_embrace,
    "geneactiv": geneactiv,
    "gopro": gopro,
    "gt3x": gt3x,
    "mcap": mcap,
    "rosbag": rosbag,
    "telemetry": telemetry,
    "vrs": vrs,
}
