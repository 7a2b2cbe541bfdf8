"""Adam and AdamW with parameter groups, and their state as named tensors; training loops set the learning rate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from imu_video.errors import CheckpointError

Algorithm = Literal["adamw", "adam", "amsgrad", "sgd"]
"""Optimiser: decay of the weights themselves (AdamW), or added to the gradient (Adam with L2 regularisation, its
variant AMSGrad, and gradient descent without momentum)."""
Decayed = Literal["matrices", "all"]
"""Parameters with weight decay: matrices (see `parameter_groups`), or every parameter, as in torch's optimisers."""


def parameter_groups(module: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: matrices with weight decay; vectors, scalars, norms, biases and parameters marked ``no_decay``.

    Learned scales, class tokens and positions should not be pulled towards zero. If such a parameter has 2 or more
    axes, its module marks it: ``parameter.no_decay = True``.

    Args:
        module: module whose parameters with ``requires_grad`` are grouped.
        weight_decay: >= 0, for the first group.

    Example:
        >>> groups = parameter_groups(nn.Linear(3, 2), weight_decay=0.1)
        >>> [(g["names"], g["weight_decay"]) for g in groups]
        [(['weight'], 0.1), (['bias'], 0.0)]
    """
    norms = {
        f"{prefix}.{name}" if prefix else name
        for prefix, child in module.named_modules()
        if isinstance(child, nn.LayerNorm | nn.GroupNorm | nn.modules.batchnorm._NormBase)
        for name, _ in child.named_parameters(recurse=False)
    }
    groups: list[dict[str, Any]] = [
        {"params": [], "names": [], "weight_decay": weight_decay},
        {"params": [], "names": [], "weight_decay": 0.0},
    ]
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        last = name.rpartition(".")[2]
        free = (
            parameter.ndim < 2
            or name in norms
            or last.endswith(("bias", "scale"))
            or getattr(parameter, "no_decay", False)
        )
        groups[free]["params"].append(parameter)
        groups[free]["names"].append(name)
    return groups


def groups_by_shape(parameters: Iterable[nn.Parameter], *, weight_decay: float, **options: Any) -> list[dict[str, Any]]:
    """Two groups by shape only: matrices with weight decay, vectors without; for unnamed parameters in fine-tuning.

    `parameter_groups` also exempts parameters marked ``no_decay``, so the two functions give different results.

    Args:
        parameters: parameters to group; their order is kept.
        weight_decay: >= 0, for matrices.
        options: further settings of both groups, for example ``lr=1e-3``.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> [(len(g["params"]), g["weight_decay"]) for g in groups_by_shape(layer.parameters(), weight_decay=0.1)]
        [(1, 0.1), (1, 0.0)]
    """
    own = list(parameters)
    return [
        {"params": [p for p in own if (p.ndim > 1) == matrices], **options, "weight_decay": decay}
        for matrices, decay in ((True, weight_decay), (False, 0.0))
    ]


def adam(
    module: nn.Module,
    *,
    weight_decay: float,
    betas: tuple[float, float],
    algorithm: Algorithm = "adamw",
    decayed: Decayed = "matrices",
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), Adam (Kingma & Ba 2015), AMSGrad (Reddi et al. 2018) or plain descent.

    The loop sets ``lr`` before each step.

    Args:
        module: module whose parameters with ``requires_grad`` are optimised.
        weight_decay: >= 0.
        betas: decay rates of the moments, each in [0, 1); ``sgd`` has none.
        algorithm: see `Algorithm`.
        decayed: see `Decayed`.

    Example:
        >>> optimizer = adam(nn.Linear(3, 2), weight_decay=0.1, betas=(0.9, 0.999), algorithm="adam", decayed="all")
        >>> type(optimizer).__name__, [(g["names"], g["weight_decay"]) for g in optimizer.param_groups]
        ('Adam', [(['weight', 'bias'], 0.1)])
    """
    if decayed == "matrices":
        groups = [g for g in parameter_groups(module, weight_decay=weight_decay) if g["params"]]
    else:
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        groups = [{"params": [p for _, p in named], "names": [name for name, _ in named], "weight_decay": weight_decay}]
    if algorithm == "sgd":
        return torch.optim.SGD(groups, lr=0.0)
    if algorithm == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, betas=betas)
    return torch.optim.Adam(groups, lr=0.0, betas=betas, amsgrad=algorithm == "amsgrad")


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of the optimiser as ``parameter name/state name`` -> tensor, for safetensors.

    The rest of an optimiser's state dict (rates, betas, groups) is determined by the config and the step.
    """
    return {
        f"{name}/{key}": value.detach()
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
        for key, value in sorted(optimizer.state.get(parameter, {}).items())
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore the state that `optimizer_tensors` returned; the optimiser must have the same parameters.

    Raises:
        CheckpointError: a name without a parameter, or a moment of a different shape.
    """
    parameters = {
        name: parameter
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
    }
    optimizer.state.clear()
    for full, value in tensors.items():
        name, _, key = full.rpartition("/")
        if name not in parameters:
            raise CheckpointError(f"optimizer state {full!r} belongs to no parameter of this model")
        parameter = parameters[name]
        if key != "step" and value.shape != parameter.shape:
            raise CheckpointError(
                f"optimizer state {full!r} has shape {tuple(value.shape)}, expected {tuple(parameter.shape)}"
            )
        # Adam keeps its step counter on the CPU; the moments are on the device of their parameter.
        optimizer.state[parameter][key] = value.to("cpu" if key == "step" else parameter.device, copy=True)
