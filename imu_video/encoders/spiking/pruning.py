"""Magnitude pruning of synapses that holds while the encoder is trained further; no training here."""

from __future__ import annotations

import torch
from torch import nn

from imu_video.encoders.spiking.neurons import Synapses
from imu_video.errors import ConfigError


@torch.no_grad()
def prune(encoder: nn.Module, share: float) -> int:
    """Remove the synapses with the smallest absolute weights from every connection, for good.

    Han et al. 2015 (arXiv 1506.02626), per connection. Removed synapses are part of the encoder's state: fine-tuning,
    checkpoints and exports keep them removed. Calling it again with a larger share removes further ones. Synapses with
    a weight of zero, such as those from the memory to u before training, are among the first to be removed.

    Args:
        encoder: module with `Synapses`, changed in place.
        share: share of all synapses of a connection that is removed afterwards, in [0, 1).

    Returns:
        Number of synapses that remain.

    Raises:
        ConfigError: another share, or a module without spiking synapses.

    Example:
        >>> layer = Synapses(4, 1)
        >>> layer.weight.data = torch.tensor([[0.5, -0.1, 0.2, -0.9]])
        >>> prune(layer, 0.5), layer.effective().tolist()
        (2, [[0.5, 0.0, 0.0, -0.900390625]])
    """
    if not 0 <= share < 1:
        raise ConfigError(f"share of pruned synapses: expected a number in [0, 1), got {share}")
    parts = [part for part in encoder.modules() if isinstance(part, Synapses)]
    if not parts:
        raise ConfigError(f"{type(encoder).__name__} has no spiking synapses", hint="prune an encoder `l2mu`")
    remaining = 0
    for part in parts:
        size = torch.where(part.kept, part.weight.abs(), -1).flatten()  # removed ones come first
        removed = size.argsort(stable=True)[: round(share * len(size))]
        part.kept.view(-1)[removed] = False
        part.weight.masked_fill_(~part.kept, 0)
        remaining += int(part.kept.sum())
    return remaining
