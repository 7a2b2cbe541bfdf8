"""What losses share: the base module, exact gathering over ranks, in-batch statistics, and the weighted mix."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from imu_video import registry
from imu_video.distributed import gather_with_gradient, world
from imu_video.errors import ConfigError
from imu_video.types import LossOutput, PairEmbeddings

MAX_LOG_SCALE = math.log(100.0)
"""Learned logit scales stay at or below 100 (Radford et al. 2021, section 2.5): above, single pairs rule."""


class PairLoss(nn.Module, ABC):
    """Base of losses on paired embeddings: owns only state; ``forward`` is pure, ``observe`` follows the step.

    Learned scalars (scale, bias) have ndim 0: parameters with ndim < 2 get no weight decay.
    """

    @abstractmethod
    def forward(self, pair: PairEmbeddings) -> LossOutput:
        """The loss of this rank's rows; its mean over ranks is the loss of the whole batch."""

    def observe(self, pair: PairEmbeddings) -> None:  # most losses have nothing to observe
        """Called once after each optimiser step with the step's embeddings; may update queues or statistics."""


@dataclass(frozen=True, kw_only=True)
class GlobalPair:
    """Own rows and all ranks' rows, in at least float32.

    Args:
        imu, video: (B, D) own rows.
        all_imu, all_video: (N, D) rows of all ranks, with gradient back to their owners.
        positives: (B,) int64, the column of ``all_*`` that belongs to each own row.
    """

    imu: Tensor
    video: Tensor
    all_imu: Tensor
    all_video: Tensor
    positives: Tensor


def gather_pair(pair: PairEmbeddings) -> GlobalPair:
    """Gather a batch over ranks so that losses on own rows against all columns are exact.

    Raises:
        ValueError: embeddings that are not (B, D) of equal shape.
    """
    if pair.imu.ndim != 2 or pair.imu.shape != pair.video.shape or not len(pair.imu):
        raise ValueError(f"imu and video must both be (B, D): got {tuple(pair.imu.shape)}, {tuple(pair.video.shape)}")
    imu, video = at_least_float32(pair.imu), at_least_float32(pair.video)
    rows = world().rows(len(imu) * world().size)
    return GlobalPair(
        imu=imu,
        video=video,
        all_imu=gather_with_gradient(imu),
        all_video=gather_with_gradient(video),
        positives=torch.arange(rows.start, rows.stop, device=imu.device),
    )


def at_least_float32(x: Tensor) -> Tensor:
    """float32 of half-precision tensors; float32 and float64 as they are."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def full_precision(x: Tensor) -> torch.autocast:
    """A context in which autocast is off on ``x``'s device, so that similarities and softmax keep float32."""
    return torch.autocast(x.device.type, enabled=False)


def pair_stats(cosines: Tensor, positives: Tensor) -> dict[str, Tensor]:
    """In-batch numbers to log, from own rows of cosines (B, N): top-1 retrieval, mean cosine of pairs and of others."""
    cosines = cosines.detach()
    rows, columns = cosines.shape
    matched = cosines.gather(1, positives[:, None]).sum()
    others = (cosines.sum() - matched) / max(rows * (columns - 1), 1)
    return {
        "accuracy": (cosines.argmax(1) == positives).float().mean(),
        "positive": matched / rows,
        "negative": others,
    }


class LossMix(PairLoss):
    """A weighted sum of losses, each logged under its own name.

    Args:
        terms: name -> (weight, loss); weights finite, at least one of them not zero.

    Raises:
        ConfigError: no term, or weights that are negative, not finite or all zero.

    Example:
        ``LossMix.build([{"name": "info_nce", "weight": 1.0}, {"name": "sigmoid_pair", "weight": 0.1}])``
    """

    def __init__(self, terms: Mapping[str, tuple[float, PairLoss]]) -> None:
        super().__init__()
        weights = {name: float(weight) for name, (weight, _) in terms.items()}
        if not any(weights.values()) or not all(math.isfinite(w) and w >= 0 for w in weights.values()):
            raise ConfigError(f"loss weights must be finite, not negative, not all zero; got {weights or 'no loss'}")
        self.weights = weights
        self.losses = nn.ModuleDict({name: loss for name, (_, loss) in terms.items()})

    @classmethod
    def build(cls, entries: Sequence[Mapping[str, Any] | str]) -> LossMix:
        """Build from config entries: a registered loss each, with an optional ``weight`` (default 1).

        A loss that stands twice is logged as ``name`` and ``name_2``.
        """
        terms: dict[str, tuple[float, PairLoss]] = {}
        for entry in entries:
            config = {"name": entry} if isinstance(entry, str) else dict(entry)
            weight = config.pop("weight", 1.0)
            if isinstance(weight, bool) or not isinstance(weight, int | float):
                raise ConfigError(f"loss {config.get('name')!r}: weight must be a number, got {weight!r}")
            loss = registry.losses.build(config)
            name = unique = str(config["name"])
            number = 1
            while unique in terms:
                number += 1
                unique = f"{name}_{number}"
            terms[unique] = (float(weight), loss)
        return cls(terms)

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        """Weighted total; ``terms`` hold each loss before its weight, ``stats`` are named ``loss/stat``."""
        total = pair.imu.new_zeros((), dtype=at_least_float32(pair.imu).dtype)
        terms: dict[str, Tensor] = {}
        stats: dict[str, Tensor] = {}
        for name, loss in self.losses.items():
            out: LossOutput = loss(pair)
            total = total + self.weights[name] * out.total
            terms[name] = out.total.detach()
            stats.update({f"{name}/{key}": value for key, value in out.stats.items()})
        return LossOutput(total=total, terms=terms, stats=stats)

    def observe(self, pair: PairEmbeddings) -> None:
        """Pass the step's embeddings on to every loss."""
        for loss in self.losses.values():
            loss.observe(pair)  # type: ignore[operator]  # ModuleDict hides the type of its values
