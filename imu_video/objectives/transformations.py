"""Detection of changed windows: reversed, permuted, or warped in time; three binary heads, no embeddings."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import InsideUnit
from imu_video.bundle.encoder import EncoderBundle
from imu_video.encoders.base import masked_mean
from imu_video.objectives.base import Objective
from imu_video.registry import objectives
from imu_video.runtime.distributed import GlobalDraws, gather
from imu_video.transforms import Augmentation
from imu_video.transforms.timing import TimeWarp
from imu_video.types import LossOutput, PairBatch


@objectives.register("transformations")
class Transformations(Objective):
    """Arrow of time, permutation and time warp, each applied to half of the windows and detected by a binary head.

    The multi-task self-supervision of ssl-wearables (Yuan et al. 2024, arXiv 2206.02909). The source samples windows in
    proportion to their standard deviation, because these transformations hardly change windows without motion. Here
    every window is used and its losses are weighted by that proportion, which has the same expectation.

    Args:
        pieces: number of parts of equal length that are reordered, at least 2; 4.
        warp: strength of the time warp, in (0, 1).
        weighting: ``std`` (the standard deviation of a window, averaged over channels) or ``none``.

    Shapes: batch of (B, C, T) -> scalar, the mean of the three binary cross-entropies.

    Raises:
        ConfigError: an argument out of range.

    Example:
        ``objective: [{name: transformations, pieces: 4}]``
    """

    TASKS = ("reverse", "permute", "warp")

    def __init__(
        self,
        *,
        pieces: Annotated[int, Field(ge=2)] = 4,
        warp: InsideUnit = 0.5,
        weighting: Literal["std", "none"] = "std",
    ) -> None:
        super().__init__()
        self.pieces, self.weighting = pieces, weighting
        self.changes: dict[str, Augmentation] = {
            "reverse": _Reverse(p=1.0),
            "permute": _Permute(pieces=pieces),
            "warp": TimeWarp(strength=warp, p=1.0),
        }

    def attach(self, student: EncoderBundle) -> None:
        self.heads = nn.ModuleDict({task: nn.Linear(student.feature_dim, 1) for task in self.TASKS})

    def forward(self, student: EncoderBundle, batch: PairBatch, draws: GlobalDraws) -> LossOutput:
        imu, mask = batch.imu, batch.mask
        weight = self.window_weights(student, imu, mask)
        labels: dict[str, Tensor] = {}
        for task in self.TASKS:
            labels[task] = (draws.uniform(len(imu)) < 0.5).to(imu.device)
            changed, changed_mask = self.changes[task](imu, mask, draws)
            chosen = labels[task][:, None, None]
            imu, mask = torch.where(chosen, changed, imu), torch.where(chosen, changed_mask, mask)
        features = student(imu, mask)
        stats: dict[str, Tensor] = {}
        total = features.new_zeros((), dtype=torch.float32)
        for task in self.TASKS:
            logits = self.heads[task](features)[:, 0].float()
            loss = F.binary_cross_entropy_with_logits(logits, labels[task].float(), reduction="none")
            total = total + (weight * loss).mean() / len(self.TASKS)
            stats[f"{task}_accuracy"] = ((logits > 0) == labels[task]).float().mean().detach()
        return LossOutput(total=total, stats=stats)

    def window_weights(self, student: EncoderBundle, imu: Tensor, mask: Tensor) -> Tensor:
        """(B,) weights with mean 1 over the rows of all ranks."""
        if self.weighting == "none":
            return torch.ones(len(imu), device=imu.device)
        x = student.normalise(imu, mask).float()
        spread = masked_mean((x - masked_mean(x, mask, -1)).square(), mask, -1).sqrt().mean((1, 2))
        return spread / gather(spread).mean().clamp(min=1e-6)


class _Reverse(Augmentation):
    """Reversal of the window in time."""

    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        return imu.flip(-1), mask.flip(-1)


class _Permute(Augmentation):
    """Random order of parts of equal length, different from the original; the remainder stays at the end."""

    def __init__(self, *, pieces: int) -> None:
        super().__init__(p=1.0)
        self.pieces = pieces

    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        order = draws.uniform(len(imu), self.pieces).argsort(-1).to(imu.device)
        # A window labelled as permuted must be changed: the identity is replaced by a cyclic shift.
        same = (order == torch.arange(self.pieces, device=imu.device)).all(-1, keepdim=True)
        order = torch.where(same, order.roll(1, -1), order)
        return self._reordered(imu, order), self._reordered(mask, order)

    def _reordered(self, x: Tensor, order: Tensor) -> Tensor:
        length = x.shape[-1] // self.pieces
        used = length * self.pieces
        cut = x[..., :used].unflatten(-1, (self.pieces, length))
        index = order[:, None, :, None].expand_as(cut)
        return torch.cat([cut.gather(2, index).flatten(2), x[..., used:]], dim=-1)
