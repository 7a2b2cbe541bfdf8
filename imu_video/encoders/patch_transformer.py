"""PatchTST: a Transformer over patches of each IMU channel, with weights shared by all channels; no head."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import BelowOne, Count
from imu_video.encoders.base import check_window, masked_mean
from imu_video.encoders.layers.patches import cut_patches, needed_mask, patch_count, standardise
from imu_video.encoders.layers.transformer import TransformerLayer, sinusoidal_positions
from imu_video.errors import ConfigError
from imu_video.registry import encoders


@encoders.register("patch_tst")
class PatchTST(nn.Module):
    """Channel-independent patch Transformer: one class token per channel, outputs concatenated.

    Nie et al. 2023 (arXiv 2211.14730) as used for IMU by Cheshmi et al. 2025 (arXiv 2507.13482). Every channel is cut
    into patches that are aligned to the END of the window (the oldest ``(T - patch) % stride`` samples are not used),
    embedded by one linear map, given a class token and positions, and passed through the same Transformer. Positions
    are fixed sinusoids counted from the end (class token 0, newest patch 1), so any T works and a position is an age.

    Missing data: a gap inside a patch is filled with the mean of the patch's measured samples (zeros would look like
    free fall); a patch without any measured sample is masked in attention; for a channel without any sample the output
    is that of the class token alone, a learned "missing" vector. Values under a False mask never affect the output.

    Args:
        channels: C.
        patch: samples per patch, at least 2; 16 (0.32 s at 50 Hz).
        stride: samples between the starts of patches, 1 to ``patch``.
        width: token width, a positive multiple of 2 and of ``heads``.
        layers: Transformer layers.
        heads: attention heads.
        ffn: hidden width of the feed-forward part.
        dropout: in [0, 1); the paper's is 0. Non-zero values use torch's global generator, separately per rank.
        norm: ``layer``, or ``batch`` as in the paper (its statistics are per rank, so results depend on the number of
            processes).
        pre_norm: normalise before each part (as in the paper's code) rather than after the residual.
        scaling: ``none``, or ``instance``: each series minus its mean over its standard deviation (the paper; this
            removes gravity's direction and the amplitude of motion).
        pooling: ``cls_concat``, or ``mean_concat``: the mean over a channel's measured patches.

    Shapes: imu (B, C, T), mask (B, C, T) bool or None -> (B, E) with E = C * width.

    Raises:
        ConfigError: arguments that do not fit together.

    Example:
        >>> PatchTST()(torch.zeros(2, 6, 250)).shape
        torch.Size([2, 768])
    """

    def __init__(
        self,
        *,
        channels: Count = 6,
        patch: Annotated[int, Field(ge=2)] = 16,
        stride: Count = 16,
        width: Annotated[int, Field(ge=2, multiple_of=2)] = 128,
        layers: Count = 3,
        heads: Count = 4,
        ffn: Count = 512,
        dropout: BelowOne = 0.0,
        norm: Literal["layer", "batch"] = "layer",
        pre_norm: bool = True,
        scaling: Literal["none", "instance"] = "none",
        pooling: Literal["cls_concat", "mean_concat"] = "cls_concat",
    ) -> None:
        super().__init__()
        if stride > patch or width % heads:
            raise ConfigError(
                "patch_tst: stride must be at most patch, width a multiple of heads; "
                f"got {stride=}, {patch=}, {width=}, {heads=}"
            )
        self.channels = channels
        self.patch = patch
        self.stride = stride
        self.scaling = scaling
        self.pooling = pooling
        self.feature_dim = channels * width
        self.token_dim = channels * width
        self.embed = nn.Linear(patch, width)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        # The class token's output does not depend on the last layer of other tokens, so they may be skipped there.
        # Batch norm would need them for its statistics.
        self._skip = pooling == "cls_concat" and norm == "layer"
        self.layers = nn.ModuleList(
            TransformerLayer(width=width, heads=heads, ffn=ffn, dropout=dropout, norm=norm, pre_norm=pre_norm)
            for _ in range(layers)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise all weights: Xavier-uniform matrices, zero biases, a class token of scale 0.02."""
        nn.init.normal_(self.class_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm | nn.BatchNorm1d):
                module.reset_parameters()

    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features (B, C * width) of normalised windows (B, C, T); ``mask`` (B, C, T) is True where measured."""
        check_window(imu, mask, self.channels)
        patches, keys = self._patches(imu, mask)
        tokens = self._tokens(patches)
        for layer in self.layers:
            tokens = layer(tokens, keys, only_first=self._skip and layer is self.layers[-1])
        if self.pooling == "cls_concat":
            pooled = tokens[:, 0]
        elif keys is None:
            pooled = tokens[:, 1:].mean(1)
        else:
            pooled = masked_mean(tokens[:, 1:], keys[:, 1:, None], 1)[:, 0]
        return pooled.reshape(imu.shape[0], self.feature_dim)

    def tokens(self, imu: Tensor, mask: Tensor | None = None, *, scaled: bool = False) -> Tensor:
        """Features over time (B, P, C * width): the channels' outputs for each patch side by side, oldest first.

        Args:
            imu, mask: as in `forward`.
            scaled: the windows were scaled with `scaled` before, and are not scaled again.
        """
        check_window(imu, mask, self.channels)
        patches, keys = self._patches(imu, mask, scale=not scaled)
        tokens = self._tokens(patches)
        for layer in self.layers:
            tokens = layer(tokens, keys, only_first=False)
        by_channel = tokens[:, 1:].unflatten(0, (imu.shape[0], self.channels))
        return by_channel.transpose(1, 2).flatten(2)

    def scaled(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalised windows (B, C, T) after the scaling of this encoder, before they are cut into patches."""
        return standardise(imu, mask) if self.scaling == "instance" else imu

    def patch_count(self, samples: int) -> int:
        """Patches of a window of ``samples`` steps; a window shorter than one patch is padded to one."""
        return patch_count(samples, patch=self.patch, stride=self.stride)

    def _patches(self, imu: Tensor, mask: Tensor | None, *, scale: bool = True) -> tuple[Tensor, Tensor | None]:
        """(B*C, P, patch) values and, if samples are missing, (B*C, 1+P) bool, True for tokens to attend to."""
        mask = needed_mask(mask, samples=imu.shape[-1], patch=self.patch)
        if scale:
            imu = self.scaled(imu, mask)
        values, measured = cut_patches(imu, mask, patch=self.patch, stride=self.stride)
        return values, None if measured is None else F.pad(measured, (1, 0), value=True)

    def _tokens(self, patches: Tensor) -> Tensor:
        embedded = self.embed(patches)
        count, width = patches.shape[1] + 1, embedded.shape[-1]
        position = sinusoidal_positions(count, width, device=patches.device).to(embedded.dtype)
        # Position 0 is the class token's; patches are counted from the newest, which is the last.
        first = (self.class_token + position[:1]).to(embedded.dtype).expand(patches.shape[0], -1, -1)
        return torch.cat([first, embedded + position[1:].flip(0)], dim=1)
