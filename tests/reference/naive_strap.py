"""Slow twins of the equations of `simulation.strap`: fixed small steps in plain Python, one sample at a time."""

from __future__ import annotations

import itertools
import math


def oscillator(drive: list[float], *, hz: float, damping: float, rate_hz: float, steps: int = 200) -> list[list[float]]:
    """Displacement and velocity under ``u'' + 2 d w u' + w^2 u = drive(t)``, drive linear between samples.

    Classical Runge-Kutta of fourth order with ``steps`` steps per sample, from the steady state of the first sample.
    """
    w = 2 * math.pi * hz
    h = 1 / rate_hz / steps
    u, v = drive[0] / w**2, 0.0
    out = [[u, v]]
    for before, after in itertools.pairwise(drive):
        for k in range(steps):

            def push(u: float, v: float, at: float, before: float = before, after: float = after) -> float:
                return before + (after - before) * at - 2 * damping * w * v - w**2 * u

            at = k / steps
            half, whole = at + 0.5 / steps, at + 1 / steps
            a1 = push(u, v, at)
            v2 = v + h / 2 * a1
            a2 = push(u + h / 2 * v, v2, half)
            v3 = v + h / 2 * a2
            a3 = push(u + h / 2 * v2, v3, half)
            v4 = v + h * a3
            a4 = push(u + h * v3, v4, whole)
            u += h / 6 * (v + 2 * v2 + 2 * v3 + v4)
            v += h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
        out.append([u, v])
    return out


def acceleration(base: list[float], *, hz: float, damping: float, rate_hz: float) -> list[float]:
    """Acceleration of a mass on a base with this acceleration: ``-2 d w u' - w^2 u``."""
    w = 2 * math.pi * hz
    path = oscillator([-a for a in base], hz=hz, damping=damping, rate_hz=rate_hz)
    return [-2 * damping * w * v - w**2 * u for u, v in path]
