"""Temporal convolutional network: causal dilated convolutions, for windows and for streams of samples; no head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import BelowOne, Count
from imu_video.encoders.base import check_window
from imu_video.encoders.layers.pooling import Pooling, pool_tokens, pooled_width
from imu_video.encoders.layers.streaming import Stream
from imu_video.errors import ConfigError
from imu_video.registry import encoders

Conv = Callable[[nn.Conv1d, Tensor], Tensor]
"""Applies a convolution, with or without the inputs of earlier samples."""


def apply_conv(layer: nn.Conv1d, x: Tensor) -> Tensor:
    """The convolution of a window."""
    out: Tensor = layer(x)
    return out


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each time step (Ba et al. 2016, arXiv 1607.06450).

    Shapes: (B, W, T) -> (B, W, T).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return out


class CausalBlock(nn.Module):
    """Two dilated convolutions with norm, ReLU and dropout, and a residual (Bai et al. 2018, figure 1b).

    Output i depends on input steps up to that of its newest one, and there are as many fewer outputs as the
    convolutions reach back: nothing is padded.

    Shapes: (B, W, T) -> (B, W, T - 2 * (kernel - 1) * dilation).
    """

    def __init__(self, width: int, *, kernel: int, dilation: int, norm: str, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.convs = nn.ModuleList(nn.Conv1d(width, width, kernel, dilation=dilation) for _ in range(2))
        self.norms = nn.ModuleList(ChannelNorm(width) if norm == "channel" else nn.BatchNorm1d(width) for _ in range(2))

    def forward(self, x: Tensor, conv: Conv = apply_conv) -> Tensor:
        h = x
        for layer, norm in zip(self.convs, self.norms, strict=True):
            assert isinstance(layer, nn.Conv1d)
            h = F.dropout(F.relu(norm(conv(layer, h))), self.dropout, self.training)
        return F.relu(h + x[..., x.shape[-1] - h.shape[-1] :])


@encoders.register("tcn")
class TCN(nn.Module):
    """Causal dilated convolutions with residuals (Bai et al. 2018, arXiv 1803.01271), which also run on a stream.

    A convolution of ``stride`` + 3 samples that keeps every ``stride``-th step, then ``levels`` residual blocks of two
    convolutions with dilation 1, 2, 4 ... A token depends on ``reach`` samples and none after its newest one. Windows
    are not padded, unlike in the paper: all T - reach + 1 tokens (with stride 1) have seen real samples only, so that
    the token of a sample is the same in every window, and a stream computes it once (`stream`).

    The input of the first layer is the C normalised channels, with zeros for missing samples, and the C masks. The
    paper's weight norm is replaced by a norm over the channels of each step, or batch norm: norms over time would mix
    earlier samples with later ones.

    Args:
        channels: C.
        width: channels of every layer; 64, sensible 16 to 128.
        levels: residual blocks; 3, sensible 2 to 6. Each doubles the reach.
        kernel: steps per convolution of a block, at least 2; 3.
        stride: samples per token; 2 at 50 Hz, sensible 1 to 8.
        dropout: in [0, 1). Non-zero values use torch's global generator, separately per rank.
        norm: ``channel``, layer norm of each step, or ``batch``.
        pooling: ``mean``, ``max``, ``mean_max`` or ``last`` over the tokens.
        segments: parts of equal length that are pooled separately; 1.

    Shapes: imu (B, C, T), mask (B, C, T) bool or None -> (B, E), E = width (twice that for ``mean_max``) * segments;
        tokens (B, S, width) with S = (T - reach) // stride + 1. Shorter windows are padded to ``reach`` samples, which
        are missing.

    Example:
        >>> model = TCN().eval()
        >>> model.reach, model.tokens(torch.zeros(2, 6, 128)).shape, model(torch.zeros(2, 6, 128)).shape
        (61, torch.Size([2, 34, 64]), torch.Size([2, 128]))
        >>> stream = model.stream(window=128, hop=64)
        >>> stream.push(torch.zeros(1, 6, 500)).shape  # after 128, 192, ... 448 samples
        torch.Size([1, 6, 128])
    """

    def __init__(
        self,
        *,
        channels: Count = 6,
        width: Count = 64,
        levels: Count = 3,
        kernel: Annotated[int, Field(ge=2)] = 3,
        stride: Count = 2,
        dropout: BelowOne = 0.0,
        norm: Literal["channel", "batch"] = "channel",
        pooling: Pooling = "mean_max",
        segments: Count = 1,
    ) -> None:
        super().__init__()
        self.channels, self.token_dim, self.stride = channels, width, stride
        self.pooling, self.segments = pooling, segments
        self.feature_dim = pooled_width(pooling, segments, width)
        first = stride + 3
        self.stem = nn.Conv1d(2 * channels, width, first, stride=stride)
        self.blocks = nn.ModuleList(
            CausalBlock(width, kernel=kernel, dilation=2**level, norm=norm, dropout=dropout) for level in range(levels)
        )
        self.reach = first + stride * 2 * (kernel - 1) * (2**levels - 1)

    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features (B, E) of normalised windows (B, C, T); ``mask`` is True where measured."""
        tokens, valid = self._tokens(imu, mask)
        return pool_tokens(tokens, valid, pooling=self.pooling, segments=self.segments)

    def tokens(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features over time (B, S, width), oldest first."""
        return self._tokens(imu, mask)[0]

    def stream(self, *, window: int, hop: int) -> Stream:
        """A stream of features of windows (`layers.streaming.Stream`); every token is computed once.

        Args:
            window: samples, at least ``reach``.
            hop: samples, a multiple of ``stride``: otherwise the tokens of neighbouring windows differ.

        Raises:
            ConfigError: another window or hop, or training mode.
        """
        return TokenStream(self, window=window, hop=hop)

    def _tokens(self, imu: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        check_window(imu, mask, self.channels)
        mask = torch.ones_like(imu, dtype=torch.bool) if mask is None else mask
        short = self.reach - imu.shape[-1]
        if short > 0:
            imu, mask = F.pad(imu, (short, 0)), F.pad(mask, (short, 0))
        # A token is valid if a sample was measured in the newest step of its reach.
        newest = mask.any(1)[:, self.reach - self.stride :]
        return self.over_time(masked_input(imu, mask)).transpose(1, 2), any_per_stride(newest, self.stride)

    def over_time(self, x: Tensor, conv: Conv = apply_conv) -> Tensor:
        """Features over time of channels and masks (B, 2 * C, T). Shapes: -> (B, width, S)."""
        h = F.relu(conv(self.stem, x))
        for block in self.blocks:
            h = block(h, conv)
        return h


def masked_input(imu: Tensor, mask: Tensor) -> Tensor:
    """Channels, with zeros where nothing was measured, and masks. Shapes: (B, C, T) twice -> (B, 2 * C, T)."""
    return torch.cat([torch.where(mask, imu, 0), mask.to(imu.dtype)], dim=1)


def any_per_stride(measured: Tensor, stride: int) -> Tensor:
    """Whether each group of ``stride`` samples has a measured one; an incomplete group at the end is left out.

    Shapes: (B, T) bool -> (B, T // stride) bool.

    Example:
        >>> any_per_stride(torch.tensor([[True, False, False, False, True]]), 2).tolist()
        [[True, False]]
    """
    steps = measured.shape[1] // stride
    return measured[:, : steps * stride].reshape(len(measured), steps, stride).any(2)


class TokenStream(Stream):
    """The stream of a `TCN`: keeps what its convolutions reach back to, and the tokens of a window.

    Args:
        encoder: in evaluation mode.
        window, hop: see `TCN.stream`.
    """

    def __init__(self, encoder: TCN, *, window: int, hop: int) -> None:
        super().__init__(window=window, hop=hop)
        if encoder.training:
            raise ConfigError("tcn: a stream needs an encoder in evaluation mode", hint="encoder.eval().stream(...)")
        if window < encoder.reach or hop % encoder.stride:
            raise ConfigError(
                f"tcn: a stream needs a window of at least {encoder.reach} samples and a hop that is a multiple of "
                f"{encoder.stride}, got {window=}, {hop=}"
            )
        self.encoder = encoder
        self.count = (window - encoder.reach) // encoder.stride + 1
        self._inputs: dict[nn.Module, Tensor] = {}  # of every convolution, what its next output needs
        self._tokens: Tensor | None = None
        self._valid: Tensor | None = None
        self._measured: Tensor | None = None  # of samples after the newest step of the last token
        self._skip = encoder.reach - encoder.stride  # samples before the newest step of the first token

    def _take(self, imu: Tensor, mask: Tensor) -> None:
        check_window(imu, mask, self.encoder.channels)
        tokens = self.encoder.over_time(masked_input(imu, mask), self._conv).transpose(1, 2)
        measured = mask.any(1)
        if self._measured is not None:
            measured = torch.cat([self._measured, measured], 1)
        skipped = min(self._skip, measured.shape[1])
        self._skip, measured = self._skip - skipped, measured[:, skipped:]
        used = tokens.shape[1] * self.encoder.stride
        valid, self._measured = any_per_stride(measured[:, :used], self.encoder.stride), measured[:, used:]
        if self._tokens is not None and self._valid is not None:
            tokens, valid = torch.cat([self._tokens, tokens], 1), torch.cat([self._valid, valid], 1)
        # Tokens of a window end at its last multiple of the stride; the hop is one, so that they are the newest ones.
        self._tokens, self._valid = tokens[:, -self.count :], valid[:, -self.count :]

    def _feature(self) -> Tensor:
        assert self._tokens is not None
        assert self._valid is not None
        return pool_tokens(self._tokens, self._valid, pooling=self.encoder.pooling, segments=self.encoder.segments)

    def _width(self) -> int:
        return self.encoder.feature_dim

    def _conv(self, layer: nn.Conv1d, x: Tensor) -> Tensor:
        before = self._inputs.get(layer)
        x = x if before is None else torch.cat([before, x], dim=-1)
        span = (layer.kernel_size[0] - 1) * layer.dilation[0] + 1
        step = layer.stride[0]
        outputs = max(0, (x.shape[-1] - span) // step + 1)
        self._inputs[layer] = x[..., outputs * step :]
        if not outputs:
            return x.new_zeros(len(x), layer.out_channels, 0)
        out: Tensor = layer(x)
        return out
