"""Statistics of windows that do not depend on how a device is turned: spectra, jerk, tilt; no data is read here."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from imu_video.recordings.windows import WindowConfig, cut
from imu_video.types import Recording

EDGES_HZ = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Edges of the bands; a source has those below 0.4 of its rate."""
REFERENCE = ("walk", "stand")
"""Classes, in order of preference, whose mean direction of gravity is the zero of tilt."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """One labelled window of one device.

    Args:
        subject: who wears it.
        mounted: what shares one mounting: the zero of tilt is taken in it.
        label: class.
        values: (C, T) in SI units, accelerations first.
    """

    subject: str
    mounted: str
    label: str
    values: np.ndarray


def windows(
    recordings: Iterable[Recording],
    placement: str,
    *,
    rate_hz: float,
    seconds: float,
    classes: Mapping[str, str],
    per_recording: bool,
    limit: int = 40,
) -> list[Window]:
    """Complete windows of one placement whose label is one of the classes.

    Args:
        recordings: in any order.
        placement: name of the stream.
        rate_hz: of the windows.
        seconds: length of the windows.
        classes: label of the dataset -> class.
        per_recording: whether every recording is a mounting of its own, or every subject.
        limit: most windows per recording and class.
    """
    config = WindowConfig(seconds=seconds, rate_hz=rate_hz, label_coverage=1.0, min_measured=1.0, max_gap_s=0.2)
    found = []
    for recording in recordings:
        count: dict[str, int] = {}
        for window in cut(recording, config):
            label = classes.get(window.label or "")
            values = window.imu.get(placement)
            if label is None or values is None or count.get(label, 0) >= limit:
                continue
            values = values[np.isfinite(values).all(axis=1)].astype(np.float64)
            if len(values) not in (3, 6):
                continue
            count[label] = count.get(label, 0) + 1
            mounted = recording.name if per_recording else recording.subject
            found.append(Window(subject=recording.subject, mounted=mounted, label=label, values=values))
    return found


def bands(rate_hz: float) -> list[tuple[float, float]]:
    """Frequency bands of a source, in Hz.

    Example:
        >>> bands(20.0)[-1]
        (4.0, 8.0)
    """
    return [(a, b) for a, b in itertools.pairwise(EDGES_HZ) if b <= 0.4 * rate_hz + 1e-9]


def names(rate_hz: float, gyroscope: bool) -> list[str]:
    """Names of the columns of `table`."""
    sensors = ("acc", "gyr") if gyroscope else ("acc",)
    spectra = [f"{sensor} {low:g}-{high:g} Hz" for sensor in sensors for low, high in bands(rate_hz)]
    return [*spectra, "jerk", "tilt", "mean size"]


def table(found: list[Window], rate_hz: float, *, gyroscope: bool) -> np.ndarray:
    """(N, D) statistics: log10 of the power per band, log10 of jerk, tilt in degrees, mean size of the acceleration.

    Powers are summed over the axes of a sensor and jerk is the size of the difference of accelerations, so that a
    rotation of the device changes nothing. Tilt is the angle to the mean direction in the reference class.
    """
    zero: dict[str, np.ndarray] = {}
    for mounted in {w.mounted for w in found}:
        of = [w for w in found if w.mounted == mounted]
        at_hand = next((c for c in REFERENCE if any(w.label == c for w in of)), None)
        mean = np.mean([w.values[:3].mean(axis=1) for w in of if at_hand in (None, w.label)], axis=0)
        zero[mounted] = mean / np.linalg.norm(mean)
    rows = []
    for window in found:
        acc = window.values[:3]
        row = []
        for sensor in (acc, window.values[3:6]) if gyroscope else (acc,):
            frequency, power = spectrum(sensor, rate_hz)
            for low, high in bands(rate_hz):
                inside = (frequency >= low) & (frequency < high)
                row.append(np.log10(power[inside].sum() + 1e-8))
        jerk = np.diff(acc, axis=1) * rate_hz
        mean = acc.mean(axis=1)
        cosine = np.clip(mean @ zero[window.mounted] / np.linalg.norm(mean), -1, 1)
        row += [
            0.5 * np.log10(np.mean(np.sum(jerk**2, axis=0)) + 1e-8),
            float(np.degrees(np.arccos(cosine))),
            float(np.linalg.norm(acc, axis=0).mean()),
        ]
        rows.append(row)
    return np.array(rows).reshape(len(rows), len(names(rate_hz, gyroscope)))


def spectrum(values: np.ndarray, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz and the power per bin, summed over the rows of (C, T): its sum is the mean square, in SI units.

    Example:
        >>> t = np.arange(200) / 50
        >>> hz, power = spectrum(3 * np.sin(2 * np.pi * 5 * t)[None], 50.0)
        >>> float(hz[power.argmax()]), round(float(power.sum()), 2)
        (5.0, 4.5)
    """
    samples = values.shape[1]
    taper = np.hanning(samples)
    lines = np.fft.rfft((values - values.mean(axis=1, keepdims=True)) * taper, axis=1)
    power = 2 * np.abs(lines) ** 2 / (samples * np.sum(taper**2))
    return np.fft.rfftfreq(samples, 1 / rate_hz), power.sum(axis=0)
