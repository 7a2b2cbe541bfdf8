"""Convolutions followed by a small Transformer: the IMU encoder of CMC-CMKM."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import BelowOne, Count
from imu_video.encoders.layers.convolutional import Norm, TimeEncoder, norm_layer
from imu_video.encoders.layers.pooling import Pooling, valid_tokens
from imu_video.encoders.layers.transformer import TransformerLayer, sinusoidal_positions
from imu_video.errors import ConfigError
from imu_video.registry import encoders


@encoders.register("cnn_transformer")
class CNNTransformer(TimeEncoder):
    """Three convolutions, sinusoidal positions, Transformer layers over time (CMC-CMKM, Brinzea et al. 2022).

    Convolutions of kernel 5 with norm and ReLU to 1/4, 1/2 and all of ``width``; two layers with two heads. The paper
    flattens all T steps; ``segments`` keeps the temporal order in a width that does not depend on the window length.

    Args:
        channels: C.
        width: token width, a positive multiple of 4 and of ``heads``; 128.
        layers: Transformer layers; 2.
        heads: attention heads; 2.
        ffn: hidden width of the feed-forward part; 512 (ours: we did not find the value of the paper).
        dropout: in [0, 1), in the Transformer. Non-zero values use torch's global generator, separately per rank.
        stride: of the last convolution; 1 as published, 2 halves the tokens.
        norm: ``batch`` as published, or ``group``.
        pooling: ``mean``, ``max`` or ``mean_max``.
        segments: parts of equal length that are pooled separately; 4.

    Shapes: (B, C, T) -> (B, width * segments); tokens (B, S, width).

    Example:
        >>> CNNTransformer(width=32, segments=2).feature_dim
        64
    """

    def __init__(
        self,
        *,
        channels: Count = 6,
        width: Annotated[int, Field(ge=4, multiple_of=4)] = 128,
        layers: Count = 2,
        heads: Count = 2,
        ffn: Count = 512,
        dropout: BelowOne = 0.0,
        stride: Count = 1,
        norm: Norm = "group",
        pooling: Pooling = "mean",
        segments: Count = 4,
    ) -> None:
        if width % heads:
            raise ConfigError(f"cnn_transformer: width must be a multiple of heads, got {width=}, {heads=}")
        super().__init__(channels=channels, token_dim=width, least=1, pooling=pooling, segments=segments)
        parts: list[nn.Module] = []
        for before, after, step in (
            (channels, width // 4, 1),
            (width // 4, width // 2, 1),
            (width // 2, width, stride),
        ):
            parts += [nn.Conv1d(before, after, 5, stride=step, padding=2), norm_layer(norm, after), nn.ReLU()]
        self.convolutions = nn.Sequential(*parts)
        self.layers = nn.ModuleList(
            TransformerLayer(width=width, heads=heads, ffn=ffn, dropout=dropout, norm="layer", pre_norm=True)
            for _ in range(layers)
        )

    def over_time(self, x: Tensor, valid: Tensor) -> Tensor:
        tokens = self.convolutions(x).transpose(1, 2)
        keys = valid_tokens(valid, tokens.shape[1])
        # Attention over no keys is NaN. A window without any sample attends everywhere; its input is constant.
        keys = keys | ~keys.any(1, keepdim=True)
        tokens = tokens + sinusoidal_positions(tokens.shape[1], tokens.shape[2], device=x.device).to(tokens.dtype)
        for layer in self.layers:
            tokens = layer(tokens, keys, only_first=False)
        return tokens.transpose(1, 2)
