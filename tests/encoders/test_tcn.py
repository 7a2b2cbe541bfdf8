"""TCN: causality, reach, streams against windows, refusals."""

from __future__ import annotations

import pytest
import torch

from imu_video.encoders import TCN, TPN
from imu_video.encoders.layers.streaming import Stream, WindowStream, open_stream
from imu_video.errors import ConfigError
from imu_video.testing import check_encoder


def windows(samples: int, rows: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 6, samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_token_depends_on_its_reach_and_on_nothing_later(stride: int) -> None:
    model = TCN(width=8, levels=2, stride=stride).eval()
    x = windows(model.reach + 9, rows=1).requires_grad_()
    tokens = model.tokens(x)
    assert tokens.shape[1] == 9 // stride + 1
    for number in range(tokens.shape[1]):
        (grad,) = torch.autograd.grad(tokens[0, number].square().sum(), x, retain_graph=True)
        seen = grad[0].abs().sum(0).nonzero()[:, 0]
        assert (int(seen[0]), int(seen[-1])) == (number * stride, number * stride + model.reach - 1)


def test_a_token_is_the_same_in_every_window() -> None:
    model, x = TCN(width=8).eval(), windows(300)
    whole, later = model.tokens(x), model.tokens(x[..., 100:])
    torch.testing.assert_close(whole[:, 50:], later)


def test_parameters_by_hand() -> None:
    """A stem of 5 samples over channels and masks, six convolutions, a gain and an offset per channel and norm."""
    stem, block = 12 * 64 * 5 + 64, 2 * (64 * 64 * 3 + 64 + 2 * 64)
    assert sum(p.numel() for p in TCN().parameters()) == stem + 3 * block == 78_784


def test_a_stream_needs_whole_tokens_and_fixed_statistics() -> None:
    model = TCN(width=8).eval()
    for window, hop in ((model.reach - 1, 2), (100, 3), (0, 2), (100, 0)):
        with pytest.raises(ConfigError, match="stream"):
            model.stream(window=window, hop=hop)
    with pytest.raises(ConfigError, match="evaluation mode"):
        TCN(width=8).train().stream(window=100, hop=10)
    with pytest.raises(ValueError, match="C=6"):
        model.stream(window=100, hop=10).push(torch.zeros(1, 100, 6))
    with pytest.raises(ConfigError, match="argument 'kernel': must be at least 2"):
        TCN(kernel=1)


def test_every_other_encoder_streams_by_encoding_its_window_again() -> None:
    model, x = TPN(width=8).eval(), windows(170)
    stream = open_stream(model, window=100, hop=30)
    assert isinstance(stream, WindowStream)
    found = torch.cat([stream.push(part) for part in x.split(17, -1)], 1)
    expected = torch.stack([model(x[..., start : start + 100]) for start in (0, 30, 60)], 1)
    torch.testing.assert_close(found, expected)
    assert open_stream(model, window=100, hop=30).push(x[..., :99]).shape == (2, 0, model.feature_dim)


class LateStream(WindowStream):
    """Broken: encodes the window of one sample before."""

    def _feature(self) -> torch.Tensor:
        assert self._kept is not None
        kept, mask = self._kept
        features: torch.Tensor = self.encoder(kept.roll(1, -1), mask)
        return features


class WithALateStream(TPN):
    def stream(self, *, window: int, hop: int) -> Stream:
        return LateStream(self, window=window, hop=hop)


def test_a_stream_of_other_windows_is_found() -> None:
    with pytest.raises(AssertionError, match="is not that of the last 200 samples"):
        check_encoder(WithALateStream(width=8))
