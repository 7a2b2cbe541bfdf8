"""HHAR: eight phones at the waist and four watches of nine subjects; the set of still phones is not read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from imu_video.datasets.layout import Layout, Take, Track, clock_tag, files_like, segments_of, stream
from imu_video.errors import RecordingError
from imu_video.readers.base import in_order
from imu_video.readers.tables.text import TextFile, TextFormat
from imu_video.recordings.clock import sample_times
from imu_video.registry import datasets
from imu_video.types import Recording

ACTIVITIES = ("bike", "sit", "stand", "walk", "stairsup", "stairsdown")
USERS = tuple("abcdefghi")
PLACEMENTS = {"Phones": "waist", "Watch": "wrist"}
RATES_HZ = {"nexus4": 200.0, "s3": 150.0, "s3mini": 100.0, "samsungold": 50.0, "gear": 100.0, "lgwatch": 200.0}
"""Nominal rate of each model."""
_UNITS = {"accelerometer": "m/s^2", "gyroscope": "rad/s"}
_COLUMNS = {"Arrival_Time": "int64", "Creation_Time": "int64", "x": "float32", "y": "float32", "z": "float32"}
_WORDS = ("User", "Model", "Device", "gt")


@datasets.register("hhar")
class Hhar(Layout):
    """Heterogeneity activity recognition (Stisen et al., SenSys 2015), the activity part.

    One recording per subject and device, since the clocks of devices are not related. Phones were in a pouch at the
    waist, watches on the wrists. Some devices restarted or changed the unit of ``Creation_Time``; arrival times are
    bunched but belong to one clock. By default sample times are computed from the arrival times and the nominal rate of
    the model (`recordings.clock.sample_times`). The four tables are kept in memory after the first subject.

    Args:
        root: the folder that contains ``Phones_accelerometer.csv``.
        clock: column of the sample times.

    Raises:
        RecordingError: missing files, missing columns, or a creation clock that does not run like one.

    Example:
        >>> Hhar(root="Activity recognition exp").subjects()
        ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i']
    """

    name = "hhar"
    licence: ClassVar[str] = "CC BY 4.0"
    citation: ClassVar[str] = (
        "A. Stisen, H. Blunck, S. Bhattacharya, T. S. Prentow, M. B. Kjaergaard, A. Dey, T. Sonne, M. M. Jensen. Smart "
        "devices are different: Assessing and mitigating mobile sensing heterogeneities for activity recognition. "
        "SenSys 2015."
    )
    url: ClassVar[str] = "https://archive.ics.uci.edu/dataset/344/heterogeneity+activity+recognition"
    placements: ClassVar[tuple[str, ...]] = tuple(PLACEMENTS.values())
    labels: ClassVar[tuple[str, ...]] = ACTIVITIES
    rate_hz: ClassVar[float] = 0.0
    """0: 50 to 200 Hz by model, see `RATES_HZ`."""
    files = "Phones_accelerometer.csv"

    def __init__(self, *, root: str, clock: Literal["arrival", "creation"] = "arrival") -> None:
        self.clock = clock
        super().__init__(root=root)

    def _find(self) -> Iterator[Take]:
        found = {path.stem.lower(): path for path, _ in files_like(self.root, r"(phones|watch)_\w+\.csv")}
        self._files = {
            (worn, sensor): found[f"{worn}_{sensor}".lower()]
            for worn in PLACEMENTS
            for sensor in _UNITS
            if f"{worn}_{sensor}".lower() in found
        }
        if any(sensor == "accelerometer" for _, sensor in self._files):
            for user in USERS:
                yield Take(subject=user, name=user, paths=())

    @cached_property
    def _tables(self) -> dict[tuple[str, str], Any]:
        return {key: _load(path) for key, path in self._files.items()}

    def _read_all(self, take: Take) -> Iterator[Recording]:
        for worn, placement in PLACEMENTS.items():
            sensors = {}
            for sensor in _UNITS:
                if (table := self._tables.get((worn, sensor))) is not None:
                    sensors[sensor] = table[table["User"] == take.subject]
            if "accelerometer" not in sensors:
                continue
            for device in sorted(sensors["accelerometer"]["Device"].unique()):
                rows = {kind: table[table["Device"] == device] for kind, table in sensors.items()}
                yield self._device(take.subject, str(device), placement, rows)

    def _device(self, user: str, device: str, placement: str, rows: dict[str, Any]) -> Recording:
        source = f"{self.root}, user {user}, {device}"
        model = str(rows["accelerometer"]["Model"].iloc[0])
        if model not in RATES_HZ:
            raise RecordingError(f"{source}: model {model!r}, expected one of {', '.join(RATES_HZ)}")
        tracks, faults, codes = {}, 0, np.empty(0)
        for kind, table in rows.items():
            times, order, count = self._times(table, RATES_HZ[model], f"{source}, {kind}")
            if len(times) < 2:
                continue
            faults += count
            values = table[["x", "y", "z"]].to_numpy(np.float64).T[:, order]
            tracks[kind] = Track(times=times, values=values, unit=_UNITS[kind])
            if kind == "accelerometer":
                numbers = {label: code for code, label in enumerate(ACTIVITIES, start=1)}
                codes = np.array([numbers.get(text, 0) for text in table["gt"].astype(str)])[order]
        zero = min(float(track.times[0]) for track in tracks.values())
        tracks = {k: Track(times=t.times - zero, values=t.values, unit=t.unit) for k, t in tracks.items()}
        imu = stream(placement, acc=tracks["accelerometer"], gyr=tracks.get("gyroscope"), source=source)
        names = dict(enumerate(ACTIVITIES, start=1))
        segments = segments_of(tracks["accelerometer"].times, codes, names, source=source)
        take = Take(subject=user, name=f"{user}-{device}", paths=(), tags={"device": device, "model": model})
        return self._recording(take, (imu,), segments, tags=clock_tag(faults))

    def _times(self, table: Any, rate_hz: float, source: str) -> tuple[np.ndarray, np.ndarray, int]:
        """Sample times, the rows they belong to, and how many rows were out of place."""
        if self.clock == "arrival":
            stamps = table["Arrival_Time"].to_numpy(np.float64) / 1e3
            order = np.argsort(stamps, kind="stable")
            faults = int(np.count_nonzero(np.diff(stamps) < 0))
            return sample_times(stamps[order], rate_hz=rate_hz, tolerance=0.1), order, faults
        stamps = table["Creation_Time"].to_numpy(np.float64) / 1e9
        rows, faults = in_order(stamps)
        rate = 1 / float(np.median(np.diff(stamps[rows]))) if len(rows) > 1 else 0.0
        if not 0.5 * rate_hz <= rate <= 2 * rate_hz or faults > len(stamps) // 100:
            raise RecordingError(
                f"{source}: Creation_Time runs at {rate:.3g} Hz with {faults} of {len(stamps)} samples out of order, "
                f"expected about {rate_hz:g} Hz",
                hint="compute sample times from the arrival times: dataset.clock=arrival",
            )
        return stamps[rows], rows, faults


def _load(path: Path) -> Any:
    """One table with strings as categories: the 13 million rows of the longest then take a few hundred megabytes."""
    types: dict[str, Any] = {**_COLUMNS, **dict.fromkeys(_WORDS, "category")}
    try:
        return TextFile(path, None, TextFormat()).frame(types)
    except RecordingError as error:
        raise RecordingError(f"{path}: not a table of HHAR: {error.message}", hint="download the file again") from error
