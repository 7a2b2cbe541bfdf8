"""Contrastive equations on similarity rows: InfoNCE, sigmoid pairs, soft targets; hard negatives: negatives.py."""

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
    """Sigmoid pair loss: an independent binary classification of every pair.

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


def soft_target_cross_entropy(
    imu_to_video: Tensor, video_to_imu: Tensor, likeness: Tensor, column_normaliser: Tensor
) -> Tensor:
    """Cross-entropy with soft targets from the similarities within each modality.

    The loss of the IMU2CLIP baseline of Cheshmi et al. 2025 (arXiv 2507.13482). With A the mean of both intra-modal
    similarity matrices over the target temperature and P_ij = softmax_j(A_ij):
    L = mean_i 1/2 [ -sum_j P_ij log softmax_j(s_ij) - sum_j P_ji log softmax_j(s'_ij) ].

    Args:
        imu_to_video: (B, N) s, similarities of own IMU rows to all videos, already times the scale.
        video_to_imu: (B, N) s', similarities of own video rows to all IMU windows, already times the scale.
        likeness: (B, N) own rows of A, which is symmetric.
        column_normaliser: (N,) log sum_k exp(A_jk) of every row j of A.

    Shapes: -> () scalar.

    Example:
        >>> a = torch.zeros(2, 2)
        >>> round(float(soft_target_cross_entropy(a, a, a, a.logsumexp(1))), 4)
        0.6931
    """
    # The second target distribution is the softmax over a column of A. Because A is symmetric, a row minus the
    # normalisers of its columns gives it without the other ranks' rows.
    rows, columns = likeness.softmax(1), (likeness - column_normaliser).exp()
    forth = -(rows * imu_to_video.log_softmax(1)).sum(1)
    back = -(columns * video_to_imu.log_softmax(1)).sum(1)
    return 0.5 * (forth + back).mean()


def shared_text_nce(logits: Tensor, likeness: Tensor, there: Tensor) -> Tensor:
    """Cross-entropy of every row with all columns of the same text, or of a similar one, as its positives.

    InfoNCE with several positives, as in supervised contrast (Khosla et al. 2020, arXiv 2004.11362, equation 2) and in
    the alignment with activity texts of UniMTS (Zhang et al. 2024, arXiv 2410.19818). With the targets
    Q_ij = a_ij / sum_k a_ik over the columns that are there: l_i = -sum_j Q_ij log softmax_j(s_ij).

    Args:
        logits: (B, N) s, similarities already times the scale.
        likeness: (B, N) a >= 0: 1 for equal texts, 0 for other ones, or between for similar ones.
        there: (N,) bool, columns with a text; the others are no negatives.

    Shapes: -> (B,) l; 0 for a row without a positive.

    Example:
        >>> two = torch.tensor([[1.0, 1.0, 0.0]])
        >>> shared_text_nce(torch.zeros(1, 3), two, torch.ones(3, dtype=torch.bool)).tolist()
        [1.0986123085021973]
    """
    weight = torch.where(there, likeness, 0)
    targets = weight / weight.sum(1, keepdim=True).clamp(min=1e-12)
    # A row of a batch without any text has no column: the logits stay finite, and its targets are zero.
    logits = logits.masked_fill(~there & there.any(), -torch.inf)
    return -torch.where(targets > 0, targets * logits.log_softmax(1), 0).sum(1)
