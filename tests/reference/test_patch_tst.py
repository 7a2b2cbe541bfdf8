"""PatchTST against a twin that follows the definition series by series, head by head, in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from imu_video.encoders import PatchTST
from imu_video.encoders.layers.transformer import POSITION_AMPLITUDE


def position(index: int, width: int) -> list[float]:
    out = []
    for k in range(width // 2):
        angle = index / 10_000 ** (2 * k / width)
        out += [POSITION_AMPLITUDE * math.sin(angle), POSITION_AMPLITUDE * math.cos(angle)]
    return out


def linear(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def layer_norm(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    mean, var = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    return (x - mean) / (var + 1e-5).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attend(weights: dict[str, Tensor], layer: str, x: Tensor, allowed: list[bool], heads: int) -> Tensor:
    width = x.shape[-1]
    q, k, v = linear(weights, f"{layer}.qkv", x).split(width, dim=-1)
    size = width // heads
    columns = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = q[:, part] @ k[:, part].T / math.sqrt(size)
        scores[:, [not a for a in allowed]] = -math.inf
        columns.append(torch.softmax(scores, -1) @ v[:, part])
    return linear(weights, f"{layer}.out", torch.cat(columns, -1))


def twin(model: PatchTST, imu: Tensor, mask: Tensor, *, heads: int, pre_norm: bool) -> Tensor:
    weights = {k: v.double() for k, v in model.state_dict().items()}
    rows = []
    for series, measured in zip(imu.flatten(0, 1).double(), mask.flatten(0, 1), strict=True):
        if model.scaling == "instance" and measured.any():
            values = series[measured]
            std = (values.var(unbiased=False) + 1e-5).sqrt()
            series = (series - values.mean()) / std
        padding = max(model.patch - len(series), 0)
        series = torch.cat([torch.zeros(padding, dtype=torch.float64), series])
        measured = torch.cat([torch.zeros(padding, dtype=torch.bool), measured])
        end, patches = len(series), []
        while end >= model.patch:  # from the newest patch backwards: position 1, 2, ...
            values, seen = series[end - model.patch : end].clone(), measured[end - model.patch : end]
            values[~seen] = values[seen].mean() if seen.any() else 0.0
            place = torch.tensor(position(len(patches) + 1, len(weights["embed.bias"])), dtype=torch.float64)
            patches.append((linear(weights, "embed", values) + place, bool(seen.any())))
            end -= model.stride
        patches.reverse()
        first = weights["class_token"][0, 0] + torch.tensor(position(0, len(weights["embed.bias"])))
        x = torch.stack([first, *(token for token, _ in patches)])
        allowed = [True, *(seen for _, seen in patches)]
        for index in range(len(model.layers)):
            name = f"layers.{index}"

            def norm(x: Tensor, part: str, name: str = name) -> Tensor:
                return layer_norm(weights, f"{name}.{part}_norm", x)

            def feed(x: Tensor, name: str = name) -> Tensor:
                hidden = linear(weights, f"{name}.up", x)
                hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
                return linear(weights, f"{name}.down", hidden)

            if pre_norm:
                x = x + attend(weights, name, norm(x, "attention"), allowed, heads)
                x = x + feed(norm(x, "ffn"))
            else:
                x = norm(x + attend(weights, name, x, allowed, heads), "attention")
                x = norm(x + feed(x), "ffn")
        seen_patches = x[1:][torch.tensor(allowed[1:])]
        if model.pooling == "cls_concat":
            rows.append(x[0])
        else:
            rows.append(seen_patches.mean(0) if len(seen_patches) else torch.zeros_like(x[0]))
    return torch.stack(rows).reshape(len(imu), -1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pre_norm": False},
        {"pooling": "mean_concat"},
        {"scaling": "instance"},
        {"stride": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("samples", [50, 9], ids=["T50", "shorter-than-a-patch"])
def test_equals_the_twin(options: dict[str, Any], samples: int) -> None:
    torch.manual_seed(0)
    model = PatchTST(channels=2, patch=12, **{"stride": 12, **options}, width=8, layers=2, heads=2, ffn=16).double()
    for parameter in model.parameters():  # away from zero biases and unit gains
        torch.nn.init.normal_(parameter, std=0.5)
    imu = torch.randn(3, 2, samples, dtype=torch.float64)
    mask = torch.ones_like(imu, dtype=torch.bool)
    mask[0, 0, 3:7] = False
    mask[1, 1, : samples // 2] = False
    mask[2, 0] = False
    expected = twin(model, imu, mask, heads=2, pre_norm=options.get("pre_norm", True))
    assert torch.allclose(model(imu, mask), expected, atol=1e-6)
    whole = torch.ones_like(mask)
    expected = twin(model, imu, whole, heads=2, pre_norm=options.get("pre_norm", True))
    assert torch.allclose(model(imu), expected, atol=1e-6)
