"""The interface of domain generalisation algorithms: hyper-parameters, and one update on a batch per source domain.

The division into domains, the length of training and the selection of runs are in eval.protocols.ood, not here.
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
from eval.freezing import EncoderNetwork
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
        label: (B,) int64 class indices.
    """

    imu: Tensor
    mask: Tensor
    label: Tensor

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True, kw_only=True)
class AdamSettings:
    """Settings of the optimiser of all algorithms: Adam with L2 decay, as in HAROOD (methods: betas 0.5 and 0.9).

    Args:
        lr: learning rate, > 0; typically 1e-3 or 1e-2.
        weight_decay: strength of the L2 penalty, >= 0.
        betas: decay rates of Adam's averages, each in [0, 1).
        encoder_factor: learning rate of the encoder divided by that of all other parameters, > 0; typically below 1
            for a pretrained encoder.
    """

    lr: float = 1e-3
    weight_decay: float = 5e-4
    betas: tuple[float, float] = (0.5, 0.9)
    encoder_factor: float = 1.0

    def build(self, parameters: Iterable[nn.Parameter], *, encoder: Iterable[nn.Parameter] = ()) -> torch.optim.Adam:
        """A new optimiser over the trainable parameters; those in ``encoder`` get the encoder's learning rate."""
        # Tensors are compared by identity: `==` on tensors compares values.
        own = set() if self.encoder_factor == 1 else {id(p) for p in encoder}
        groups: list[list[nn.Parameter]] = [[], []]
        for p in parameters:
            if p.requires_grad:
                groups[id(p) in own].append(p)
        rates = (self.lr, self.lr * self.encoder_factor)
        wanted = [{"params": group, "lr": lr} for group, lr in zip(groups, rates, strict=True) if group]
        return torch.optim.Adam(wanted, lr=self.lr, weight_decay=self.weight_decay, betas=self.betas)


class Precomputed(nn.Module):
    """Replaces a frozen encoder whose features were computed in advance: its inputs are the features.

    Args:
        feature_dim: E.

    Shapes: (B, E) -> (B, E).
    """

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.feature_dim = feature_dim

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        return features


class Network(EncoderNetwork):
    """An encoder and a linear classifier, as in HAROOD; `eval.finetune.network.Network` also normalises the features.

    Args:
        encoder: maps windows in SI units to features (B, E); pretrained or untrained.
        classes: M.
        frozen: train the classifier only; the encoder then also stays in evaluation mode.

    Attributes:
        rows: number of rows that pass through the encoder together in training; None = the whole batch. With the batch
            size of a domain, batch norm uses the statistics of each domain separately.
    """

    rows: int | None = None

    def __init__(self, encoder: EncoderBundle, classes: int, *, frozen: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.feature_dim, classes)
        self.freeze(frozen)

    def encoders(self) -> list[nn.Module]:
        return [self.encoder]

    def skip_encoder(self) -> None:
        """Take features of the frozen encoder as inputs from now on, instead of windows."""
        self.encoder = Precomputed(self.encoder.feature_dim)  # type: ignore[assignment]

    def features(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features. Shapes: (B, C, T) -> (B, E)."""
        if self.rows is None or not self.training or len(imu) <= self.rows:
            out: Tensor = self.encoder(imu, mask)
            return out
        masks = [None] * len(imu.split(self.rows)) if mask is None else mask.split(self.rows)
        return torch.cat([self.encoder(part, known) for part, known in zip(imu.split(self.rows), masks, strict=True)])

    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Class scores. Shapes: (B, C, T) -> (B, M)."""
        out: Tensor = self.classifier(self.features(imu, mask))
        return out


class Algorithm(nn.Module, ABC):
    """Base of the algorithms: the constructor takes hyper-parameters, `begin` the network.

    A subclass implements `update`, and `extend` if it has further networks. All source domains pass through the network
    in one batch. Batch statistics are therefore the same in every algorithm, and algorithms differ only in their
    objective. `Network.rows` makes them those of each domain, as in published benchmarks.
    """

    network: Network
    optimizer: torch.optim.Optimizer
    changes_windows: ClassVar[bool] = False
    """Whether updates change windows; if not, the features of a frozen encoder are computed only once."""
    confidence: ClassVar[Confidence | None] = "softmax"
    """How the scores of `predict` become probabilities; None in a subclass whose scores cannot be read as such."""

    def begin(self, network: Network, *, domains: int, adam: AdamSettings, generator: torch.Generator) -> None:
        """Set the network to train and build the optimiser; called once, before the first update.

        Args:
            network: the network, trained in place.
            domains: m, number of source domains, >= 1.
            adam: settings of the optimiser.
            generator: source of every random draw of the algorithm.

        Raises:
            ConfigError: no source domain.
        """
        if domains < 1:
            raise ConfigError(f"an algorithm needs at least one source domain, got {domains}")
        self.network, self.domains, self.adam, self.generator = network, domains, adam, generator
        self.updates = 0
        self.extend()
        self.optimizer = self.fresh_optimizer()

    def extend(self) -> None:
        """Build the algorithm's own networks and buffers, in addition to the network."""

    @abstractmethod
    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        """Take one optimiser step on one batch per source domain, all of one size, and return values to log.

        Raises:
            ValueError: a wrong number of domains, or batches of different sizes.
        """

    def predict(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Class scores in evaluation mode. Shapes: (B, C, T) -> (B, M)."""
        out: Tensor = self.network(imu, mask)
        return out

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of all tensors that `predict` uses, including running statistics."""
        return {name: value.detach().clone() for name, value in self.state_dict().items()}

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Load weights from `snapshot`, to continue training or to predict."""
        self.load_state_dict(weights)

    # ------------------------------------------------------------------------------------------ for subclasses

    def fresh_optimizer(self) -> torch.optim.Optimizer:
        """A new optimiser over all parameters that the algorithm trains, with empty averages."""
        return self.adam.build(self.parameters(), encoder=self.network.encoder.parameters())

    def join(self, batches: Sequence[DomainBatch]) -> DomainBatch:
        """The batches of the domains as one batch, in order.

        Raises:
            ValueError: a wrong number of batches, or batches of different sizes.
        """
        # `by_domain` and `domain_losses` split the joined batch into equal parts, which requires equal sizes.
        if len(batches) != self.domains or len({len(b) for b in batches}) != 1:
            raise ValueError(
                f"expected {self.domains} domain batches of one size, got sizes {[len(b) for b in batches]}"
            )
        return join(batches)

    def by_domain(self, rows: Tensor) -> list[Tensor]:
        """Rows of a joined batch, one tensor per domain."""
        return list(rows.chunk(self.domains))

    def step(self, loss: Tensor) -> None:
        """Backpropagate and take one optimiser step."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.updates += 1


def join(batches: Sequence[DomainBatch]) -> DomainBatch:
    """Concatenate batches."""
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
