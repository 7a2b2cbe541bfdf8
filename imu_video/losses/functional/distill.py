"""Distillation equations: distributions over a queue, features, relations in a batch; queues are in queue.py."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor


def queue_distill(student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
    """Cross-entropy of the student's distribution over keys towards the teacher's.

    Chen et al. 2025 (arXiv 2503.07259), after Fang et al. 2021 (arXiv 2101.04731): with p_T and p_S the softmax over
    keys k of the logits, L = -(1/B) sum_i sum_k sg(p_T(i,k)) log p_S(i,k). It is never below the entropy of p_T.

    Args:
        student: (B, K) logits, student embedding . key / student temperature.
        teacher: (B, K) logits, teacher embedding . key / teacher temperature; no gradient passes.
        valid: (K,) or (B, K) bool, the keys that exist.

    Shapes: -> () scalar; a row without keys costs 0.

    Example:
        >>> z = torch.zeros(1, 2)
        >>> round(float(queue_distill(z, z, torch.ones(2).bool())), 4)
        0.6931
    """
    valid = valid.expand(student.shape)
    # A softmax over no keys is NaN. Rows without a valid key use all keys here and are set to 0 in the last line.
    some = valid.any(1, keepdim=True) if valid.shape[1] else valid.new_zeros((len(valid), 1))
    closed = ~valid & some
    target = teacher.detach().masked_fill(closed, -math.inf).softmax(1)
    log_student = student.masked_fill(closed, -math.inf).log_softmax(1)
    # The target is 0 where the logarithm is -inf, and 0 x -inf would be NaN.
    cost = -(target * torch.where(closed, 0, log_student)).sum(1)
    return torch.where(some[:, 0], cost, 0).mean()


def feature_regression(imu: Tensor, video: Tensor, measure: Literal["mse", "cosine"] = "mse") -> Tensor:
    """Distance of unit-norm embeddings to their fixed targets.

    ``mse``: mean over rows and dimensions of (z - v)^2, the L2 baseline of Chen et al. 2025 (arXiv 2503.07259);
    ``cosine``: mean over rows of 1 - z . v, which is D / 2 times that.

    Shapes: (B, D), (B, D) -> () scalar.

    Example:
        >>> float(feature_regression(torch.eye(2), torch.eye(2).flip(0))), float(
        ...     feature_regression(torch.eye(2), torch.eye(2).flip(0), "cosine"))
        (1.0, 1.0)
    """
    if measure == "mse":
        return (imu - video.detach()).square().mean()
    return (1 - (imu * video.detach()).sum(1)).mean()


def relational(
    student: Tensor,
    teacher: Tensor,
    others: Tensor,
    *,
    student_scale: float,
    teacher_scale: float,
    measure: Literal["kl", "mse"] = "kl",
) -> Tensor:
    """Difference between the similarities of student and teacher to the other windows of the batch.

    ``kl``: mean over rows of KL(p_T || p_S), softmax over the others (Passalis and Tefas 2018, arXiv 1803.10837);
    ``mse``: mean over pairs of (student - teacher)^2 on cosines (Tung and Mori 2019, arXiv 1907.09682, unnormalised).

    Args:
        student, teacher: (B, N) cosines of own rows to all; no gradient to the teacher's.
        others: (B, N) bool, False at a window itself.
        student_scale, teacher_scale: 1 / temperature, for ``kl``.
        measure: ``kl`` or ``mse``.

    Shapes: -> () scalar, 0 for a batch of one window.

    Example:
        >>> c = torch.rand(3, 3)
        >>> float(relational(c, c, ~torch.eye(3).bool(), student_scale=1.0, teacher_scale=1.0, measure="mse"))
        0.0
    """
    teacher = teacher.detach()
    if measure == "mse":
        return torch.where(others, (student - teacher).square(), 0).sum() / others.sum().clamp(min=1)
    target = queue_distill(teacher_scale * teacher, teacher_scale * teacher, others)  # the teacher's entropy
    return queue_distill(student_scale * student, teacher_scale * teacher, others) - target
