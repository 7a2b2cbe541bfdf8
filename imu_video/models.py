"""The model that is trained: student and projectors into one embedding space; it holds no loss and no teacher."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imu_video.errors import ConfigError
from imu_video.hub import EncoderBundle
from imu_video.types import PairBatch, PairEmbeddings


class ProjectionHead(nn.Module):
    """Maps features to an embedding (before normalisation) through one residual block.

    Cheshmi et al. 2025 (arXiv 2507.13482): a = W1 z + b1; h = W2 GELU(a) + b2; LayerNorm(Dropout(h) + a). The residual
    comes from the first map's output, not from z.

    Args:
        width: E, features in.
        dim: D, embedding width, 1 or more.
        dropout: in [0, 1); the paper uses 0.1. Non-zero values draw from torch's global generator, per rank.

    Shapes: (..., E) -> (..., D).

    Example:
        >>> ProjectionHead(width=768, dim=512)(torch.zeros(2, 768)).shape
        torch.Size([2, 512])
    """

    def __init__(self, *, width: int, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        if dim < 1 or not 0 <= dropout < 1:
            raise ConfigError(f"projection head: dim must be at least 1, dropout in [0, 1); got {dim=}, {dropout=}")
        self.first = nn.Linear(width, dim)
        self.second = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        a = self.first(features)
        out: Tensor = self.norm(self.dropout(self.second(F.gelu(a))) + a)
        return out


class CrossModalModel(nn.Module):
    """Student and teacher features to unit-norm embeddings in one space.

    Args:
        student: the encoder that will be exported, with its input specification.
        teacher_dim: Dt, width of the frozen teacher's features.
        dim: D, embedding width; the paper uses 512.
        video_projector: ``mlp`` (a ProjectionHead), ``linear``, or ``none``: teacher features are only normalised,
            which needs dim = teacher_dim and leaves nothing trainable on the teacher's side (for distillation).
        dropout: of the projection heads, in [0, 1); the paper uses 0.1.
        teacher_mean, teacher_std: (Dt,) statistics of the teacher's features over the training split; features are
            standardised with them before the projector. None: used as they are.

    Raises:
        ConfigError: dimensions that do not fit together.

    Example:
        ``CrossModalModel(student=EncoderBundle(spec=spec, encoder="patch_tst"), teacher_dim=1280)``
    """

    teacher_mean: Tensor
    teacher_std: Tensor

    def __init__(
        self,
        *,
        student: EncoderBundle,
        teacher_dim: int,
        dim: int = 128,
        video_projector: Literal["mlp", "linear", "none"] = "mlp",
        dropout: float = 0.0,
        teacher_mean: np.ndarray | Tensor | None = None,
        teacher_std: np.ndarray | Tensor | None = None,
    ) -> None:
        super().__init__()
        if video_projector == "none" and dim != teacher_dim:
            raise ConfigError(
                f"video_projector 'none' needs dim = the teacher's width: dim is {dim}, the teacher has {teacher_dim}",
                hint=f"set dim={teacher_dim}, project the teacher (pca, orthogonal) when embedding, or use 'linear'",
            )
        self.teacher_dim = teacher_dim
        self.student = student
        self.imu_projector = ProjectionHead(width=student.feature_dim, dim=dim, dropout=dropout)
        self.video_projector: nn.Module
        if video_projector == "mlp":
            self.video_projector = ProjectionHead(width=teacher_dim, dim=dim, dropout=dropout)
        elif video_projector == "linear":
            self.video_projector = nn.Linear(teacher_dim, dim)
        else:
            self.video_projector = nn.Identity()
        mean = _statistic("teacher_mean", teacher_mean, teacher_dim, 0.0)
        std = _statistic("teacher_std", teacher_std, teacher_dim, 1.0)
        self.register_buffer("teacher_mean", mean)
        # A feature that never varies in training carries nothing; a floor keeps it from exploding elsewhere.
        self.register_buffer("teacher_std", std.clamp(min=max(1e-3 * float(std.max()), 1e-8)))

    def forward(self, batch: PairBatch) -> PairEmbeddings:
        """Embeddings of one rank's rows, gradients flowing to student and projectors.

        Raises:
            ValueError: a batch without teacher features.
        """
        if batch.teacher is None:
            raise ValueError("the batch has no teacher features: this model pairs windows with a teacher")
        return PairEmbeddings(
            imu=self.embed_imu(batch.imu, batch.mask), video=self.embed_teacher(batch.teacher), meta=batch.meta
        )

    def embed_imu(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Unit-norm (B, D) float32 of windows (B, C, T) in SI units."""
        return F.normalize(self.imu_projector(self.student(imu, mask)).float(), dim=-1)

    def embed_teacher(self, teacher: Tensor) -> Tensor:
        """Unit-norm (B, D) float32 of teacher features (B, Dt)."""
        if teacher.shape[-1] != self.teacher_dim:
            raise ValueError(f"teacher features have shape {tuple(teacher.shape)}, expected (B, Dt={self.teacher_dim})")
        standardised = (teacher.float() - self.teacher_mean) / self.teacher_std
        return F.normalize(self.video_projector(standardised).float(), dim=-1)


def _statistic(name: str, values: np.ndarray | Tensor | None, width: int, default: float) -> Tensor:
    if values is None:
        return torch.full((width,), default)
    tensor = torch.as_tensor(values, dtype=torch.float32)
    if tensor.shape != (width,) or not bool(tensor.isfinite().all()):
        raise ConfigError(f"{name} must be {width} finite numbers, got shape {tuple(tensor.shape)}")
    return tensor.clone()
