"""Mobilise-D: lower-back sensor in nested MATLAB files, walking bouts of a reference system; downloads nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from imu_video.datasets.common import chosen, existing_folder
from imu_video.datasets.matlab import load_struct
from imu_video.errors import RecordingError
from imu_video.recordings.signal import convert
from imu_video.registry import datasets
from imu_video.types import ImuStream, Recording, Segment

RATE_HZ = 100.0
COHORTS: dict[str, str] = {
    "HA": "healthy_older_adults",
    "MS": "multiple_sclerosis",
    "PD": "parkinson",
    "COPD": "copd",
    "CHF": "heart_failure",
    "PFF": "proximal_femoral_fracture",
}
"""Population by the name of the cohort's folder."""


@datasets.register("mobilise_d")
class MobiliseD:
    """Mobilise-D technical validation recordings (Mazza et al. 2021), in the layout of mobgap's example data.

    One recording per trial of ``TimeMeasureX.TestY.TrialZ``; one sensor on the lower back, x up when upright. Walking
    bouts of the reference system are labelled ``walking``; nothing else is labelled. A subject is cohort and number, a
    session a time measure.

    Args:
        root: folder that contains the cohorts' folders (``HA/001/data.mat``), or ``data`` or ``data/lab`` above them.
        reference: system whose bouts become labels; trials without that system have no labels.

    Raises:
        RecordingError: the folder is missing or contains no such files.

    Example:
        >>> MobiliseD(root="data/mobilise-d").subjects()
        ['HA_001', 'HA_002', 'MS_001']
    """

    name = "mobilise_d"
    licence: ClassVar[str] = "Apache-2.0 (example data of mobgap); the full set has its own terms"
    citation: ClassVar[str] = (
        "C. Mazza et al. Technical validation of real-world monitoring of gait: a multicentric observational study. "
        "BMJ Open 11(12), 2021; data: Mobilise-D consortium, by way of mobgap."
    )
    url: ClassVar[str] = "https://github.com/mobilise-d/mobgap"
    placements: ClassVar[tuple[str, ...]] = ("lower_back",)
    labels: ClassVar[tuple[str, ...]] = ("walking",)
    rate_hz: ClassVar[float] = RATE_HZ

    def __init__(self, *, root: str, reference: Literal["INDIP", "Stereophoto"] = "INDIP") -> None:
        folder = existing_folder(
            root, dataset=self.name, hint=f"clone {self.url} and set dataset.root to its folder example_data"
        )
        self.reference = reference
        for inner in (folder, folder / "lab", folder / "data" / "lab"):
            files = {
                f"{path.parent.parent.name}_{path.parent.name}": path
                for path in sorted(inner.glob("*/*/data.mat"))
                if path.parent.parent.name in COHORTS
            }
            if files:
                break
        else:
            raise RecordingError(
                f"{self.name}: no files COHORT/NUMBER/data.mat in {folder}, with a cohort of {', '.join(COHORTS)}",
                hint="set dataset.root to the folder that contains HA/, MS/ ...",
            )
        self._files = files

    def subjects(self) -> list[str]:
        """Sorted subjects, from the folders."""
        return sorted(self._files)

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """One recording per trial, ordered by subject, time measure, test and trial."""
        for subject in sorted(chosen(subjects, self._files, dataset=self.name)):
            path = self._files[subject]
            measures = load_struct(path, "data")
            for place in _trials(measures):
                yield self._recording(subject, path, place, _follow(measures, place))

    def _recording(self, subject: str, path: Path, place: tuple[str, str, str], trial: Any) -> Recording:
        where = f"{path}, {'.'.join(place)}"
        sensor = _follow(trial, ("SU", "LowerBack"))
        acc, gyr = (_numbers(getattr(sensor, key, None)) for key in ("Acc", "Gyr"))
        if acc.ndim != 2 or acc.shape[1:] != (3,) or gyr.shape != acc.shape or len(acc) < 2:
            raise RecordingError(
                f"{where}.SU.LowerBack: Acc has shape {acc.shape} and Gyr {gyr.shape}, expected two of (n, 3)"
            )
        rates = _follow(sensor, ("Fs",))
        for kind in ("Acc", "Gyr"):
            if getattr(rates, kind, None) != RATE_HZ:
                raise RecordingError(f"{where}: Fs.{kind} is {getattr(rates, kind, None)}, expected {RATE_HZ:g} Hz")
        return Recording(
            dataset=self.name,
            subject=subject,
            name=f"{subject}_{'_'.join(place)}",
            imu=(
                ImuStream(
                    placement="lower_back",
                    times=np.arange(len(acc)) / RATE_HZ,
                    values=np.concatenate([convert(acc.T, "g", "acc"), convert(gyr.T, "deg/s", "gyr")]),
                ),
            ),
            segments=tuple(self._bouts(trial, where, len(acc) / RATE_HZ)),
            session=place[0],
            tags={"population": COHORTS[subject.split("_")[0]], "test": place[1]},
        )

    def _bouts(self, trial: Any, where: str, duration_s: float) -> Iterator[Segment]:
        """Walking bouts of the reference system within the recording; bouts without times are skipped."""
        for bout in np.atleast_1d(_follow(trial, ("Standards", self.reference, "MicroWB"))):
            times = [np.atleast_1d(_numbers(getattr(bout, key, None))) for key in ("Start", "End")]
            if any(len(t) != 1 for t in times):
                continue
            start, end = (float(t[0]) for t in times)
            if not 0 <= start < end <= duration_s + 1:
                raise RecordingError(
                    f"{where}.Standards.{self.reference}: a bout from {start} to {end} s in {duration_s:.2f} s"
                )
            yield Segment(start=start, end=min(end, duration_s), label="walking")


def _numbers(value: Any) -> np.ndarray:
    """A field as float64; empty where it is missing or holds no numbers."""
    array = np.asarray(() if value is None else value)
    return array.astype(np.float64) if array.dtype.kind in "biuf" else np.empty(0)


def _trials(measures: Any) -> Iterator[tuple[str, str, str]]:
    """Names of time measure, test and trial, in natural order (Test5 before Test11)."""
    for measure in _sorted_fields(measures, "TimeMeasure"):
        tests = getattr(measures, measure)
        for test in _sorted_fields(tests, "Test"):
            for trial in _sorted_fields(getattr(tests, test), "Trial"):
                yield measure, test, trial


def _sorted_fields(struct: Any, prefix: str) -> list[str]:
    names = [n for n in getattr(struct, "_fieldnames", ()) if re.fullmatch(prefix + r"\d+", n)]
    return sorted(names, key=lambda n: int(n[len(prefix) :]))


def _follow(struct: Any, names: tuple[str, ...]) -> Any:
    """A nested field, or None if a part of the path is missing."""
    for name in names:
        struct = getattr(struct, name, None)
    return struct
