"""Several devices at once: distances between them, which serve as positives and negatives, and the contrast; pure.

Jain et al. 2022 (arXiv 2202.00758), ColloSSL, with similarities where the released code has their negative.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from imu_video.errors import ConfigError
from imu_video.types import GRAVITY

BANDWIDTHS: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1, 5, 10, 15, 20, 25, 30, 100)
"""The published kernel widths, each in the place of sigma^2."""

Unit = Literal["si_over_30", "g", "si"]
UNIT_SCALE: dict[str, float] = {"si_over_30": 1 / 30, "g": 1 / GRAVITY, "si": 1.0}
"""Factor applied to accelerations in m/s^2 before devices are compared, because the kernels have fixed widths."""

Policy = Literal[
    "closest_only",
    "closest_pos_all_neg",
    "closest_pos_rest_neg",
    "closest_pos_random_neg",
    "hard_negative",
    "harder_negative",
    "closest_two",
    "closest_two_reverse",
    "mid_selection",
    "random",
]
WeightScale = Literal["max", "mean1", "none"]

# Positives and negatives as ranks by distance from the anchor, nearest first, and the smallest number of other devices.
# A slice that goes beyond the last device is truncated.
_RANKS: dict[str, tuple[slice, slice, int]] = {
    "closest_only": (slice(0, 1), slice(0, 1), 1),
    "closest_pos_all_neg": (slice(0, 1), slice(0, None), 1),
    "closest_pos_rest_neg": (slice(0, 1), slice(1, None), 2),
    "closest_pos_random_neg": (slice(0, 1), slice(1, 2), 2),
    "hard_negative": (slice(0, 1), slice(1, 3), 3),
    "harder_negative": (slice(3, 4), slice(0, 2), 4),
    "closest_two": (slice(0, 1), slice(1, 2), 2),
    "closest_two_reverse": (slice(1, 2), slice(0, 1), 2),
    "mid_selection": (slice(1, 3), slice(3, None), 4),
    "random": (slice(0, 1), slice(0, None), 1),
}


def least_devices(policy: Policy) -> int:
    """Smallest number of devices for a policy, including the anchor.

    Example:
        >>> least_devices("closest_only"), least_devices("mid_selection")
        (2, 5)
    """
    return _RANKS[policy][2] + 1


def motion(devices: Tensor, *, unit: Unit = "si_over_30", on: Literal["norm", "axes"] = "norm") -> Tensor:
    """Curves by which devices are compared: the norm of the acceleration over time, or its three axes.

    Args:
        devices: (N, V, C, T) in SI units; the first three channels are the accelerometer's.
        unit: scale of the acceleration; the kernels saturate or flatten in other units.
        on: ``norm`` (one curve) or ``axes`` (three; distances are averaged).

    Shapes: -> (N, V, 1 or 3, T).
    """
    acceleration = devices[:, :, :3] * UNIT_SCALE[unit]
    return acceleration if on == "axes" else acceleration.square().sum(2, keepdim=True).sqrt()


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    # Explicit differences. |x|^2 + |y|^2 - 2xy loses digits to cancellation, and kernels of width 1e-4 would see noise.
    squared = (x[:, None] - y[None]).square().sum(-1)
    return torch.exp(-squared[..., None] / (2 * x.new_tensor(BANDWIDTHS))).sum(-1)


def mmd(x: Tensor, y: Tensor, valid: Tensor | None = None, *, unbiased: bool = False) -> Tensor:
    """Squared maximum mean discrepancy between two sets of curves.

    k(u, v) = sum over s of exp(-|u - v|^2 / (2 s)) with `BANDWIDTHS`. As published, the mean of k within each set
    includes k(u, u), which adds up to 24 / N; ``unbiased`` omits it (a U-statistic, which may be negative).

    Args:
        x, y: (N, T), each row one point.
        valid: (N,) bool, the rows that are used; None: all rows.
        unbiased: drop the diagonals.

    Shapes: -> () scalar; 0 for fewer than one (unbiased: two) valid rows.

    Example:
        >>> float(mmd(torch.zeros(4, 8), torch.zeros(4, 8)))
        0.0
    """
    weight = torch.ones_like(x[:, 0]) if valid is None else valid.to(x.dtype)
    pairs = weight[:, None] * weight
    within = pairs - torch.diag(weight) if unbiased else pairs
    inside = ((_kernel(x, x) + _kernel(y, y)) * within).sum() / within.sum().clamp(min=1)
    across = (_kernel(x, y) * pairs).sum() / pairs.sum().clamp(min=1)
    return torch.where(within.sum() > 0, inside - 2 * across, 0)


def device_distances(curves: Tensor, present: Tensor, *, unbiased: bool = False, floor: float = 1e-4) -> Tensor:
    """Pairwise distances between devices, computed from the moments at which both were worn.

    Args:
        curves: (N, V, A, T) of `motion`; distances are averaged over A.
        present: (N, V) bool.
        unbiased: see `mmd`.
        floor: smallest distance, > 0.

    Shapes: -> (V, V), symmetric, ``floor`` on the diagonal; infinite for two devices without a common moment (unbiased:
        with fewer than two), so that such a device is selected last.

    Example:
        >>> device_distances(torch.zeros(4, 2, 1, 8), torch.ones(4, 2).bool()).flatten().unique().numel()
        1
    """
    devices, axes = curves.shape[1:3]
    least = 2 if unbiased else 1
    out = curves.new_full((devices, devices), floor)
    for a in range(devices):
        for b in range(a):
            both = present[:, a] & present[:, b]
            each = [mmd(curves[:, a, x], curves[:, b, x], both, unbiased=unbiased) for x in range(axes)]
            near = torch.stack(each).mean().clamp(min=floor)
            out[a, b] = out[b, a] = torch.where(both.sum() >= least, near, math.inf)
    return out


def mean_distances(curves: Tensor, present: Tensor, *, rows: int, unbiased: bool = False, floor: float) -> Tensor:
    """`device_distances` for many moments: the weighted mean over pieces of at most ``rows`` moments.

    Pieces have equal lengths, and the weight of a piece for a pair of devices is the number of moments at which both
    were worn. A short last piece would otherwise distort the mean, because its biased estimate is far too high.

    Args:
        curves, present, unbiased, floor: see `device_distances`.
        rows: largest number of moments per piece, at least 2; time and memory grow with its square.

    Shapes: -> (V, V).

    Example:
        >>> mean_distances(torch.zeros(4, 2, 1, 8), torch.ones(4, 2).bool(), rows=2, floor=1e-4).unique().numel()
        1
    """
    pieces = -(-len(curves) // rows)
    total = curves.new_zeros(curves.shape[1], curves.shape[1])
    weight = torch.zeros_like(total)
    # tensor_split balances the lengths; split(rows) would leave the remainder as one short piece.
    for some, worn in zip(curves.tensor_split(pieces), present.tensor_split(pieces), strict=True):
        distance = device_distances(some, worn, unbiased=unbiased, floor=floor)
        together = worn.to(distance.dtype).T @ worn.to(distance.dtype) * distance.isfinite()
        # An infinite distance has weight 0, and 0 x inf would be NaN.
        total += together * distance.nan_to_num(posinf=0)
        weight += together
    mean = torch.where(weight > 0, total / weight, math.inf)
    return mean.fill_diagonal_(floor)


def scramble(keys: Tensor, *salts: Tensor | int) -> Tensor:
    """Pseudo-random int64 in [0, 2^31) as a function of keys and salts; distinct keys below 2^31 stay distinct.

    Integer arithmetic replaces a random generator: the result is the same on every rank and device and does not depend
    on the order of the rows.

    Example:
        >>> a, b = scramble(torch.arange(100), 1), scramble(torch.arange(100), 2)
        >>> len(set(a.tolist())), bool((a == b).any())
        (100, False)
    """
    mask = 2**31 - 1
    x = keys & mask
    for salt in (*salts, 0):
        x = x ^ ((salt * 0x9E3779B1 + 0x7F4A7C15) & mask)
        for factor in (0x45D9F3B, 0x2C1B3C6D):
            x = ((x ^ (x >> 16)) * factor) & mask
        x = x ^ (x >> 16)
    return x


def derangement(priorities: Tensor) -> Tensor:
    """A permutation without fixed points: each row maps to the next one by priority, the last to the first.

    Args:
        priorities: (N,) int64, random (`scramble`), N >= 2.

    Raises:
        ValueError: a single row, which has no other row to map to.

    Shapes: -> (N,) int64.

    Example:
        >>> derangement(torch.tensor([5, 1, 9])).tolist()
        [2, 0, 1]
    """
    if len(priorities) < 2:
        raise ValueError("asynchronous negatives need at least 2 windows in the global batch")
    order = priorities.argsort(stable=True)
    return torch.empty_like(order).scatter_(0, order, order.roll(-1))


def select_devices(distances: Tensor, policy: Policy, *, draw: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Positive and negative devices of an anchor.

    With d1, d2, ... the devices by increasing distance: closest_only P=N={d1}; closest_pos_all_neg P={d1}, N=all;
    closest_pos_rest_neg P={d1}, N={d2, ...}; closest_pos_random_neg P={d1}, N=one random device of {d2, ...};
    hard_negative P={d1}, N={d2, d3}; harder_negative P={d4}, N={d1, d2}; closest_two P={d1}, N={d2};
    closest_two_reverse P={d2}, N={d1}; mid_selection P={d2, d3}, N={d4, ...}; random P=one random device, N=all.

    Args:
        distances: (V - 1,) from the anchor to the others; ties are ordered by position.
        policy: one of the above.
        draw: (V - 1,) random priorities, for the two policies that sample at random.

    Returns:
        Positions of positives and negatives in ``distances``, int64.

    Raises:
        ConfigError: fewer devices than the policy requires.

    Example:
        >>> [x.tolist() for x in select_devices(torch.tensor([3.0, 1.0, 2.0]), "hard_negative")]
        [[1], [2, 0]]
    """
    positive, negative, _ = _RANKS[policy]
    if len(distances) + 1 < least_devices(policy):
        raise ConfigError(
            f"policy {policy!r} needs {least_devices(policy)} devices, the data has {len(distances) + 1}",
            hint="policy: closest_pos_all_neg works with 2",
        )
    # Stable sorting makes the choice among equal distances the same on every rank and device.
    order = distances.argsort(stable=True)
    if policy in ("random", "closest_pos_random_neg"):
        if draw is None:
            raise ValueError(f"policy {policy!r} samples devices at random: pass `draw`")
        if policy == "random":
            order = draw.argsort(stable=True)
        else:
            order = torch.cat([order[:1], order[1:][draw[order[1:]].argsort(stable=True)]])
    return order[positive], order[negative]


def device_weights(distances: Tensor, positives: int, scale: WeightScale = "max") -> Tensor:
    """Weights of the selected devices: 1 for positives, 1 / distance for negatives, then normalised.

    Args:
        distances: (M,) of the negatives, > 0.
        positives: number of positives.
        scale: ``max``: the largest weight becomes 1 (published); ``mean1``: the mean becomes 1; ``none``: no change.

    Shapes: -> (positives + M,).

    Example:
        >>> device_weights(torch.tensor([0.5, 1.0]), 1).tolist()
        [0.5, 1.0, 0.5]
    """
    weights = torch.cat([distances.new_ones(positives), 1 / distances])
    if scale == "none":
        return weights
    return weights / (weights.max() if scale == "max" else weights.mean())


def multiview_nce(positive: Tensor, negative: Tensor) -> Tensor:
    """Weighted contrastive loss of one anchor with several positives and negatives, per row.

    l_i = -log( sum_p w_p exp(cos_ip / t) / (sum_p w_p exp(cos_ip / t) + sum_n w_n exp(cos_in / t)) ).

    Args:
        positive: (B, P) cosine / temperature + log weight; -inf where a device was not worn; at least one
            finite value per row.
        negative: (B, M) the same for negatives.

    Shapes: -> (B,).

    Example:
        >>> round(multiview_nce(torch.zeros(1, 1), torch.zeros(1, 1)).item(), 4)
        0.6931
    """
    return torch.cat([positive, negative], dim=1).logsumexp(1) - positive.logsumexp(1)
