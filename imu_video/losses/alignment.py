"""InfoNCE on similarities of segment sequences, robust to shift and tempo; the equation is in functional.alignment."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from imu_video.arguments import Positive, Temperature, Whole
from imu_video.losses.base import PairLoss, at_least_float32, full_precision, given, pair_stats
from imu_video.losses.contrastive import Scale
from imu_video.losses.functional import info_nce, warped_similarity, warps
from imu_video.registry import losses
from imu_video.runtime.distributed import gather_with_gradient, world
from imu_video.types import LossOutput, PairEmbeddings


@losses.register("segment_alignment")
class SegmentAlignment(PairLoss):
    """Symmetric InfoNCE whose similarity compares window and clip segment by segment, along the best warp.

    After the idea of C3T (arXiv 2407.16803); the equation is ours: `functional.warped_similarity`, then
    `functional.info_nce`. It tolerates a clock offset of up to ``max_shift`` segments and a wrong frame rate.

    Args:
        temperature: at least 0.01; 0.1.
        learned: train 1 / temperature.
        max_shift: largest shift between IMU and video in segments, at least 0; keep it below S / 2, otherwise the
            temporal order has no effect.
        dilations: candidate tempo ratios, each above 0; [1.0] allows shifts only.
        sharpness: above 0; small values select the best warp, large values average over all warps.

    Shapes: PairEmbeddings with segments of both sides (B, S, D) per rank -> scalar.

    Raises:
        ConfigError: an argument out of range.
        ValueError: segments that are not (B, S, D) of equal shape.

    Example:
        >>> z = torch.eye(4).reshape(2, 2, 4)
        >>> loss = SegmentAlignment(temperature=0.01, max_shift=0, dilations=(1.0,))
        >>> loss(PairEmbeddings(imu=z[:, 0], imu_segments=z, side_segments={"video": z})).total.item()
        0.0
    """

    needs = frozenset({"segments"})

    def __init__(
        self,
        *,
        temperature: Temperature = 0.1,
        learned: bool = False,
        max_shift: Whole = 1,
        dilations: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.75, 1.0, 1.25),
        sharpness: Positive = 0.1,
    ) -> None:
        super().__init__()
        self.max_shift, self.dilations, self.sharpness = max_shift, tuple(dilations), sharpness
        self.scale = Scale.of_temperature(temperature, learned=learned)

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        with full_precision(pair.imu):
            imu, video = at_least_float32(given(pair.imu_segments)), at_least_float32(given(pair.segments))
            if imu.ndim != 3 or imu.shape != video.shape:
                raise ValueError(
                    f"segments of both sides must both be (B, S, D): got {tuple(imu.shape)}, {tuple(video.shape)}"
                )
            # The number of segments is a property of the model, which the constructor of a loss does not receive.
            paths = warps(imu.shape[1], max_shift=self.max_shift, dilations=self.dilations).to(imu)
            forth = warped_similarity(imu, gather_with_gradient(video), paths, sharpness=self.sharpness)
            # Swapping the sequences transposes the paths: a pair has the same similarity in both directions.
            back = warped_similarity(video, gather_with_gradient(imu), paths.mT, sharpness=self.sharpness)
            rows = world().rows(forth.shape[1])
            positives = torch.arange(rows.start, rows.stop, device=imu.device)
            scale = self.scale()
            total = info_nce(scale * forth, scale * back, positives)
        stats = {**pair_stats(forth, positives), "scale": scale.detach()}
        return LossOutput(total=total, terms={"segment_alignment": total.detach()}, stats=stats)

    def observe(self, pair: PairEmbeddings) -> None:
        self.scale.clamp()
