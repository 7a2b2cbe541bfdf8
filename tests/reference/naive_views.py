"""Slow twins of pairs of devices and of views of windows: loops over rows, axes and samples; the draws are given."""

from __future__ import annotations

import math
from collections.abc import Sequence


def second_device(present: Sequence[bool], first: int, draw: float) -> int:
    """Another device by one draw in [0, 1): the k-th of those besides the first; the first where it is alone."""
    others = [place for place, there in enumerate(present) if there and place != first]
    return others[int(draw * len(others))] if others else first


def crop(mask: Sequence[Sequence[bool]], length: float, place: float, min_fraction: float) -> list[list[bool]]:
    """Mask (C, T) of a window of which one stretch is kept: a sample counts where its middle lies in the stretch.

    Args:
        mask: measured samples.
        length: draw of the length, in [0, 1].
        place: draw of the place, in [0, 1].
        min_fraction: smallest share of the window.
    """
    samples = len(mask[0])
    kept = (min_fraction + (1 - min_fraction) * length) * samples
    start = place * (samples - kept)
    out = [[m and start <= t + 0.5 < start + kept for t, m in enumerate(row)] for row in mask]
    return out if any(map(any, out)) else [list(row) for row in mask]


def about_gravity(window: Sequence[Sequence[float]], angle: float) -> list[list[float]]:
    """Accelerations and angular rates (6, T), rotated about the mean acceleration by Rodrigues' formula.

    ``x cos a + (k x x) sin a + k (k . x) (1 - cos a)`` with the unit vector k of the mean acceleration.
    """
    samples = len(window[0])
    mean = [sum(row) / samples for row in window[:3]]
    size = math.sqrt(sum(m * m for m in mean))
    k = [m / size for m in mean]
    out = [[0.0] * samples for _ in range(6)]
    for first in (0, 3):
        for t in range(samples):
            x = [window[first + i][t] for i in range(3)]
            along = sum(a * b for a, b in zip(k, x, strict=True))
            for i in range(3):
                j, m = (i + 1) % 3, (i + 2) % 3
                across = k[j] * x[m] - k[m] * x[j]
                out[first + i][t] = (
                    x[i] * math.cos(angle) + across * math.sin(angle) + k[i] * along * (1 - math.cos(angle))
                )
    return out
