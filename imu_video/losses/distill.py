"""Distillation within a batch: feature regression and relations; distillation with a queue is in queue.py."""

from __future__ import annotations

from typing import Literal

import torch

from imu_video.arguments import Positive
from imu_video.losses.base import PairLoss, at_least_float32, check_same_shape, full_precision, given, unit
from imu_video.losses.functional import feature_regression, relational
from imu_video.registry import losses
from imu_video.runtime.distributed import gather, gather_with_gradient, world
from imu_video.types import LossOutput, PairEmbeddings


@losses.register("feature_regression")
class FeatureRegression(PairLoss):
    """Regress the IMU embedding on the fixed video embedding (`functional.feature_regression`).

    The L2 baseline of Chen et al. 2025 (arXiv 2503.07259). The video side must have no trainable parameters.

    Args:
        measure: ``mse`` (mean over rows and dimensions) or ``cosine`` (1 - cosine, which is D / 2 times the ``mse``).

    Shapes: PairEmbeddings of (B, D) per rank -> scalar.

    Example:
        >>> z = torch.eye(4)
        >>> FeatureRegression(measure="cosine")(PairEmbeddings(imu=z, sides={"video": z.flip(0)})).total.item()
        1.0
    """

    fixed_target = True

    def __init__(self, *, measure: Literal["mse", "cosine"] = "mse") -> None:
        super().__init__()
        self.measure = measure

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        with full_precision(pair.imu):
            imu, video = at_least_float32(pair.imu), at_least_float32(given(pair.side)).detach()
            check_same_shape(imu=imu, video=video)
            total = feature_regression(imu, video, self.measure)
        stats = {"positive": (imu.detach() * video).sum(1).mean()}
        return LossOutput(total=total, terms={"feature_regression": total.detach()}, stats=stats)


@losses.register("relational")
class Relational(PairLoss):
    """Match the similarities between windows to those between their teacher features (`functional.relational`).

    ``kl`` after Passalis and Tefas 2018 (arXiv 1803.10837), ``mse`` after Tung and Mori 2019 (arXiv 1907.09682). It
    compares similarities only, so the widths D and Dt may differ and the teacher side needs no projector.

    Args:
        measure: ``kl`` (distributions over the batch) or ``mse`` (cosines).
        student_temperature, teacher_temperature: above 0; used by ``kl``.

    Shapes: PairEmbeddings with imu (B, D) and teacher (B, Dt) per rank -> scalar.

    Raises:
        ConfigError: a temperature that is not above 0.

    Example:
        >>> z = torch.eye(4)
        >>> Relational(student_temperature=0.1)(PairEmbeddings(imu=z, teacher=2 * z)).total.item()
        0.0
    """

    needs = frozenset({"teacher"})

    def __init__(
        self,
        *,
        measure: Literal["kl", "mse"] = "kl",
        student_temperature: Positive = 0.1,
        teacher_temperature: Positive = 0.1,
    ) -> None:
        super().__init__()
        self.measure = measure
        self.student_scale, self.teacher_scale = 1 / student_temperature, 1 / teacher_temperature

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        with full_precision(pair.imu):
            imu, teacher = at_least_float32(pair.imu), unit(given(pair.teacher))
            student = imu @ gather_with_gradient(imu).T
            target = teacher @ gather(teacher).T
            rows = world().rows(student.shape[1])
            own = torch.arange(rows.start, rows.stop, device=imu.device)
            # A window's similarity to itself is 1 on both sides. It would dominate the softmax and teach nothing.
            others = torch.ones_like(student, dtype=torch.bool).scatter_(1, own[:, None], False)
            total = relational(
                student,
                target,
                others,
                student_scale=self.student_scale,
                teacher_scale=self.teacher_scale,
                measure=self.measure,
            )
        gap = torch.where(others, (student.detach() - target).abs(), 0).sum() / others.sum().clamp(min=1)
        return LossOutput(total=total, terms={"relational": total.detach()}, stats={"difference": gap})
