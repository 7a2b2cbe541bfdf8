"""Similarity of two sequences of segment embeddings that is robust to shift and tempo; pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from imu_video.errors import ConfigError


def warps(segments: int, *, max_shift: int, dilations: Sequence[float]) -> Tensor:
    """All paths t(s) = round(c + a (s - c) + d) through S segments, c their centre, as matrices that average over them.

    Args:
        segments: S >= 1.
        max_shift: largest |d| in segments, >= 0.
        dilations: every a, > 0; 1 is the same tempo.

    Returns:
        (W, S, S); entry (w, s, t) is 1 / n where path w, of n segments, meets segment t of the clip at segment s of the
        window. A path that has less than half of the segments in common is left out, equal ones count once.

    Raises:
        ConfigError: no path is left.

    Example:
        >>> warps(2, max_shift=1, dilations=[1.0]).tolist()
        [[[0.0, 0.0], [1.0, 0.0]], [[0.5, 0.0], [0.0, 0.5]], [[0.0, 1.0], [0.0, 0.0]]]
    """
    centre = (segments - 1) / 2
    paths: list[list[int]] = []  # target of each segment s; -1 outside the clip
    for dilation in dilations:
        for shift in range(-max_shift, max_shift + 1):
            # Halves round up. round() would round them to even segments, which makes a shift depend on parity.
            path = [int((centre + dilation * (s - centre) + shift + 0.5) // 1) for s in range(segments)]
            path = [t if 0 <= t < segments else -1 for t in path]
            if 2 * sum(t >= 0 for t in path) >= segments and path not in paths:
                paths.append(path)
    if not paths:
        raise ConfigError(
            f"no warp of {segments} segments with dilations {list(dilations)} and shifts up to {max_shift} has half of "
            "them in common",
            hint="dilations: [0.75, 1.0, 1.25]",
        )
    there = torch.tensor(paths)
    met = (there[:, :, None] == torch.arange(segments)).float()
    return met / met.sum((1, 2), keepdim=True)


def warped_similarity(imu: Tensor, video: Tensor, paths: Tensor, *, sharpness: float) -> Tensor:
    """Similarity of every window to every clip along the path that fits best, softly.

    Ours, after the idea of C3T (arXiv 2407.16803) that windows and clips be compared segment by segment: with m_w the
    mean cosine along path w, a_ij = g (log sum_w exp(m_w / g) - log W). g -> 0 takes the best path, large g the mean of
    all; one path that follows the diagonal gives the mean cosine of simultaneous segments.

    Args:
        imu: (B, S, D) unit norm.
        video: (N, S, D) unit norm.
        paths: (W, S, S) of `warps`.
        sharpness: g > 0; 0.1 is near the best path.

    Shapes: -> (B, N), within -1 to 1.

    Example:
        >>> z = torch.eye(3)[None]
        >>> warped_similarity(z, z, warps(3, max_shift=0, dilations=[1.0]), sharpness=0.1).item()
        1.0
    """
    count, segments, _ = paths.shape
    cosines = torch.einsum("isd,jtd->ijst", imu, video).flatten(2)
    along = cosines @ paths.to(cosines).reshape(count, segments * segments).T
    score: Tensor = sharpness * ((along / sharpness).logsumexp(2) - torch.tensor(float(count)).log().item())
    return score
