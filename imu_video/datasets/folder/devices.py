"""Devices of a recording whose files are read by readers: streams, annotations, tags; which reader is declared."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path

from imu_video.datasets.folder.declaration import Declaration
from imu_video.datasets.layout import stream
from imu_video.errors import RecordingError, nearest
from imu_video.readers.base import DeviceReading, Reading
from imu_video.readers.tables import TimeUnit
from imu_video.registry import readers, source_hash
from imu_video.types import ImuStream, Segment


def versions(config: Declaration) -> dict[str, dict[str, str]]:
    """Versions of the declared readers and of their packages, and a hash of the code of those of a plugin, by name."""
    found: dict[str, dict[str, str]] = {}
    forms = [*(config.format_of(placement) for placement in config.placements), *config.formats.values()]
    for form in forms:
        name = dict(form.reader or {}).get("name")
        if name is not None:
            kind = readers.get(name)
            code = source_hash(kind)
            packages = {package: _installed(package) for package in kind.packages}
            found[name] = {"version": str(kind.version), **packages, **({"code": code} if code else {})}
    return found


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


class Devices:
    """The files of one recording, read by the readers of its declaration; each file is read once.

    Args:
        config: the declaration.
        recording: name of the recording, for the formats of single recordings.
    """

    def __init__(self, config: Declaration, recording: str | None = None) -> None:
        self._config, self._recording = config, recording
        self._read: dict[tuple[Path, str], Reading] = {}
        self._used: dict[str, tuple[Path, Reading, DeviceReading, float]] = {}

    def stream(self, placement: str, path: Path) -> ImuStream:
        """The device of a placement, on the clock that is declared for it.

        Raises:
            RecordingError: a file that cannot be read, or implausible values.
            ConfigError: a file with several devices, and the declaration names none.
        """
        form = self._config.format_of(placement, self._recording)
        entry = dict(form.reader or {})
        name = entry.pop("device", None)
        key = (path, json.dumps(entry, sort_keys=True))
        if key not in self._read:
            self._read[key] = readers.build(entry).read(path)
        reading = self._read[key]
        device = reading.device(name, source=str(path))
        zero = (reading.start_utc or 0.0) if form.clock == "utc" else 0.0
        self._used[placement] = (path, reading, device, zero)
        tracks = {
            kind: type(track)(times=track.times + zero, values=track.values, unit=track.unit)
            for kind, track in device.tracks.items()
            if kind in ("acc", "gyr")
        }
        return stream(
            placement,
            acc=tracks.get("acc"),
            gyr=tracks.get("gyr"),
            source=str(path),
            gravity=device.gravity is not False,
            check_units=self._config.check_units,
        )

    @property
    def time_unit(self) -> TimeUnit | None:
        """Format of the times of labels and video: ``iso8601`` on a UTC clock, else ``s``; None without a reader."""
        if not self._used:
            return None
        return "iso8601" if any(zero for _, _, _, zero in self._used.values()) else "s"

    def segments(self, declared: Sequence[str] | None) -> tuple[Segment, ...]:
        """Annotations in the files, on the clock of their streams.

        Raises:
            RecordingError: a label that the declaration does not list.
        """
        found: dict[Path, tuple[Segment, ...]] = {}
        for path, reading, _, zero in self._used.values():
            for segment in reading.segments:
                if declared is not None and segment.label not in declared:
                    raise RecordingError(
                        f"{path}: annotation {segment.label!r} is not declared{nearest(segment.label, declared)}",
                        hint="add it under 'labels' in the declaration, or remove that list",
                    )
            found[path] = tuple(
                Segment(start=s.start + zero, end=s.end + zero, label=s.label) for s in reading.segments
            )
        return tuple(sorted((s for each in found.values() for s in each), key=lambda s: (s.start, s.end, s.label)))

    def notes(self) -> tuple[str, ...]:
        """Notes of the readers, each with its file, once."""
        return tuple(
            dict.fromkeys(f"{p.name}: {note}" for p, reading, _, _ in self._used.values() for note in reading.notes)
        )

    def tags(self) -> dict[str, str]:
        """Tags of the files; where devices differ, ``<placement>_<tag>``."""
        values: dict[str, dict[str, str]] = {}
        for placement, (_, reading, device, _) in self._used.items():
            for key, value in {**reading.tags, **device.tags}.items():
                values.setdefault(key, {})[placement] = value
        tags = {}
        for key, by_placement in values.items():
            if len(set(by_placement.values())) == 1 and len(by_placement) == len(self._used):
                tags[key] = next(iter(by_placement.values()))
            else:
                tags |= {f"{placement}_{key}": value for placement, value in by_placement.items()}
        return tags

    def gravity(self) -> dict[str, str]:
        """``included`` or ``removed`` by placement, of the devices that measured acceleration."""
        return {
            placement: "removed" if device.gravity is False else "included"
            for placement, (_, _, device, _) in self._used.items()
            if "acc" in device.tracks
        }
