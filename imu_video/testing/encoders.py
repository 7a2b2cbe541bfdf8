"""Contract check of encoders; the quality of features is measured by `imu-eval`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from imu_video import registry
from imu_video.errors import ImuVideoError
from imu_video.testing.base import Component, build, close, require, windows
from imu_video.testing.exports import check_export


def check_encoder(encoder: Component, *, lengths: tuple[int, ...] = (250, 100, 7), export: bool = False) -> None:
    """Check the contract of encoders (`imu_video.encoders`).

    Axes and widths as declared; any length; rows independent in evaluation; missing samples, channels and rows handled
    without NaN and independent of values under a False mask; gradients reach every parameter; inputs untouched.
    If the encoder has ``tokens(imu, mask)``, the shape of its features over time and the same mask rules. If it has
    ``stream(window=, hop=)``, that its features equal those of the windows. With ``export``, also the export to ONNX
    (`check_export`): run it once for each new encoder.

    Args:
        encoder: name, config entry or built module.
        lengths: values of T to check; the first one is used for all further checks.
        export: also check the export; needs the extra ``export`` and 5 to 15 seconds.

    Raises:
        AssertionError: naming the broken point.

    Example:
        >>> check_encoder({"name": "patch_tst", "width": 16, "layers": 1})
    """
    model = build(registry.encoders, encoder)
    name = type(model).__name__
    require(isinstance(model, nn.Module), f"{name} must be an nn.Module")
    for attribute in ("channels", "feature_dim"):
        value = getattr(model, attribute, None)
        require(isinstance(value, int) and value > 0, f"{name}.{attribute} must be a positive int, it is {value!r}")
    model.eval()
    channels = model.channels
    for samples in lengths:
        features = model(windows(3, channels, samples))
        require(
            features.shape == (3, model.feature_dim) and features.is_floating_point(),
            f"{name}: for (3, {channels}, {samples}) expected float (3, {model.feature_dim}), got {features.dtype} "
            f"{tuple(features.shape)}: return (B, feature_dim) for any T",
        )
        require(features.isfinite().all(), f"{name}: features are not finite for T={samples}")
    x = windows(4, channels, lengths[0])
    features = model(x).detach()
    _check_encoder_rows(model, name, x, features)
    _check_encoder_mask(model, name, x, features)
    if hasattr(model, "tokens"):
        _check_encoder_tokens(model, name, x)
    if hasattr(model, "stream"):
        _check_encoder_stream(model, name)
    _check_encoder_gradient(model, name, x)
    try:
        model(x.transpose(1, 2))
    except (ValueError, ImuVideoError):
        pass
    else:
        raise AssertionError(
            f"{name} accepts (B, T, C): refuse a wrong axis order with a ValueError that names the axes"
        )
    if export:
        check_export(encoder)


def _check_encoder_rows(model: Any, name: str, x: Tensor, features: Tensor) -> None:
    before, state = x.clone(), torch.get_rng_state()
    require(torch.equal(model(x), features), f"{name}: two calls in evaluation mode differ: no randomness in eval()")
    require(torch.equal(torch.get_rng_state(), state), f"{name}: eval() draws from torch's global generator")
    require(torch.equal(x, before), f"{name} changes its input in place: clone it first")
    alone = torch.cat([model(row[None]) for row in x])
    require(close(alone, features, 1e-4), f"{name}: a row's features depend on the other rows in evaluation mode")
    require(not close(features[:1], features[1:2], 1e-6), f"{name}: different windows give the same features")


def _check_encoder_mask(model: Any, name: str, x: Tensor, features: Tensor) -> None:
    full = torch.ones_like(x, dtype=torch.bool)
    require(close(model(x, full), features), f"{name}: mask=None and a mask of all True give different features")
    mask = full.clone()
    mask[0, 0, :40] = False  # a gap
    mask[1, 0] = False  # a channel
    mask[2] = False  # a whole row
    mask[3, :, 1::2] = False  # every other sample
    clean = torch.where(mask, x, 0)
    expected = model(clean, mask)
    require(expected.isfinite().all(), f"{name}: missing samples give NaN; a channel or row may be missing altogether")
    spoiled = torch.where(mask, x, 1e4)
    require(
        torch.equal(model(spoiled, mask), expected), f"{name}: values under a False mask change the features: fill them"
    )
    require(
        not close(model(clean)[:2], expected[:2], 1e-6),
        f"{name} ignores its mask: missing samples must not give the same features as zeros",
    )


def _check_encoder_tokens(model: Any, name: str, x: Tensor) -> None:
    """Check features over time, which temporal alignment and masked reconstruction use."""
    width = getattr(model, "token_dim", None)
    require(isinstance(width, int) and width > 0, f"{name}.token_dim must be a positive int, it is {width!r}")
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[0, :, 30:70] = False
    mask[1] = False
    tokens = model.tokens(torch.where(mask, x, 0), mask)
    require(
        tokens.ndim == 3 and tokens.shape[::2] == (len(x), width) and bool(tokens.isfinite().all()),
        f"{name}.tokens: expected finite (B, S, token_dim) = ({len(x)}, S, {width}), got {tuple(tokens.shape)}",
    )
    spoiled = model.tokens(torch.where(mask, x, 1e4), mask)
    require(torch.equal(spoiled, tokens), f"{name}.tokens: values under a False mask change the tokens: fill them")


def _check_encoder_stream(model: Any, name: str) -> None:
    """Samples in parts of any length give the features of the windows that end at every hop."""
    window, hop = 200, 48  # a hop that most strides divide
    x = windows(3, model.channels, 2 * window + hop + 7, seed=2)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[0, :, 150:260] = False  # a lost connection, longer than a hop
    mask[1, 0] = False
    mask[2, :, 10::3] = False
    x = torch.where(mask, x, 1e4)
    stream, start = model.stream(window=window, hop=hop), 0
    found: list[Tensor] = []
    for length in (1, 3, window - 30, 1, 2 * hop + 9, hop, 5, x.shape[-1]):
        part = slice(start, start + length)
        features = stream.push(x[..., part], mask[..., part])
        start = min(start + length, x.shape[-1])
        done = sum(f.shape[1] for f in found) + features.shape[1]
        expected = max(0, (start - window) // hop + 1)
        require(
            features.ndim == 3 and features.shape[::2] == (len(x), model.feature_dim) and done == expected,
            f"{name}.stream: after {start} samples, {expected} windows of {window} with hop {hop} are complete; got "
            f"{done} features so far, the last of shape {tuple(features.shape)}: return (B, K, feature_dim)",
        )
        found.append(features)
    for number, features in enumerate(torch.cat(found, 1).unbind(1)):
        part = slice(number * hop, number * hop + window)
        require(
            close(features, model(x[..., part], mask[..., part]), 1e-4),
            f"{name}.stream: the feature after {part.stop} samples is not that of the last {window} samples",
        )


def _check_encoder_gradient(model: Any, name: str, x: Tensor) -> None:
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[0, 0] = False
    mask[1] = False
    model.train()
    model.zero_grad()
    out = model(torch.where(mask, x, 0), mask)
    weights = windows(1, out.shape[0], out.shape[1], seed=1)[0]  # a plain sum may cancel behind a norm
    (out * weights).sum().backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            require(
                parameter.grad is not None, f"{name}: no gradient reaches {key}: drop it or use it (DDP would hang)"
            )
            require(
                parameter.grad.isfinite().all(), f"{name}: the gradient of {key} is not finite with missing samples"
            )
    model.zero_grad()
    model.eval()
