"""MOMENT in the published layout against `transformers.T5EncoderModel`; Mantis against its own package."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from imu_video.bundle import load_encoder
from imu_video.converters import convert
from imu_video.encoders import MOMENT
from imu_video.encoders.layers.t5 import distance_buckets
from imu_video.errors import CheckpointError


@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        ({}, 18_887_872),
        ({"width": 768, "layers": 12, "heads": 12, "ffn": 2048}, 84_961_152),
        ({"width": 1024, "layers": 24, "heads": 16, "ffn": 2816}, 308_341_248),
    ],
    ids=("small", "base", "large"),
)
def test_published_sizes(size: dict[str, int], parameters: int) -> None:
    with torch.device("meta"):
        model = MOMENT(**size)
    width, layers, heads, ffn = (
        size.get(k, d) for k, d in (("width", 512), ("layers", 8), ("heads", 6), ("ffn", 1024))
    )
    layer = 4 * width * heads * 64 + 3 * width * ffn + 2 * width
    assert sum(p.numel() for p in model.parameters()) == layers * layer + 32 * heads + width + 8 * width + width
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_buckets_of_distances() -> None:
    """Exact up to 7 on each side, then by the logarithm, the last one from 128 on; later tokens in the second half."""
    buckets = distance_buckets(300)
    assert buckets[7, :8].flip(0).tolist() == list(range(8))
    assert buckets[0, 1:8].tolist() == list(range(17, 24))
    for away in (8, 12, 20, 60, 127, 128, 299):
        expected = min(15, 8 + int(math.log(away / 8) / math.log(128 / 8) * 8))
        assert (int(buckets[away, 0]), int(buckets[0, away])) == (expected, 16 + expected)


def checkpoint(file: Path, transformers: Any) -> tuple[Any, dict[str, Tensor]]:
    """A small T5 encoder, and a file in MOMENT's layout with its tensors and random ones around it."""
    torch.manual_seed(0)
    config = transformers.T5Config(
        d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=3, feed_forward_proj="gated-gelu", dropout_rate=0.0,
        vocab_size=11,
    )  # fmt: skip
    theirs = transformers.T5EncoderModel(config).eval()
    with torch.no_grad():
        for value in theirs.state_dict().values():
            value.add_(0.1 * torch.randn_like(value))
    tensors = {k: v.clone() for k, v in theirs.state_dict().items() if k.startswith("encoder.")}
    tensors |= {
        "patch_embedding.value_embedding.weight": torch.randn(16, 8),
        "patch_embedding.mask_embedding": torch.randn(16),
        "patch_embedding.position_embedding.pe": torch.randn(1, 70, 16),
        "head.linear.weight": torch.randn(8, 16 * 64),
        "head.linear.bias": torch.randn(8),
    }
    save_file(tensors, file)
    return theirs, tensors


def test_moment_equals_the_t5_encoder_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra `hf` is not installed")
    theirs, tensors = checkpoint(tmp_path / "model.safetensors", transformers)
    convert({"name": "moment", "rate_hz": 25, "window_s": 8}, tmp_path / "model.safetensors", tmp_path / "out")
    ours = load_encoder(tmp_path / "out")
    assert ours.encoder_config["head_width"] == 4
    x = np.random.default_rng(0).normal(size=(3, 6, 200)).astype(np.float32)
    x[1, 2, :24] = np.nan  # three patches without any sample
    x[2, 4] = np.nan
    found = ours.encode(x, rate_hz=25, check_units=False)
    frequency = [10_000 ** (-2 * k / 16) for k in range(8)]
    for row in range(3):
        channels = []
        for series in x[row]:
            there = np.isfinite(series)
            if not there.any():
                continue
            scaled = (series - np.nanmean(series)) / math.sqrt(np.nanvar(series) + 1e-5)
            tokens, keys = [], []
            for p in range(25):
                patch = scaled[8 * p : 8 * p + 8]
                place = 64 - 25 + p
                table = [f(place * w) for w in frequency for f in (math.sin, math.cos)]
                known = bool(np.isfinite(patch).all())
                own = tensors["patch_embedding.mask_embedding"]
                if known:
                    own = tensors["patch_embedding.value_embedding.weight"] @ torch.tensor(patch)
                tokens.append(own + torch.tensor(table))
                keys.append(known)
            with torch.no_grad():
                hidden = theirs(
                    inputs_embeds=torch.stack(tokens)[None].float(), attention_mask=torch.tensor([keys]).long()
                ).last_hidden_state[0]
            channels.append(hidden[torch.tensor(keys)].mean(0))
        np.testing.assert_allclose(found[row], torch.stack(channels).mean(0), atol=2e-4)


def test_another_patch_length_is_refused(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra `hf` is not installed")
    _, tensors = checkpoint(tmp_path / "model.safetensors", transformers)
    tensors["patch_embedding.value_embedding.weight"] = torch.randn(16, 16)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="patches of 16 samples, expected 8"):
        convert("moment", tmp_path / "model.safetensors", tmp_path / "out")


def test_mantis_equals_its_package(tmp_path: Path) -> None:
    architecture = pytest.importorskip("mantis.architecture", reason="the extra `foundation` is not installed")
    torch.manual_seed(0)
    theirs = architecture.Mantis8M(device="cpu").eval()
    save_file({k: v.contiguous() for k, v in theirs.state_dict().items()}, tmp_path / "model.safetensors")
    convert({"name": "mantis", "rate_hz": 50, "window_s": 10.24}, tmp_path / "model.safetensors", tmp_path / "out")
    ours = load_encoder(tmp_path / "out")
    assert ours.feature_dim == 6 * 256
    x = np.random.default_rng(0).normal(size=(2, 6, 512)).astype(np.float32)
    found = ours.encode(x, rate_hz=50, check_units=False).reshape(2, 6, 256)
    with torch.no_grad():
        for channel in range(6):
            expected = theirs(torch.from_numpy(x[:, channel : channel + 1]))
            np.testing.assert_allclose(found[:, channel], expected, atol=1e-4)
