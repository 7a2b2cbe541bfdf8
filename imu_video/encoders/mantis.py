"""Mantis, a foundation model for classification of time series, as an encoder; needs the extra ``foundation``."""

from __future__ import annotations

import importlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imu_video.arguments import BelowOne, Count
from imu_video.encoders.base import check_window, fill_gaps
from imu_video.errors import ConfigError
from imu_video.registry import encoders

SAMPLES = 512
"""Length of the series that the published network takes."""
OLD_NAMES = {"vit_unit.": "transf_unit."}
"""Prefixes of tensors in files of earlier versions of the package, with those of today."""


@encoders.register("mantis")
class Mantis(nn.Module):
    """Mantis-8M (Feofanov et al. 2025, arXiv 2502.15637) on each channel, the features side by side.

    The network is that of the package mantis-tsfm: 32 tokens from patches of the series, of its differences, and of
    their means and deviations; six Transformer layers; the class token. Every series is resampled to 512 samples, as
    the authors recommend. Gaps are interpolated; a channel without any sample has a learned feature.

    Args:
        channels: C.
        width: E of a channel; 256.
        layers: Transformer layers; 6.
        dropout: in [0, 1), in the Transformer; 0.1. Non-zero values use torch's global generator, separately per rank.

    Shapes: imu (B, C, T), mask (B, C, T) bool or None -> (B, C * width).

    Raises:
        ConfigError: the package is not installed.

    Example:
        ``imu-video convert mantis model.safetensors encoders/mantis``
    """

    def __init__(self, *, channels: Count = 6, width: Count = 256, layers: Count = 6, dropout: BelowOne = 0.1) -> None:
        super().__init__()
        try:
            architecture = importlib.import_module("mantis.architecture")
        except ImportError as error:
            raise ConfigError(
                "encoder 'mantis' needs the package mantis-tsfm, which is not installed",
                hint="pip install 'imu-video[foundation]'",
            ) from error
        self.channels, self.feature_dim = channels, channels * width
        self.network: Any = architecture.MantisV1(
            seq_len=SAMPLES, hidden_dim=width, transf_depth=layers, transf_dropout=dropout, device="cpu"
        )
        self.network.prj = nn.Identity()  # the head of its contrastive training
        self.missing = nn.Parameter(torch.zeros(width))

    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features (B, C * width) of normalised windows (B, C, T); ``mask`` is True where measured."""
        check_window(imu, mask, self.channels)
        mask = torch.ones_like(imu, dtype=torch.bool) if mask is None else mask
        x = fill_gaps(imu, mask)
        if x.shape[-1] != SAMPLES:
            x = F.interpolate(x, size=SAMPLES, mode="linear", align_corners=False)
        features = self.network(x.flatten(0, 1)[:, None]).unflatten(0, (len(imu), self.channels))
        there = mask.any(-1, keepdim=True)
        return torch.where(there, features, self.missing.to(features.dtype)).flatten(1)
