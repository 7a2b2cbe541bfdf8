"""Common parts of losses: the base module, exact gathering over ranks, in-batch statistics; the mix is in mix.py."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from imu_video.errors import ConfigError
from imu_video.runtime.distributed import gather, gather_with_gradient, world
from imu_video.types import LossOutput, PairEmbeddings, PairMeta

MAX_LOG_SCALE = math.log(100.0)
"""Learned logit scales stay at or below 100 (Radford et al. 2021, section 2.5): above 100, single pairs dominate."""


NEEDS: dict[str, tuple[str, ...]] = {
    "side": ("sides",),
    "teacher": ("teacher",),
    "augmented_pair": ("imu_two",),
    "devices": ("devices", "devices_imu"),
    "segments": ("imu_segments", "side_segments"),
}
"""Possible inputs of a loss besides ``imu``, and the fields of PairEmbeddings that hold them.

``side`` is the embedding that windows are paired with: of a frozen teacher, or of a jointly trained encoder.
"""


PAIRED = frozenset({"side", "teacher", "segments"})
"""The keys of `NEEDS` that exist for paired windows only; the others exist for every window of a batch."""


Between = Literal["augmented_pair", "side"]
"""Second side of the comparison with the IMU embedding: the second window of an augmented pair, or the other side."""


@dataclass(frozen=True, kw_only=True)
class LossNeeds:
    """Requirements of a loss on the training run, derived from its arguments before it is built.

    Args:
        inputs: keys of `NEEDS`; the trainer computes only these inputs.
        fixed_target: the video embedding is a target without gradient, so the video side must have no trainable
            parameters.
        queue_size: K, rows of the loss's queue; 0 without one.
        warm_rows: rows that `PairLoss.warm_start` uses; 0 without a warm start.

    Example:
        >>> both = LossNeeds.of_all([LossNeeds(warm_rows=8), LossNeeds(inputs=frozenset({"teacher"}), queue_size=4)])
        >>> sorted(both.inputs), both.queue_size, both.warm_rows
        (['side', 'teacher'], 4, 8)
    """

    inputs: frozenset[str] = frozenset({"side"})
    fixed_target: bool = False
    queue_size: int = 0
    warm_rows: int = 0

    @classmethod
    def of_all(cls, needs: Iterable[LossNeeds]) -> LossNeeds:
        """Combined requirements of several losses: all inputs, the longest queue, the largest number of rows."""
        each = list(needs)
        return cls(
            inputs=frozenset().union(*(one.inputs for one in each)),
            fixed_target=any(one.fixed_target for one in each),
            queue_size=max((one.queue_size for one in each), default=0),
            warm_rows=max((one.warm_rows for one in each), default=0),
        )

    @classmethod
    def of_attributes(cls, loss: Any) -> LossNeeds:
        """Requirements read from the attributes of a loss, or of a class without `PairLoss.needs_of`."""
        default = cls()
        return cls(
            inputs=frozenset(getattr(loss, "needs", default.inputs)),
            fixed_target=bool(getattr(loss, "fixed_target", default.fixed_target)),
            queue_size=int(getattr(loss, "queue_size", default.queue_size)),
            warm_rows=int(getattr(loss, "warm_rows", default.warm_rows)),
        )


class PairLoss(nn.Module, ABC):
    """Base class of losses on paired embeddings: ``forward`` is pure, ``observe`` updates the state after each step.

    Learned scalars (scale, bias) have ndim 0: parameters with ndim < 2 get no weight decay.

    A loss whose needs depend on its arguments overrides `needs_of` and passes the same arguments to `adopt_needs` in
    its constructor; a loss with fixed needs sets the class attributes.

    Attributes:
        needs, fixed_target, queue_size, warm_rows: see `LossNeeds`; ``needs`` are its ``inputs``.
    """

    needs: frozenset[str] = frozenset({"side"})
    fixed_target: bool = False
    queue_size: int = 0
    warm_rows: int = 0

    @classmethod
    def needs_of(cls, arguments: Mapping[str, Any]) -> LossNeeds:
        """Requirements of a loss with these arguments; nothing is built.

        Args:
            arguments: every constructor argument by name, validated (`registry.Entry.arguments`).
        """
        return LossNeeds.of_attributes(cls)

    def adopt_needs(self, **arguments: Any) -> None:
        """Set the attributes to `needs_of` these arguments, so that class and instance cannot differ.

        Args:
            arguments: the constructor arguments that `needs_of` reads.
        """
        needs = self.needs_of(arguments)
        self.needs, self.fixed_target = needs.inputs, needs.fixed_target
        self.queue_size, self.warm_rows = needs.queue_size, needs.warm_rows

    @abstractmethod
    def forward(self, pair: PairEmbeddings) -> LossOutput:
        """The loss of this rank's rows; its mean over ranks is the loss of the whole batch."""

    def __call__(self, pair: PairEmbeddings, *more: object) -> LossOutput:
        if more or not isinstance(pair, PairEmbeddings):
            kinds = ", ".join(type(x).__name__ for x in (pair, *more))
            raise ConfigError(
                f"{type(self).__name__} takes one PairEmbeddings, got ({kinds})",
                hint="loss(imu_video.PairEmbeddings(imu=imu, sides={'teacher': teacher})), both (B, D) with unit norm",
            )
        check_needs(pair, self.needs, type(self).__name__)
        out: LossOutput = super().__call__(pair)
        return out

    def observe(self, pair: PairEmbeddings) -> None:  # most losses have nothing to observe
        """Called once after each optimiser step with the step's embeddings; may update queues or statistics."""

    def check_devices(self, worn: Tensor) -> None:
        """Called once before a run with a loss that needs devices; rejects data on which the loss would stay zero.

        Args:
            worn: (N, V) bool, True where a device that is in use was worn, for the windows of the training split.

        Raises:
            ConfigError: too few devices, or the required device is missing.
        """

    def warm_start(self, *, meta: PairMeta, video: Tensor | None = None, devices: Tensor | None = None) -> None:
        """Called once before the first step of a new run, with the same rows on every rank; most losses do nothing.

        Args:
            meta: origin of the N <= ``warm_rows`` rows: windows of the training split, sampled with the seed.
            video: (N, D) their video embeddings, where the run has any.
            devices: (N, V, C, T) their windows of all devices in SI units, NaN where missing; None with one device.
        """


def check_needs(pair: PairEmbeddings, needs: frozenset[str], name: str) -> None:
    """Check that the embeddings contain all inputs of a loss.

    Raises:
        ConfigError: a field is missing; the message names the loss and the field.
    """
    for need in sorted(needs):
        missing = [field for field in NEEDS[need] if _lacks(pair, field)]
        if missing:
            raise ConfigError(
                f"{name} needs {need!r}: the embeddings have no {' and no '.join(missing)}",
                hint="train with a model that computes it (`imu-pretrain` builds one from `needs`), "
                "or use another loss",
            )


def _lacks(pair: PairEmbeddings, field: str) -> bool:
    value = getattr(pair, field)
    return value is None or (isinstance(value, Mapping) and not value)


def given(x: Tensor | None) -> Tensor:
    """A field of PairEmbeddings that `check_needs` has checked; narrows the type from ``Tensor | None``.

    Raises:
        ConfigError: the field is missing.
    """
    if x is None:
        raise ConfigError("the loss uses a field of PairEmbeddings that is missing from its `needs`")
    return x


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


def two_sides(pair: PairEmbeddings, between: Between = "side") -> tuple[Tensor, Tensor]:
    """IMU embeddings and those that they are compared with, both in at least float32.

    Raises:
        ValueError: embeddings that are not (B, D) of equal shape.
    """
    one = at_least_float32(pair.first if between == "augmented_pair" else pair.imu)
    two = at_least_float32(given(pair.imu_two if between == "augmented_pair" else pair.side))
    check_same_shape(imu=one, **{between: two})
    return one, two


def gather_pair(pair: PairEmbeddings, between: Between = "side") -> GlobalPair:
    """Gather a batch over ranks so that losses on own rows against all columns are exact.

    Args:
        pair: own rows of this rank.
        between: what is returned as ``video``.

    Raises:
        ValueError: embeddings that are not (B, D) of equal shape.
    """
    imu, video = two_sides(pair, between)
    # Every rank has the same number of rows, so the positives of this rank are one contiguous block of columns.
    rows = world().rows(len(imu) * world().size)
    return GlobalPair(
        imu=imu,
        video=video,
        all_imu=gather_with_gradient(imu),
        all_video=gather_with_gradient(video),
        positives=torch.arange(rows.start, rows.stop, device=imu.device),
    )


def check_same_shape(**sides: Tensor) -> None:
    """Check that two sides are both (B, D) with at least one row.

    Raises:
        ValueError: they are not.
    """
    shapes = [tuple(x.shape) for x in sides.values()]
    if len(shapes[0]) != 2 or len(set(shapes)) != 1 or not shapes[0][0]:
        raise ValueError(f"{' and '.join(sides)} must both be (B, D): got {', '.join(map(str, shapes))}")


def gather_rows(x: Tensor, parts: tuple[int, ...] = ()) -> Tensor:
    """Rows of all ranks without gradient, in the order of the global batch for any number of ranks.

    Joined batches (`PairEmbeddings.parts`) are concatenated on each rank; this function restores the order batch by
    batch, so that a queue holds the same rows in the same order as with one process.

    Shapes: (B, ...) -> (W*B, ...).
    """
    rows = gather(x)
    if len(parts) < 2 or world().size == 1:
        return rows
    ranks = [piece.split(parts) for piece in rows.chunk(world().size)]
    return torch.cat([rank[number] for number in range(len(parts)) for rank in ranks])


def mean_over_ranks(values: Tensor, counted: Tensor) -> Tensor:
    """Mean over the counted rows, scaled so that the mean over ranks is the mean over all counted rows of the batch.

    Args:
        values: (B,) own rows, finite also where they do not count.
        counted: (B,) bool.

    Shapes: -> () scalar; 0 where no row of the batch counts.
    """
    # Ranks count different numbers of rows, and gradients are averaged over ranks: dividing by the global count and
    # multiplying by the world size gives every counted row the same weight, whichever rank holds it.
    total = gather(counted.sum().reshape(1)).sum().clamp(min=1)
    return torch.where(counted, values, 0).sum() * world().size / total


def at_least_float32(x: Tensor) -> Tensor:
    """Convert half-precision tensors to float32; float32 and float64 tensors are returned unchanged."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def unit(features: Tensor) -> Tensor:
    """Frozen features as unit vectors in at least float32, without gradient."""
    return nn.functional.normalize(at_least_float32(features.detach()), dim=-1)


def full_precision(x: Tensor) -> torch.autocast:
    """A context in which autocast is off on ``x``'s device, so that similarities and softmax keep float32."""
    return torch.autocast(x.device.type, enabled=False)


def pair_stats(cosines: Tensor, positives: Tensor) -> dict[str, Tensor]:
    """In-batch statistics of own rows of cosines (B, N): top-1 retrieval, mean cosine of positives and of negatives."""
    cosines = cosines.detach()
    rows, columns = cosines.shape
    matched = cosines.gather(1, positives[:, None]).sum()
    # A global batch of one pair has no negatives; the divisor of 1 then reports 0 instead of NaN.
    others = (cosines.sum() - matched) / max(rows * (columns - 1), 1)
    return {
        "accuracy": (cosines.argmax(1) == positives).float().mean(),
        "positive": matched / rows,
        "negative": others,
    }
