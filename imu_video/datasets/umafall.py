"""UMAFall: a phone and four sensor tags worn at once, daily activities and falls; downloads nothing.

The phone samples acceleration at 200 Hz, the tags acceleration and angular rate at 20 Hz: nothing above 10 Hz was ever
measured by a tag, whatever the rate of the common grid (docs/guides/shards.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from imu_video.datasets.common import chosen, existing_folder, union_of_times
from imu_video.errors import RecordingError
from imu_video.readers.tables import numbers_between
from imu_video.recordings.clock import sample_times
from imu_video.recordings.signal import convert
from imu_video.registry import datasets
from imu_video.types import IMU_CHANNELS, ImuStream, Recording, Segment

ACTIVITIES: dict[str, str] = {
    "ADL_Aplausing": "applauding",
    "ADL_Bending": "bending",
    "ADL_GoDownstairs": "going_downstairs",
    "ADL_GoUpstairs": "going_upstairs",
    "ADL_HandsUp": "hands_up",
    "ADL_Hopping": "hopping",
    "ADL_Jogging": "jogging",
    "ADL_LyingDown_OnABed": "lying_down_on_a_bed",
    "ADL_MakingACall": "making_a_call",
    "ADL_OpeningDoor": "opening_a_door",
    "ADL_Sitting_GettingUpOnAChair": "sitting_and_getting_up",
    "ADL_Walking": "walking",
    "Fall_backwardFall": "fall_backward",
    "Fall_forwardFall": "fall_forward",
    "Fall_lateralFall": "fall_lateral",
}
"""Label by the activity in the file name."""
_POSITIONS = {"RIGHTPOCKET": "right_pocket", "CHEST": "chest", "WAIST": "waist", "WRIST": "wrist", "ANKLE": "ankle"}
_RATES = {"right_pocket": 200.0, "chest": 20.0, "waist": 20.0, "wrist": 20.0, "ankle": 20.0}
_NAME = re.compile(r"UMAFall_Subject_(\d+)_(\w+?)_(\d+)_(\d{4}-\d\d-\d\d)_(\d\d-\d\d-\d\d)\.csv")
_SENSOR = re.compile(r"%\s*[0-9A-Fa-f:]{17}\s*;\s*(\d+)\s*;\s*(\w+)\s*;")
_FACT = re.compile(r"%\s*(Age|Gender)\s*:\s*(\w+)")
_TOLERANCE = 0.015  # of the clocks: 197.4 .. 202.8 Hz (phone), up to 20.3 Hz (tags) over whole files
_ACC, _GYR = 0, 1


@datasets.register("umafall")
class UmaFall:
    """UMAFall (Casilari, Santoyo-Ramon, Cano-Garcia, Procedia Computer Science 110, 2017).

    One recording per file of about 15 s. Sensor ids are read from the header's table; a sensor that is listed but has
    no rows is missing from the recording. The session is the date, because some subjects returned on other days. The
    receiving phone set the time stamps; `recordings.clock.sample_times` spreads bunched ones, real losses stay gaps.

    Args:
        root: the folder of the CSV files, or the folder around ``UMAFall_Dataset``.

    Raises:
        RecordingError: the folder is missing or contains no such files.

    Example:
        >>> len(UmaFall(root="data/umafall").subjects())
        18
    """

    name = "umafall"
    licence: ClassVar[str] = "CC BY 4.0 (figshare's default; not stated in the files)"
    citation: ClassVar[str] = (
        "E. Casilari, J. A. Santoyo-Ramon, J. M. Cano-Garcia. UMAFall: a multisensor dataset for the research on "
        "automatic fall detection. Procedia Computer Science 110, 2017."
    )
    url: ClassVar[str] = "https://doi.org/10.6084/m9.figshare.4214283"
    placements: ClassVar[tuple[str, ...]] = tuple(_RATES)
    labels: ClassVar[tuple[str, ...]] = tuple(ACTIVITIES.values())
    rate_hz: ClassVar[dict[str, float]] = _RATES

    def __init__(self, *, root: str) -> None:
        folder = existing_folder(
            root, dataset=self.name, hint=f"download it from {self.url} and set dataset.root to its folder"
        )
        self.root = folder / "UMAFall_Dataset" if (folder / "UMAFall_Dataset").is_dir() else folder
        self._files: list[tuple[str, str, str, str, str, Path]] = []
        for path in self.root.glob("UMAFall_Subject_*.csv"):
            match = _NAME.fullmatch(path.name)
            if not match or match[2] not in ACTIVITIES:
                raise RecordingError(
                    f"{path}: the file name contains no known activity",
                    hint="use the file names as distributed: UMAFall_Subject_NN_ADL_Walking_T_YYYY-MM-DD_hh-mm-ss.csv",
                )
            self._files.append((f"s{match[1]}", match[2], match[3], match[4], match[5], path))
        self._files.sort()
        if not self._files:
            raise RecordingError(
                f"{self.name}: no files UMAFall_Subject_*.csv in {self.root}",
                hint="set dataset.root to the folder of the CSV files",
            )

    def subjects(self) -> list[str]:
        """Sorted subjects, from the file names."""
        return sorted({subject for subject, *_ in self._files})

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """One recording per file, ordered by subject, activity, trial and date."""
        wanted = chosen(subjects, self.subjects(), dataset=self.name)
        for subject, activity, trial, date, clock, path in self._files:
            if subject not in wanted:
                continue
            content = _read(path)
            streams = tuple(_streams(content))
            if not streams:
                raise RecordingError(f"{path}: no sensor of its table has rows")
            yield Recording(
                dataset=self.name,
                subject=subject,
                name=f"{subject}_{ACTIVITIES[activity]}_{trial}_{date}_{clock}",
                imu=streams,
                segments=(
                    Segment(
                        start=min(float(s.times[0]) for s in streams),
                        end=max(float(s.times[-1]) for s in streams),
                        label=ACTIVITIES[activity],
                    ),
                ),
                session=date,
                tags=content.facts,
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Content:
    """A file: sensor id -> position, facts about the person, and rows (n, 7) as distributed."""

    path: Path
    positions: dict[int, str]
    facts: dict[str, str]
    rows: np.ndarray


def _read(path: Path) -> _Content:
    try:
        lines = path.read_text(encoding="latin-1").splitlines()
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from error
    positions: dict[int, str] = {}
    facts: dict[str, str] = {}
    where = [number for number, line in enumerate(lines, start=1) if line[:1] != "%" and line.strip()]
    for number in sorted(set(range(1, len(lines) + 1)).difference(where)):
        line = lines[number - 1]
        if sensor := _SENSOR.match(line):
            if sensor[2] not in _POSITIONS:
                raise RecordingError(
                    f"{path}, line {number}: position {sensor[2]!r}, expected one of {', '.join(_POSITIONS)}"
                )
            positions[int(sensor[1])] = _POSITIONS[sensor[2]]
        elif fact := _FACT.match(line):
            facts["age" if fact[1] == "Age" else "sex"] = fact[2].lower()
    rows = [lines[number - 1].rstrip(" ;") for number in where]
    table = numbers_between(rows, 7, separator=";", path=path, lines=where)
    unknown = np.flatnonzero(~np.isin(table[:, 6], list(positions)))
    if len(unknown):
        raise RecordingError(
            f"{path}, line {where[unknown[0]]}: sensor {table[unknown[0], 6]:g} is not in the header's table, "
            f"which has {sorted(positions) or 'no sensors'}"
        )
    return _Content(path=path, positions=positions, facts=facts, rows=table)


def _streams(content: _Content) -> Iterator[ImuStream]:
    """One stream per sensor that has rows, in the order of `UmaFall.placements`."""
    for sensor, placement in sorted(content.positions.items(), key=lambda item: list(_RATES).index(item[1])):
        acc, gyr = (_track(content, sensor, placement, kind) for kind in (_ACC, _GYR))
        if acc is None:
            continue
        if gyr is None:
            yield ImuStream(placement=placement, times=acc[0], values=acc[1], channels=IMU_CHANNELS[:3])
            continue
        # A tag sends both sensors in one packet; their rows differ only by the milliseconds that writing them took.
        if len(acc[0]) == len(gyr[0]) and np.median(np.abs(acc[0] - gyr[0])) < 0.2 / _RATES[placement]:
            times, values = acc[0], np.concatenate([acc[1], gyr[1]])
        else:
            times, values = union_of_times(acc, gyr)
        yield ImuStream(placement=placement, times=times, values=values)


def _track(content: _Content, sensor: int, placement: str, kind: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Times (T,) and SI values (3, T) of one kind of one sensor, None where it has fewer than two rows."""
    rows = content.rows[(content.rows[:, 6] == sensor) & (content.rows[:, 5] == kind)]
    if len(rows) < 2:
        return None
    try:
        times = sample_times(rows[:, 0] / 1000, rate_hz=_RATES[placement], tolerance=_TOLERANCE)
    except RecordingError as error:
        raise RecordingError(f"{content.path}: sensor {sensor} ({placement}): {error.message}") from error
    unit, name = ("g", "acc") if kind == _ACC else ("deg/s", "gyr")
    return times, convert(rows[:, 2:5].T, unit, name)
