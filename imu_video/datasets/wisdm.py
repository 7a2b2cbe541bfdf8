"""WISDM 2019: a phone in the pocket and a watch, 18 activities of 51 subjects; the derived features are not read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from imu_video.datasets.layout import Layout, Take, Track, clock_tag, files_like, stream
from imu_video.errors import RecordingError
from imu_video.readers.tables import Table
from imu_video.registry import datasets
from imu_video.types import Recording

ACTIVITIES = {
    "A": "walking",
    "B": "jogging",
    "C": "stairs",
    "D": "sitting",
    "E": "standing",
    "F": "typing",
    "G": "brushing_teeth",
    "H": "eating_soup",
    "I": "eating_chips",
    "J": "eating_pasta",
    "K": "drinking",
    "L": "eating_sandwich",
    "M": "kicking",
    "O": "catching",
    "P": "dribbling",
    "Q": "writing",
    "R": "clapping",
    "S": "folding_clothes",
}
PLACEMENTS = {"phone": "pocket", "watch": "wrist"}
_COLUMNS = ("subject", "activity", "time", "x", "y", "z")
_UNITS = {"accel": "m/s^2", "gyro": "rad/s"}


@datasets.register("wisdm")
class Wisdm(Layout):
    """WISDM smartphone and smartwatch activity and biometrics (Weiss, Yoneda and Hayajneh, IEEE Access 2019).

    One recording per device and activity, since the clocks of phone and watch are not related. Activity letters skip N.

    Args:
        root: the folder ``wisdm-dataset``, or its ``raw``.

    Raises:
        RecordingError: missing files, or a line that is not as documented.

    Example:
        >>> Wisdm(root="wisdm-dataset").subjects()[:2]
        ['1600', '1601']
    """

    name = "wisdm"
    licence: ClassVar[str] = "CC BY 4.0"
    citation: ClassVar[str] = (
        "G. M. Weiss, K. Yoneda, T. Hayajneh. Smartphone and smartwatch-based biometrics using activities of daily "
        "living. IEEE Access 7, 2019."
    )
    url: ClassVar[str] = (
        "https://archive.ics.uci.edu/dataset/507/wisdm+smartphone+and+smartwatch+activity+and+biometrics+dataset"
    )
    placements: ClassVar[tuple[str, ...]] = tuple(PLACEMENTS.values())
    labels: ClassVar[tuple[str, ...]] = tuple(ACTIVITIES.values())
    rate_hz: ClassVar[float] = 20.0
    files = "raw/phone/accel/data_NNNN_accel_phone.txt"

    def _find(self) -> Iterator[Take]:
        for path, match in files_like(self.root, r"(phone|watch)/accel/data_(\d+)_accel_\1\.txt"):
            device, subject = match[1].lower(), match[2]
            gyro = path.parent.parent / "gyro" / path.name.replace("_accel_", "_gyro_")
            paths = (path, gyro) if gyro.is_file() else (path,)
            yield Take(subject=subject, name=f"{subject}-{device}", paths=paths, tags={"device": device})

    def _read_all(self, take: Take) -> Iterator[Recording]:
        sensors = {kind: _sensor(path, kind) for kind, path in zip(_UNITS, take.paths, strict=False)}
        placement = PLACEMENTS[take.tags["device"]]
        for letter, label in ACTIVITIES.items():
            tracks = {kind: by_letter[letter] for kind, by_letter in sensors.items() if letter in by_letter}
            if "accel" not in tracks:
                continue
            faults = sum(count for _, count in tracks.values())
            acc, gyr = tracks["accel"][0], tracks["gyro"][0] if "gyro" in tracks else None
            source = f"{take.paths[0]}, activity {letter}"
            imu = (stream(placement, acc=acc, gyr=gyr, source=source),)
            named = Take(
                subject=take.subject, name=f"{take.name}-{letter}", paths=take.paths, label=label, tags=take.tags
            )
            yield self._recording(named, imu, tags=clock_tag(faults))


def _sensor(path: Path, kind: str) -> dict[str, tuple[Track, int]]:
    """Samples in order and the number of clock faults, by activity letter."""
    table = Table(path, _COLUMNS[1:], texts=["activity"], header=_COLUMNS, terminator=";")
    letters = np.array(table.texts("activity"))
    strange = np.flatnonzero(~np.isin(letters, list(ACTIVITIES)))
    if len(strange):
        seen = str(letters[strange[0]])
        raise RecordingError(f"{table.where(strange[0])}: activity {seen!r}, expected one of {', '.join(ACTIVITIES)}")
    times = table.seconds("time", "ns")
    values = np.stack([table.numbers(axis) for axis in "xyz"])
    found = {}
    for letter in np.unique(letters):
        rows = letters == letter
        track, faults = Track(times=times[rows], values=values[:, rows], unit=_UNITS[kind]).in_order()
        if len(track.times) > 1:
            found[str(letter)] = (track, faults)
    return found
