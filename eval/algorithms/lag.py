"""LAG: a global and a local branch of the window, both aligned over domains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eval.algorithms.alignment import coral_distance, pairwise_penalty
from eval.algorithms.base import Algorithm, DomainBatch, algorithms
from imu_video.arguments import Count, NonNegative
from imu_video.errors import ConfigError

PATCHES = {125: 5, 50: 5, 128: 8, 81: 9, 100: 10, 200: 10, 500: 10, 151: 10}
"""Published number of patches for windows of T samples (methods, algorithm 8)."""


def patches_of(samples: int) -> int:
    """Number of patches of a window: the published one, else the largest divisor of T up to 10, else 8.

    If 8 does not divide T, the remaining samples are not used.

    Example:
        >>> patches_of(128), patches_of(250), patches_of(127)
        (8, 10, 8)
    """
    if samples in PATCHES:
        return PATCHES[samples]
    return next((p for p in range(10, 1, -1) if samples % p == 0), 8)


class LocalBranch(nn.Module):
    """A small CNN on the window folded into patches; its first kernel spans all patches.

    Args:
        channels: C.
        samples: T.
        kernel: width of both convolutions along a patch, half of the global CNN's; reduced for short patches.

    Shapes: (B, C, T) -> (B, E).
    """

    def __init__(self, *, channels: int, samples: int, kernel: int = 4) -> None:
        super().__init__()
        self.patches = patches_of(samples)
        width = samples // self.patches
        first = (width - kernel + 1) // 2
        second = (first - kernel + 1) // 2
        if second < 1:
            # Short patches have no samples left after two convolutions and poolings, so the kernel is narrowed once.
            kernel = max(1, width // 4)
            first = (width - kernel + 1) // 2
            second = (first - kernel + 1) // 2
        if second < 1:
            raise ConfigError(f"lag: patches of {width} samples (T={samples}) are too short for two convolutions")
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 16, (self.patches, kernel)),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d((1, 2)),
            nn.Conv2d(16, 32, (1, kernel)),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d((1, 2)),
            nn.Flatten(),
        )
        self.feature_dim = 32 * second

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[-1] // self.patches
        folded = x[..., : self.patches * width].reshape(*x.shape[:2], self.patches, width)
        out: Tensor = self.layers(folded)
        return out


@algorithms.register("lag")
class LAG(Algorithm):
    """Local and global alignment (Lu et al. 2022): two branches, each with a bottleneck, each aligned by CORAL.

    L = CE(g([b_global(f), b_local(l)]), y) + gamma_global CORAL(b_global) + gamma_local CORAL(b_local). The encoder of
    the network is the global branch. The bottlenecks are trained; in the released code they stay random (methods 4.8).

    Args:
        gamma_global, gamma_local: weights of the distances, at least 0.
        width: output width of each bottleneck, at least 1.
        kernel: width of the local convolutions where the encoder has no argument ``kernel``; otherwise they are half as
            wide as its kernel, as published.
    """

    changes_windows = True

    def __init__(
        self,
        *,
        gamma_global: NonNegative = 1.0,
        gamma_local: NonNegative = 1.0,
        width: Count = 256,
        kernel: Count = 4,
    ) -> None:
        super().__init__()
        self.gammas, self.width, self.kernel = (gamma_global, gamma_local), width, kernel

    def extend(self) -> None:
        bundle = self.network.encoder
        given = bundle.encoder_config.get("kernel")
        kernel = max(1, given // 2) if isinstance(given, int) else self.kernel
        self.local = LocalBranch(channels=len(bundle.spec.channels), samples=bundle.spec.samples, kernel=kernel)
        widths = (bundle.feature_dim, self.local.feature_dim)
        self.bottlenecks = nn.ModuleList(
            nn.Sequential(nn.Linear(w, self.width), nn.BatchNorm1d(self.width)) for w in widths
        )
        # The network's own classifier takes the encoder's features alone, so this head replaces it.
        self.head = nn.Linear(2 * self.width, self.network.classifier.out_features)

    def branches(self, imu: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Global and local bottleneck features. Shapes: (B, C, T) -> two (B, width)."""
        bundle = self.network.encoder
        # The encoder normalises its inputs itself; the local branch is not part of it and needs the same scale.
        normalised = (imu - bundle.mean) / bundle.std
        normalised = normalised if mask is None else torch.where(mask, normalised, 0)
        seen = self.network.features(imu, mask), self.local(normalised)
        first, second = (bottleneck(x) for bottleneck, x in zip(self.bottlenecks, seen, strict=True))
        return first, second

    def predict(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        out: Tensor = self.head(torch.cat(self.branches(imu, mask), dim=1))
        return out

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        batch = self.join(batches)
        both = self.branches(batch.imu, batch.mask)
        loss = F.cross_entropy(self.head(torch.cat(both, dim=1)), batch.label)
        distances = [pairwise_penalty(self.by_domain(x), coral_distance) for x in both]
        penalty = self.gammas[0] * distances[0] + self.gammas[1] * distances[1]
        self.step(loss + penalty)
        return {"loss": loss.item(), "penalty": penalty.item()}
