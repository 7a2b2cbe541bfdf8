"""Trains a linear head, alone or with its encoder, by a fixed schedule; samples no support and computes no metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from eval.finetune.config import NetworkConfig
from eval.freezing import EncoderNetwork
from imu_video.bundle.encoder import EncoderBundle
from imu_video.optim.groups import groups_by_shape
from imu_video.optim.schedule import cosine_factor
from imu_video.runtime.distributed import GlobalDraws
from imu_video.transforms import Compose


class Network(EncoderNetwork):
    """An encoder and a linear head on its features, optionally joined with further features of the window.

    Args:
        bundle: the encoder, trained unless frozen.
        classes: M.
        extra: width X of the further features, such as those of a frozen teacher; 0 = no further features.
        norm, precision: see `NetworkConfig`.

    Shapes: imu (B, C, T) in SI units, mask (B, C, T), extra (B, X) or None -> (B, M).
    """

    def __init__(
        self,
        *,
        bundle: EncoderBundle,
        classes: int,
        extra: int = 0,
        norm: bool = True,
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        super().__init__()
        self.bundle = bundle
        self.precision = precision
        # Each part is normalised separately, because a wide teacher would dominate the encoder otherwise.
        self.norm = feature_norm(bundle.feature_dim, norm)
        self.extra_norm = feature_norm(extra, norm) if extra else None
        self.linear = nn.Linear(bundle.feature_dim + extra, classes)

    def forward(
        self, imu: Tensor, mask: Tensor, extra: Tensor | None = None, draws: GlobalDraws | None = None
    ) -> Tensor:
        """Class scores; subclasses use ``draws``, given in training, to augment their further inputs."""
        return self.score(self.features(imu, mask), extra)

    def features(self, imu: Tensor, mask: Tensor) -> Tensor:
        """Features of windows, in float32. Shapes: (B, C, T) -> (B, E)."""
        with torch.autocast(imu.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            features = self.bundle(imu, mask)
        # The head and the loss run in float32 also under autocast: they are cheap, and bf16 has three digits.
        out: Tensor = features.float()
        return out

    def score(self, features: Tensor, extra: Tensor | None = None) -> Tensor:
        """Class scores of features. Shapes: (B, E), (B, X) or None -> (B, M)."""
        z = self.norm(features)
        if self.extra_norm is not None:
            assert extra is not None
            z = torch.cat([z, self.extra_norm(extra)], dim=1)
        out: Tensor = self.linear(z)
        return out

    def encoders(self) -> list[nn.Module]:
        """Modules that are trained with the encoder's learning rate."""
        return [self.bundle]

    def head_parameters(self) -> list[nn.Parameter]:
        """All parameters except those of the encoders."""
        inside = {id(p) for encoder in self.encoders() for p in encoder.parameters()}
        return [p for p in self.parameters() if id(p) not in inside]

    @torch.inference_mode()
    def probabilities(self, imu: Tensor, mask: Tensor, extra: Tensor | None = None) -> np.ndarray:
        """Class probabilities (..., N, M) of windows, in evaluation mode; the mode is restored."""
        was = self.training
        self.eval()
        pieces = [slice(i, i + 256) for i in range(0, len(imu), 256)]
        out = [self(imu[p], mask[p], None if extra is None else extra[p]).softmax(dim=-1) for p in pieces]
        self.train(was)
        return np.concatenate([o.numpy() for o in out], axis=-2)


def feature_norm(width: int, wanted: bool) -> nn.Module:
    """Layer norm of features, or nothing."""
    return nn.LayerNorm(width) if wanted else nn.Identity()


def train_network(
    network: Network,
    imu: Tensor,
    mask: Tensor,
    targets: Tensor,
    *,
    config: NetworkConfig,
    seed: int,
    extra: Tensor | None = None,
    watch: Callable[[int], None] | None = None,
    watch_every: int = 0,
) -> None:
    """Minimise the cross-entropy with soft targets; the network is in evaluation mode afterwards.

        loss = - sum_h mean_b sum_m q_bm log softmax(network(augment(x_b))_h)_m

    The sum is over the heads h of the network; a plain network has one.

    Args:
        network: trained in place.
        imu, mask: (n, C, T) windows in SI units, and a bool mask that is True where they are measured.
        targets: (n, M) rows that sum to one; one-hot for plain labels.
        config: schedule and augmentations.
        seed: seed of order and augmentation; the global random state is not used.
        extra: (n, ...) further inputs of the network.
        watch: function called with the number of completed steps, with the network in evaluation mode.
        watch_every: steps between calls of ``watch``; 0 = never.
    """
    generator = torch.Generator().manual_seed(seed)
    augment = Compose.build(config.augment, channels=network.bundle.spec.named_units)
    head = network.head_parameters()
    optimiser = _adamw(network.encoders(), head, config)
    steps = config.steps_for(len(targets))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _factor(config, step, steps))
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    smooth = (1 - config.label_smoothing) * targets + config.label_smoothing / targets.shape[1]
    order = torch.empty(0, dtype=torch.int64)
    size = min(config.batch, len(targets))
    network.train()
    # The features of a frozen encoder are the same at every step, unless windows are augmented.
    fixed = _features(network, imu, mask) if network.frozen and not config.augment else None
    for step in range(1, steps + 1):
        if len(order) < size:
            # The rows left of a pass are used before those of the next, so that windows are used equally often.
            order = torch.cat([order, torch.randperm(len(targets), generator=generator)])
        rows, order = order[:size], order[size:]
        further = None if extra is None else extra[rows]
        if fixed is None:
            x, m = augment(imu[rows], mask[rows], generator)
            scores = network(x, m, further, GlobalDraws(generator))
        else:
            scores = network.score(fixed[rows], further)
        loss = -(smooth[rows] * scores.log_softmax(dim=-1)).sum(dim=-1).mean(dim=-1).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip is not None:
            nn.utils.clip_grad_norm_(parameters, config.clip)
        optimiser.step()
        schedule.step()
        if watch is not None and watch_every and step % watch_every == 0:
            network.eval()
            watch(step)
            network.train()
    network.eval()


def _factor(config: NetworkConfig, step: int, steps: int) -> float:
    """Share of the peak learning rate."""
    if config.decay == "constant":
        return min(1.0, (step + 1) / max(1, int(steps * config.warmup)))
    return cosine_factor(step, steps, config.warmup)


@torch.no_grad()
def _features(network: Network, imu: Tensor, mask: Tensor) -> Tensor:
    """Features of all windows by a frozen encoder, computed in blocks."""
    pieces = [slice(i, i + 256) for i in range(0, len(imu), 256)]
    return torch.cat([network.features(imu[p], mask[p]) for p in pieces])


def member_seeds(seed: int, members: int) -> list[int]:
    """One seed per member of an ensemble; the first is the seed itself, so a single member equals the plain network.

    Example:
        >>> member_seeds(3, 1), len(set(member_seeds(3, 4) + member_seeds(4, 4)))
        ([3], 8)
    """
    return [seed, *(int(np.random.SeedSequence([seed, j]).generate_state(1)[0]) for j in range(1, members))]


def measured(x: np.ndarray) -> tuple[Tensor, Tensor]:
    """Windows with NaN for missing samples as a tensor with zeros there, and the mask of measured samples."""
    imu = torch.from_numpy(np.require(x, dtype=np.float32, requirements=["C", "W"]))
    mask = imu.isfinite()
    return torch.where(mask, imu, 0), mask


def _adamw(encoders: list[nn.Module], head: list[nn.Parameter], config: NetworkConfig) -> torch.optim.AdamW:
    learning = [p for encoder in encoders for p in encoder.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = []
    for parameters, factor in ((learning, config.encoder_factor), (head, 1.0)):
        rate = config.learning_rate * factor
        groups += groups_by_shape(parameters, weight_decay=config.weight_decay, lr=rate)
    return torch.optim.AdamW(groups, lr=config.learning_rate)
