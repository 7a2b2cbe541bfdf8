"""What an algorithm of domain generalisation is: hyper-parameters, one update on a batch of every source domain.

How domains are divided, how long is trained and which run is reported are decided in eval.protocols.ood, not here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eval import registry
from eval.probes.base import Confidence
from imu_video.bundle.encoder import EncoderBundle
from imu_video.errors import ConfigError
from imu_video.registry import Registry


@dataclass(frozen=True, kw_only=True, eq=False)
class DomainBatch:
    """A minibatch of one source domain.

    Args:
        imu: (B, C, T) in SI units, zeros where missing.
        mask: (B, C, T) bool, True where measured.
        label: (B,) int64 class numbers.
    """

    imu: Tensor
    mask: Tensor
    label: Tensor

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True, kw_only=True)
class AdamSettings:
    """The optimiser that every algorithm uses: Adam with L2 decay, as in HAROOD (methods: betas .5 and .9).

    Args:
        lr: learning rate, > 0; 1e-3 or 1e-2.
        encoder_factor: learning rate of the encoder over that of all else, > 0; below 1 for a pretrained one.
        weight_decay: >= 0; 5e-4.
        betas: Adam's averages.
    """

    lr: float = 1e-3
    weight_decay: float = 5e-4
    betas: tuple[float, float] = (0.5, 0.9)
    encoder_factor: float = 1.0

    def build(self, parameters: Iterable[nn.Parameter], *, encoder: Iterable[nn.Parameter] = ()) -> torch.optim.Adam:
        """A fresh optimiser over the parameters that take a gradient; ``encoder`` says which are the encoder's."""
        own = set() if self.encoder_factor == 1 else {id(p) for p in encoder}
        groups: list[list[nn.Parameter]] = [[], []]
        for p in parameters:
            if p.requires_grad:
                groups[id(p) in own].append(p)
        rates = (self.lr, self.lr * self.encoder_factor)
        wanted = [{"params": group, "lr": lr} for group, lr in zip(groups, rates, strict=True) if group]
        return torch.optim.Adam(wanted, lr=self.lr, weight_decay=self.weight_decay, betas=self.betas)


class Precomputed(nn.Module):
    """Stands where a frozen encoder stood once all its features are known: what it is given are the features.

    Args:
        feature_dim: E.

    Shapes: (B, E) -> (B, E).
    """

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.feature_dim = feature_dim

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        return features


class Network(nn.Module):
    """An encoder and a linear classifier.

    Args:
        encoder: SI units in, features (B, E) out; pretrained or fresh.
        classes: M.
        frozen: train the classifier only; the encoder then also stays in evaluation mode.
    """

    def __init__(self, encoder: EncoderBundle, classes: int, *, frozen: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.feature_dim, classes)
        self.freeze(frozen)

    def freeze(self, frozen: bool) -> None:
        """Leave the encoder as it is from now on, or train it too."""
        self.frozen = frozen
        self.encoder.requires_grad_(not frozen)

    def skip_encoder(self) -> None:
        """From now on take a frozen encoder's features in place of windows."""
        self.encoder = Precomputed(self.encoder.feature_dim)  # type: ignore[assignment]

    def train(self, mode: bool = True) -> Network:
        """Training mode; a frozen encoder keeps its running statistics."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def features(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features. Shapes: (B, C, T) -> (B, E)."""
        out: Tensor = self.encoder(imu, mask)
        return out

    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Class scores. Shapes: (B, C, T) -> (B, M)."""
        out: Tensor = self.classifier(self.features(imu, mask))
        return out


class Algorithm(nn.Module, ABC):
    """Base of the algorithms: hyper-parameters in the constructor, network and optimiser from `begin`.

    A subclass implements `update`, and `extend` where it owns further networks. All source domains go through the
    network in one batch, so that batch statistics are the same in every algorithm and algorithms differ in their
    objective alone.
    """

    network: Network
    optimizer: torch.optim.Optimizer
    changes_windows: ClassVar[bool] = False
    """Whether updates look at windows otherwise than through the encoder; if not, a frozen one is asked only once."""
    confidence: ClassVar[Confidence | None] = "softmax"
    """How the scores of `predict` are probabilities; None in a subclass whose scores are none."""

    def begin(self, network: Network, *, domains: int, adam: AdamSettings, generator: torch.Generator) -> None:
        """Take over a network before the first update.

        Args:
            network: to be trained.
            domains: m, number of source domains.
            adam: settings of the optimiser.
            generator: every random draw of the algorithm.
        """
        if domains < 1:
            raise ConfigError(f"an algorithm needs at least one source domain, got {domains}")
        self.network, self.domains, self.adam, self.generator = network, domains, adam, generator
        self.updates = 0
        self.extend()
        self.optimizer = self.fresh_optimizer()

    def extend(self) -> None:
        """Build what the algorithm owns besides the network."""

    @abstractmethod
    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        """One optimiser step on one batch of every source domain, all of one size; numbers to log.

        Raises:
            ValueError: another number of domains, or batches of different sizes.
        """

    def predict(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Class scores in evaluation mode. Shapes: (B, C, T) -> (B, M)."""
        out: Tensor = self.network(imu, mask)
        return out

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of everything that `predict` computes with, running statistics included."""
        return {name: value.detach().clone() for name, value in self.state_dict().items()}

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from, or predict with, weights that `snapshot` gave."""
        self.load_state_dict(weights)

    # ------------------------------------------------------------------------------------------ for subclasses

    def fresh_optimizer(self) -> torch.optim.Optimizer:
        """The optimiser over everything that the algorithm trains, without a history."""
        return self.adam.build(self.parameters(), encoder=self.network.encoder.parameters())

    def join(self, batches: Sequence[DomainBatch]) -> DomainBatch:
        """The domains' batches as one, in their order; refused unless all are equally large."""
        if len(batches) != self.domains or len({len(b) for b in batches}) != 1:
            raise ValueError(
                f"expected {self.domains} domain batches of one size, got sizes {[len(b) for b in batches]}"
            )
        return join(batches)

    def by_domain(self, rows: Tensor) -> list[Tensor]:
        """Rows of a joined batch, a tensor a domain."""
        return list(rows.chunk(self.domains))

    def step(self, loss: Tensor) -> None:
        """Backward and one optimiser step."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.updates += 1


def join(batches: Sequence[DomainBatch]) -> DomainBatch:
    """Batches one after the other."""
    return DomainBatch(
        imu=torch.cat([b.imu for b in batches]),
        mask=torch.cat([b.mask for b in batches]),
        label=torch.cat([b.label for b in batches]),
    )


def domain_losses(logits: Tensor, labels: Tensor, domains: int) -> Tensor:
    """Cross-entropy of each domain of a joined batch. Shapes: (m B, M), (m B,) -> (m,)."""
    return F.cross_entropy(logits, labels, reduction="none").reshape(domains, -1).mean(dim=1)


algorithms: Registry[Algorithm] = registry.algorithms
"""Algorithms by name; ``eval.algorithms`` registers the built-in ones."""
