"""Parts of a window without adaptive pooling: equal to it, and the form that an exported program has."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from imu_video.encoders.layers.pooling import Pooling, any_per_part, pool_tokens


@pytest.mark.parametrize(("length", "parts"), [(250, 32), (7, 3), (3, 7), (1, 1), (10, 10)])
def test_parts_are_those_of_adaptive_pooling(length: int, parts: int) -> None:
    measured = torch.rand(40, length, generator=torch.Generator().manual_seed(0)) > 0.8
    expected = F.adaptive_max_pool1d(measured[:, None].float(), parts)[:, 0] > 0
    assert torch.equal(any_per_part(measured, parts), expected)


@pytest.mark.parametrize("pooling", ["mean", "max", "mean_max"])
@pytest.mark.parametrize(("tokens", "segments"), [(13, 4), (8, 8), (5, 1), (3, 4)])
def test_the_exported_form_pools_alike(
    monkeypatch: pytest.MonkeyPatch, pooling: Pooling, tokens: int, segments: int
) -> None:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(6, tokens, 5, generator=draw)
    valid = torch.rand(6, tokens, generator=draw) > 0.4
    valid[1] = False  # a window without any sample
    expected = pool_tokens(x, valid, pooling=pooling, segments=segments)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(pool_tokens(x, valid, pooling=pooling, segments=segments), expected)
