"""Published sizes of the convolutional encoders, the filling of gaps, and pooling under a mask."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.encoders import CNNGRU, TPN, CNNTransformer, HaroodCNN, PatchTST, ResNet1d
from imu_video.encoders.base import fill_gaps
from imu_video.encoders.cnn import needed_length
from imu_video.encoders.layers.pooling import pool_tokens, valid_tokens
from imu_video.errors import ConfigError


@pytest.mark.parametrize(
    ("channels", "samples", "kernel", "width"),
    [(45, 125, 9, 800), (6, 128, 9, 832), (27, 200, 9, 1408), (6, 200, 6, 1472), (6, 50, 6, 256)],
)
def test_harood_widths(channels: int, samples: int, kernel: int, width: int) -> None:
    """Methods 4.3: 32 L2 with L1 = (T - k + 1) // 2, L2 = (L1 - k + 1) // 2, for every setting of the benchmark."""
    model = HaroodCNN(channels=channels, samples=samples, kernel=kernel).eval()
    convolutions = [m for m in model.layers if isinstance(m, nn.Conv1d)]
    assert sum(p.numel() for m in convolutions for p in m.parameters()) == (
        channels * 16 * kernel + 16 + 16 * 32 * kernel + 32
    )
    first = (samples - kernel + 1) // 2
    assert model.feature_dim == width == 32 * ((first - kernel + 1) // 2)
    x = torch.randn(2, channels, samples, generator=torch.Generator().manual_seed(0))
    flattened = model.layers(x).transpose(1, 2).flatten(1)
    torch.testing.assert_close(model(x), flattened)


def test_tpn_has_the_published_parameters_and_steps() -> None:
    model = TPN()
    assert sum(p.numel() for p in model.layers.parameters()) == 86_720
    assert sum(p.numel() for p in model.parameters()) == 86_720 + 6  # one learned "missing" a channel
    x = torch.randn(2, 6, 150)
    assert model.tokens(x).shape == (2, 105, 96)
    model.eval()
    torch.testing.assert_close(model(x), model.tokens(x).amax(1))


def test_cnn_gru_reach_and_last_state() -> None:
    """Two pools by three from the published stack: 141 samples make one state."""
    model = CNNGRU(hidden=8).eval()
    assert model.least == needed_length(1, kernels=(10, 5, 5), dilation=2, pool=3) == 141
    assert model.tokens(torch.randn(1, 6, 141)).shape == (1, 1, 8)
    assert model.tokens(torch.randn(1, 6, 500)).shape[1] > 1
    x = torch.randn(3, 6, 500)
    torch.testing.assert_close(model(x), model.gru(model.layers(x).transpose(1, 2))[1][0])
    assert [type(m) for m in model.layers][:2] == [nn.GroupNorm, nn.Conv1d]


def test_resnet_has_eighteen_layers() -> None:
    """A stem, four stages of two blocks of two convolutions; the linear layer of the classifier is not ours."""
    model = ResNet1d()
    kernels = [m for m in model.modules() if isinstance(m, nn.Conv1d) and m.kernel_size != (1,)]
    assert (len(kernels), model.feature_dim) == (17, 512)
    assert model.tokens(torch.randn(1, 6, 300)).shape == (1, 19, 512)


def test_cnn_transformer_tokens_follow_its_stride() -> None:
    assert CNNTransformer(width=16).tokens(torch.randn(2, 6, 50)).shape == (2, 50, 16)
    assert CNNTransformer(width=16, stride=2).tokens(torch.randn(2, 6, 50)).shape == (2, 25, 16)


def test_patch_tst_tokens_are_its_patches() -> None:
    model = PatchTST(width=8, heads=2, ffn=16, layers=2, pooling="mean_concat").eval()
    x = torch.randn(2, 6, 100)
    tokens = model.tokens(x)
    assert tokens.shape == (2, model.patch_count(100), 48)
    torch.testing.assert_close(model(x), tokens.mean(1))


def test_gaps_are_interpolated_as_numpy_does() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 3, 30)).astype(np.float32)
    mask = rng.random((4, 3, 30)) < 0.4
    mask[0, 0] = False
    spoiled = torch.from_numpy(np.where(mask, values, np.nan))
    out = fill_gaps(spoiled, torch.from_numpy(mask)).numpy()
    place = np.arange(30)
    for row in range(4):
        for channel in range(3):
            seen = mask[row, channel]
            expected = np.interp(place, place[seen], values[row, channel][seen]) if seen.any() else np.zeros(30)
            np.testing.assert_allclose(out[row, channel], expected, atol=1e-5)
            np.testing.assert_array_equal(out[row, channel][seen], values[row, channel][seen])


def test_pooling_equals_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 10, 4, generator=generator)
    valid = torch.rand(3, 10, generator=generator) < 0.5
    valid[1, :5], valid[1, 5:], valid[2] = False, True, False
    for kind, segments in itertools.product(("mean", "max"), (2, 10)):
        out = pool_tokens(x, valid, pooling=kind, segments=segments)
        size = 10 // segments
        for row in range(3):
            for segment in range(segments):
                part = slice(size * segment, size * segment + size)
                seen = valid[row, part] if valid[row].any() else torch.ones(size, dtype=torch.bool)
                rows = x[row, part][seen]
                expected = (rows.mean(0) if kind == "mean" else rows.amax(0)) if len(rows) else torch.zeros(4)
                torch.testing.assert_close(out[row, 4 * segment : 4 * segment + 4], expected)
    assert pool_tokens(x, valid, pooling="mean_max", segments=2).shape == (3, 16)
    assert pool_tokens(x, valid, pooling="mean_max", segments=10).shape == (3, 80)
    assert torch.equal(pool_tokens(x, valid, pooling="last"), x[:, -1])
    mask = torch.zeros(1, 6, 10, dtype=torch.bool)
    mask[0, 2, 7] = True
    assert valid_tokens(mask, 5).tolist() == [[False, False, False, True, False]]


def test_an_encoder_learns_its_window_from_the_input_specification() -> None:
    spec = InputSpec(rate_hz=50, window_s=2.5, mean=(0.0,) * 6, std=(1.0,) * 6)
    assert EncoderBundle(spec=spec, encoder="harood_cnn").feature_dim == 800


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: HaroodCNN(samples=20),
        lambda: TPN(dropout=1.0),
        lambda: CNNGRU(width=6),
        lambda: CNNGRU(segments=2),
        lambda: CNNTransformer(width=30),
        lambda: ResNet1d(kernel=4),
        lambda: ResNet1d(segments=0),
    ],
)
def test_arguments_that_do_not_fit_are_refused(wrong: object) -> None:
    with pytest.raises(ConfigError):
        wrong()  # type: ignore[operator]
