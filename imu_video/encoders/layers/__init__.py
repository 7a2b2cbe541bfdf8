"""Layers that several encoders share: pooling, attention, convolutions; no complete encoders.

The names below are imported at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.encoders.layers.convolutional import TimeEncoder, norm_layer
    from imu_video.encoders.layers.patches import cut_patches, patch_count
    from imu_video.encoders.layers.pooling import pool_tokens, pooled_width, valid_tokens
    from imu_video.encoders.layers.residual import PreActivationBlock, ResidualBlock
    from imu_video.encoders.layers.standardise import Standardise
    from imu_video.encoders.layers.statistics import SignalStatistics, statistic_names
    from imu_video.encoders.layers.transformer import TransformerLayer, sinusoidal_positions

__all__ = [
    "PreActivationBlock",
    "ResidualBlock",
    "SignalStatistics",
    "Standardise",
    "TimeEncoder",
    "TransformerLayer",
    "cut_patches",
    "norm_layer",
    "patch_count",
    "pool_tokens",
    "pooled_width",
    "sinusoidal_positions",
    "statistic_names",
    "valid_tokens",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "convolutional": ["TimeEncoder", "norm_layer"],
        "patches": ["cut_patches", "patch_count"],
        "pooling": ["pool_tokens", "pooled_width", "valid_tokens"],
        "residual": ["PreActivationBlock", "ResidualBlock"],
        "standardise": ["Standardise"],
        "statistics": ["SignalStatistics", "statistic_names"],
        "transformer": ["TransformerLayer", "sinusoidal_positions"],
    },
)
