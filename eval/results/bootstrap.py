"""Bootstrap intervals over subjects: their settings, and one call with a generator of its own."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from imu_video.config import Config
from imu_video.metrics.stats import Interval, hierarchical_bootstrap_many


class Bootstrap(Config):
    """Bootstrap intervals: number of resamples, nominal coverage, seed."""

    resamples: int = Field(default=4000, ge=100)
    level: float = Field(default=0.95, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)


def bootstrap(stack: np.ndarray, config: Bootstrap) -> list[Interval]:
    """Intervals of figures (K, S, E) that share their cells, from a generator seeded by the config."""
    return hierarchical_bootstrap_many(
        stack,
        generator=np.random.default_rng(config.seed),
        resamples=config.resamples,
        level=config.level,
    )
