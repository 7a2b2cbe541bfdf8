"""harnet: published sizes, one step per window, the smoothing filters, shifts by a sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imu_video.encoders import Harnet
from imu_video.encoders.harnet import STAGES, SmoothedReduction, smoothing_kernel
from tests.converters.naive import HARNET


@pytest.mark.parametrize(("seconds", "parameters"), [(5, 4_227_904), (10, 10_457_408), (30, 10_457_408)])
def test_published_windows_end_with_one_step(seconds: int, parameters: int) -> None:
    """Parameters counted by hand: convolutions without bias, and two numbers for each channel of a batch norm."""
    before, counted = 3, 0
    for width, blocks, _, _ in HARNET[seconds]:
        counted += 5 * before * width + blocks * (2 * 5 * width**2 + 4 * width) + 2 * width
        before = width
    with torch.device("meta"):
        built = sum(p.numel() for p in Harnet(seconds=seconds).parameters()) - 3  # `missing` is not published
    assert built == counted == parameters
    model = Harnet(seconds=seconds, width=2).eval()
    assert model.tokens(torch.randn(1, 3, 30 * seconds)).shape == (1, 1, model.feature_dim)
    assert model.tokens(torch.randn(1, 3, 2 * model.least)).shape[1] == 2
    assert model.tokens(torch.randn(1, 3, 7)).shape[1] == 1


@pytest.mark.parametrize("stage", sorted({(s.factor, s.order) for stages in STAGES.values() for s in stages}))
def test_smoothing_is_a_convolution_of_boxes(stage: tuple[int, int]) -> None:
    factor, order = stage
    expected = np.ones(factor) / factor
    for _ in range(order):
        expected = np.convolve(expected, np.ones(factor) / factor)
    np.testing.assert_allclose(smoothing_kernel(factor=factor, order=order), expected, rtol=1e-6)
    # A constant stays constant away from the zeros beyond the ends.
    out = SmoothedReduction(factor=factor, order=order)(torch.ones(1, 2, 20 * factor))
    assert out.shape == (1, 2, 20)
    torch.testing.assert_close(out[..., 2:-2], torch.ones(1, 2, 16))


def test_convolutions_are_circular() -> None:
    """Rolling the input rolls the output of the first stage before its reduction."""
    torch.manual_seed(0)
    stage = Harnet(width=4).eval().stages[0][:-1]
    x = torch.randn(1, 3, 40)
    torch.testing.assert_close(stage(x.roll(7, -1)), stage(x).roll(7, -1))
