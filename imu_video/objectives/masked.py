"""Reconstruction of masked patches from the rest of a window; encoders are in `imu_video.encoders`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import LATER, InsideUnit
from imu_video.bundle.encoder import EncoderBundle
from imu_video.encoders.base import masked_mean
from imu_video.errors import ConfigError
from imu_video.losses.base import at_least_float32
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
        shown: what the encoder sees of a masked patch: ``nothing`` (it is excluded from attention, like missing data),
            or ``zeros`` in place of its samples, after the encoder has scaled the window (transformers' PatchTST, and
            the baseline of arXiv 2507.13482). With zeros, the samples to predict are those of the scaled window.
        head: one linear map from the features of all channels (``joint``), or one from the features of a channel to its
            own samples, which all channels share (``shared``, as in the paper).

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
        shown: Annotated[Literal["nothing", "zeros"], LATER] = "nothing",
        head: Annotated[Literal["joint", "shared"], LATER] = "joint",
    ) -> None:
        super().__init__()
        self.patch, self.ratio, self.hide, self.standardise = patch, ratio, hide, standardise
        self.shown, self.shared = shown, head == "shared"

    def attach(self, student: EncoderBundle) -> None:
        if student.token_dim is None:
            raise ConfigError(
                f"masked_patches: encoder {student.encoder_config['name']!r} has no features over time",
                hint="use an encoder with `tokens`, for example patch_tst",
            )
        self._count(student.spec.samples)  # an unsuitable window length is an error now, not at the first step
        channels = len(student.spec.channels)
        if self.shared and student.token_dim % channels:
            raise ConfigError(
                f"masked_patches: head 'shared' needs equally many features per channel, encoder "
                f"{student.encoder_config['name']!r} has {student.token_dim} for {channels} channels",
                hint="head: joint, or an encoder whose channels do not mix: patch_tst",
            )
        own: Any = student.encoder
        if self.shown == "zeros" and (
            not hasattr(own, "scaled")
            or (getattr(own, "patch", None), getattr(own, "stride", None)) != (self.patch,) * 2
        ):
            raise ConfigError(
                f"masked_patches: shown 'zeros' needs an encoder with patches of {self.patch} samples side by side, "
                f"encoder {student.encoder_config['name']!r} has none",
                hint="encoder: {name: patch_tst, patch: 16, stride: 16} with objective.0.patch=16, or shown: nothing",
            )
        if self.shared:
            self.head = nn.Linear(student.token_dim // channels, self.patch)
        else:
            self.head = nn.Linear(student.token_dim, channels * self.patch)

    def forward(self, student: EncoderBundle, batch: PairBatch, draws: GlobalDraws) -> LossOutput:
        imu, mask = batch.imu, batch.mask
        count = self._count(imu.shape[-1])
        used = count * self.patch
        hidden = F.pad(
            self.hidden(imu, count, draws).repeat_interleave(self.patch, -1), (imu.shape[-1] - used, 0), value=False
        )
        normalised = student.normalise(imu, mask)
        if self.shown == "zeros":
            own: Any = student.encoder
            # The window is scaled before patches are hidden, so the encoder must not scale it again.
            normalised = own.scaled(normalised, mask)
            tokens = own.tokens(torch.where(hidden, 0, normalised), mask, scaled=True)
        else:
            tokens = student.tokens(imu, mask & ~hidden)
        predicted = self.predict(tokens, count)
        target = normalised[..., -used:]
        counted, measured = (mask & hidden)[..., -used:], mask[..., -used:]
        if self.standardise:
            target = target - masked_mean(target, measured, -1)
            # The constant bounds the scale of channels that are almost constant, whose target would be noise.
            target = target / (masked_mean(target.square(), measured, -1) + 1e-4).sqrt()
        error = torch.where(counted, (at_least_float32(predicted) - target).square(), 0).sum()
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
        if self.shared:
            tokens = tokens.unflatten(-1, (-1, self.head.in_features))
            return self.head(tokens).transpose(1, 2).flatten(2)
        return self.head(tokens).unflatten(-1, (-1, self.patch)).transpose(1, 2).flatten(2)
