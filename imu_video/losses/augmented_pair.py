"""Losses on augmented pairs of windows, some of them also across modalities; equations are in functional."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from imu_video.arguments import NonNegative, Positive, Temperature
from imu_video.errors import ConfigError
from imu_video.losses.base import Between, LossNeeds, PairLoss, full_precision, pair_stats, two_sides
from imu_video.losses.contrastive import Scale
from imu_video.losses.functional import barlow_twins, nt_xent, variance_and_covariance
from imu_video.registry import losses
from imu_video.runtime.distributed import gather_with_gradient, world
from imu_video.types import LossOutput, PairEmbeddings


@losses.register("nt_xent")
class NTXent(PairLoss):
    """SimCLR on an augmented pair of each window, negatives from both halves of all ranks (`functional.nt_xent`).

    Chen et al. 2020 (arXiv 2002.05709).

    Args:
        temperature: at least 0.01; 0.1.
        learned: train 1 / temperature.

    Shapes: PairEmbeddings with imu and imu_two (B, D) per rank -> scalar.

    Raises:
        ConfigError: a temperature out of range.

    Example:
        >>> z = torch.eye(4)
        >>> NTXent(temperature=0.01)(PairEmbeddings(imu=z, imu_two=z)).total.item()
        0.0
    """

    needs = frozenset({"augmented_pair"})

    def __init__(self, *, temperature: Temperature = 0.1, learned: bool = False) -> None:
        super().__init__()
        self.scale = Scale.of_temperature(temperature, learned=learned)

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        with full_precision(pair.imu):
            one, two = two_sides(pair, "augmented_pair")
            all_one, all_two = gather_with_gradient(one), gather_with_gradient(two)
            rows = world().rows(len(all_one))
            first = torch.arange(rows.start, rows.stop, device=one.device)
            # Columns are the first windows of all pairs, then the second ones, so a partner is N columns away.
            second = first + len(all_one)
            cosines = torch.cat([one, two]) @ torch.cat([all_one, all_two]).T
            scale = self.scale()
            total = nt_xent(scale * cosines, torch.cat([first, second]), torch.cat([second, first]))
        stats = {**pair_stats(cosines[: len(one), len(all_one) :], first), "scale": scale.detach()}
        return LossOutput(total=total, terms={"nt_xent": total.detach()}, stats=stats)

    def observe(self, pair: PairEmbeddings) -> None:
        self.scale.clamp()


@losses.register("vicreg")
class VICReg(PairLoss):
    """Invariance, variance and covariance of two sides (`functional.variance_and_covariance`).

    Bardes et al. 2022 (arXiv 2105.04906): L = invariance x mean |x - y|^2 / D + variance x (v(x) + v(y)) +
    covariance x (c(x) + c(y)), statistics over the batch of all ranks. Embeddings are unit-norm here, so x and y are
    sqrt(D) times as long: evenly spread embeddings have a standard deviation of 1 in every dimension.

    Args:
        between: IMU with the second window of its ``augmented_pair``, or with the other ``side``.
        invariance, variance, covariance: weights, at least 0; 25, 25, 1 as published. With invariance 0 the loss is
            only a regulariser.

    Shapes: PairEmbeddings of (B, D) per rank, two rows or more over all ranks -> scalar.

    Raises:
        ConfigError: a negative weight, or no weight at all.

    Example:
        >>> z = torch.eye(4)
        >>> VICReg(variance=0.0, covariance=0.0)(PairEmbeddings(imu=z, imu_two=z)).total.item()
        0.0
    """

    def __init__(
        self,
        *,
        between: Between = "augmented_pair",
        invariance: NonNegative = 25.0,
        variance: NonNegative = 25.0,
        covariance: NonNegative = 1.0,
    ) -> None:
        super().__init__()
        weights = (invariance, variance, covariance)
        if not any(weights):
            raise ConfigError("vicreg: invariance, variance and covariance are all 0", hint="variance: 25")
        self.between, self.weights = between, weights
        self.adopt_needs(between=between)

    @classmethod
    def needs_of(cls, arguments: Mapping[str, Any]) -> LossNeeds:
        return LossNeeds(inputs=frozenset({arguments["between"]}))

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        with full_precision(pair.imu):
            sides = [x * math.sqrt(x.shape[1]) for x in two_sides(pair, self.between)]
            invariance = (sides[0] - sides[1]).square().mean()
            spread, redundancy = invariance.new_zeros(()), invariance.new_zeros(())
            for side in sides:
                v, c = variance_and_covariance(gather_with_gradient(side))
                spread, redundancy = spread + v, redundancy + c
            total = self.weights[0] * invariance + self.weights[1] * spread + self.weights[2] * redundancy
        stats = {"invariance": invariance, "variance": spread, "covariance": redundancy}
        return LossOutput(
            total=total, terms={"vicreg": total.detach()}, stats={k: v.detach() for k, v in stats.items()}
        )


@losses.register("barlow_twins")
class BarlowTwins(PairLoss):
    """Pull the cross-correlation of two sides towards the identity matrix (`functional.barlow_twins`).

    Zbontar et al. 2021 (arXiv 2103.03230), statistics over the batch of all ranks.

    Args:
        between: IMU with the second window of its ``augmented_pair``, or with the other ``side``.
        redundancy: lambda, above 0; 0.005 as published.

    Shapes: PairEmbeddings of (B, D) per rank, two rows or more over all ranks -> scalar.

    Raises:
        ConfigError: redundancy that is not above 0.

    Example:
        >>> z = torch.eye(4)
        >>> BarlowTwins()(PairEmbeddings(imu=z, imu_two=z)).total < BarlowTwins()(
        ...     PairEmbeddings(imu=z, imu_two=z.flip(0))).total
        tensor(True)
    """

    def __init__(self, *, between: Between = "augmented_pair", redundancy: Positive = 0.005) -> None:
        super().__init__()
        self.between, self.redundancy = between, redundancy
        self.adopt_needs(between=between)

    @classmethod
    def needs_of(cls, arguments: Mapping[str, Any]) -> LossNeeds:
        return LossNeeds(inputs=frozenset({arguments["between"]}))

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        with full_precision(pair.imu):
            one, two = two_sides(pair, self.between)
            total = barlow_twins(gather_with_gradient(one), gather_with_gradient(two), redundancy=self.redundancy)
        positive = (one.detach() * two.detach()).sum(1).mean()
        return LossOutput(total=total, terms={"barlow_twins": total.detach()}, stats={"positive": positive})
