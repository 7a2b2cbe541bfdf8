"""Converted PatchTST folders against `transformers.PatchTSTModel` itself, to 1e-5; configs that cannot be converted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imu_video.bundle import EncoderBundle, load_encoder
from imu_video.converters import convert
from imu_video.errors import CheckpointError, ConfigError, ImuVideoError
from tests.converters.conftest import GRAVITY, recording

transformers = pytest.importorskip("transformers", reason="the extra `hf` is not installed")

SMALL = {
    "num_input_channels": 6,
    "context_length": 50,
    "patch_length": 8,
    "patch_stride": 8,
    "d_model": 16,
    "num_attention_heads": 2,
    "ffn_dim": 24,
    "num_hidden_layers": 2,
    "use_cls_token": True,
}
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


def model(kind: str = "PatchTSTModel", **options: Any) -> Any:
    """A model whose every tensor is random, running statistics and fixed positions included."""
    torch.manual_seed(0)
    made = getattr(transformers, kind)(transformers.PatchTSTConfig(**{**SMALL, **options})).eval()
    with torch.no_grad():
        for name, value in made.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif value.is_floating_point():
                value.add_(0.05 * torch.randn_like(value))
    return made


def tokens(made: Any, x: np.ndarray) -> torch.Tensor:
    """Hidden states (B, C, L, width) of windows (B, C, T)."""
    inner = getattr(made, "model", made)
    inner.do_mask_input, inner.masking = False, torch.nn.Identity()
    with torch.no_grad():
        return inner(past_values=torch.from_numpy(x).transpose(1, 2)).last_hidden_state


def converted(made: Any, folder: Path, **arguments: Any) -> EncoderBundle:
    made.save_pretrained(folder / "theirs")
    convert({"name": "patch_tst_hf", "rate_hz": 50, **arguments}, folder / "theirs", folder / "ours")
    return load_encoder(folder / "ours")


def test_the_published_shape(tmp_path: Path) -> None:
    """599,168 parameters: 250 samples, patches of 16, width 128, three layers, four heads, class tokens."""
    sizes = {"context_length": 250, "patch_length": 16, "patch_stride": 16, "d_model": 128, "ffn_dim": 512}
    made = model(**sizes, num_hidden_layers=3, num_attention_heads=4)
    encoder = converted(made, tmp_path)
    assert sum(p.numel() for p in encoder.encoder.parameters()) == made.num_parameters() == 599_168
    x = recording(6, 250)
    np.testing.assert_allclose(encoder.encode(x, rate_hz=50), tokens(made, x)[:, :, 0].flatten(1), **CLOSE)
    over_time = encoder.tokens(torch.from_numpy(x)).detach().unflatten(-1, (6, 128)).transpose(1, 2)
    torch.testing.assert_close(over_time, tokens(made, x)[:, :, 1:], **CLOSE)


@pytest.mark.parametrize(
    "options",
    [
        {"norm_type": "layernorm", "norm_eps": 1e-3},
        {"norm_type": "layernorm", "pre_norm": False, "patch_stride": 3},
        {"pre_norm": False, "activation_function": "relu", "bias": False},
        {"share_embedding": False, "positional_encoding_type": "random", "scaling": None},
        {"scaling": "mean", "patch_stride": 11},
        {"scaling": True, "use_cls_token": False},
        {"use_cls_token": False, "pooling_type": "max", "norm_type": "layernorm", "scaling": False},
    ],
    ids=str,
)
def test_every_option(options: dict[str, Any], tmp_path: Path) -> None:
    made = model(**options)
    encoder = converted(made, tmp_path)
    x = recording(6, 50)
    hidden = tokens(made, x)
    pooled = hidden[:, :, 0]
    if not options.get("use_cls_token", True):
        pooled = hidden.amax(2) if options.get("pooling_type") == "max" else hidden.mean(2)
    np.testing.assert_allclose(encoder.encode(x, rate_hz=50), pooled.flatten(1), **CLOSE)
    # In float64 nothing hides behind rounding.
    exact = encoder.double().encoder.tokens(torch.from_numpy(x).double()).detach()
    patches = tokens(made.double(), x.astype(np.float64))[:, :, int(made.config.use_cls_token) :]
    torch.testing.assert_close(exact, patches.transpose(1, 2).flatten(2), rtol=1e-9, atol=1e-9)


def test_pooling_over_patches_beside_a_class_token(tmp_path: Path) -> None:
    made = model()
    encoder = converted(made, tmp_path, pooling="mean")
    x = recording(6, 50)
    np.testing.assert_allclose(encoder.encode(x, rate_hz=50), tokens(made, x)[:, :, 1:].mean(2).flatten(1), **CLOSE)


@pytest.mark.parametrize("kind", ["PatchTSTForPretraining", "PatchTSTForClassification"])
def test_models_with_a_head(kind: str, tmp_path: Path) -> None:
    """The head is dropped; the pretraining model masks its input, the encoder does not."""
    made = model(kind)
    encoder = converted(made, tmp_path)
    assert encoder.lineage["converted"]["model"] == f"['{kind}']"
    assert list(encoder.lineage["converted"]["dropped"]) == ["head of a training task"]
    x = recording(6, 50)
    np.testing.assert_allclose(encoder.encode(x, rate_hz=50), tokens(made, x)[:, :, 0].flatten(1), **CLOSE)


def test_units_axes_and_fixed_statistics(tmp_path: Path) -> None:
    """Trained in g and deg/s, gyroscope first, standardised with fixed numbers: windows are given in SI units."""
    made = model(scaling=None)
    names = ["gyr_z", "gyr_y", "gyr_x", "acc_x", "acc_y", "acc_z"]
    mean, std = [1.0, -2.0, 0.5, 0.1, 0.2, 0.9], [40.0, 50.0, 60.0, 0.5, 0.6, 0.7]
    encoder = converted(made, tmp_path, channels=names, acc_unit="g", gyr_unit="deg/s", mean=mean, std=std)
    x = recording(6, 50)
    canonical = ["acc_x", "acc_y", "acc_z", "gyr_x", "gyr_y", "gyr_z"]
    theirs = x[:, [canonical.index(n) for n in names]].astype(np.float64)
    theirs[:, :3] *= 180 / math.pi
    theirs[:, 3:] /= GRAVITY
    theirs = (theirs - np.array(mean)[:, None]) / np.array(std)[:, None]
    expected = tokens(made, theirs.astype(np.float32))[:, :, 0].flatten(1)
    np.testing.assert_allclose(encoder.encode(x, rate_hz=50, channels=canonical), expected, **CLOSE)
    assert encoder.spec.units["acc_x"] == "m/s^2"


def test_other_channels_than_those_of_an_imu(tmp_path: Path) -> None:
    made = model(num_input_channels=7, share_embedding=False)
    names = ["acc_x", "acc_y", "acc_z", "emg_1", "emg_2", "torso.mag_x", "skin_temp"]
    encoder = converted(made, tmp_path, channels=names, acc_unit="g", units={"emg_1": "mV", "emg_2": "mV"})
    assert encoder.spec.units["emg_1"] == "mV"
    assert encoder.spec.units["skin_temp"] == "1"
    x = recording(7, 50)
    theirs = x / np.array([GRAVITY] * 3 + [1] * 4, np.float32)[:, None]
    expected = tokens(made, theirs)[:, :, 0].flatten(1)
    np.testing.assert_allclose(encoder.encode(x, rate_hz=50, channels=names), expected, **CLOSE)


def test_an_accelerometer_alone(tmp_path: Path) -> None:
    made = model(num_input_channels=3)
    encoder = converted(made, tmp_path)
    assert encoder.spec.channels == ("acc_x", "acc_y", "acc_z")
    x = recording(3, 50)
    np.testing.assert_allclose(encoder.encode(x, rate_hz=50), tokens(made, x)[:, :, 0].flatten(1), **CLOSE)


def test_other_lengths_use_the_rows_of_the_newest_patches(tmp_path: Path) -> None:
    """A shorter window is the newest part of the table; older patches than it has repeat its oldest row."""
    made = model(scaling=None)
    encoder = converted(made, tmp_path).encoder
    table = encoder.positions.detach()
    assert torch.equal(encoder._rows(2), table[-2:])
    assert torch.equal(encoder._rows(9), torch.cat([table[1:2].expand(3, -1), table[1:]]))
    assert encoder(torch.from_numpy(recording(6, 30))).isfinite().all()
    assert encoder(torch.from_numpy(recording(6, 90))).isfinite().all()


Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    model().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda c: c.update(model_type="bert"), "model_type is 'bert', expected 'patchtst'"),
        (lambda c: c.update(channel_attention=True), "key 'channel_attention' is True, only False can be converted"),
        (lambda c: c.update(norm_type="rms"), "key 'norm_type' is 'rms', only 'batchnorm' or 'layernorm'"),
        (lambda c: c.update(activation_function="silu"), "'activation_function' is 'silu'"),
        (lambda c: c.update(minimum_scale=1e-3), "key 'minimum_scale' is 0.001, only 1e-05 can be converted"),
        (lambda c: c.update(num_hidden_layers=5), "key 'num_hidden_layers' is 5, model.safetensors has 2"),
        (lambda c: c.update(d_model=8), "key 'd_model' is 8, model.safetensors has 16"),
        (lambda c: c.update(pooling_type="min", use_cls_token=False), "argument 'pooling'"),
        (lambda c: c.update(context_length=8), "samples must exceed patch"),
        (lambda c: c.update(context_length=500), "position_enc is .7, 16., expected .63, 16."),
        (lambda c: c.update(context_length="50"), "key 'context_length': expected int .got '50'."),
        (lambda c: c.update(num_input_channels=0), "the network takes 0 channels"),
        (lambda c: c.update(num_attention_heads=3), "width must be a multiple of heads"),
        (lambda c: c.update(num_attention_heads=0), "argument 'heads'"),
        (lambda c: c.update(share_embedding=False), "0 embeddings of patches, .* states 6 channels"),
        (lambda c: c.update(norm_type="layernorm"), "tensors are missing: encoder.layers.0.norm_sublayer1.bias"),
        (lambda c: c.update(use_cls_token=False), "1 tensors are unexpected: encoder.positional_encoder.cls_token"),
        (lambda c: c.pop("pre_norm"), "keys missing: pre_norm"),
        (dict.clear, "model_type is None"),
    ],
)
def test_a_config_that_cannot_be_converted(edit: Edit, words: str, saved: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((saved / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    edit(config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ImuVideoError, match=words):
        convert({"name": "patch_tst_hf", "rate_hz": 50}, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"channels": ["acc_x"]}, "takes 6 channels, channels names 1"),
        ({"channels": ["acc_x"] * 6}, "channels must be distinct"),
        ({"channels": ["acc x", *"abcde"]}, "channels must be distinct names"),
        ({"units": {"acc_x": "g"}}, "units names acc_x, expected some of none"),
        ({"mean": [0.0]}, "mean has 1 numbers, expected 6"),
        ({"std": [0.0] * 6}, "argument 'std"),
        ({"rate_hz": 0}, "argument 'rate_hz'"),
        ({"rate_hz": 1e-9}, "window_s"),
        ({"rate": 5}, "no argument 'rate'; did you mean 'rate_hz'"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, Any], words: str, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        convert({"name": "patch_tst_hf", "rate_hz": 50, **arguments}, saved, tmp_path / "out")


def test_the_rate_is_required(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="argument 'rate_hz' is required"):
        convert("patch_tst_hf", saved, tmp_path / "out")


def test_a_file_in_place_of_the_folder(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected the folder that save_pretrained writes") as error:
        convert({"name": "patch_tst_hf", "rate_hz": 50}, saved / "model.safetensors", tmp_path / "out")
    assert str(saved) in (error.value.hint or "")
