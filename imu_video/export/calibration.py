"""Windows of recordings that calibrate and check an export; reads recordings and data folders, computes no features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imu_video.bundle.encoder import EncoderBundle
from imu_video.errors import ConfigError
from imu_video.predict.sources import open_windows


@dataclass(frozen=True, kw_only=True, eq=False)
class Sampled:
    """Windows of recordings.

    Args:
        x: (N, C, T) float32 in the units of the specification, NaN = missing.
        labels: (N,) names, empty where there is none.
        subjects: (N,) names.
    """

    x: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray


def sample_windows(
    bundle: EncoderBundle, source: str | Path, *, count: int = 512, placement: str | None = None, seed: int = 0
) -> Sampled:
    """Draw windows of a source, with the channels and at the rate of an encoder.

    Args:
        bundle: encoder with its input specification.
        source: see `imu_video.predict.sources.open_windows`.
        count: largest number of windows, at least 2; each window of the source is equally likely.
        placement: only this device.
        seed: of the draw.

    Raises:
        RecordingError, ConfigError: as `open_windows`; or no window has a measured channel of the encoder.
    """
    if count < 2:
        raise ConfigError(f"windows to calibrate: expected at least 2, got {count}")
    draw = np.random.default_rng(seed)
    kept: list[tuple[float, np.ndarray, str, str]] = []
    for block in open_windows(source, bundle.spec, placement=placement):
        # The windows with the smallest of independent random numbers are a sample without replacement, and only they
        # are kept in memory.
        keys = draw.random(len(block))
        limit = kept[-1][0] if len(kept) == count else 1.0
        for row in np.flatnonzero(keys <= limit):
            window = bundle.prepared(block.x[row : row + 1], block.channels, block.rate_hz)[0]
            if np.isfinite(window).any():
                words = (str(block.facts["label"][row]), str(block.facts["subject"][row]))
                kept.append((float(keys[row]), window, *words))
        kept = sorted(kept, key=lambda entry: entry[0])[:count]
    if len(kept) < 2:
        raise ConfigError(
            f"{source}: {len(kept)} windows with a channel of the encoder ({', '.join(bundle.spec.channels)}), "
            "expected at least 2",
            hint="name a longer recording or a data folder",
        )
    _, x, labels, subjects = zip(*kept, strict=True)
    return Sampled(x=np.stack(x), labels=np.array(labels), subjects=np.array(subjects))
