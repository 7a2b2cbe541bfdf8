"""WiSE-FT: weights between a linear probe on a frozen encoder and the network fine-tuned from it; nothing is trained.

    theta_alpha = (1 - alpha) theta_0 + alpha theta_1

theta_0 is the linear probe, theta_1 what fine-tuning makes of it, over all weights (Wortsman et al. 2022, arXiv
2109.01903; the head is probed first and then tuned along, Kumar et al. 2022). Alpha is chosen on source people only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


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
