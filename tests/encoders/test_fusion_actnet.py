"""FusionActNet's networks: published channels and counts; frozen parts (L2)."""

from __future__ import annotations

from itertools import pairwise

import torch

from imu_video.encoders import FusionActNet


def block(before: int, after: int) -> int:
    """Parameters of a residual block: two convolutions of kernel 3, two norms, a 1x1 convolution if widths differ."""
    shortcut = 0 if before == after else before * after + after
    return before * after * 3 + after + after * after * 3 + after + 2 * 2 * after + shortcut


def separable(before: int, after: int) -> int:
    return 3 * before + before + 2 * before + before * after + after + 2 * after + before * after + after


def test_published_widths() -> None:
    """Nine channels: 64, 128, 256, 512, 512 for the experts; 32, 64 twice, 128 and 256 thrice for the gate."""
    with torch.device("meta"):
        model = FusionActNet(channels=9)
    widths = [9, 64, 128, 256, 512, 512]
    expert = sum(block(a, b) for a, b in pairwise(widths))
    widths = [32, 64, 64, 128, 128, 128, 256, 256, 256]
    gate = 9 * 32 * 3 + 32 + 2 * 32 + sum(separable(a, b) for a, b in pairwise(widths))
    for name, counted in (("static", expert), ("dynamic", expert), ("gate", gate)):
        assert sum(p.numel() for p in model.networks[name].parameters()) == counted
    small = FusionActNet(channels=9, width=4)
    assert small.networks["static"](torch.zeros(1, 9, 128)).shape == (1, 32, 4)  # 128, 64, 32, 16, 8, 4 steps


def test_frozen_parts_get_no_gradient_and_keep_their_statistics() -> None:
    """L2: also when the parent is set to training mode again."""
    model = FusionActNet(width=4, norm="batch")
    model.freeze("static", "dynamic")
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model(torch.randn(4, 6, 64)).square().sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    for key, value in model.state_dict().items():
        changed = not torch.equal(value, before[key])
        if "static" in key or "dynamic" in key:
            assert not changed, key
        elif "running_mean" in key or key.endswith("main.0.weight"):
            assert changed, key
    grads = {name: [p.grad for p in model.networks[name].parameters()] for name in model.parts}
    assert all(grad is None for name in ("static", "dynamic") for grad in grads[name])
    assert all(grad is not None for grad in grads["gate"])
    model.freeze()
    assert all(p.requires_grad for p in model.parameters())
    assert model.networks["static"].training


def test_parts_are_independent() -> None:
    """The gradient of one part's columns reaches its network only, so that training them together is separate."""
    model = FusionActNet(width=4)
    model(torch.randn(2, 6, 64))[:, model.parts["static"]].sum().backward()
    reached = {name: any(bool(p.grad.any()) for p in model.networks[name].parameters()) for name in model.parts}
    assert reached == {"static": True, "dynamic": False, "gate": False}
