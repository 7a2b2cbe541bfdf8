"""Parameters and arithmetic of an encoder, counted on one window; nothing is timed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

SAMPLES = 250
"""Length of the window that costs are stated for: 5 s at 50 Hz."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Size and arithmetic of an encoder.

    Args:
        parameters: trained numbers.
        macs: multiplications with an addition, of one window: convolutions, matrix products, attention, recurrence.
        feature_dim: E.
        samples: T of that window.
    """

    parameters: int
    macs: int
    feature_dim: int
    samples: int


def cost(encoder: Any, *, samples: int = SAMPLES) -> Cost:
    """Count the parameters of an encoder, and the arithmetic of one window without gaps.

    Elementwise operations, norms and pooling are not counted, as usual. Recurrent layers are counted as
    gates * hidden * (inputs + hidden) per step and direction.

    Args:
        encoder: an encoder (`imu_video.encoders`), also on the device ``meta``; its mode is restored.
        samples: T.

    Example:
        >>> from imu_video.encoders import TPN
        >>> cost(TPN(), samples=46)
        Cost(parameters=86726, macs=417280, feature_dim=96, samples=46)
    """
    was = encoder.training
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    window = torch.zeros(1, encoder.channels, samples, device=device)
    parts = list(encoder.modules())
    try:
        # Attention and encoder layers have fused forms that the counter does not know.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, _recurrent(parts, counter) as own:
            encoder.eval()(window)
    finally:
        encoder.train(was)
    return Cost(
        parameters=sum(p.numel() for p in encoder.parameters()),
        macs=counter.get_total_flops() // 2 + sum(own),
        feature_dim=int(encoder.feature_dim),
        samples=samples,
    )


@contextlib.contextmanager
def _recurrent(modules: list[nn.Module], counter: FlopCounterMode) -> Iterator[list[int]]:
    """Collect what the counter does not count of recurrent layers, less what it does."""
    found: list[int] = []
    before: dict[nn.Module, int] = {}

    def start(module: nn.Module, inputs: Any) -> None:
        before[module] = counter.get_total_flops()

    def end(module: nn.Module, inputs: Any, output: Any) -> None:
        assert isinstance(module, nn.RNNBase)
        x: Tensor = inputs[0]
        steps = x.shape[1] if module.batch_first else x.shape[0]
        # The matrices of input and state, of all layers and directions; biases have one axis.
        products = sum(p.numel() for p in module.parameters() if p.ndim == 2)
        found.append(steps * products - (counter.get_total_flops() - before[module]) // 2)

    handles = []
    for module in modules:
        if isinstance(module, nn.RNNBase):
            handles += [module.register_forward_pre_hook(start), module.register_forward_hook(end)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
