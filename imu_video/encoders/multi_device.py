"""One network for several devices worn at once, with devices missing; the network is any registered encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from imu_video.arguments import BelowOne, Count, Positive
from imu_video.encoders.base import check_window
from imu_video.encoders.hybrid import Network
from imu_video.errors import ConfigError
from imu_video.registry import encoders

DEVICE = {"name": "segment_cnn", "norm": "group"}
"""The default network of a device."""


def devices_of(names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Placement -> channel -> index, of names such as ``wrist.acc_x``; names without a dot belong to one device.

    Example:
        >>> devices_of(["wrist.acc_x", "wrist.acc_y", "hip.acc_x"])
        {'wrist': {'acc_x': 0, 'acc_y': 1}, 'hip': {'acc_x': 2}}
    """
    found: dict[str, dict[str, int]] = {}
    for index, name in enumerate(names):
        placement, _, channel = name.rpartition(".")
        found.setdefault(placement, {})[channel] = index
    return found


@encoders.register("multi_device")
class MultiDevice(nn.Module):
    """Several devices through one network, their features with a placement embedding, and a mean or attention.

    With f the network, x_v the channels of device v, e_v its placement embedding and A the devices that measured
    anything in the window:

        h_v = f(x_v) + e_v,     z = sum_{v in A} a_v h_v,
        a_v = 1 / |A|  (mean)   or   a_v = softmax over A of  w . tanh(W h_v)  (attention; Ilse et al. 2018,
        arXiv 1802.04712, equation 8)

    The devices are read off the names of the channels: ``wrist.acc_x`` is channel ``acc_x`` of the device ``wrist``.
    The network has the channels of all devices together; a device without one of them has it missing. In training,
    whole devices are hidden with probability ``drop``, never all of a window, so that fewer devices are not unknown.

    Args:
        channels: C of all devices.
        network: name or entry of the encoder of a device; a norm over the batch would mix in hidden devices, use
            ``norm: group``.
        fusion: ``attention`` or ``mean``.
        attention_width: rows of W; 32. Not used with ``mean``.
        placement: whether an embedding per placement is added.
        drop: probability that a device is hidden in training, in [0, 1); 0.2. Uses torch's global generator, separately
            per rank.
        rate_hz: sampling rate of the windows in Hz, above 0, for the network.
        samples: T of the windows, for the network.
        names: names of the channels. None: one device.

    Shapes: imu (B, C, T), mask (B, C, T) bool or None -> (B, E) with E of the network; `by_device` -> (B, V, E).

    Raises:
        ConfigError: another number of names than channels, or a channel that is named twice.

    Example:
        >>> names = [f"{place}.acc_{axis}" for place in ("wrist", "hip") for axis in "xyz"]
        >>> network = {"name": "segment_cnn", "width": 16, "norm": "group"}
        >>> model = MultiDevice(network=network, names=names).eval()
        >>> model.placements, model(torch.zeros(2, 6, 100)).shape
        (('wrist', 'hip'), torch.Size([2, 160]))
    """

    index: Tensor
    has: Tensor

    def __init__(
        self,
        *,
        channels: Count = 6,
        network: Network = DEVICE,
        fusion: Literal["attention", "mean"] = "attention",
        attention_width: Count = 32,
        placement: bool = True,
        drop: BelowOne = 0.2,
        rate_hz: Positive = 50.0,
        samples: Count = 250,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        names = [f"channel_{i}" for i in range(channels)] if names is None else list(names)
        if len(names) != channels or len(set(names)) != channels:
            different = len(set(names))
            raise ConfigError(
                f"encoder 'multi_device': {different} different names for {channels} channels: {', '.join(names)}",
                hint="leave out `names`: they are those of the windows",
            )
        devices = devices_of(names)
        kinds = list(dict.fromkeys(kind for device in devices.values() for kind in device))
        self.channels, self.drop = channels, drop
        self.placements = tuple(devices)
        index = [[device.get(kind, 0) for kind in kinds] for device in devices.values()]
        has = [[kind in device for kind in kinds] for device in devices.values()]
        self.register_buffer("index", torch.tensor(index), persistent=False)
        self.register_buffer("has", torch.tensor(has), persistent=False)
        shared = {"channels": len(kinds), "samples": samples, "rate_hz": rate_hz, "names": tuple(kinds)}
        self.network: Any = encoders.entry(network).filled(**shared).build()
        self.feature_dim = int(self.network.feature_dim)
        self.embedding: nn.Parameter | None = None
        if placement:
            self.embedding = nn.Parameter(torch.randn(len(devices), self.feature_dim) * 0.02)
        self.attention: nn.Sequential | None = None
        if fusion == "attention":
            self.attention = nn.Sequential(
                nn.Linear(self.feature_dim, attention_width), nn.Tanh(), nn.Linear(attention_width, 1, bias=False)
            )

    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features (B, E) of normalised windows (B, C, T); ``mask`` is True where measured."""
        return self.fused(*self.by_device(imu, mask))

    def by_device(self, imu: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features of every device (B, V, E), and which devices count (B, V) bool; a row with none counts all."""
        check_window(imu, mask, self.channels)
        mask = torch.ones_like(imu, dtype=torch.bool) if mask is None else mask
        x = imu[:, self.index]  # (B, V, c, T)
        there = mask[:, self.index] & self.has[..., None]
        present = there.flatten(2).any(2)
        if self.training and self.drop:
            present = self._some(present)
            there = there & present[..., None, None]
        rows, devices = present.shape
        features = self.network(torch.where(there, x, 0).flatten(0, 1), there.flatten(0, 1))
        features = features.unflatten(0, (rows, devices))
        if self.embedding is not None:
            features = features + self.embedding.to(features.dtype)
        return features, present | ~present.any(1, keepdim=True)

    def fused(self, features: Tensor, present: Tensor) -> Tensor:
        """One feature of those of the devices. Shapes: (B, V, E), (B, V) bool -> (B, E)."""
        score = torch.zeros_like(features[..., 0]) if self.attention is None else self.attention(features)[..., 0]
        weight = score.float().masked_fill(~present, float("-inf")).softmax(1).to(features.dtype)
        # A product with a weight of zero is not zero where a hidden device's feature is not finite.
        out: Tensor = (weight[..., None] * torch.where(present[..., None], features, 0)).sum(1)
        return out

    def fit(self, imu: Tensor, mask: Tensor | None = None) -> None:
        """Give a network that takes something from training windows the windows of all devices that measured."""
        if not hasattr(self.network, "fit"):
            return
        mask = torch.ones_like(imu, dtype=torch.bool) if mask is None else mask
        x, there = imu[:, self.index].flatten(0, 1), (mask[:, self.index] & self.has[..., None]).flatten(0, 1)
        rows = there.flatten(1).any(1)
        self.network.fit(torch.where(there, x, 0)[rows], there[rows])

    def _some(self, present: Tensor) -> Tensor:
        """The devices that remain in training; in rows that would lose all, the one with the largest draw."""
        draw = torch.rand(present.shape, device=present.device).masked_fill(~present, -1.0)
        kept = draw >= self.drop
        last = draw == draw.amax(1, keepdim=True)
        return present & (kept | last)
