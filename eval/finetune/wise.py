"""WiSE-FT: weights between a linear probe on a frozen encoder and the network fine-tuned from it; nothing is trained.

    theta_alpha = (1 - alpha) theta_0 + alpha theta_1

theta_0 is the linear probe, theta_1 what fine-tuning makes of it, over all weights (Wortsman et al. 2022, arXiv
2109.01903; the head is probed first and then tuned along, Kumar et al. 2022). Alpha is chosen on source people only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import AfterValidator
from torch import Tensor

ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Places between probe (0) and fine-tuned network (1) that are looked at."""


def _grid(alphas: tuple[float, ...]) -> tuple[float, ...]:
    if list(alphas) != sorted(set(alphas)) or alphas[0] != 0 or alphas[-1] != 1:
        raise ValueError(f"alphas must rise from 0 to 1, both included, got {list(alphas)}")
    return alphas


Alphas = Annotated[tuple[float, ...], AfterValidator(_grid)]
"""A grid from 0 to 1: both ends are part of every curve."""


def interpolate(start: Mapping[str, Tensor], end: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """``(1 - alpha) start + alpha end``, tensor by tensor (Wortsman et al. 2022).

    Running statistics are interpolated like weights; whole numbers (counters of batches) are those of ``end``. Both
    ends come back in the same bits.

    Args:
        start: state of the linear probe.
        end: state of the fine-tuned network, of the same names and shapes.
        alpha: 0 = start, 1 = end.

    Raises:
        ValueError: states of different networks.

    Example:
        >>> a, b = {"w": torch.zeros(2), "n": torch.tensor(3)}, {"w": torch.ones(2), "n": torch.tensor(9)}
        >>> interpolate(a, b, 0.25)
        {'w': tensor([0.2500, 0.2500]), 'n': tensor(9)}
    """
    shapes = [{name: value.shape for name, value in state.items()} for state in (start, end)]
    if shapes[0] != shapes[1]:
        differing = sorted(k for k in {**shapes[0], **shapes[1]} if shapes[0].get(k) != shapes[1].get(k))
        raise ValueError(f"states of different networks: {differing[:5]}")
    return {
        name: torch.lerp(value, end[name], alpha) if value.is_floating_point() else end[name].clone()
        for name, value in start.items()
    }


def curve_tables(
    lines: Sequence[tuple[Sequence[str], Sequence[Sequence[float | None]], Sequence[float]]],
    *,
    names: Sequence[str],
    title: str,
) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, columns and rows: source against target at every alpha, a table a grid.

    Args:
        lines: of each row its names, its curve of (alpha, source, target), and the chosen alphas.
        names: titles of the columns of names.
        title: what the figures are.
    """
    out = []
    for grid in dict.fromkeys(tuple(alpha for alpha, *_ in curve) for _, curve, _ in lines):
        rows = []
        for own, curve, chosen in lines:
            if tuple(alpha for alpha, *_ in curve) == grid:
                cells = ["" if source is None else f"{source:.3f} / " for _, source, _ in curve]
                cells = [cell + f"{target:.3f}" for cell, (_, _, target) in zip(cells, curve, strict=True)]
                rows.append([*own, *cells, f"{sum(chosen) / len(chosen):.2f}" if chosen else ""])
        columns = [*names, *(f"{alpha:g}" for alpha in grid), "chosen (mean)"]
        out.append((f"{title} by alpha, 0 = linear probe, 1 = fine-tuned", columns, rows))
    return out


def choose_alpha(alphas: Sequence[float], scores: Sequence[float]) -> int:
    """Place of the best score in the grid; ties go to the smaller alpha, which is nearer to the pretrained encoder.

    Args:
        alphas: rising.
        scores: of each, on people that are not reported.

    Example:
        >>> choose_alpha([0.0, 0.5, 1.0], [0.7, 0.9, 0.9])
        1
    """
    if len(alphas) != len(scores) or not len(scores):
        raise ValueError(f"{len(alphas)} alphas, {len(scores)} scores")
    return max(range(len(scores)), key=lambda i: (scores[i], -alphas[i]))
