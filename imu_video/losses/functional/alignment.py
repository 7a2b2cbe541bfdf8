"""Similarity of two sequences of segment embeddings that is robust to shift and tempo; pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from imu_video.errors import ConfigError


def warps(segments: int, *, max_shift: int, dilations: Sequence[float]) -> Tensor:
    """Averaging matrices of all paths t(s) = round(c + a (s - c) + d) through S segments with centre c.

    Args:
        segments: S >= 1.
        max_shift: largest |d| in segments, >= 0.
        dilations: values of a, each > 0; 1 is the same tempo.

    Returns:
        (W, S, S); entry (w, s, t) is 1 / n where path w, of n segments, pairs segment s of the window with segment t of
        the clip. Paths with fewer than S / 2 pairs are dropped, and duplicates are removed.

    Raises:
        ConfigError: no path remains.

    Example:
        >>> warps(2, max_shift=1, dilations=[1.0]).tolist()
        [[[0.0, 0.0], [1.0, 0.0]], [[0.5, 0.0], [0.0, 0.5]], [[0.0, 1.0], [0.0, 0.0]]]
    """
    centre = (segments - 1) / 2
    paths: list[list[int]] = []  # target of each segment s; -1 outside the clip
    for dilation in dilations:
        for shift in range(-max_shift, max_shift + 1):
            # Halves are rounded up. round() rounds them to the even neighbour, so a shift would depend on parity.
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
    """Soft maximum over paths of the similarity between every window and every clip.

    Ours, after the idea of C3T (arXiv 2407.16803) of comparing windows and clips segment by segment: with m_w the mean
    cosine along path w, a_ij = g (log sum_w exp(m_w / g) - log W). g -> 0 gives the best path, large g the mean over
    all paths; a single path along the diagonal gives the mean cosine of simultaneous segments.

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
    # Without log W the score would grow with the number of paths and could exceed 1.
    score: Tensor = sharpness * ((along / sharpness).logsumexp(2) - torch.tensor(float(count)).log().item())
    return score
