"""Loss equations as pure functions of similarity rows; no state, no ranks, no logging: the modules own those.

A rank holds some rows of a similarity matrix and all of its columns. Each function is the mean over the given rows,
so the mean over equally large ranks is the loss of the whole batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(imu_to_video: Tensor, video_to_imu: Tensor, positives: Tensor) -> Tensor:
    """Symmetric InfoNCE: cross-entropy of the positive among all columns, both directions averaged.

    van den Oord et al. 2018 (arXiv 1807.03748), symmetric as in Radford et al. 2021 (arXiv 2103.00020):
    L = 1/2 mean_i [ -log softmax_j(s_ij)_p(i) ] + 1/2 mean_i [ -log softmax_j(s'_ij)_p(i) ].

    Args:
        imu_to_video: (B, N) similarities of own IMU rows to all videos, already times the scale.
        video_to_imu: (B, N) similarities of own video rows to all IMU windows, already times the scale.
        positives: (B,) int64, the column that belongs to each row.

    Shapes: -> () scalar.

    Example:
        >>> round(float(info_nce(torch.zeros(4, 4), torch.zeros(4, 4), torch.arange(4))), 4)
        1.3863
    """
    return 0.5 * (F.cross_entropy(imu_to_video, positives) + F.cross_entropy(video_to_imu, positives))


def sigmoid_pair(logits: Tensor, positives: Tensor) -> Tensor:
    """Sigmoid pair loss: every pair is its own yes-or-no question.

    Zhai et al. 2023 (arXiv 2303.15343), as used by Cheshmi et al. 2025 (arXiv 2507.13482): with y_ij = +1 for a pair
    that belongs together and -1 otherwise, L = -(1/n) sum_i sum_j log sigmoid(y_ij s_ij) over the n rows.

    Args:
        logits: (B, N) s_ij = scale * cosine + bias.
        positives: (B,) int64, the column that belongs to each row.

    Shapes: -> () scalar.

    Example:
        >>> round(float(sigmoid_pair(torch.zeros(2, 2), torch.arange(2))), 4)
        1.3863
    """
    sign = torch.full_like(logits, -1.0)
    sign.scatter_(1, positives[:, None], 1.0)
    return -F.logsigmoid(sign * logits).sum() / len(logits)
