"""Array folders for tests: subjects with habits, activities with rhythms, any channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

EIGHT = {f"emg_{i}": "mV" for i in range(1, 9)}
FORTY_FIVE = {
    f"{place}.{sensor}_{axis}": unit
    for place in ("torso", "right_arm", "left_arm", "right_leg", "left_leg")
    for sensor, unit in (("acc", "m/s^2"), ("gyr", "rad/s"), ("mag", "uT"))
    for axis in "xyz"
}


def signals(
    channels: dict[str, str], *, subjects: int, classes: int, windows: int, samples: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Windows (N, C, T) float32 and columns (N, 2): activity and subject."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / samples
    gain = rng.normal(size=(classes, len(channels)))
    habit = 0.2 * rng.normal(size=(subjects, len(channels)))
    offset = np.array([9.8 * (unit == "m/s^2" and name.endswith("z")) for name, unit in channels.items()])
    x, y = [], []
    for subject in range(subjects):
        for label in range(classes):
            for _ in range(windows):
                rhythm = np.sin(2 * np.pi * ((2 + 3 * label) * t + rng.uniform()))
                signal = gain[label][:, None] * rhythm + (habit[subject] + offset)[:, None]
                x.append(signal + 0.2 * rng.normal(size=signal.shape))
                y.append((label, subject))
    return np.array(x, dtype=np.float32), np.array(y)


def array_folder(
    folder: Path,
    channels: dict[str, str],
    *,
    subjects: int = 6,
    classes: int = 3,
    windows: int = 4,
    samples: int = 40,
    **declared: object,
) -> Path:
    """An array folder in HAROOD's axes (N, C, 1, T), and its declaration."""
    x, y = signals(channels, subjects=subjects, classes=classes, windows=windows, samples=samples)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "x.npy", x[:, :, None])
    np.save(folder / "y.npy", y)
    content: dict[str, object] = {
        "dataset": "made",
        "axes": "N C 1 T",
        "channels": channels,
        "rate_hz": 20,
        "columns": ["activity", "subject"],
        "classes": [f"activity{c}" for c in range(classes)],
        "gravity": "included",
        "normalised": "none",
    }
    (folder / "arrays.yaml").write_text(yaml.safe_dump({**content, **declared}, sort_keys=False))
    return folder
