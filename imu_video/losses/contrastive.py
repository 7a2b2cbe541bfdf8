"""Contrastive losses over all ranks' pairs: InfoNCE, sigmoid, soft targets; equations in functional.contrastive."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import LATER, Finite, Positive, Temperature
from imu_video.losses.base import (
    MAX_LOG_SCALE,
    Between,
    LossNeeds,
    PairLoss,
    full_precision,
    gather_pair,
    pair_stats,
)
from imu_video.losses.functional import info_nce, sigmoid_pair, soft_target_cross_entropy
from imu_video.registry import losses
from imu_video.runtime.distributed import gather_with_gradient
from imu_video.types import LossOutput, PairEmbeddings


class Scale(nn.Module):
    """A positive logit scale, stored as its logarithm and limited to 100, learned or fixed."""

    log: Tensor

    def __init__(self, *, initial: float, learned: bool) -> None:
        super().__init__()
        # In log space a gradient step changes the scale by a factor, and the scale cannot become negative.
        value = torch.tensor(math.log(initial))
        if learned:
            self.log = nn.Parameter(value)
        else:
            self.register_buffer("log", value)

    @classmethod
    def of_temperature(cls, temperature: float, *, learned: bool) -> Scale:
        """The scale 1 / temperature, for a temperature in the range of `arguments.Temperature`."""
        # 1 / 0.01 is a little above 100 in floating point.
        return cls(initial=min(1 / temperature, 100.0), learned=learned)

    def forward(self) -> Tensor:
        # torch.clamp has no gradient at the limit: a scale that reached it could never decrease again.
        return (self.log - F.relu(self.log - MAX_LOG_SCALE)).exp()

    @torch.no_grad()
    def clamp(self) -> None:
        """Reset a scale that an optimiser step moved beyond the limit to the limit, where it still has a gradient."""
        self.log.clamp_(max=MAX_LOG_SCALE)


class LearnedTemperature(nn.Module):
    """A logit scale 1 / temperature whose temperature itself is trained, as in some published code; at least 0.01."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(float(temperature)))

    def forward(self) -> Tensor:
        return 1 / self.value

    @torch.no_grad()
    def clamp(self) -> None:
        """Reset a temperature that an optimiser step moved below 0.01, where the scale would pass 100."""
        self.value.clamp_(min=0.01)


@losses.register("info_nce")
class InfoNCE(PairLoss):
    """Symmetric InfoNCE between IMU and video embeddings, negatives from all ranks (`functional.info_nce`).

    Radford et al. 2021 (arXiv 2103.00020), section 2.3. Between the windows of an augmented pair, negatives are the
    other windows of the opposite half only, unlike in `nt_xent` (PRIMUS, arXiv 2411.15127).

    Args:
        temperature: initial temperature, at least 0.01; logits are cosine / temperature. 0.07 is the paper's.
        learned: train the scale 1 / temperature (as its logarithm, clamped so that the scale stays at or below 100).
        between: IMU with the other ``side``, or with the second window of its ``augmented_pair``.

    Shapes: PairEmbeddings of (B, D) per rank -> scalar.

    Raises:
        ConfigError: a temperature out of range.

    Example:
        >>> z = torch.eye(4)
        >>> InfoNCE(temperature=0.01)(PairEmbeddings(imu=z, sides={"video": z})).total.item()
        0.0
    """

    def __init__(
        self,
        *,
        temperature: Temperature = 0.07,
        learned: bool = True,
        between: Annotated[Between, LATER] = "side",
    ) -> None:
        super().__init__()
        self.scale = Scale.of_temperature(temperature, learned=learned)
        self.between = between
        self.adopt_needs(between=between)

    @classmethod
    def needs_of(cls, arguments: Mapping[str, Any]) -> LossNeeds:
        return LossNeeds(inputs=frozenset({arguments["between"]}))

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        with full_precision(pair.imu):
            g = gather_pair(pair, self.between)
            scale = self.scale()
            cosines = g.imu @ g.all_video.T
            total = info_nce(scale * cosines, scale * (g.video @ g.all_imu.T), g.positives)
        stats = {**pair_stats(cosines, g.positives), "scale": scale.detach()}
        return LossOutput(total=total, terms={"info_nce": total.detach()}, stats=stats)

    def observe(self, pair: PairEmbeddings) -> None:
        self.scale.clamp()


@losses.register("sigmoid_pair")
class SigmoidPair(PairLoss):
    """Sigmoid pair loss between IMU and video embeddings, all ranks' pairs counted (`functional.sigmoid_pair`).

    Zhai et al. 2023 (arXiv 2303.15343); s_ij = exp(t) cos_ij + b with t and b learned. The bias starts low because
    nearly all pairs are negatives: at the start the loss is about -bias.

    Args:
        initial_scale: exp(t) at the start, in (0, 100]; 10.
        initial_bias: b at the start, finite; -10.
        learned: train t (clamped so that the scale stays at or below 100) and b.

    Shapes: PairEmbeddings of (B, D) per rank -> scalar.

    Raises:
        ConfigError: a scale out of range or a bias that is not finite.

    Example:
        >>> z = torch.eye(4)
        >>> round(SigmoidPair()(PairEmbeddings(imu=z, sides={"video": z})).total.item(), 3)
        0.693
    """

    bias: Tensor

    def __init__(
        self,
        *,
        initial_scale: Annotated[float, Field(gt=0, le=100)] = 10.0,
        initial_bias: Finite = -10.0,
        learned: bool = True,
    ) -> None:
        super().__init__()
        self.scale = Scale(initial=initial_scale, learned=learned)
        if learned:
            self.bias = nn.Parameter(torch.tensor(float(initial_bias)))
        else:
            self.register_buffer("bias", torch.tensor(float(initial_bias)))

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        with full_precision(pair.imu):
            g = gather_pair(pair)
            scale = self.scale()
            cosines = g.imu @ g.all_video.T
            total = sigmoid_pair(scale * cosines + self.bias, g.positives)
        stats = {**pair_stats(cosines, g.positives), "scale": scale.detach(), "bias": self.bias.detach()}
        return LossOutput(total=total, terms={"sigmoid_pair": total.detach()}, stats=stats)

    def observe(self, pair: PairEmbeddings) -> None:
        self.scale.clamp()


@losses.register("soft_target")
class SoftTarget(PairLoss):
    """Contrastive loss whose soft targets are the similarities within each modality.

    `functional.soft_target_cross_entropy`: the loss of the IMU2CLIP baseline of Cheshmi et al. 2025
    (arXiv 2507.13482). The release multiplies the intra-modal similarities by the learned temperature instead of
    dividing by it: with 0.1 the targets are then nearly uniform. ``target_temperature: null``, ``multiply_targets:
    true`` and ``trained: temperature`` reproduce that.

    Args:
        temperature: of the logits at the start, at least 0.01; 0.1.
        learned: train the temperature.
        target_temperature: of the targets, above 0, fixed; small values approach `info_nce`. null: that of the logits,
            with gradient where it is learned.
        multiply_targets: multiply the similarities by the temperature of the targets, as the release does.
        detach_targets: no gradient through the targets; the release has the gradient.
        trained: what is trained where the temperature is learned: ``log_scale``, the logarithm of 1 / temperature, or
            the ``temperature`` itself, as in the release.

    Shapes: PairEmbeddings of (B, D) per rank -> scalar.

    Raises:
        ConfigError: a temperature out of range.

    Example:
        >>> z = torch.eye(4)
        >>> round(SoftTarget(target_temperature=0.01)(PairEmbeddings(imu=z, sides={"video": z})).total.item(), 3)
        0.0
    """

    def __init__(
        self,
        *,
        temperature: Temperature = 0.1,
        learned: bool = True,
        target_temperature: Positive | None = 0.1,
        multiply_targets: bool = False,
        detach_targets: bool = False,
        trained: Annotated[Literal["log_scale", "temperature"], LATER] = "log_scale",
    ) -> None:
        super().__init__()
        self.scale: Scale | LearnedTemperature
        if learned and trained == "temperature":
            self.scale = LearnedTemperature(temperature)
        else:
            self.scale = Scale.of_temperature(temperature, learned=learned)
        self.target_temperature, self.multiply_targets = target_temperature, multiply_targets
        self.detach_targets = detach_targets

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        with full_precision(pair.imu):
            g = gather_pair(pair)
            scale = self.scale()
            cosines = g.imu @ g.all_video.T
            target: Tensor | float = 1 / scale if self.target_temperature is None else self.target_temperature
            target_scale = target if self.multiply_targets else 1 / target
            likeness = 0.5 * target_scale * (g.imu @ g.all_imu.T + g.video @ g.all_video.T)
            if self.detach_targets:
                likeness = likeness.detach()
            # The similarity matrix is symmetric: the normaliser of column j is that of row j, which the rank that
            # holds row j computes. Gathering N numbers replaces gathering an N x N matrix.
            normaliser = gather_with_gradient(likeness.logsumexp(1))
            total = soft_target_cross_entropy(scale * cosines, scale * (g.video @ g.all_imu.T), likeness, normaliser)
            own = likeness.detach().softmax(1).gather(1, g.positives[:, None]).mean()
        stats = {**pair_stats(cosines, g.positives), "scale": scale.detach(), "own_target": own}
        return LossOutput(total=total, terms={"soft_target": total.detach()}, stats=stats)

    def observe(self, pair: PairEmbeddings) -> None:
        self.scale.clamp()
