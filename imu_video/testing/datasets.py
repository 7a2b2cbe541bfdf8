"""Contract check of dataset adapters on their first recordings; the correctness of labels is not checked."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from imu_video import registry
from imu_video.errors import ImuVideoError
from imu_video.modalities import modality_of
from imu_video.testing.base import Component, build, require
from imu_video.types import Recording


def check_dataset(source: Component, *, recordings: int = 2) -> None:
    """Check the contract of `protocols.RecordingSource`: stable order, declared facts, subjects, SI units, one clock.

    Args:
        source: name, config entry or built adapter.
        recordings: number of recordings of the first subject to read.

    Raises:
        AssertionError: naming the broken point.

    Example:
        ``check_dataset({"name": "synthetic", "subjects": 2})``
    """
    adapter = build(registry.datasets, source)
    name = type(adapter).__name__
    for attribute in ("name", "licence", "citation", "url"):
        value = getattr(adapter, attribute, None)
        require(
            isinstance(value, str) and bool(value), f"{name}.{attribute} must be a non-empty string, it is {value!r}"
        )
    subjects = adapter.subjects()
    require(
        bool(subjects) and subjects == sorted(set(subjects)) and adapter.subjects() == subjects,
        f"{name}.subjects() must be sorted, distinct, not empty and stable, got {subjects[:5]}",
    )
    first = list(itertools.islice(adapter.recordings([subjects[0]]), recordings))
    require(bool(first), f"{name}.recordings([{subjects[0]!r}]) yields nothing")
    again = list(itertools.islice(adapter.recordings([subjects[0]]), recordings))
    names = [r.name for r in first]
    require(names == [r.name for r in again], f"{name}.recordings: the order changes between calls: {names}")
    require(len(set(names)) == len(names), f"{name}: recording names repeat: {names}")
    for recording, twin in zip(first, again, strict=True):
        require(
            recording.subject == subjects[0],
            f"{name}: recordings([{subjects[0]!r}]) gives recording {recording.name} of subject {recording.subject!r}",
        )
        _check_recording(adapter, name, recording)
        for stream, other in zip(recording.imu, twin.imu, strict=True):
            require(
                np.array_equal(stream.values, other.values, equal_nan=True),
                f"{name}: recording {recording.name}, {stream.placement}: values change between readings",
            )


def _check_recording(adapter: Any, name: str, recording: Recording) -> None:
    where = f"{name}, recording {recording.name}"
    require(recording.dataset == adapter.name, f"{where}: dataset is {recording.dataset!r}, expected {adapter.name!r}")
    for stream in recording.imu:
        declared = getattr(adapter, "placements", ())
        require(
            not declared or stream.placement in declared,
            f"{where}: placement {stream.placement!r} is not among the declared {sorted(declared)}",
        )
        measured = np.isfinite(stream.values[0])  # sensors of one device may have different clocks
        times = stream.times[measured] if np.count_nonzero(measured) > 1 else stream.times
        rate = 1 / float(np.median(np.diff(times)))
        nominal = getattr(adapter, "rate_hz", None)
        if isinstance(nominal, Mapping):
            require(stream.placement in nominal, f"{where}: rate_hz names no rate of {stream.placement}")
            nominal = nominal[stream.placement]
        require(
            not nominal or 0.8 * nominal <= rate <= 1.25 * nominal,
            f"{where}: {stream.placement} runs at {rate:.4g} Hz, declared are {nominal} Hz",
        )
        from imu_video.recordings.units import check_plausible

        try:
            check_plausible(
                stream.values,
                stream.channels,
                source=where,
                times=stream.times,
                gravity="removed" if recording.tags.get("gravity") == "removed" else "included",
            )
        except ImuVideoError as error:
            raise AssertionError(str(error)) from error
    start = min(float(s.times[0]) for s in recording.imu)
    end = max(float(s.times[-1]) for s in recording.imu)
    labels = getattr(adapter, "labels", ())
    for segment in recording.segments:
        require(
            start - 1 <= segment.start < segment.end <= end + 1,
            f"{where}: segment {segment.label!r} {segment.start:.2f}..{segment.end:.2f} s is outside the IMU's "
            f"{start:.2f}..{end:.2f} s",
        )
        require(not labels or segment.label in labels, f"{where}: label {segment.label!r} is not declared")
    for name, stream in recording.streams.items():
        times = np.asarray(stream.times)
        require(len(times) > 0 and bool(np.all(np.diff(times) > 0)), f"{where}, {name}: times must increase strictly")
        require(times[0] < end and times[-1] > start, f"{where}: {name} and IMU do not overlap: are they on one clock?")
        wrong = modality_of(name).check_stream(stream)
        require(wrong is None, f"{where}, {name}: {wrong}")
