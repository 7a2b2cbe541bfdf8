"""Pooling of features over time to one vector per window, with a mask; encoders compute the features."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from imu_video.errors import ConfigError

Pooling = Literal["mean", "max", "mean_max", "last"]
"""``mean`` or ``max`` over time, both concatenated (``mean_max``), or the last step (of a recurrent network)."""


def pooled_width(pooling: Pooling, segments: int, token_dim: int) -> int:
    """E of `pool_tokens`.

    Raises:
        ConfigError: fewer than one segment, or several of ``last``.
    """
    if segments < 1 or (pooling == "last" and segments != 1):
        raise ConfigError(f"pooling {pooling!r}: segments must be at least 1 (exactly 1 with last), got {segments}")
    return token_dim * segments * (2 if pooling == "mean_max" else 1)


def pool_tokens(tokens: Tensor, valid: Tensor, *, pooling: Pooling = "mean", segments: int = 1) -> Tensor:
    """Pool over parts of equal length and concatenate the results, which keeps the temporal order.

    Args:
        tokens: (B, S, E').
        valid: (B, S) bool, False where no sample was measured; a row without any True is treated as all True, a part
            without any gives zeros.
        pooling: see `Pooling`.
        segments: number of parts G, at least 1; they overlap by a token where G does not divide S.

    Shapes: -> (B, E' * G), twice that for ``mean_max``.

    Example:
        >>> x = torch.tensor([[[1.0], [3.0], [5.0], [9.0]]])
        >>> pool_tokens(x, torch.tensor([[True, True, True, False]]), segments=2).tolist()
        [[2.0, 5.0]]
    """
    if pooling == "last":
        return tokens[:, -1]
    valid = (valid | ~valid.any(1, keepdim=True))[:, None]
    x = tokens.transpose(1, 2)
    if torch.compiler.is_exporting():
        return _pool_any_length(x, valid, pooling, segments)
    if segments == x.shape[2]:  # one token per part: the same values without the cost of pooling
        kept = torch.where(valid, x, 0).transpose(1, 2).flatten(1)
        return torch.cat([kept, kept], dim=1) if pooling == "mean_max" else kept
    # The mean of x over a part divided by the share of valid tokens is the mean over its valid tokens.
    count = F.adaptive_avg_pool1d(valid.to(x.dtype), segments)
    parts = []
    if pooling in ("mean", "mean_max"):
        parts.append(F.adaptive_avg_pool1d(torch.where(valid, x, 0), segments) / count.clamp(min=1e-6))
    if pooling in ("max", "mean_max"):
        lowest = torch.finfo(x.dtype).min
        highest = F.adaptive_max_pool1d(torch.where(valid, x, lowest), segments)
        parts.append(torch.where(count > 0, highest, 0))
    return torch.cat([part.transpose(1, 2).flatten(1) for part in parts], dim=1)


def valid_tokens(mask: Tensor, count: int) -> Tensor:
    """Whether each of ``count`` equal parts of a window has a measured sample. Shapes: (B, C, T) bool -> (B, count)."""
    return any_per_part(mask.any(1), count)


def any_per_part(measured: Tensor, count: int) -> Tensor:
    """Whether each of ``count`` equal parts has a True entry; parts as in adaptive pooling.

    Args:
        measured: (B, T) bool.
        count: S, number of parts; neighbours overlap by an entry where S does not divide T.

    Shapes: -> (B, S) bool.

    Example:
        >>> any_per_part(torch.tensor([[False, False, False, True, True]]), 2).tolist()
        [[False, True]]
    """
    first, after = part_bounds(measured.shape[1], count, device=measured.device)
    before = F.pad(measured.cumsum(1), (1, 0))  # True entries before each place
    return before[:, after] > before[:, first]


def part_bounds(length: int, parts: int, *, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """First place of each of ``parts`` equal parts, and the place after its last one, as in adaptive pooling.

    Example:
        >>> [bound.tolist() for bound in part_bounds(5, 2)]
        [[0, 2], [3, 5]]
    """
    place = torch.arange(parts, device=device)
    return place * length // parts, ((place + 1) * length + parts - 1) // parts


def _pool_any_length(x: Tensor, valid: Tensor, pooling: Pooling, segments: int) -> Tensor:
    """`pool_tokens` without adaptive pooling, which fixes the number of tokens of an exported program.

    Shapes: x (B, E', S), valid (B, 1, S) -> as `pool_tokens`.
    """
    first, after = part_bounds(x.shape[2], segments, device=x.device)
    place = torch.arange(x.shape[2], device=x.device)
    inside = (place >= first[:, None]) & (place < after[:, None])  # (G, S)
    taken = inside & valid  # (B, G, S)
    count = taken.sum(2)
    parts = []
    if pooling in ("mean", "mean_max"):
        total = torch.where(valid, x, 0) @ taken.to(x.dtype).transpose(1, 2)
        parts.append(total / count.clamp(min=1)[:, None])
    if pooling in ("max", "mean_max"):
        lowest = torch.finfo(x.dtype).min
        highest = torch.where(taken[:, None], x[:, :, None], lowest).amax(3)
        parts.append(torch.where(count[:, None] > 0, highest, 0))
    return torch.cat([part.transpose(1, 2).flatten(1) for part in parts], dim=1)
