"""Repaired clocks against the true ones on simulated transports: packet length, loss, jitter and drift.

    python benchmarks/bench_clocks.py            # the table of docs/trust.md, a minute on one core
    python benchmarks/bench_clocks.py --seeds 1

Each cell is the largest error in milliseconds of any sample over all seeds and drifts of -200, 0 and 200 ppm, in 300 s
at 50 Hz with stamps in milliseconds. In the rows of single samples it is the error that 99 % of the samples stay below:
jitter can hide which of two neighbouring samples was lost.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import numpy as np

from imu_video.recordings.timestamps import repair_times
from imu_video.simulation.transports import Delays, transport

PACKETS = (1, 5, 10, 25, 64, 256)
JITTERS: tuple[tuple[float, Delays], ...] = (
    (0.0, "two-sided"),
    (0.004, "two-sided"),
    (0.004, "one-sided"),
    (0.02, "two-sided"),
    (0.02, "one-sided"),
)
LOSSES = (0.0, 0.02, 0.1)
DRIFTS = (-200.0, 0.0, 200.0)
TICKS = (1.0, 60.0)
RATES = (30.0, 51.2, 102.4)


def error_ms(*, seeds: Sequence[int], drifts: Sequence[float] = DRIFTS, whole: bool = True, **how: object) -> float:
    """The largest error over seeds and drifts, or that of 99 % of the samples, in milliseconds."""
    worst = 0.0
    for seed in seeds:
        for drift in drifts:
            stamps, times = transport(np.random.default_rng(seed), drift_ppm=drift, **how)  # type: ignore[arg-type]
            errors = np.abs(repair_times(stamps, max_move_s=60.0)[0] - times)
            worst = max(worst, float(errors.max() if whole else np.quantile(errors, 0.99)))
    return 1e3 * worst


def rows(seeds: Sequence[int]) -> Iterator[str]:
    """The table, line by line."""
    losses = " | ".join(f"loss {loss:.0%}" for loss in LOSSES)
    yield f"| samples per packet | delay | {losses} |"
    yield "|---|---|" + "---|" * len(LOSSES)
    for packet in PACKETS:
        for jitter, delays in JITTERS:
            cells = [
                error_ms(seeds=seeds, packet=packet, loss=loss, jitter_s=jitter, delays=delays, whole=packet > 1)
                for loss in LOSSES
            ]
            how = f"{1e3 * jitter:.0f} ms, {delays}" if jitter else "none"
            yield f"| {packet} | {how} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |"


def ticks(seeds: Sequence[int]) -> Iterator[str]:
    """The table of coarse clocks."""
    yield "| resolution | " + " | ".join(f"{rate:g} Hz" for rate in RATES) + " |"
    yield "|---|" + "---|" * len(RATES)
    for tick in TICKS:
        cells = [
            error_ms(
                seeds=seeds, drifts=(-200.0, 200.0), rate_hz=rate, resolution_s=tick, seconds=max(300.0, 10 * tick)
            )
            for rate in RATES
        ]
        yield f"| {tick:g} s | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Errors of repaired clocks on simulated transports.")
    parser.add_argument("--seeds", type=int, default=3, help="recordings per cell and drift")
    seeds = range(parser.parse_args().seeds)
    for line in (*rows(seeds), "", *ticks(seeds)):
        print(line)


if __name__ == "__main__":
    main()
