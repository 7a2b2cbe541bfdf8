"""Small files of cameras and glasses, built byte by byte from their documented formats."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from tests.readers.recorded import RATE, SAMPLES, TIMES, motion


def klv(key: str, kind: str | None, size: int, data: bytes) -> bytes:
    """One entry of a GPMF payload."""
    head = key.encode() + bytes([ord(kind) if kind else 0, size]) + struct.pack(">H", len(data) // size)
    return head + data + b"\0" * (-len(data) % 4)


def gpmf_stream(key: str, counts: np.ndarray, *, scale: int, unit: str, stamp_us: int, total: int) -> bytes:
    return klv("STRM", None, 1, b"".join([
        klv("STMP", "J", 8, struct.pack(">Q", stamp_us)),
        klv("TSMP", "L", 4, struct.pack(">I", total)),
        klv("STNM", "c", 1, b"Accelerometer"),
        klv("ORIN", "c", 1, b"YxZ"),
        klv("SIUN", "c", len(unit.encode("latin-1")), unit.encode("latin-1")),
        klv("SCAL", "s", 2, struct.pack(">h", scale)),
        klv(key, "s", 6, counts.astype(">i2").tobytes()),
    ]))  # fmt: skip


def mp4_with_track(payloads: list[bytes], durations_ms: list[int]) -> bytes:
    """A movie whose only track holds these payloads as samples of type gpmd."""

    def box(name: str, data: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(data), name.encode()) + data

    def full(name: str, *numbers: int) -> bytes:
        return box(name, struct.pack(f">{len(numbers) + 1}I", 0, *numbers))

    total, size = sum(durations_ms), len(payloads)
    matrix = (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    start = box("ftyp", b"mp42\0\0\0\0mp42")
    offsets = np.cumsum([len(start) + 8, *map(len, payloads)])[:-1].tolist()
    table = (
        box("stsd", struct.pack(">II", 0, 1) + box("gpmd", bytes(6) + b"\0\1" + bytes(4)))
        + full("stts", size, *(n for d in durations_ms for n in (1, d)))
        + full("stsc", 1, 1, 1, 1)
        + full("stsz", 0, size, *map(len, payloads))
        + full("stco", size, *offsets)
    )
    base = box("gmin", struct.pack(">IHHHHHH", 0, 0x40, 0, 0, 0, 0, 0))
    links = box("dref", struct.pack(">II", 0, 1) + full("url "))
    media = (
        full("mdhd", 0, 0, 1000, total, 0x55C40000)
        + box("hdlr", struct.pack(">II4s12s", 0, 0, b"meta", bytes(12)) + b"GoPro MET\0")
        + box("minf", box("gmhd", base) + box("dinf", links) + box("stbl", table))
    )
    header = full("tkhd", 0, 0, 1, 0, total, 0, 0, 0, 0, *matrix, 0, 0)
    header = header[:11] + b"\x07" + header[12:]
    movie = full("mvhd", 0, 0, 1000, total, 0x10000, 0x01000000, 0, 0, *matrix, *[0] * 6, 2)
    return start + box("mdat", b"".join(payloads)) + box("moov", movie + box("trak", header + box("mdia", media)))


def gopro(
    folder: Path,
    *,
    sensors: tuple[str, ...] = ("ACCL", "GYRO", "SHUT"),
    late: dict[int, float] | None = None,
    speed: float = 1.0,
    pre_roll: int = 0,
    first_stamp: float | None = None,
) -> Path:
    """Eight seconds, one payload each.

    Args:
        sensors: streams of the file.
        late: payload -> seconds by which its stamp is late.
        speed: seconds of the camera's clock per second of the movie.
        pre_roll: seconds before the movie whose samples are in the first payload.
        first_stamp: what the first payload says instead of its time in seconds.
    """
    acc, gyr = motion()
    values = {"ACCL": np.round(acc * 9.80665 * 400), "GYRO": np.round(np.deg2rad(gyr) * 900)}
    seconds = list(range(SAMPLES // RATE))
    payloads = []
    for number, second in enumerate(seconds[pre_roll:]):
        first = 0 if number == 0 else second * RATE
        stamp = 1000.0 + first / RATE * speed + (late or {}).get(number, 0.0)
        if number == 0 and first_stamp is not None:
            stamp = first_stamp
        streams = [klv("DVNM", "c", 1, b"Hero Test")]
        for key in sensors:
            rows = slice(first, (second + 1) * RATE)
            if key == "SHUT":
                exposures = klv("SHUT", "f", 4, struct.pack(">25f", *[0.01] * 25))
                at = 1000.0 + second * speed
                streams.append(klv("STRM", None, 1, klv("STMP", "J", 8, struct.pack(">Q", int(at * 1e6))) + exposures))
            else:
                # Columns Y, -X, Z of the body.
                counts = values[key][rows][:, [1, 0, 2]] * [1, -1, 1]
                streams.append(
                    gpmf_stream(key, counts, scale=400 if key == "ACCL" else 900,
                                unit="m/s\xb2" if key == "ACCL" else "rad/s",
                                stamp_us=round(stamp * 1e6), total=(second + 1) * RATE)
                )  # fmt: skip
        payloads.append(klv("DEVC", None, 1, b"".join(streams)))
    path = folder / "GX010001.MP4"
    path.write_bytes(mp4_with_track(payloads, [1000] * len(payloads)))
    return path


def telemetry(folder: Path) -> Path:
    """A log of Gyroflow: counts with scales to seconds, rad/s and g, and the orientation of the sensor."""
    acc, gyr = motion()
    lines = ["GYROFLOW IMU LOG", "version,1.3", "id,logger", "orientation,XYZ", "note,test", "vendor,maker",
             "tscale,0.001", "gscale,0.001", "ascale,0.0005", "t,gx,gy,gz,ax,ay,az"]  # fmt: skip
    counts = np.concatenate([np.deg2rad(gyr) / 0.001, acc / 0.0005], axis=1).round().astype(int)
    lines += [f"{round(1000 * t)}," + ",".join(map(str, row)) for t, row in zip(TIMES, counts.tolist(), strict=True)]
    path = folder / "camera.gcsv"
    path.write_text("\n".join(lines) + "\n")
    return path


def vrs(folder: Path) -> Path:
    import pytest

    pytest.skip("VRS files are written by the glasses only; test_vrs.py replaces the package")
