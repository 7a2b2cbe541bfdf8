"""PatchTST in the form of Hugging Face's `transformers`, for weights that were trained with it; no head."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import BelowOne, Count
from imu_video.encoders.base import check_window, masked_mean
from imu_video.encoders.layers.patches import cut_patches, needed_mask, patch_count, standardise
from imu_video.encoders.layers.transformer import TransformerLayer
from imu_video.errors import ConfigError
from imu_video.registry import encoders

LEAST_SCALE = 1e-10
"""Smallest mean magnitude that ``scaling: mean`` divides by."""


@encoders.register("patch_tst_hf")
class PatchTSTHF(nn.Module):
    """`transformers.PatchTSTModel` (version 4.36 and later): a table of positions, and each series scaled by itself.

    The arithmetic of that class, so that its weights give its features: patches aligned to the end of the window, one
    embedding, an optional class token, a table of positions, and Transformer layers that all channels share. Missing
    data is treated as in `patch_tst`. Attention across channels is not supported.

    The table covers the patches of a training window. In a window of another length the newest patch has the last
    row; patches that are older than the table have the row of its oldest patch.

    Args:
        channels: C.
        samples: T of training windows, longer than a patch; filled in from the data.
        patch: samples per patch; 16.
        stride: samples between the starts of patches.
        width: token width, a positive multiple of ``heads``.
        layers: Transformer layers.
        heads: attention heads.
        ffn: hidden width of the feed-forward part.
        dropout: in [0, 1). Non-zero values use torch's global generator, separately per rank.
        norm: ``batch`` (its statistics are per rank), or ``layer``.
        norm_eps: added to the variance, in (0, 1]; 1e-5.
        pre_norm: normalise before each part rather than after the residual.
        activation: ``gelu`` or ``relu``, in the feed-forward part.
        scaling: ``std``: each series minus its mean over its standard deviation; ``mean``: over its mean magnitude;
            ``none``.
        positions: ``sincos``, a fixed table (needs an even width), or ``learned``.
        class_token: whether a class token precedes the patches.
        share_embedding: one embedding of patches for all channels, or one for each.
        pooling: ``cls``, the class token of each channel; ``mean`` or ``max`` over its measured patches.

    Shapes: imu (B, C, T), mask (B, C, T) bool or None -> (B, E) with E = C * width; tokens (B, P, E).

    Raises:
        ConfigError: arguments that do not fit together.

    Example:
        >>> model = PatchTSTHF()
        >>> sum(p.numel() for p in model.parameters()), model(torch.zeros(2, 6, 250)).shape
        (599168, torch.Size([2, 768]))
    """

    def __init__(
        self,
        *,
        channels: Count = 6,
        samples: Count = 250,
        patch: Count = 16,
        stride: Count = 16,
        width: Count = 128,
        layers: Count = 3,
        heads: Count = 4,
        ffn: Count = 512,
        dropout: BelowOne = 0.0,
        norm: Literal["layer", "batch"] = "batch",
        norm_eps: Annotated[float, Field(gt=0, le=1)] = 1e-5,
        pre_norm: bool = True,
        activation: Literal["gelu", "relu"] = "gelu",
        scaling: Literal["none", "std", "mean"] = "std",
        positions: Literal["sincos", "learned"] = "sincos",
        class_token: bool = True,
        share_embedding: bool = True,
        pooling: Literal["cls", "mean", "max"] = "cls",
    ) -> None:
        super().__init__()
        if width % heads or (positions == "sincos" and width % 2):
            raise ConfigError(
                "patch_tst_hf: width must be a multiple of heads, and even for positions: sincos; "
                f"got {width=}, {heads=}, {positions=}"
            )
        if samples <= patch:
            raise ConfigError(f"patch_tst_hf: samples must exceed patch, got {samples=}, {patch=}")
        if pooling == "cls" and not class_token:
            raise ConfigError("patch_tst_hf: pooling 'cls' needs a class token", hint="pooling: mean")
        self.channels, self.patch, self.stride = channels, patch, stride
        self.scaling, self.pooling, self.has_class_token = scaling, pooling, class_token
        self.feature_dim = self.token_dim = channels * width
        embeddings = [nn.Linear(patch, width) for _ in range(1 if share_embedding else channels)]
        self.embed = nn.ModuleList(embeddings)
        if class_token:
            self.class_token = nn.Parameter(torch.empty(1, 1, 1, width))  # the shape in the original
        rows = patch_count(samples, patch=patch, stride=stride) + int(class_token)
        # The fixed table is a parameter without gradient, as in the original: the number of parameters is the same.
        table = sincos_table(rows, width) if positions == "sincos" else torch.empty(rows, width)
        self.positions = nn.Parameter(table, requires_grad=positions == "learned")
        # The class token's output does not depend on the last layer of other tokens. Batch norm would need them for
        # its statistics.
        self._skip = pooling == "cls" and norm == "layer"
        self.layers = nn.ModuleList(
            TransformerLayer(
                width=width,
                heads=heads,
                ffn=ffn,
                dropout=dropout,
                norm=norm,
                pre_norm=pre_norm,
                activation=activation,
                eps=norm_eps,
            )
            for _ in range(layers)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise all weights: normal with a deviation of 0.02, zero biases, learned positions of scale 1."""
        if self.has_class_token:
            nn.init.normal_(self.class_token, std=0.02)
        if self.positions.requires_grad:
            nn.init.normal_(self.positions)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm | nn.BatchNorm1d):
                module.reset_parameters()

    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features (B, C * width) of windows (B, C, T); ``mask`` (B, C, T) is True where measured."""
        tokens, keys = self._run(imu, mask, pooled=True)
        if self.pooling == "cls":
            return tokens[:, 0].reshape(imu.shape[0], self.feature_dim)
        tokens = tokens[:, int(self.has_class_token) :]
        measured = torch.ones_like(tokens[..., :1], dtype=torch.bool)
        if keys is not None:
            measured = keys[:, int(self.has_class_token) :, None]
        if self.pooling == "mean":
            pooled = masked_mean(tokens, measured, 1)
        else:
            highest = tokens.masked_fill(~measured, -math.inf).amax(1, keepdim=True)
            pooled = torch.where(measured.any(1, keepdim=True), highest, 0)
        return pooled.reshape(imu.shape[0], self.feature_dim)

    def tokens(self, imu: Tensor, mask: Tensor | None = None, *, scaled: bool = False) -> Tensor:
        """Features over time (B, P, C * width): the channels' outputs for each patch side by side, oldest first.

        Args:
            imu, mask: as in `forward`.
            scaled: the windows were scaled with `scaled` before, and are not scaled again.
        """
        tokens = self._run(imu, mask, pooled=False, scale=not scaled)[0][:, int(self.has_class_token) :]
        return tokens.unflatten(0, (imu.shape[0], self.channels)).transpose(1, 2).flatten(2)

    def _run(
        self, imu: Tensor, mask: Tensor | None, *, pooled: bool, scale: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens (B*C, L, width) of the last layer, and (B*C, L) bool, True for measured ones (None: all)."""
        check_window(imu, mask, self.channels)
        mask = needed_mask(mask, samples=imu.shape[-1], patch=self.patch)
        imu = self.scaled(imu, mask) if scale else imu
        patches, keys = cut_patches(imu, mask, patch=self.patch, stride=self.stride)
        tokens = self._embedded(patches) + self._rows(patches.shape[1]).to(patches.dtype)
        if self.has_class_token:
            first = (self.class_token[0] + self.positions[:1]).to(tokens.dtype).expand(tokens.shape[0], -1, -1)
            tokens = torch.cat([first, tokens], dim=1)
            keys = None if keys is None else F.pad(keys, (1, 0), value=True)
        elif keys is not None:
            # Attention over no keys is NaN. A channel without any sample attends everywhere; its patches are constant.
            keys = keys | ~keys.any(1, keepdim=True)
        for layer in self.layers:
            last = layer is self.layers[-1]
            tokens = layer(tokens, keys, only_first=pooled and self._skip and last)
        return tokens, keys

    def scaled(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalised windows (B, C, T) after the scaling of this encoder, before they are cut into patches."""
        if self.scaling == "std":
            return standardise(imu, mask)
        if self.scaling == "mean":
            measured = torch.ones_like(imu, dtype=torch.bool) if mask is None else mask
            return imu / masked_mean(imu.abs(), measured, -1).clamp(min=LEAST_SCALE)
        return imu

    def _embedded(self, patches: Tensor) -> Tensor:
        if len(self.embed) == 1:
            embedded: Tensor = self.embed[0](patches)
            return embedded
        by_channel = patches.unflatten(0, (-1, self.channels))
        return torch.stack([one(by_channel[:, i]) for i, one in enumerate(self.embed)], dim=1).flatten(0, 1)

    def _rows(self, count: int) -> Tensor:
        """Positions (count, width) of that many patches; the newest patch has the last row."""
        table = self.positions[int(self.has_class_token) :]
        older = count - len(table)
        return torch.cat([table[:1].expand(older, -1), table]) if older > 0 else table[-count:]


def sincos_table(rows: int, width: int) -> Tensor:
    """The fixed table of positions: sines and cosines, centred, with an overall standard deviation of 0.1.

    Args:
        rows: number of positions.
        width: features per position, even.

    Shapes: (rows, width).

    Example:
        >>> table = sincos_table(16, 128)
        >>> round(float(table.std()), 6), bool(table.mean().abs() < 1e-6)
        (0.1, True)
    """
    frequency = torch.exp(torch.arange(0, width, 2) * -(math.log(10_000.0) / width))
    angle = torch.arange(rows)[:, None] * frequency
    table = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
    table = table - table.mean()
    return table / (10 * table.std())
