"""hybrid: two standardised parts side by side, from any network; fitted once, saved, exported as one graph."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from imu_video.bundle.encoder import EncoderBundle, InputSpec, load_encoder
from imu_video.config import read_yaml
from imu_video.encoders import Hybrid
from imu_video.errors import ConfigError
from imu_video.models.cross_modal import CrossModalModel
from imu_video.registry import encoders
from imu_video.testing import check_encoder

NETWORK = {"name": "segment_cnn", "width": 16, "blocks": 2}
SPEC = InputSpec(rate_hz=40, window_s=3, mean=(0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)


def windows(n: int = 40, t: int = 120) -> Tensor:
    return torch.randn(n, 6, t, generator=torch.Generator().manual_seed(0)).cumsum(-1)


def made(**options: Any) -> Hybrid:
    torch.manual_seed(0)
    return Hybrid(network=NETWORK, samples=120, rate_hz=40.0, **options).eval()


@pytest.mark.parametrize(
    "options",
    [{"network": {"name": "patch_tst", "width": 16, "layers": 1}}, {"groups": ["time"], "weight": 0.5, "columns": 12}],
    ids=str,
)
def test_options_keep_the_contract(options: dict[str, Any]) -> None:
    check_encoder({"name": "hybrid", "network": NETWORK, **options})


def test_the_parts_are_the_network_and_the_statistics_standardised() -> None:
    encoder, x = made(weight=2.0), windows()
    encoder.fit(x)
    z, network, statistics = encoder(x), encoder.parts["network"], encoder.parts["statistics"]
    moving = z.std(0) > 0
    assert moving.float().mean() > 0.9
    assert z.mean(0).abs().max() < 1e-3
    assert torch.allclose(z[:, network].std(0, correction=0)[moving[network]].median(), torch.tensor(1.0), atol=0.01)
    assert torch.allclose(
        z[:, statistics].std(0, correction=0)[moving[statistics]].median(), torch.tensor(2.0), atol=0.02
    )
    scaled = (encoder.network(x) - encoder.network_scale.mean) / encoder.network_scale.variance.clamp(min=1e-6).sqrt()
    assert torch.allclose(z[:, network], scaled, atol=1e-4)


def test_a_linear_map_gives_the_network_fewer_columns() -> None:
    encoder, x = made(columns=12), windows()
    encoder.fit(x)
    z = encoder(x)
    assert z.shape[1] == encoder.feature_dim == 12 + 193
    assert torch.allclose(z[:, :12].std(0, correction=0), torch.ones(12), atol=0.01)
    scaled = encoder.network_scale(encoder.network(x)) @ encoder.projection.weight.T
    assert torch.allclose(z[:, :12], (scaled - scaled.mean(0)) / scaled.std(0, correction=0), atol=1e-3)
    assert torch.equal(encoder.head_features(x), z[:, :12])
    assert "columns" not in encoders.entry({"name": "hybrid", "network": NETWORK}).config
    with pytest.raises(ConfigError, match="at most the 160 features"):
        made(columns=161)


def test_missing_channels_are_at_the_mean_of_training() -> None:
    encoder, x = made(), windows()
    encoder.fit(x)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[:, 3:] = False
    z = encoder(torch.where(mask, x, 0), mask)[:, encoder.parts["statistics"]]
    gyr = torch.tensor(["gyr" in name for name in encoder.statistics.names])
    assert not z[:, gyr].any()
    assert torch.equal(z[:, ~gyr], encoder(x)[:, encoder.parts["statistics"]][:, ~gyr])


def test_the_moments_of_statistics_stay_in_training_and_those_of_the_network_follow() -> None:
    encoder, x = made(), windows()
    encoder.fit(x)
    before = copy.deepcopy(encoder.state_dict())
    encoder.train()(3 * x).sum().backward()
    after = encoder.state_dict()
    assert torch.equal(before["statistics_scale.mean"], after["statistics_scale.mean"])
    assert not torch.equal(before["network_scale.mean"], after["network_scale.mean"])


def test_heads_take_the_network_unless_told_otherwise() -> None:
    x = 9.8 * windows(4)
    for head_sees, width in (("network", 160), ("both", 353)):
        bundle = EncoderBundle(spec=SPEC, encoder={"name": "hybrid", "network": NETWORK, "head_sees": head_sees})
        bundle.eval().fit(x)
        assert (bundle.head_dim, bundle.feature_dim) == (width, 353)
        assert torch.equal(bundle.head_features(x), bundle(x)[:, bundle.head_columns])
        model = CrossModalModel(student=bundle, teacher_dim=5, dim=8).eval()
        assert model.embed_imu(x).shape == (4, 8)
    plain = EncoderBundle(spec=SPEC, encoder=NETWORK).eval()
    assert (plain.head_dim, plain.parts) == (plain.feature_dim, {})
    assert torch.equal(plain.head_features(x), plain(x))


def test_what_the_windows_determine_reaches_both_parts() -> None:
    channels = ("leg.acc_x", "leg.acc_y", "leg.acc_z", "emg_1")
    spec = InputSpec(
        channels=channels, units=dict.fromkeys(channels, "1"), rate_hz=20, window_s=4, mean=(0,) * 4, std=(1,) * 4
    )
    bundle = EncoderBundle(spec=spec, encoder={"name": "hybrid", "network": "harood_cnn"})
    assert bundle.encoder.statistics.rate_hz == 20
    assert "leg.acc.sma" in bundle.encoder.statistics.names
    assert bundle.encoder.network.channels == 4
    assert bundle.encoder_config["network"]["name"] == "harood_cnn"
    assert "channels" not in bundle.encoder_config["network"]
    with pytest.raises(ConfigError, match="2 names of 6 channels"):
        Hybrid(names=["acc_x", "acc_y"])


def test_the_network_is_checked_and_completed_where_the_config_is_read() -> None:
    entry = encoders.entry({"name": "hybrid", "network": {"name": "segment_cnn", "width": 16, "channels": 6}})
    assert entry.config["network"]["blocks"] == 3
    assert entry.config["network"]["channels"] == 6
    with pytest.raises(ConfigError, match="did you mean 'segment_cnn'"):
        encoders.entry({"name": "hybrid", "network": "segment_cn"})
    with pytest.raises(ConfigError, match="has no argument 'widht'"):
        encoders.entry({"name": "hybrid", "network": {"name": "segment_cnn", "widht": 8}})


def test_tokens_are_those_of_the_network() -> None:
    x = windows(2)
    with_tokens = Hybrid(network={"name": "patch_tst", "width": 16, "layers": 1})
    copied = copy.deepcopy(with_tokens)
    assert copied.tokens.__self__ is copied.network
    assert with_tokens.tokens(x).shape[2] == with_tokens.token_dim
    assert not hasattr(Hybrid(network=NETWORK), "tokens")


def test_a_saved_hybrid_gives_the_same_features(tmp_path: Path) -> None:
    bundle = EncoderBundle(spec=SPEC, encoder={"name": "hybrid", "network": NETWORK}).eval()
    x = 9.8 * windows(8)
    bundle.fit(x)
    bundle.save(tmp_path / "encoder")
    again = load_encoder(tmp_path / "encoder")
    assert torch.equal(again(x), bundle(x))
    assert again.parts == bundle.parts
    # Windows of another length and rate, some of the channels.
    half = again.encode(x[:, :3, ::2].numpy(), rate_hz=20, channels=SPEC.channels[:3], check_units=False)
    assert np.isfinite(half).all()


def test_half_precision_leaves_the_statistics_alone() -> None:
    encoder, x = made(), windows(4)
    encoder.fit(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = encoder(x)
    part = encoder.parts["statistics"]
    assert z.dtype == torch.float32
    assert torch.equal(z[:, part], encoder(x)[:, part])


@pytest.mark.slow  # compiles and exports
def test_it_compiles_and_exports_as_one_graph(tmp_path: Path) -> None:
    encoder, x = made(columns=24), windows()
    encoder.fit(x)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[0, 0], mask[1, :, 20:60], mask[2] = False, False, False
    expected = encoder(x, mask)
    # Without code generation, which takes minutes: what is checked is that one graph without breaks can be traced.
    compiled = torch.compile(encoder, backend="aot_eager", fullgraph=True)
    assert torch.allclose(compiled(x, mask), expected, atol=1e-3)
    batch = torch.export.Dim("B", min=1, max=4096)
    shapes = ({0: batch}, {0: batch})
    program = torch.export.export(encoder, (x[:4], mask[:4]), dynamic_shapes=shapes)
    assert torch.allclose(program.module()(x, mask), expected, atol=1e-3)
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.onnx.export(
        encoder, (x[:4], mask[:4]), tmp_path / "hybrid.onnx", dynamo=True, dynamic_shapes=shapes, verbose=False
    )
    session = onnxruntime.InferenceSession(tmp_path / "hybrid.onnx")
    names = [given.name for given in session.get_inputs()]
    found = session.run(None, dict(zip(names, (x.numpy(), mask.numpy()), strict=True)))[0]
    np.testing.assert_allclose(found, expected.detach(), atol=2e-3)


@pytest.mark.slow  # exports
def test_statistics_export_for_any_window_length() -> None:
    statistics, x = made().statistics, windows(6, 200)
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) > 0.1
    axes = {0: torch.export.Dim("B", min=1, max=4096), 2: torch.export.Dim("T", min=8, max=4096)}
    program = torch.export.export(statistics, (x[:4], mask[:4]), dynamic_shapes=(axes, axes))
    for length in (200, 99):
        some = x[..., :length], mask[..., :length]
        assert torch.allclose(program.module()(*some)[0], statistics(*some)[0], atol=1e-3)


@pytest.mark.parametrize(("name", "most"), [("small", 250_000), ("base", 1_300_000)])
def test_shipped_configs_have_the_sizes_that_they_state(name: str, most: int) -> None:
    path = Path(__file__).resolve().parents[2] / f"configs/encoder/hybrid_{name}.yaml"
    encoder = encoders.build(read_yaml(path))
    parameters = sum(p.numel() for p in encoder.parameters())
    assert parameters <= most
    stated = path.read_text()
    assert f"{parameters:,} parameters" in stated
    assert f"{encoder.feature_dim:,} features" in stated
