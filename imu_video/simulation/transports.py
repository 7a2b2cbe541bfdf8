"""Time stamps as radio links and loggers make them, with the true times; what the samples measure is not simulated."""

from __future__ import annotations

from typing import Literal

import numpy as np

Delays = Literal["two-sided", "one-sided"]


def transport(
    generator: np.random.Generator,
    *,
    rate_hz: float = 50.0,
    seconds: float = 300.0,
    packet: int = 1,
    loss: float = 0.0,
    jitter_s: float = 0.0,
    delays: Delays = "two-sided",
    drift_ppm: float = 0.0,
    resolution_s: float = 0.001,
    start_s: float = 1.7e9,
) -> tuple[np.ndarray, np.ndarray]:
    """Stamps that a receiver writes, and the times at which the samples were taken.

    A packet is stamped when its last sample has been taken, plus a delay; all of its samples carry that stamp.

    Args:
        generator: random state.
        rate_hz: nominal rate of the device.
        seconds: length of the recording.
        packet: samples per packet.
        loss: fraction of packets that are lost, 0 to 0.5.
        jitter_s: standard deviation of normal (``two-sided``) or mean of exponential (``one-sided``) delays.
        delays: kind of the delays.
        drift_ppm: by how many millionths the device's period is longer than nominal.
        resolution_s: resolution of the stamps: rounded up to 0.1 s, cut off from 0.1 s on (whole seconds).
        start_s: time of the first sample, up to a random second.

    Returns:
        (T,) stamps and (T,) true times in seconds, without the samples that were lost.

    Example:
        >>> stamps, times = transport(np.random.default_rng(0), packet=64, seconds=12.8)
        >>> len(np.unique(stamps)), bool(np.all(stamps >= times - 0.001))
        (10, True)
    """
    count = int(seconds * rate_hz)
    times = start_s + generator.uniform(0, 1) + np.arange(count) * (1 + 1e-6 * drift_ppm) / rate_hz
    number = np.arange(count) // packet
    packets = int(number[-1]) + 1
    kept = generator.random(packets) >= loss
    kept[[0, -1]] = True
    late = generator.normal(0, jitter_s, packets) if delays == "two-sided" else generator.exponential(jitter_s, packets)
    sent = times[np.minimum((np.arange(packets) + 1) * packet - 1, count - 1)] + late
    stamps = sent[number]
    if resolution_s >= 0.1:
        stamps = np.floor(stamps / resolution_s) * resolution_s
    else:
        stamps = np.round(stamps / resolution_s) * resolution_s
    there = kept[number]
    return stamps[there], times[there]
