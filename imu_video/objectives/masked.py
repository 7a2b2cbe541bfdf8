"""Reconstruction of masked patches from the rest of a window; encoders are in `imu_video.encoders`."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import InsideUnit
from imu_video.bundle.encoder import EncoderBundle
from imu_video.encoders.base import masked_mean
from imu_video.errors import ConfigError
from imu_video.objectives.base import Objective
from imu_video.registry import objectives
from imu_video.runtime.distributed import GlobalDraws, gather, world
from imu_video.types import LossOutput, PairBatch


@objectives.register("masked_patches")
class MaskedPatches(Objective):
    """Mask random patches of each channel and predict their samples (Nie et al. 2023, section 3.2).

    The self-supervised PatchTST of arXiv 2211.14730, and the IMU-only baseline of arXiv 2507.13482 (40 % masked). A
    masked patch is marked as not measured, so any encoder with features over time can be trained. One linear map from
    the features of a patch predicts all its channels. The mean squared error uses only masked samples that were
    measured.

    Args:
        patch: samples per patch, at least 2; use the encoder's patch size if it has one. Patches are aligned to the end
            of the window.
        ratio: share of the patches of each channel that is masked, in (0, 1); 0.4.
        hide: ``channels``: different patches in each channel (the paper); ``time``: the same time steps in all
            channels, so that a channel cannot be predicted from the others.
        standardise: predict each channel with zero mean and unit variance in this window (the paper); otherwise predict
            the normalised signal.

    Shapes: batch of (B, C, T) -> scalar.

    Raises:
        ConfigError: an argument out of range, or an encoder without features over time.

    Example:
        ``objective: [{name: masked_patches, patch: 16, ratio: 0.4}]``
    """

    def __init__(
        self,
        *,
        patch: Annotated[int, Field(ge=2)] = 16,
        ratio: InsideUnit = 0.4,
        hide: Literal["channels", "time"] = "channels",
        standardise: bool = True,
    ) -> None:
        super().__init__()
        self.patch, self.ratio, self.hide, self.standardise = patch, ratio, hide, standardise

    def attach(self, student: EncoderBundle) -> None:
        if student.token_dim is None:
            raise ConfigError(
                f"masked_patches: encoder {student.encoder_config['name']!r} has no features over time",
                hint="use an encoder with `tokens`, for example patch_tst",
            )
        self._count(student.spec.samples)  # an unsuitable window length is an error now, not at the first step
        self.head = nn.Linear(student.token_dim, len(student.spec.channels) * self.patch)

    def forward(self, student: EncoderBundle, batch: PairBatch, draws: GlobalDraws) -> LossOutput:
        imu, mask = batch.imu, batch.mask
        count = self._count(imu.shape[-1])
        used = count * self.patch
        hidden = F.pad(
            self.hidden(imu, count, draws).repeat_interleave(self.patch, -1), (imu.shape[-1] - used, 0), value=False
        )
        predicted = self.predict(student.tokens(imu, mask & ~hidden), count)
        target = student.normalise(imu, mask)[..., -used:]
        counted, measured = (mask & hidden)[..., -used:], mask[..., -used:]
        if self.standardise:
            target = target - masked_mean(target, measured, -1)
            # The constant bounds the scale of channels that are almost constant, whose target would be noise.
            target = target / (masked_mean(target.square(), measured, -1) + 1e-4).sqrt()
        error = torch.where(counted, (predicted.float() - target).square(), 0).sum()
        # The divisor counts all ranks, because ranks mask different numbers of measured samples; see mean_over_ranks.
        total = error * world().size / gather(counted.sum().reshape(1)).sum().clamp(min=1)
        return LossOutput(total=total, stats={"hidden": counted.float().mean()})

    def _count(self, samples: int) -> int:
        count = samples // self.patch
        if count < 2:
            raise ConfigError(
                f"masked_patches: windows of {samples} samples contain {count} patches of {self.patch}, expected 2 or "
                "more",
                hint="set a smaller objective.0.patch",
            )
        return count

    def hidden(self, imu: Tensor, count: int, draws: GlobalDraws) -> Tensor:
        """Mask of random patches: the same number in each row and channel, at least one and not all.

        Shapes: (B, C, T) -> (B, C, count) bool.
        """
        number = min(max(round(self.ratio * count), 1), count - 1)
        channels = imu.shape[1] if self.hide == "channels" else 1
        # Sorting twice gives the rank of each patch, so that exactly ``number`` patches are masked.
        order = draws.uniform(len(imu), channels, count).argsort(-1).argsort(-1)
        return (order < number).to(imu.device).expand(-1, imu.shape[1], -1)

    def predict(self, tokens: Tensor, count: int) -> Tensor:
        """Samples from features over time, interpolated to one per patch. Shapes: (B, S, E') -> (B, C, T')."""
        if tokens.shape[1] != count:
            tokens = F.interpolate(tokens.transpose(1, 2), count, mode="linear", align_corners=False).transpose(1, 2)
        return self.head(tokens).unflatten(-1, (-1, self.patch)).transpose(1, 2).flatten(2)
