"""GENEActiv (.bin): a text header with the calibration, then text pages of hexadecimal samples; no light or button.

Written from the description of the file in the manufacturer's instructions for use (Activinsights, GENEActiv). Each
page has its own time. Pages without a readable time, rate or samples are skipped and counted.
"""

from __future__ import annotations

import re
from calendar import timegm
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from imu_video.errors import RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.blocks import block_times
from imu_video.readers.files import local_time, read_bytes
from imu_video.readers.members import head
from imu_video.registry import readers

_PAGE = b"Recorded Data"
_MARK = b"Device Identity"
_BYTES = 6  # per sample: 3 x 12 bits of acceleration, 10 of light, the button, one reserved
_LONGEST_PAGE = 1 << 16
_RESOLUTION_S = 0.5
"""Page times are whole and half seconds only."""


@dataclass(frozen=True, kw_only=True)
class _Page:
    start: float
    rate_hz: float
    counts: np.ndarray
    """(T, 3) steps of the converter."""


@readers.register("geneactiv")
class GeneActiv(Reader):
    """Binary files of GENEActiv wrist loggers.

    Example:
        >>> readers.build("geneactiv").formats
        ('.bin',)
    """

    name = "geneactiv"
    title = "GENEActiv (Activinsights)"
    formats = (".bin",)
    reads = "acceleration with the calibration of the header"
    gravity = "included (accelerometer without filter)"
    clock = "first sample; UTC from the time zone of the header"
    url = "https://activinsights.com"
    tested_on = "real files"

    def read(self, path: Path) -> Reading:
        """All readable pages of the file."""
        data = read_bytes(path)
        if not data.lstrip(b"\xef\xbb\xbf").startswith(_MARK):
            raise RecordingError(
                f"{path}: not a GENEActiv file: it begins with {data[:16]!r}, expected {_MARK!r}",
                hint="name the reader of the device that wrote it; `imu-video list readers` lists them",
            )
        first = data.find(_PAGE)
        header = _fields(data[: first if first >= 0 else len(data)])
        gain, offset = _calibration(header, path)
        pages, damaged = _pages(data, first)
        if not pages:
            raise RecordingError(
                f"{path}: no readable page of samples in {len(data)} bytes",
                hint="extract the data from the device again",
            )
        rates = np.array([page.rate_hz for page in pages])
        rate = float(np.median(rates))
        pages = [page for page, same in zip(pages, rates == rate, strict=True) if same]
        damaged += int(np.count_nonzero(rates != rate))
        found = block_times(
            np.array([page.start for page in pages]),
            np.array([len(page.counts) for page in pages]),
            rate_hz=rate,
            source=str(path),
            resolution_s=_RESOLUTION_S,
        )
        total = len(pages) + damaged
        stated = header.get("Number of Pages", "")
        missing = int(stated) - total if stated.isdigit() and len(stated) < 10 else 0
        notes = [f"{damaged} of {total} pages damaged: skipped"] if damaged else []
        if missing > 0:
            notes.append(f"{missing} of {int(stated)} pages missing at the end")
        if found.dropped:
            notes.append(f"{found.dropped} of {total} pages out of order in time: skipped")
        if found.gaps:
            notes.append(f"gaps between pages: {found.gaps}, together {found.gap_s:.1f} s")
        counts = np.concatenate([pages[i].counts for i in found.kept.tolist()])
        zero = float(found.times[0])
        acc = ((counts * 100.0 - offset) / gain).T.astype(np.float32)
        device = DeviceReading(
            name="geneactiv", tracks={"acc": Track(times=found.times - zero, values=acc, unit="g")}, gravity=True
        )
        tags = {"start_local": local_time(zero), "device": f"GENEActiv {header.get('Device Model', '')}".strip()}
        for key, tag in (("Device Unique Serial Code", "serial"), ("Time Zone", "time_zone")):
            if header.get(key):
                tags[tag] = header[key]
        zone = _zone(header.get("Time Zone", ""))
        if zone is None:
            tags["time_zone"] = "not stated; read as UTC"
        start = zero - (zone or 0.0)
        return Reading(devices=(device,), tags=tags, notes=tuple(notes), start_utc=start)

    def recognises(self, path: Path) -> str | None:
        """The first line of the text header, and a device of this kind."""
        begin = head(path, 512).lstrip(b"\xef\xbb\xbf")
        return "begins with the header of a GENEActiv" if begin.startswith(_MARK) and b"GENEActiv" in begin else None


def _fields(text: bytes) -> dict[str, str]:
    lines = text.decode("latin-1").splitlines()
    return {key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in lines) if colon}


def _calibration(header: dict[str, str], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset of the three axes."""
    values = []
    for kind in ("gain", "offset"):
        for axis in "xyz":
            try:
                values.append(float(header[f"{axis} {kind}"].replace(",", ".")))
            except (KeyError, ValueError) as error:
                raise RecordingError(
                    f"{path}: header: '{axis} {kind}' is {header.get(f'{axis} {kind}')!r}, expected a number",
                    hint="extract the data from the device again",
                ) from error
    gain, offset = np.array(values[:3]), np.array(values[3:])
    if not np.all(np.isfinite(values)) or np.any(gain <= 0):
        raise RecordingError(f"{path}: header: gains {gain.tolist()}, expected numbers greater than 0")
    return gain, offset


def _pages(data: bytes, place: int) -> tuple[list[_Page], int]:
    """Readable pages, and the number of the others."""
    pages: list[_Page] = []
    damaged = 0
    while place >= 0:
        following = data.find(_PAGE, place + len(_PAGE))
        page = _page(data[place : following if following >= 0 else len(data)])
        if page is None:
            damaged += 1
        else:
            pages.append(page)
        place = following
    return pages, damaged


def _page(text: bytes) -> _Page | None:
    if len(text) > _LONGEST_PAGE:
        return None
    lines = text.split()
    fields = _fields(text)
    try:
        rate = float(fields["Measurement Frequency"].replace(",", "."))
        start = _seconds(fields["Page Time"])
        packed = bytes.fromhex(lines[-1].decode("ascii"))
    except (KeyError, ValueError, IndexError, OverflowError):
        return None
    if not 1 <= rate <= 1000 or len(packed) < _BYTES or len(packed) % _BYTES:
        return None
    words = np.frombuffer(packed, dtype=np.uint8).reshape(-1, _BYTES).astype(np.int16)
    axes = np.stack(
        [
            words[:, 0] << 4 | words[:, 1] >> 4,
            (words[:, 1] & 0x0F) << 8 | words[:, 2],
            words[:, 3] << 4 | words[:, 4] >> 4,
        ],
        axis=-1,
    )
    return _Page(start=start, rate_hz=rate, counts=(axes & 0x7FF) - (axes & 0x800))


def _seconds(text: str) -> float:
    """POSIX seconds of a date and time with milliseconds after a colon, as if they were UTC.

    Example:
        >>> _seconds("2013-05-30 10:12:54:500")
        1369908774.5
    """
    moment, _, thousandths = text.rpartition(":")
    if not thousandths.isdigit() or len(thousandths) != 3:
        raise ValueError(text)
    return timegm(datetime.strptime(moment, "%Y-%m-%d %H:%M:%S").timetuple()) + int(thousandths) / 1000


def _zone(text: str) -> float | None:
    """Seconds from UTC to local time; None if the text is no time zone.

    Example:
        >>> _zone("GMT -04:30"), _zone("")
        (-16200.0, None)
    """
    match = re.fullmatch(r"GMT\s*([+-])(\d{2}):(\d{2})", text)
    if not match:
        return None
    sign, hours, minutes = match.groups()
    return (-1 if sign == "-" else 1) * (int(hours) * 3600.0 + int(minutes) * 60)
