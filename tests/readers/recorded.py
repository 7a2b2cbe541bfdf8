"""The motion that the made files of devices contain."""

from __future__ import annotations

import numpy as np

RATE = 50
SAMPLES = 400
TIMES = np.arange(SAMPLES) / RATE
LOCAL_START = 1_580_560_205
"""2020-02-01 12:30:05 as if it were UTC."""


def motion() -> tuple[np.ndarray, np.ndarray]:
    """Acceleration in g and angular rate in deg/s, each (T, 3), distinct on every axis and of both signs."""
    acc = np.stack([np.sin(3 * TIMES), 0.5 * np.cos(2 * TIMES), 1 - 0.3 * np.sin(TIMES)], axis=-1)
    return acc, np.stack([90 * np.cos(3 * TIMES), -45 * np.sin(2 * TIMES), 30 * np.cos(TIMES)], axis=-1)
