"""Berkeley MHAD: six accelerometers on irregular clocks and the camera's time stamps, 11 actions; downloads nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from imu_video.datasets.common import chosen, existing_folder
from imu_video.errors import RecordingError
from imu_video.readers.tables import number_table
from imu_video.recordings.calibration import AccCalibration, fit_gravity, still_means
from imu_video.recordings.clock import sample_times
from imu_video.recordings.signal import convert
from imu_video.registry import datasets
from imu_video.types import IMU_CHANNELS, ImuStream, Recording, Segment

RATE_HZ = 31.03
"""Sampling rate of the accelerometers: 3,948 files arrive at 31.06 Hz (median), although stamps are irregular."""
ACTIONS = (
    "jump_in_place",
    "jumping_jacks",
    "bend",
    "punch",
    "wave_two_hands",
    "wave_right_hand",
    "clap",
    "throw",
    "sit_down_then_stand_up",
    "sit_down",
    "stand_up",
)
"""Label of action a01 .. a11."""
_SENSORS = {
    "left_wrist": 1,
    "right_wrist": 2,
    "hip_1": 3,
    "hip_2": 4,
    "ankle_1": 5,
    "ankle_2": 6,
}
_NAME = re.compile(r"acc_h(\d\d)_(s\d\d)_(a\d\d)_(r\d\d)\.txt")
_STILL_SAMPLES, _STILL_STD_G = 15, 0.03
_TOLERANCE = 0.015  # of the clock: rates over whole recordings lie within 30.8 .. 31.4 Hz


@datasets.register("berkeley_mhad")
class BerkeleyMhad:
    """Berkeley Multimodal Human Action Database (Ofli et al., WACV 2013), accelerometers and camera clock.

    One recording per repetition; up to six accelerometers, no gyroscopes. Stamps are UNIX times made on arrival; the
    sensors' own clock is regular and is recovered by `recordings.clock.sample_times`. Factory scales are wrong by up to
    a third and differ between sensors and subjects. Each sensor is calibrated per subject from the segments in which it
    was at rest in any recording of that subject, so that no information passes between subjects. Files do not
    distinguish left and right at hips and ankles, so these placements are numbered. The label covers the time in which
    the cameras ran.

    Args:
        root: folder with ``Accelerometer/ShimmerNN/`` and, optionally, ``Time_stamps/``.
        calibrate: estimate gain and bias from gravity; otherwise the factory scale is used, in g.

    Raises:
        RecordingError: the folder is missing or contains no accelerometer files.

    Example:
        >>> source = BerkeleyMhad(root="data/berkeley-mhad")
        >>> source.camera_times("s01_a01_r01")[:2].round(3).tolist()
        [0.114, 0.16]
    """

    name = "berkeley_mhad"
    licence: ClassVar[str] = "BSD 2-clause (as on the dataset's page; no text in the files)"
    citation: ClassVar[str] = (
        "F. Ofli, R. Chaudhry, G. Kurillo, R. Vidal, R. Bajcsy. Berkeley MHAD: A comprehensive multimodal human action "
        "database. WACV 2013."
    )
    url: ClassVar[str] = "https://tele-immersion.citris-uc.org/berkeley_mhad"
    placements: ClassVar[tuple[str, ...]] = tuple(_SENSORS)
    labels: ClassVar[tuple[str, ...]] = ACTIONS
    rate_hz: ClassVar[float] = RATE_HZ

    def __init__(self, *, root: str, calibrate: bool = True) -> None:
        self.root = existing_folder(
            root, dataset=self.name, hint=f"download it from {self.url} and set dataset.root to its folder"
        )
        self.calibrate = calibrate
        self._sensors: dict[tuple[str, ...], set[int]] = {}
        self._calibrations: dict[tuple[str, int], AccCalibration] = {}
        for path in self.root.glob("Accelerometer/Shimmer*/acc_*.txt"):
            match = _NAME.fullmatch(path.name)
            if match and int(match[1]) in _SENSORS.values():
                self._sensors.setdefault(match.groups()[1:], set()).add(int(match[1]))
        if not self._sensors:
            raise RecordingError(
                f"{self.name}: no files Accelerometer/ShimmerNN/acc_hNN_sSS_aAA_rRR.txt in {self.root}",
                hint="set dataset.root to the folder that contains Accelerometer/ and Time_stamps/",
            )

    def subjects(self) -> list[str]:
        """Sorted subjects, from the file names."""
        return sorted({subject for subject, *_ in self._sensors})

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """One recording per repetition, ordered by subject, action and repetition."""
        wanted = chosen(subjects, self.subjects(), dataset=self.name)
        for key in sorted(self._sensors):
            if key[0] in wanted:
                yield self._recording(key)

    def camera_times(self, name: str) -> np.ndarray:
        """Times of the camera's frames, (F,) seconds on the recording's clock, empty where their file is missing.

        Args:
            name: of the recording: ``s01_a01_r01``.

        Raises:
            RecordingError: no such recording, or a damaged file.
        """
        key = tuple(name.split("_"))
        if len(key) != 3 or key not in self._sensors:
            raise RecordingError(f"{self.name}: no recording {name!r}", hint="names are like s01_a01_r01")
        return self._frames(name) - _begin(self._tracks(key))

    def calibration(self, subject: str, placement: str) -> AccCalibration:
        """Gain and bias of one sensor of one subject, in m/s^2 per raw unit, from all recordings of that subject.

        Raises:
            RecordingError: a file that cannot be read, or a dead sensor.
        """
        sensor = _SENSORS[placement]
        if (subject, sensor) not in self._calibrations:
            keys = [key for key in sorted(self._sensors) if key[0] == subject and sensor in self._sensors[key]]
            stills = [
                still_means(_track(self._path(key, sensor)).acc, samples=_STILL_SAMPLES, max_std=_STILL_STD_G)
                for key in keys
            ]
            try:
                self._calibrations[subject, sensor] = fit_gravity(np.concatenate([np.empty((0, 3)), *stills]))
            except RecordingError as error:
                raise RecordingError(f"{self.name}, {subject}, {placement}: {error.message}") from error
        return self._calibrations[subject, sensor]

    def _recording(self, key: tuple[str, ...]) -> Recording:
        subject, action, repetition = key
        name = "_".join(key)
        if not 1 <= int(action[1:]) <= len(ACTIONS):
            raise RecordingError(f"{self.name}: recording {name} has action {action}, expected a01 .. a{len(ACTIONS)}")
        tracks = self._tracks(key)
        zero = _begin(tracks)
        streams = []
        for placement, track in tracks.items():
            values = (
                self.calibration(subject, placement).apply(track.acc)
                if self.calibrate
                else convert(track.acc, "g", "acc")
            )
            inside = track.taken >= zero
            if np.count_nonzero(inside) < 2:
                continue
            streams.append(
                ImuStream(
                    placement=placement,
                    times=track.taken[inside] - zero,
                    values=values[:, inside],
                    channels=IMU_CHANNELS[:3],
                )
            )
        frames = self._frames(name) - zero
        start = frames[0] if len(frames) else min(s.times[0] for s in streams)
        end = frames[-1] if len(frames) else max(s.times[-1] for s in streams)
        return Recording(
            dataset=self.name,
            subject=subject,
            name=name,
            imu=tuple(streams),
            segments=(Segment(start=float(start), end=float(end), label=ACTIONS[int(action[1:]) - 1]),),
            tags={"repetition": repetition},
        )

    def _path(self, key: tuple[str, ...], sensor: int) -> Path:
        return self.root / "Accelerometer" / f"Shimmer{sensor:02d}" / f"acc_h{sensor:02d}_{'_'.join(key)}.txt"

    def _tracks(self, key: tuple[str, ...]) -> dict[str, _Track]:
        sensors = {p: s for p, s in _SENSORS.items() if s in self._sensors[key]}
        return {placement: _track(self._path(key, sensor)) for placement, sensor in sensors.items()}

    def _frames(self, name: str) -> np.ndarray:
        """UNIX times of the camera's frames."""
        path = self.root / "Time_stamps" / f"time_stamps_img_{name}.txt"
        return number_table(path, 2)[:, 1] if path.is_file() else np.empty(0)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Track:
    """One file: arrival times and sample times (T,) in UNIX seconds, and raw acceleration (3, T)."""

    arrived: np.ndarray
    taken: np.ndarray
    acc: np.ndarray


def _begin(tracks: dict[str, _Track]) -> float:
    """UNIX time at which a recording begins: the first arrival; delayed samples from before are dropped."""
    return min(float(track.arrived[0]) for track in tracks.values())


def _track(path: Path) -> _Track:
    rows = number_table(path, 4)
    if len(rows) < 2:
        raise RecordingError(f"{path}: number of rows with samples is {len(rows)}, expected at least 2")
    try:
        taken = sample_times(rows[:, 3], rate_hz=RATE_HZ, tolerance=_TOLERANCE)
    except RecordingError as error:
        raise RecordingError(f"{path}: {error.message}") from error
    return _Track(arrived=rows[:, 3], taken=taken, acc=rows[:, :3].T)
