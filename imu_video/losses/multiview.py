"""ColloSSL: contrast between devices that one subject wears at the same time; equations in functional.multiview."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from imu_video.arguments import Count, NonNegative, Positive, Whole
from imu_video.errors import ConfigError
from imu_video.losses.base import LossNeeds, PairLoss, at_least_float32, full_precision, given, mean_over_ranks
from imu_video.losses.functional import (
    derangement,
    device_distances,
    device_weights,
    least_devices,
    mean_distances,
    motion,
    multiview_nce,
    same_recording,
    scramble,
    select_devices,
)
from imu_video.losses.functional.multiview import Policy, Unit, WeightScale
from imu_video.registry import losses
from imu_video.runtime.distributed import gather, gather_with_gradient, world
from imu_video.types import LossOutput, PairEmbeddings, PairMeta


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Rows of all ranks: (N, V, D) embeddings, (N, V) worn, (N,) samples, and the numbers of this rank's rows."""

    embeddings: Tensor
    worn: Tensor
    samples: Tensor
    here: Tensor
    recording: Tensor | None
    time: Tensor | None

    @classmethod
    def of(cls, pair: PairEmbeddings, own: Tensor, worn: Tensor) -> _Batch:
        embeddings, meta = gather_with_gradient(own), pair.meta
        numbers = torch.arange(len(embeddings), device=own.device)
        return cls(
            embeddings=embeddings,
            worn=gather(worn),
            samples=numbers if meta is None else gather(meta.sample),
            here=numbers[world().rows(len(embeddings))],
            recording=None if meta is None else gather(meta.recording),
            time=None if meta is None else gather(meta.time),
        )

    def same_moment(self, other: Tensor, gap_s: float) -> Tensor:
        """(B,) bool, True where row ``other`` covers the same moment as the own row."""
        if self.recording is None or self.time is None:
            return torch.zeros_like(other, dtype=torch.bool)
        near, _ = same_recording(self.recording[self.here], self.time[self.here], self.recording, self.time, gap_s)
        return near.gather(1, other[:, None])[:, 0]


@losses.register("collossl")
class ColloSSL(PairLoss):
    """Contrast between devices: synchronous positives, asynchronous negatives, both chosen by distance.

    Jain et al. 2022 (arXiv 2202.00758). Positives are pulled together (the released code has the opposite sign), and
    negatives are never of the same moment.

    Args:
        anchor: index of the device that the encoder is trained for, at least 0; null: the mean over all devices.
        policy: how positive and negative devices are selected, see `functional.select_devices`;
            ``closest_pos_all_neg`` as published.
        temperature: above 0; 0.05.
        sampling: ``unsync_neg`` (published): negatives are other moments of their device; ``sync_all``: the same
            moment; ``unsync_all``: positives are other moments as well (a control).
        negatives_per_device: number of other moments per negative device.
        weights: scale of the weights 1 / distance, ``max`` (published), ``mean1`` or ``none``.
        distances: ``dynamic`` (published): computed from every batch; ``a_priori``: computed once before training, from
            up to ``a_priori_rows`` windows in equal pieces of at most 512.
        a_priori_rows: at least 2.
        unit: unit of accelerations when devices are compared, because the kernels have a fixed width:
            ``si_over_30`` (published), ``g``, ``si``.
        compare: ``norm`` of the acceleration, or its three ``axes``.
        unbiased: omit the diagonals of the distance; recommended for batches below about 100.
        floor: smallest distance, above 0.
        anchor_negative: other moments of the anchor device are negatives as well, at half the smallest distance.
        gap_s: seconds, at least 0. Other moments of the same recording at most this far away are not negatives.
        seed: of the random choices, in [0, 2147483648).

    Shapes: PairEmbeddings with devices (B, V, D), devices_imu (B, V, C, T) per rank -> scalar; 2 or more rows over all
        ranks. Rows in which the anchor or all its positives were not worn are excluded. A device that was never worn
        together with the anchor in the batch counts as the farthest.

    Raises:
        ConfigError: an argument out of range, too few devices for the policy, or missing a-priori distances.

    Example:
        >>> z = torch.eye(4)[:, None].expand(4, 2, 4)
        >>> pair = PairEmbeddings(imu=z[:, 0], devices=z, devices_imu=torch.ones(4, 2, 6, 20))
        >>> ColloSSL(weights="none", floor=1.0)(pair).total.item() < 1e-6
        True
    """

    needs = frozenset({"devices"})
    step: Tensor
    table: Tensor

    def __init__(
        self,
        *,
        anchor: Whole | None = None,
        policy: Policy = "closest_pos_all_neg",
        temperature: Positive = 0.05,
        sampling: Literal["unsync_neg", "sync_all", "unsync_all"] = "unsync_neg",
        negatives_per_device: Count = 1,
        weights: WeightScale = "max",
        distances: Literal["dynamic", "a_priori"] = "dynamic",
        a_priori_rows: Annotated[int, Field(ge=2)] = 2048,
        unit: Unit = "si_over_30",
        compare: Literal["norm", "axes"] = "norm",
        unbiased: bool = False,
        floor: Positive = 1e-4,
        anchor_negative: bool = False,
        gap_s: NonNegative = 0.0,
        seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
    ) -> None:
        super().__init__()
        self.anchor, self.policy, self.temperature, self.sampling = anchor, policy, temperature, sampling
        self.rounds, self.weight_scale, self.a_priori = negatives_per_device, weights, distances == "a_priori"
        self.unit, self.compare, self.unbiased, self.floor = unit, compare, unbiased, floor
        self.anchor_negative, self.gap_s, self.seed = anchor_negative, gap_s, seed
        self.adopt_needs(distances=distances, a_priori_rows=a_priori_rows)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("table", torch.zeros(0, 0))

    @classmethod
    def needs_of(cls, arguments: Mapping[str, Any]) -> LossNeeds:
        a_priori = arguments["distances"] == "a_priori"
        return LossNeeds(inputs=cls.needs, warm_rows=arguments["a_priori_rows"] if a_priori else 0)

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        with full_precision(pair.imu):
            own = at_least_float32(given(pair.devices))
            if own.ndim != 3 or own.shape[1] < 2 or not 0 <= (self.anchor or 0) < own.shape[1]:
                raise ConfigError(
                    f"collossl: devices must be (B, V, D) with V of 2 or more and contain anchor {self.anchor}, "
                    f"got {tuple(own.shape)}"
                )
            worn = torch.ones_like(own[..., 0], dtype=torch.bool)
            worn = worn if pair.devices_present is None else pair.devices_present
            batch = _Batch.of(pair, own, worn)
            distances = self._distances(pair, batch.worn)
            devices = own.shape[1]
            anchors = range(devices) if self.anchor is None else [self.anchor]
            results = [self._contrast(a, own, worn, batch, distances) for a in anchors]
            total = torch.stack([loss for loss, _ in results]).mean()
        known = distances.isfinite().fill_diagonal_(False)
        stats = {
            "positive": torch.stack([cosine for _, cosine in results]).mean(),
            "distance": torch.where(known, distances, 0).sum() / known.sum().clamp(min=1),
        }
        return LossOutput(total=total, terms={"collossl": total.detach()}, stats=stats)

    def _contrast(
        self, anchor: int, own: Tensor, worn: Tensor, batch: _Batch, distances: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The loss of one anchor, and the mean cosine to its first positive."""
        others = torch.tensor([v for v in range(own.shape[1]) if v != anchor], device=own.device)
        # The policy `random` ignores distances: equal ones give all its negatives the same weight.
        away = torch.ones_like(others, dtype=own.dtype) if self.policy == "random" else distances[anchor][others]
        draw = scramble(others, self.seed, anchor, self.step)
        chosen_positive, chosen_negative = select_devices(away, self.policy, draw=draw)
        positive_devices = others[chosen_positive]
        negative_devices, negative_distances = others[chosen_negative], away[chosen_negative]
        if self.anchor_negative:
            negative_devices = torch.cat([negative_devices, others.new_tensor([anchor])])
            negative_distances = torch.cat([negative_distances, 0.5 * away.min()[None]])
        count = len(chosen_positive)
        log_weights = device_weights(negative_distances, count, self.weight_scale).log().to(own.dtype)
        query = own[:, anchor]

        def logits(device: Tensor, other: Tensor, log_weight: Tensor) -> Tensor:
            """(B,) logits of one device at other moments; -inf where it was not worn."""
            # index_select takes the index as a tensor. Indexing with [] would copy it to the host, which breaks
            # compilation.
            there = batch.embeddings.index_select(1, device[None])[other, 0]
            worn_there = batch.worn.index_select(1, device[None])[other, 0]
            cosine = (query * there).sum(1)
            return (cosine / self.temperature + log_weight).masked_fill(~worn_there, -math.inf)

        positives, negatives = [], []
        for number in range(count):
            other = self._elsewhere(batch, anchor, number) if self.sampling == "unsync_all" else batch.here
            positives.append(logits(positive_devices[number], other, log_weights[number]))
        for number in range(len(negative_devices)):
            for turn in range(self.rounds):
                if self.sampling == "sync_all":
                    negatives.append(logits(negative_devices[number], batch.here, log_weights[count + number]))
                    continue
                # Slots of negatives start at V, above those of positives, so that no two share a permutation.
                other = self._elsewhere(batch, anchor, own.shape[1] + number * self.rounds + turn)
                value = logits(negative_devices[number], other, log_weights[count + number])
                negatives.append(value.masked_fill(batch.same_moment(other, self.gap_s), -math.inf))
        positive, negative = torch.stack(positives, 1), torch.stack(negatives, 1)
        counts = worn[:, anchor] & positive.isfinite().any(1)
        # Excluded rows get finite values: their weight is 0, and 0 x inf would be NaN in the gradient.
        positive = torch.where(counts[:, None], positive, 0)
        negative = torch.where(counts[:, None], negative, 0)
        loss = mean_over_ranks(multiview_nce(positive, negative), counts)
        nearest = (query * own.index_select(1, positive_devices[:1])[:, 0]).sum(1).detach()
        return loss, mean_over_ranks(nearest, counts)

    def _elsewhere(self, batch: _Batch, anchor: int, slot: int) -> Tensor:
        """(B,) another row of the global batch for every own row; depends on seed, step, window, anchor and slot."""
        return derangement(scramble(batch.samples, self.seed, anchor, slot, self.step))[batch.here]

    def _distances(self, pair: PairEmbeddings, all_worn: Tensor) -> Tensor:
        if not self.a_priori:
            curves = gather(motion(at_least_float32(given(pair.devices_imu)), unit=self.unit, on=self.compare))
            return device_distances(curves, all_worn, unbiased=self.unbiased, floor=self.floor)
        if not len(self.table):
            raise ConfigError(
                "collossl: distances 'a_priori' were not computed",
                hint="imu-pretrain computes them before the first step; in your own loop call "
                "loss.warm_start(meta=..., devices=...)",
            )
        return self.table

    def observe(self, pair: PairEmbeddings) -> None:
        self.step += 1

    def check_devices(self, worn: Tensor) -> None:
        in_use = int(worn.any(0).sum())
        if in_use < least_devices(self.policy):
            raise ConfigError(
                f"collossl: policy {self.policy!r} needs {least_devices(self.policy)} devices, the run has {in_use}",
                hint="policy: closest_pos_all_neg works with 2; data.placements=null uses all devices",
            )
        if self.anchor is None:
            return
        if self.anchor >= worn.shape[1] or not (worn[:, self.anchor] & (worn.sum(1) >= 2)).any():
            raise ConfigError(
                f"collossl: anchor {self.anchor} is never worn with another device; devices in use: "
                f"{worn.any(0).nonzero()[:, 0].tolist()}",
                hint="anchor: number of a device among the placements in alphabetical order, or null for all",
            )

    @torch.no_grad()
    def warm_start(self, *, meta: PairMeta, video: Tensor | None = None, devices: Tensor | None = None) -> None:
        if not self.a_priori:
            return
        windows = given(devices)
        worn = windows.isfinite().flatten(2).any(2)
        curves = motion(windows.nan_to_num().float(), unit=self.unit, on=self.compare)
        table = mean_distances(curves, worn, rows=512, unbiased=self.unbiased, floor=self.floor)
        self.table = table.to(self.step.device)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        saved = state_dict.get(f"{prefix}table")
        if saved is not None:  # its size is the number of devices of the data, which the constructor does not receive
            self.table = self.table.new_zeros(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)
