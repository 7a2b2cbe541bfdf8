"""Detection of changed windows: reversed, permuted, or warped in time; three binary heads, no embeddings."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import LATER, InsideUnit
from imu_video.bundle.encoder import EncoderBundle
from imu_video.encoders.base import masked_mean
from imu_video.losses.base import at_least_float32
from imu_video.objectives.base import Objective
from imu_video.registry import objectives
from imu_video.runtime.distributed import GlobalDraws, gather
from imu_video.transforms import Augmentation
from imu_video.transforms.timing import Permute, TimeWarp
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
        outputs: of each head: 1 (logistic), or 2 (softmax over two classes, as in the released code).
        cuts: ``equal`` parts; or ``random`` parts of at least 10 samples, which may keep their order (released).
        curve: of the time warp, see `time_warp`: ``cosines``, or ``spline`` (released).

    Shapes: batch of (B, C, T) -> scalar, the mean of the three cross-entropies.

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
        outputs: Annotated[Literal[1, 2], LATER] = 1,
        cuts: Annotated[Literal["equal", "random"], LATER] = "equal",
        curve: Annotated[Literal["cosines", "spline"], LATER] = "cosines",
    ) -> None:
        super().__init__()
        self.pieces, self.weighting, self.outputs = pieces, weighting, outputs
        # Parts of random length: a minimum of 10 samples as released.
        parts = _Permute(pieces=pieces) if cuts == "equal" else Permute(max_segments=pieces, number="max", p=1.0)
        self.changes: dict[str, Augmentation] = {
            "reverse": _Reverse(p=1.0),
            "permute": parts,
            "warp": TimeWarp(strength=warp, p=1.0, curve=curve, scale_gyr=curve == "cosines"),
        }

    def attach(self, student: EncoderBundle) -> None:
        self.heads = nn.ModuleDict({task: nn.Linear(student.head_dim, self.outputs) for task in self.TASKS})

    def forward(self, student: EncoderBundle, batch: PairBatch, draws: GlobalDraws) -> LossOutput:
        imu, mask = batch.imu, batch.mask
        weight = self.window_weights(student, imu, mask)
        labels: dict[str, Tensor] = {}
        for task in self.TASKS:
            labels[task] = (draws.uniform(len(imu)) < 0.5).to(imu.device)
            changed, changed_mask = self.changes[task](imu, mask, draws)
            chosen = labels[task][:, None, None]
            imu, mask = torch.where(chosen, changed, imu), torch.where(chosen, changed_mask, mask)
        features = student.head_features(imu, mask)
        stats: dict[str, Tensor] = {}
        total = at_least_float32(features.new_zeros(()))
        for task in self.TASKS:
            scores = at_least_float32(self.heads[task](features))
            # Softmax over two classes is logistic in the difference of their scores.
            logits = scores[:, -1] if self.outputs == 1 else scores[:, 1] - scores[:, 0]
            loss = F.binary_cross_entropy_with_logits(logits, labels[task].to(logits.dtype), reduction="none")
            total = total + (weight * loss).mean() / len(self.TASKS)
            stats[f"{task}_accuracy"] = ((logits > 0) == labels[task]).float().mean().detach()
        return LossOutput(total=total, stats=stats)

    def window_weights(self, student: EncoderBundle, imu: Tensor, mask: Tensor) -> Tensor:
        """(B,) weights with mean 1 over the rows of all ranks."""
        if self.weighting == "none":
            return torch.ones(len(imu), device=imu.device)
        x = at_least_float32(student.normalise(imu, mask))
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
