"""Input specification, encoder and windows that the tests of encoder folders share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.input_spec import InputSpec

STD = (9.8,) * 3 + (1.5,) * 3
ENCODER = {"name": "patch_tst", "width": 16, "layers": 2, "heads": 2, "ffn": 32}


def spec(**changes: Any) -> InputSpec:
    return InputSpec(**{"rate_hz": 50, "window_s": 2, "mean": (0.0,) * 6, "std": STD, **changes})


def bundle(seed: int = 0, **changes: Any) -> EncoderBundle:
    torch.manual_seed(seed)
    return EncoderBundle(spec=spec(**changes), encoder=ENCODER)


def motion(rows: int = 4, samples: int = 100, rate_hz: float = 50, seed: int = 0) -> np.ndarray:
    """Smooth wearable-like windows in SI units, band-limited to 5 Hz, the same motion at any rate."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / rate_hz
    out = np.zeros((rows, 6, samples), np.float32)
    for harmonic in (0.5, 1.0, 2.0, 5.0):
        amplitude, phase = rng.normal(0, 1, (rows, 6, 1)), rng.uniform(0, 2 * np.pi, (rows, 6, 1))
        out += amplitude * np.sin(2 * np.pi * harmonic * time + phase)
    out[:, 2] += 9.8
    return out
