"""Learning rates as pure functions of the step, so that resuming needs no state; optimisers are in groups.py.

There are three variants of warm-up followed by a cosine, because published numbers and fingerprints depend on each to
the last bit: `learning_rate` (pretraining; the last step reaches ``min_lr``), `cosine_factor` (fine-tuning; zero would
be reached one step after the last) and `ramped_cosine` (the skeleton teacher; the ramp multiplies the cosine).
"""

from __future__ import annotations

import math
from typing import Literal

Decay = Literal["cosine", "linear", "constant"]
"""Shape of the learning rate after the warm-up."""
End = Literal["last", "after"]
"""Step at which a schedule reaches ``min_lr``: the last one, or the one after it, as torch's schedulers count."""


def learning_rate(
    step: int,
    *,
    steps: int,
    lr: float,
    min_lr: float = 0.0,
    warmup_fraction: float = 0.0,
    decay: Decay = "cosine",
    end: End = "last",
) -> float:
    """Linear warm-up to ``lr``, then half a cosine to ``min_lr`` at the last step (Loshchilov & Hutter 2017, eq. 5).

    With w = round(warmup_fraction * steps) warm-up steps: ``lr (s + 1) / (w + 1)`` for s < w, then
    ``min_lr + (lr - min_lr) (1 + cos(pi (s - w) / (steps - 1 - w))) / 2``; ``linear`` decreases linearly to ``min_lr``,
    ``constant`` stays at ``lr``. With ``end="after"`` and w = floor(warmup_fraction * steps): ``lr s / w`` for s < w,
    then the same curves over (s - w) / (steps - w), as the schedules of torch and of published training scripts.

    Args:
        step: s, 0 <= s < steps.
        steps: total number of optimiser steps of the run.
        lr: peak, > 0.
        min_lr: value of the last step, 0..lr.
        warmup_fraction: 0 <= share < 1.
        decay: shape after the warm-up.
        end: see `End`.

    Raises:
        ValueError: step outside the run.

    Example:
        >>> [round(learning_rate(s, steps=5, lr=1.0, warmup_fraction=0.2), 3) for s in range(5)]
        [0.5, 1.0, 0.75, 0.25, 0.0]
    """
    if not 0 <= step < steps:
        raise ValueError(f"step {step} is outside a run of {steps} steps")
    if end == "last":
        warmup = min(round(warmup_fraction * steps), steps - 1)
        rise, progress = (step + 1) / (warmup + 1), (step - warmup) / max(1, steps - 1 - warmup)
    else:
        warmup = int(warmup_fraction * steps)
        rise, progress = step / max(1, warmup), (step - warmup) / (steps - warmup)
    if step < warmup:
        return lr * rise
    if decay == "constant":
        return lr
    if decay == "linear":
        return lr + (min_lr - lr) * progress
    return min_lr + (lr - min_lr) * 0.5 * (1.0 + math.cos(math.pi * progress))


def cosine_factor(step: int, steps: int, warmup: float = 0.1) -> float:
    """Share of the peak learning rate: linear warm-up over a share of the steps, then a half cosine to zero.

    Args:
        step: 0 <= step <= steps.
        steps: total number of optimiser steps.
        warmup: share of the steps, 0..1; at least one step.

    Example:
        >>> [round(cosine_factor(s, 20), 2) for s in (0, 1, 2, 11, 20)]
        [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    warm = max(1, int(steps * warmup))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def ramped_cosine(step: int, *, steps: int, lr: float, ramp: int = 20) -> float:
    """A half cosine from ``lr`` to zero over all steps, times a linear ramp over the first ``1 / ramp`` of them.

    Args:
        step: 0 <= step < steps.
        steps: all optimiser steps.
        lr: peak, > 0; not reached exactly, because the cosine already decreases during the ramp.
        ramp: >= 1.

    Example:
        >>> [round(ramped_cosine(s, steps=40, lr=1.0), 3) for s in (0, 1, 2, 20, 39)]
        [0.5, 0.998, 0.994, 0.5, 0.002]
    """
    return lr * min(1.0, ramp * (step + 1) / steps) * (1 + math.cos(math.pi * step / steps)) / 2
