"""PatchTST: sizes of the paper, alignment on the window's end, any length, missing data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from imu_video import registry
from imu_video.config import read_yaml
from imu_video.encoders import PatchTST
from imu_video.encoders.layers.transformer import sinusoidal_positions
from imu_video.errors import ConfigError

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs" / "encoder").glob("*.yaml"))
SMALL: dict[str, Any] = {"width": 16, "layers": 2, "heads": 2, "ffn": 32}


def small(seed: int = 0, **options: Any) -> PatchTST:
    torch.manual_seed(seed)
    return PatchTST(**{**SMALL, **options})


def windows(rows: int = 2, samples: int = 250, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 6, samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_paper_sizes(norm: str) -> None:
    """A3: 599,168 with the position table of 15 patches and a class token; [2, 6, 250] -> 6 * 128."""
    model = PatchTST(norm=norm)  # type: ignore[arg-type]
    table = sinusoidal_positions(model.patch_count(250) + 1, 128)
    assert table.shape == (16, 128)
    assert sum(p.numel() for p in model.parameters()) + table.numel() == 599_168
    assert model.feature_dim == 768
    assert model(windows()).shape == (2, 768)


def test_the_oldest_samples_are_unused_and_all_others_used() -> None:
    model = small().eval()
    x = windows(rows=1)
    features = model(x)
    for sample in range(250):
        changed = x.clone()
        changed[0, :, sample] += 1.0
        assert torch.equal(model(changed), features) == (sample < 10), f"sample {sample}"


def test_instance_scaling_removes_offset_and_gain() -> None:
    model = small(scaling="instance").eval()
    x = windows()
    assert torch.allclose(model(3 * x + 9.8), model(x), atol=1e-4)
    assert not torch.allclose(small().eval()(3 * x + 9.8), small().eval()(x), atol=1e-2)
    still = model(torch.full_like(x, 9.8))
    assert still.isfinite().all()


@pytest.mark.parametrize(("samples", "patches"), [(1, 1), (15, 1), (16, 1), (31, 1), (32, 2), (125, 7), (250, 15)])
def test_any_length(samples: int, patches: int) -> None:
    model = small().eval()
    assert model.patch_count(samples) == patches
    assert model(windows(samples=samples)).isfinite().all()


def test_more_history_keeps_the_age_of_patches() -> None:
    """Positions count from the end: masking the older half equals cutting it off."""
    model = small().eval()
    x = windows(samples=250)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[..., :138] = False
    assert torch.allclose(model(x, mask), model(x[..., 138:]), atol=1e-5)
    assert torch.equal(sinusoidal_positions(40, 16)[:7], sinusoidal_positions(7, 16))


def test_a_short_window_is_padded_as_missing() -> None:
    model = small().eval()
    x = windows(samples=16)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[..., :6] = False
    assert torch.allclose(model(x, mask), model(x[..., 6:]), atol=1e-6)


def test_a_gap_in_a_patch_reads_as_the_mean_of_the_patch() -> None:
    model = small().eval()
    x = windows(rows=1, samples=32)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[0, 2, 18:21] = False
    filled = x.clone()
    filled[0, 2, 18:21] = x[0, 2, 16:][mask[0, 2, 16:]].mean()
    assert torch.allclose(model(x, mask), model(filled), atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"norm": "batch"}, {"pooling": "mean_concat"}, {"scaling": "instance"}])
def test_missing_data_never_gives_nan_nor_leaks(options: dict[str, Any]) -> None:
    model = small(**options)
    x = windows(rows=4)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[0, :, 50:90] = False
    mask[1, 3:] = False
    mask[2] = False
    for training in (True, False):
        model.train(training)
        clean, spoiled = torch.where(mask, x, 0), torch.where(mask, x, torch.nan)
        features = model(clean, mask)
        assert features.isfinite().all()
        assert torch.equal(model(spoiled, mask), features)
    model(spoiled, mask).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_missing_channel_has_the_same_learned_feature_everywhere() -> None:
    model = small().eval()
    x = windows(rows=2)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[0, 1] = mask[0, 4] = mask[1, 0] = False
    features = model(x, mask).unflatten(1, (6, -1))
    assert torch.allclose(features[0, 1], features[0, 4], atol=1e-6)
    assert torch.allclose(features[0, 1], features[1, 0], atol=1e-6)
    assert features[0, 1].abs().sum() > 0


def test_batch_norm_leaves_missing_patches_out_of_its_statistics() -> None:
    model = small(norm="batch", layers=1)
    x = windows(rows=3)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[..., :138] = False
    whole = small(norm="batch", layers=1)
    model(x, mask)
    whole(x[..., 138:])
    ours, theirs = (m.layers[0].attention_norm for m in (model, whole))
    assert torch.allclose(ours.running_mean, theirs.running_mean, atol=1e-6)
    assert torch.allclose(ours.running_var, theirs.running_var, atol=1e-6)


def test_the_shortcut_of_the_last_layer_changes_nothing() -> None:
    model = small().eval()
    x = windows()
    short = model(x)
    model._skip = False
    assert torch.allclose(model(x), short, atol=1e-6)


def test_dropout_acts_in_training_only() -> None:
    model = small(dropout=0.5)
    x = windows()
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize(
    ("shape", "words"),
    [((2, 250, 6), "B, T, C"), ((6, 250), "expected"), ((2, 3, 250), "C=6"), ((2, 6, 0), "expected")],
)
def test_wrong_axes_are_refused(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small()(torch.zeros(shape))


def test_a_float_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="mask must be bool"):
        small()(windows(), torch.ones(2, 6, 250))


@pytest.mark.parametrize(
    "options",
    [
        {"width": 30, "heads": 4},
        {"stride": 17},
        {"patch": 1},
        {"layers": 0},
        {"dropout": 1.0},
        {"width": 15, "heads": 3},
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="patch_tst"):
        PatchTST(**options)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_shipped_config_builds(path: Path) -> None:
    encoder = registry.encoders.build(read_yaml(path))
    assert encoder(windows()).shape == (2, encoder.feature_dim)
