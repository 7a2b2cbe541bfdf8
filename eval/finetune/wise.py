"""WiSE-FT: interpolates between a linear probe on a frozen encoder and the fine-tuned network; trains nothing.

    theta_alpha = (1 - alpha) theta_0 + alpha theta_1

theta_0 are the weights of the linear probe on the pretrained encoder, theta_1 those after fine-tuning from it (Wortsman
et al. 2022, arXiv 2109.01903). The head is trained first and then fine-tuned with the encoder (Kumar et al. 2022).
Alpha is selected on source subjects only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def interpolate(start: Mapping[str, Tensor], end: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """``(1 - alpha) start + alpha end``, tensor by tensor (Wortsman et al. 2022).

    Running statistics are interpolated like weights; integers (counters of batches) are taken from ``end``. For alpha 0
    and 1 the result has the same bits as the respective end.

    Args:
        start: state of the linear probe.
        end: state of the fine-tuned network, with the same names and shapes.
        alpha: 0 = start, 1 = end.

    Raises:
        ValueError: the states have different names or shapes.

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
    """Index of the best score; ties go to the smaller alpha, which is closer to the pretrained encoder.

    Args:
        alphas: grid in increasing order.
        scores: score of each alpha, on subjects whose results are not reported.

    Raises:
        ValueError: no alpha, or another number of scores.

    Example:
        >>> choose_alpha([0.0, 0.5, 1.0], [0.7, 0.9, 0.9])
        1
    """
    if len(alphas) != len(scores) or not len(scores):
        raise ValueError(
            f"expected one score per alpha and at least one, got {len(alphas)} alphas and {len(scores)} scores"
        )
    return max(range(len(scores)), key=lambda i: (scores[i], -alphas[i]))
