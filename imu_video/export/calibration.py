"""Windows of recordings that calibrate and check an export; reads recordings and data folders, computes no features."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imu_video.bundle.encoder import EncoderBundle
from imu_video.errors import ConfigError
from imu_video.predict.sources import open_windows


def sample_windows(
    bundle: EncoderBundle, source: str | Path, *, count: int = 512, placement: str | None = None, seed: int = 0
) -> np.ndarray:
    """Draw windows of a source, with the channels and at the rate of an encoder.

    Args:
        bundle: encoder with its input specification.
        source: see `imu_video.predict.sources.open_windows`.
        count: largest number of windows, at least 2; each window of the source is equally likely.
        placement: only this device.
        seed: of the draw.

    Shapes: -> (N, C, T) float32 in the units of the specification, NaN = missing.

    Raises:
        RecordingError, ConfigError: as `open_windows`; or no window has a measured channel of the encoder.
    """
    if count < 2:
        raise ConfigError(f"windows to calibrate: expected at least 2, got {count}")
    draw = np.random.default_rng(seed)
    kept: list[tuple[float, np.ndarray]] = []
    for block in open_windows(source, bundle.spec, placement=placement):
        # The windows with the smallest of independent random numbers are a sample without replacement, and only they
        # are kept in memory.
        keys = draw.random(len(block))
        limit = kept[-1][0] if len(kept) == count else 1.0
        for row in np.flatnonzero(keys <= limit):
            kept.append((float(keys[row]), bundle.prepared(block.x[row : row + 1], block.channels, block.rate_hz)[0]))
        kept = sorted(kept, key=lambda pair: pair[0])[:count]
    x = np.stack([window for _, window in kept]) if kept else np.empty((0, len(bundle.spec.channels), 1), np.float32)
    x = x[np.isfinite(x).any(axis=(1, 2))]
    if len(x) < 2:
        raise ConfigError(
            f"{source}: {len(x)} windows with a channel of the encoder ({', '.join(bundle.spec.channels)}), "
            "expected at least 2",
            hint="name a longer recording or a data folder",
        )
    return x
