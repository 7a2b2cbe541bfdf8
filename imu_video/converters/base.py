"""What a converter states about a checkpoint: the encoder, its input, and the place of every tensor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from imu_video.bundle.input_spec import InputSpec
from imu_video.converters.checkpoint import Checkpoint


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The encoder that a checkpoint belongs to, and the place of every tensor.

    Args:
        encoder: config entry of the encoder, without ``channels`` and ``samples``.
        spec: channels, rate, window and normalisation of the network.
        tensors: name in the encoder -> names in the checkpoint, several of which are joined along their first axis.
        zero: names in the encoder of parts that the network does not have, and that have no effect at zero -> reason.
        dropped: names in the checkpoint that no feature depends on -> reason.
        facts: further JSON facts for the card.
    """

    encoder: Mapping[str, Any]
    spec: InputSpec
    tensors: Mapping[str, tuple[str, ...]]
    zero: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class Converter(ABC):
    """Base class of converters; register a subclass with `imu_video.registry.converters`.

    Example:
        ``@converters.register("their_network")`` above a class with ``plan``, named with ``--plugin my_parts.py``
    """

    origin: ClassVar[str]
    """Paper and address of the published network."""
    licence: ClassVar[str]
    """Licence of the published weights as far as known; facts, not advice."""
    redistribution: ClassVar[str]
    """Whether the weights may be passed on."""

    @abstractmethod
    def plan(self, checkpoint: Checkpoint) -> Plan:
        """Read the arguments of the encoder off names, shapes and config, and place every tensor.

        Args:
            checkpoint: the tensors; those that the plan does not name are reported as unexpected.

        Raises:
            CheckpointError: the checkpoint is not one of this network.
        """


MISSING = "value of a channel without any sample; the published network has none"
"""Why `TimeEncoder.missing` is zero in a converted encoder."""


def with_prefix(checkpoint: Checkpoint, *prefixes: str) -> str:
    """The first prefix that a name of the checkpoint starts with; the last one where there is none.

    Example:
        >>> from pathlib import Path
        >>> import torch
        >>> found = Checkpoint(file=Path("a"), sha256="", tensors={"net.0.weight": torch.zeros(6)}, config=None)
        >>> with_prefix(found, "imu_encoder.net.", "net.")
        'net.'
    """
    return next((prefix for prefix in prefixes if checkpoint.under(prefix)), prefixes[-1])


def norm_names(ours: str, theirs: str, *, batch: bool) -> dict[str, tuple[str, ...]]:
    """Names of the tensors of a norm layer in the encoder and in the checkpoint.

    Args:
        ours, theirs: names of the layers.
        batch: batch norm, which has running statistics.

    Example:
        >>> norm_names("norm", "bn1", batch=False)
        {'norm.weight': ('bn1.weight',), 'norm.bias': ('bn1.bias',)}
    """
    parts = ["weight", "bias", *(["running_mean", "running_var", "num_batches_tracked"] if batch else [])]
    return {f"{ours}.{part}": (f"{theirs}.{part}",) for part in parts}
