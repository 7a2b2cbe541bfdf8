"""Shared parts of adapters for published layouts: files to takes to Recordings, rows to segments; no dataset's columns.

An adapter of a published dataset consists of its facts, a `_find` that turns file names into takes, and a `_read` that
turns one take into a Recording.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from imu_video.datasets.common import chosen, existing_folder, runs, union_of_times
from imu_video.errors import RecordingError
from imu_video.modalities.mp4 import Mp4Source
from imu_video.protocols import Unread
from imu_video.readers.base import Track
from imu_video.recordings.units import GravityState, check_plausible, convert
from imu_video.runtime import documents
from imu_video.types import IMU_CHANNELS, ImuStream, Recording, Segment

LARGEST_GAP_S = 1.0
"""A labelled segment ends where samples are missing for longer than this, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Take:
    """The files of one future recording, known from file names alone.

    Args:
        subject, name, session: as in `Recording`.
        paths: its files, in an order defined by the adapter.
        label: activity of the whole take; None if the files contain labels or the take has no label.
        tags: as in `Recording`.
    """

    subject: str
    name: str
    paths: tuple[Path, ...]
    session: str = "1"
    label: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


class Layout(ABC):
    """Base class of adapters that read a public dataset in the layout in which it is distributed.

    Args:
        root: the dataset's folder, or any folder above or below it from which its files can still be identified.

    Raises:
        RecordingError: no such folder, or no file of the layout in it.
    """

    name: ClassVar[str]
    licence: ClassVar[str]
    citation: ClassVar[str]
    url: ClassVar[str]
    tested_on: ClassVar[str] = "made-up tree"
    files: ClassVar[str]
    """Pattern of the files for the error message: ``Protocol/subject1NN.dat``."""

    def __init__(self, *, root: str) -> None:
        self.root = existing_folder(
            root, dataset=self.name, hint=f"download it from {self.url} and set dataset.root to its folder"
        )
        self._takes = sorted(self._find(), key=lambda take: (take.subject, take.name))
        if not self._takes:
            raise RecordingError(
                f"{self.name}: no files {self.files} in {self.root}",
                hint=f"extract the archives of {self.url} without changing their folders",
            )

    def subjects(self) -> list[str]:
        """Sorted subjects, from the file names."""
        return sorted({take.subject for take in self._takes})

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """Recordings of the takes, ordered by subject and name."""
        wanted = chosen(subjects, self.subjects(), dataset=self.name)
        for take in self._takes:
            if take.subject in wanted:
                yield from self._read_all(take)

    def unread(self, subject: str) -> Iterator[Unread]:
        """The takes of a subject, unread, in the order of `recordings`."""
        for take in self._takes:
            if take.subject == subject:
                yield Unread(name=take.name, files=take.paths, read=partial(self._read_all, take))

    @abstractmethod
    def _find(self) -> Iterable[Take]:
        """Every take of the tree."""

    @abstractmethod
    def _read_all(self, take: Take) -> Iterator[Recording]:
        """The recordings of one take; see `SingleLayout` for takes of one recording."""

    def _recording(
        self,
        take: Take,
        imu: Sequence[ImuStream],
        segments: Sequence[Segment] = (),
        *,
        video: Mp4Source | TimedVideo | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Recording:
        """The take with its signals; the label of a take covers its first to its last sample."""
        if take.label is not None:
            segments = (whole(imu, take.label),)
        return Recording(
            dataset=self.name,
            subject=take.subject,
            name=take.name,
            imu=tuple(imu),
            streams={"video": video},
            segments=tuple(segments),
            session=take.session,
            tags={**take.tags, **(tags or {})},
        )


def files_like(root: Path, pattern: str) -> Iterator[tuple[Path, re.Match[str]]]:
    """Files in or below a folder whose full path ends in the pattern, sorted; without hidden files and ``__MACOSX``.

    Args:
        root: where to search, at any depth.
        pattern: regular expression of the last parts of the path, ``/`` between them.
    """
    expression = re.compile(rf"(?:.*/)?{pattern}", re.IGNORECASE)
    for path in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(root).parts)
        match = None if hidden else expression.fullmatch(path.absolute().as_posix())
        if match and path.is_file():
            yield path, match


# ------------------------------------------------------------------------------------------------------------- signals


def clock_tag(faults: int) -> dict[str, str]:
    """The tag of a recording whose clock had to be repaired."""
    return {"clock": f"repaired, {faults} samples" if faults else "in order"}


class SingleLayout(Layout):
    """A layout in which every take is one recording."""

    def _read_all(self, take: Take) -> Iterator[Recording]:
        yield self._read(take)

    @abstractmethod
    def _read(self, take: Take) -> Recording:
        """One take as one recording."""


def stream(
    placement: str,
    *,
    acc: Track | None,
    gyr: Track | None = None,
    source: str,
    gravity: bool = True,
    check_units: bool = True,
) -> ImuStream:
    """A device in SI units on one time axis; a sensor with a clock of its own is NaN at the times of the other one.

    Args:
        placement: placement of the device.
        acc, gyr: its sensors with increasing times; one may be None, and the device then lacks its channels.
        source: file, for error messages.
        gravity: whether the acceleration includes gravity; if not, its size is not checked.
        check_units: whether values that no motion has in these units are an error.

    Raises:
        RecordingError: implausible units, times that do not increase, or no sensor at all.
    """
    tracks = {kind: track for kind, track in (("acc", acc), ("gyr", gyr)) if track is not None}
    if not tracks:
        raise RecordingError(f"{source}: no sensor, expected acceleration or angular rate")
    values = {kind: convert(track.values, track.unit, kind) for kind, track in tracks.items()}
    channels = tuple(c for c in IMU_CHANNELS if c[:3] in tracks)
    for kind, track in tracks.items():
        if len(track.times) < 2 or np.any(np.diff(track.times) <= 0):
            raise RecordingError(f"{source}: the times of {kind} do not increase, or it has fewer than two samples")
    times = next(iter(tracks.values())).times
    if acc is not None and gyr is not None and not np.array_equal(acc.times, gyr.times):
        times, joined = union_of_times((acc.times, values["acc"]), (gyr.times, values["gyr"]))
    else:
        joined = np.concatenate(list(values.values()))
    units: dict[str, Any] = {f"{kind}_unit": track.unit for kind, track in tracks.items()}
    if check_units:
        state: GravityState = "included" if gravity else "removed"
        check_plausible(joined, channels, source=f"{source}, {placement}", times=times, gravity=state, **units)
    return ImuStream(placement=placement, times=times, values=joined, channels=channels)


@dataclass(frozen=True, kw_only=True)
class Device:
    """Columns of one device in a table of numbers: the first of three columns per sensor, counted from 0.

    Args:
        placement: placement of the device.
        acc, gyr: first column of each sensor; None without that sensor.
        acc_unit, gyr_unit: units of `convert`.
        gyr_scale: factor from file values to ``gyr_unit``.
    """

    placement: str
    acc: int
    gyr: int | None = None
    acc_unit: str = "m/s^2"
    gyr_unit: str = "rad/s"
    gyr_scale: float = 1.0


def streams_of(
    table: np.ndarray, times: np.ndarray, devices: Sequence[Device], *, source: str
) -> tuple[ImuStream, ...]:
    """Devices of a table (T, columns); a device without any value is skipped.

    Raises:
        RecordingError: as `stream`, or no device has a value.
    """
    found = []
    for device in devices:
        acc = Track(times=times, values=table[:, device.acc : device.acc + 3].T, unit=device.acc_unit)
        gyr = None
        if device.gyr is not None:
            values = table[:, device.gyr : device.gyr + 3].T * device.gyr_scale
            gyr = Track(times=times, values=values, unit=device.gyr_unit)
        if np.isfinite(acc.values).any() or (gyr is not None and np.isfinite(gyr.values).any()):
            found.append(stream(device.placement, acc=acc, gyr=gyr, source=source))
    if not found:
        raise RecordingError(f"{source}: no device has any value")
    return tuple(found)


def whole(imu: Sequence[ImuStream], label: str) -> Segment:
    """The label from the first sample of the earliest device to the last of the latest."""
    return Segment(
        start=min(float(s.times[0]) for s in imu), end=max(float(s.times[-1]) for s in imu) + 1e-6, label=label
    )


def segments_of(
    times: np.ndarray, codes: np.ndarray, names: Mapping[int, str], *, unlabelled: Collection[int] = (0,), source: str
) -> tuple[Segment, ...]:
    """Segments of rows with one label, cut where samples are missing for longer than `LARGEST_GAP_S`.

    Args:
        times: (T,) seconds, increasing.
        codes: (T,) label of each row; NaN means no label.
        names: code -> label.
        unlabelled: codes that mean no label.
        source: file, for error messages.

    Raises:
        RecordingError: an unknown code; the error names the row.

    Example:
        >>> times = np.array([0.0, 0.5, 1.0, 9.0, 9.5])
        >>> [(s.label, s.start, s.end) for s in segments_of(times, np.array([4, 4, 0, 4, 4]), {4: "walk"}, source="f")]
        [('walk', 0.0, 1.0), ('walk', 9.0, 10.0)]
    """
    known = np.array([*names, *unlabelled])
    codes = np.where(np.isfinite(codes), codes, next(iter(unlabelled))).astype(int)
    strange = np.flatnonzero(~np.isin(codes, known))
    if len(strange):
        raise RecordingError(
            f"{source}, row {strange[0] + 1}: label {codes[strange[0]]}, expected one of {sorted(known.tolist())}"
        )
    period = float(np.median(np.diff(times)))
    changes = (np.diff(codes) != 0) | (np.diff(times) > LARGEST_GAP_S)
    return tuple(
        Segment(start=float(times[a]), end=float(times[b - 1]) + period, label=names[int(codes[a])])
        for a, b in runs(np.concatenate([[0], np.cumsum(changes)]))
        if int(codes[a]) in names
    )


class TimedVideo:
    """Frames of a video file with times from another file instead of its own time stamps.

    Args:
        path: the video.
        times: (F,) seconds of its first F frames, increasing; times beyond the last frame are not used.

    Raises:
        RecordingError: no such file (at once), times that do not increase, or no readable video (at first use).
    """

    def __init__(self, path: Path, times: np.ndarray) -> None:
        self._source = Mp4Source(path)
        if len(times) < 1 or not np.all(np.isfinite(times)) or np.any(np.diff(times) <= 0):
            raise RecordingError(f"video {path}: the times of its frames do not increase")
        self._given = times

    @property
    def times(self) -> np.ndarray:
        """(F,) seconds of the frames with a time."""
        return self._given[: len(self._source.times)]

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The named frames as (F, H, W, 3) uint8 RGB."""
        return self._source.read(indices)


def read_json(path: Path, *, hint: str) -> Any:
    """The content of a JSON file of a dataset.

    Raises:
        RecordingError: no such file, or not JSON; the hint explains how to obtain it.
    """
    return documents.read_json(path, error=RecordingError, hint=hint, limit=_LARGEST_METADATA, finite=False)


_LARGEST_METADATA = 2**30
"""Largest metadata of a dataset in bytes: the file of Ego4D lists every clip."""
