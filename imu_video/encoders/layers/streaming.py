"""Features of a stream of samples, one vector per hop, equal to those of the windows; nothing is trained here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from imu_video.encoders.base import check_tensor
from imu_video.errors import ConfigError


class Stream(ABC):
    """Samples in, features of the last ``window`` samples out, every ``hop`` samples.

    Feature k is that of samples k * hop to k * hop + window, as the encoder computes it for this window alone: the
    first one is complete after ``window`` samples. Samples may be given in parts of any length. A stream has state: one
    stream per recording.

    Args:
        window: samples of a window, at least 1.
        hop: samples between the ends of neighbouring windows, at least 1.

    Raises:
        ConfigError: a window or a hop below 1.
    """

    def __init__(self, *, window: int, hop: int) -> None:
        if window < 1 or hop < 1:
            raise ConfigError(f"stream: window and hop must be at least 1 sample, got {window=}, {hop=}")
        self.window, self.hop = window, hop
        self.given = 0  # samples so far

    @torch.no_grad()
    def push(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Take the next samples and give the features of all windows that they complete.

        Shapes: imu (B, C, n) normalised as the encoder's windows, mask (B, C, n) bool or None -> (B, K, E), K = 0 if
            no window is complete.
        """
        check_tensor(imu)
        mask = torch.ones_like(imu, dtype=torch.bool) if mask is None else mask
        out, start = [], 0
        while start < imu.shape[-1]:
            wait = self.window - self.given if self.given < self.window else self._until_next()
            part = slice(start, start + wait)
            self._take(imu[..., part], mask[..., part])
            taken = imu[..., part].shape[-1]
            self.given, start = self.given + taken, start + taken
            if taken == wait:
                out.append(self._feature())
        return torch.stack(out, dim=1) if out else imu.new_zeros(len(imu), 0, self._width())

    def _until_next(self) -> int:
        return self.hop - (self.given - self.window) % self.hop

    @abstractmethod
    def _take(self, imu: Tensor, mask: Tensor) -> None:
        """Update the state with samples (B, C, n) of which only the last one may complete a window."""

    @abstractmethod
    def _feature(self) -> Tensor:
        """Feature (B, E) of the last ``window`` samples."""

    @abstractmethod
    def _width(self) -> int:
        """E."""


class WindowStream(Stream):
    """The stream of any encoder: keeps the last ``window`` samples and encodes them again at every hop.

    Args:
        encoder: in evaluation mode.
        window, hop: see `Stream`.

    Example:
        >>> from imu_video.encoders import TPN
        >>> stream = WindowStream(TPN().eval(), window=100, hop=25)
        >>> stream.push(torch.zeros(1, 6, 130)).shape
        torch.Size([1, 2, 96])
    """

    def __init__(self, encoder: Any, *, window: int, hop: int) -> None:
        super().__init__(window=window, hop=hop)
        self.encoder = encoder
        self._kept: tuple[Tensor, Tensor] | None = None

    def _take(self, imu: Tensor, mask: Tensor) -> None:
        if self._kept is not None:
            imu, mask = torch.cat([self._kept[0], imu], -1), torch.cat([self._kept[1], mask], -1)
        self._kept = imu[..., -self.window :], mask[..., -self.window :]

    def _feature(self) -> Tensor:
        assert self._kept is not None
        features: Tensor = self.encoder(*self._kept)
        return features

    def _width(self) -> int:
        return int(self.encoder.feature_dim)


def open_stream(encoder: Any, *, window: int, hop: int) -> Stream:
    """The encoder's own stream if it has one, which computes every sample once, or a `WindowStream`.

    Args:
        encoder: in evaluation mode.
        window, hop: see `Stream`.

    Raises:
        ConfigError: a window or a hop that the encoder cannot stream.

    Example:
        >>> from imu_video.encoders import TCN
        >>> type(open_stream(TCN().eval(), window=128, hop=64)).__name__
        'TokenStream'
    """
    if hasattr(encoder, "stream"):
        stream: Stream = encoder.stream(window=window, hop=hop)
        return stream
    return WindowStream(encoder, window=window, hop=hop)
