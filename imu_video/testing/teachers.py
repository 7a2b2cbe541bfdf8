"""Contract check of frozen teachers; the quality of their features is not checked."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from imu_video import registry
from imu_video.errors import ImuVideoError
from imu_video.testing.base import Component, build, close, made_batch, require


def check_teacher(teacher: Component, *, inputs: Tensor | None = None) -> None:
    """Check the contract of teachers (`FrozenTeacher`): frozen, deterministic, described, rows independent.

    Args:
        teacher: name, config entry or built (and, if needed, fitted) teacher.
        inputs: a batch of its modality, such as (B, F, H, W, 3) uint8, B at least 2; None: random inputs.

    Raises:
        AssertionError: naming the broken point.

    Example:
        ``check_teacher({"name": "tiny"})``
    """
    model: Any = build(registry.teachers, teacher)
    name = type(model).__name__
    known = registry.modalities.names()
    require(model.modality in known, f"{name}.modality is {model.modality!r}, registered are {known}")
    if inputs is None:
        inputs = made_batch(model.modality, rows=3)
    description = model.describe()
    require(
        isinstance(description, dict) and json.dumps(description, sort_keys=True, allow_nan=False) != "{}",
        f"{name}.describe() must be a JSON object of what determines the features",
    )
    before = inputs.clone()
    features = model.encode(inputs)
    require(
        features.shape == (len(inputs), model.feature_dim) and features.dtype == torch.float32,
        f"{name}.encode: expected float32 ({len(inputs)}, {model.feature_dim}), got {features.dtype} "
        f"{tuple(features.shape)}",
    )
    require(not features.requires_grad, f"{name}.encode returns features with gradient: a teacher is frozen")
    require(features.isfinite().all(), f"{name}.encode gives values that are not finite")
    require(torch.equal(inputs, before), f"{name}.encode changes its input in place")
    if isinstance(model, nn.Module):
        _check_frozen(model, name, inputs, features)
    alone = torch.cat([model.encode(row[None]) for row in inputs])
    require(close(alone, features, 1e-3), f"{name}.encode: a clip's features depend on the other clips of its batch")
    require(model.describe() == description, f"{name}.describe() changes with use")
    try:
        model.encode(inputs[0])
    except (ValueError, ImuVideoError):
        return
    raise AssertionError(
        f"{name}.encode accepts an input without a batch axis: refuse it with a ValueError naming the axes"
    )


def _check_frozen(model: Any, name: str, inputs: Tensor, features: Tensor) -> None:
    model.train()
    training = [key or name for key, module in model.named_modules() if module.training]
    require(not training, f"{name}: train() leaves evaluation mode in {training[:3]}: a teacher stays in eval")
    trainable = [key for key, p in model.named_parameters() if p.requires_grad]
    require(not trainable, f"{name}: parameters take gradients: {trainable[:3]}")
    state = {k: v.clone() for k, v in model.state_dict().items()}
    require(torch.equal(model.encode(inputs), features), f"{name}.encode: two calls differ")
    changed = [k for k, v in model.state_dict().items() if not torch.equal(v, state[k])]
    require(not changed, f"{name}.encode changes its state: {changed[:3]}")


def check_text_encoder(encoder: Component) -> None:
    """Check the contract of text encoders: one finite unit-norm row per text, independent of the rest of the batch.

    Args:
        encoder: name, config entry or built text encoder.

    Raises:
        AssertionError: naming the broken point.

    Example:
        ``check_text_encoder("sentence")``
    """
    model: Any = build(registry.text_encoders, encoder)
    name = type(model).__name__
    texts = ["walking", "a person climbs the stairs, slowly and with a heavy bag", "sitting"]
    rows = model.encode(texts)
    require(
        rows.ndim == 2 and len(rows) == len(texts) and rows.dtype == torch.float32,
        f"{name}.encode: expected float32 ({len(texts)}, W), got {rows.dtype} {tuple(rows.shape)}",
    )
    require(not rows.requires_grad, f"{name}.encode returns a gradient: a text encoder is frozen")
    require(close(rows.norm(dim=1), torch.ones(len(texts)), 1e-4), f"{name}.encode: rows must have length one")
    alone = torch.cat([model.encode([text]) for text in texts])
    require(close(alone, rows, 1e-3), f"{name}.encode: a text's embedding depends on the other texts of its batch")
    require(torch.equal(model.encode(texts), rows), f"{name}.encode: two calls differ")
