"""The export of real encoders: files, parity, int8, refusals, the command; with the exporter of torch, hence slow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from imu_video import registry
from imu_video.bundle.encoder import EncoderBundle, InputSpec, load_encoder
from imu_video.bundle.head import Head, HeadSpec
from imu_video.cli.app import app
from imu_video.errors import CheckpointError, ConfigError, ParityError
from imu_video.export import export_onnx, graph, load_onnx
from imu_video.export.calibration import Sampled
from imu_video.export.parity import made_windows
from imu_video.testing import write_folder
from imu_video.types import Window

SMALL: dict[str, dict[str, Any]] = {
    "segment_cnn": {"width": 8, "blocks": 2},
    "resnet1d": {"width": 8, "blocks": (1, 1), "segments": 3, "pooling": "mean_max"},
    "patch_tst": {"width": 16, "layers": 2, "ffn": 32},
    "tpn": {"width": 8},
    "cnn_transformer": {"width": 16, "layers": 1, "ffn": 32},
    "hybrid": {"network": {"name": "segment_cnn", "width": 8, "blocks": 2}},
}
"""Encoders that accept windows of any length after the export, with small arguments."""
FIXED: dict[str, dict[str, Any]] = {"harood_cnn": {}, "cnn_gru": {"hidden": 16}, "harnet": {}}
"""Encoders that accept windows of the training length only after the export."""


def make(name: str, **arguments: Any) -> EncoderBundle:
    torch.manual_seed(0)
    spec = InputSpec(rate_hz=50, window_s=4, mean=(0.5,) * 6, std=(9.8,) * 3 + (2.0,) * 3)
    return EncoderBundle(spec=spec, encoder={"name": name, **arguments}).eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMALL, *FIXED])
def test_an_exported_encoder_gives_the_features_of_torch(name: str, tmp_path: Path) -> None:
    bundle = make(name, **{**SMALL, **FIXED}[name])
    done = export_onnx(bundle, tmp_path / "out", int8=True)
    assert (done.samples is None) == (name in SMALL)
    assert done.int8 is not None
    assert done.int8.mean_cosine > 0.99
    x = made_windows(bundle, 200, seed=9)
    x[1, :3] = np.nan
    theirs = load_onnx(done.folder / "model.onnx").encode(x, rate_hz=50)
    np.testing.assert_allclose(theirs, bundle.encode(x, rate_hz=50), atol=1e-4)


@pytest.mark.slow
def test_a_spiking_encoder_is_one_loop_of_any_length(tmp_path: Path) -> None:
    """H5; int8 is refused, because its layers are inside the loop."""
    bundle = make("l2mu", width=12, layers=2, memory=6, hidden=10)
    done = export_onnx(bundle, tmp_path / "out")
    assert done.samples is None
    for samples in (200, 77):
        x = made_windows(bundle, samples, seed=9)
        x[1, :3] = np.nan
        theirs = load_onnx(done.folder / "model.onnx").encode(x, rate_hz=50)
        np.testing.assert_allclose(theirs, bundle.encode(x, rate_hz=50), atol=1e-4)
    with pytest.raises(ConfigError, match="no layer with trained weights outside of a loop"):
        export_onnx(bundle, tmp_path / "small", int8=True)
    assert not (tmp_path / "small").exists()


def test_the_list_of_encoders_in_errors_is_that_of_the_tests() -> None:
    assert set(graph.VERIFIED) == set(SMALL)


@pytest.mark.slow
def test_the_command_calibrates_int8_and_replaces_only_exports(tmp_path: Path) -> None:
    bundle = make("segment_cnn", width=8, blocks=2)
    bundle.save(tmp_path / "encoder", lineage={"run_id": "abc"})
    windows = made_windows(bundle, 200, seed=5)
    rows = [
        Window(
            key=f"w{i}",
            recording="r",
            subject="s",
            session="1",
            start=4.0 * i,
            imu={"waist": x},
            label=None,
            streams={},
        )
        for i, x in enumerate(windows)
    ]
    write_folder(tmp_path / "data", {"train": iter(rows)}, rate_hz=50)
    arguments = [
        "export",
        str(tmp_path / "encoder"),
        str(tmp_path / "out"),
        "--int8",
        "--calibrate",
        str(tmp_path / "data"),
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "model.int8.onnx" in done.output
    stated = json.loads((tmp_path / "out" / "export.json").read_text())
    assert stated["lineage"] == {"run_id": "abc"}
    assert sorted(stated["files"]) == ["model.int8.onnx"], "--int8 alone writes no float file"
    assert not (tmp_path / "out" / "model.onnx").exists()
    assert sorted(stated["measured"]) == ["model.int8.onnx", "torch"]
    assert stated["files"]["model.int8.onnx"]["scheme"] == "static"
    assert stated["files"]["model.int8.onnx"]["bytes"] == (tmp_path / "out" / "model.int8.onnx").stat().st_size
    assert "model.int8.onnx" in (tmp_path / "out" / "README.md").read_text()
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, CheckpointError)


@pytest.mark.slow
def test_a_head_and_a_program_travel_with_the_encoder(tmp_path: Path) -> None:
    bundle = make("segment_cnn", width=8, blocks=2)
    bundle.save(tmp_path / "encoder", lineage={"run_id": "abc"})
    bundle = load_encoder(tmp_path / "encoder")
    draw = np.random.default_rng(0)
    spec = HeadSpec(classes=("sit", "walk", "run"), feature_dim=bundle.feature_dim, seconds=4.0, temperature=2.0)
    weight = draw.normal(size=(bundle.feature_dim, 3)) / 10
    head = Head(spec=spec, weight=weight, bias=draw.normal(size=3), encoder=bundle.weights_sha256)
    x = made_windows(bundle, 200, seed=5)
    sampled = Sampled(x=x, labels=np.array(["sit", "walk"] * 4), subjects=np.repeat(["a", "b", "c", "d"], 2))
    done = export_onnx(bundle, tmp_path / "out", int8=True, program=True, head=head, windows=sampled)
    assert sorted(done.bytes) == ["model.int8.onnx", "model.onnx", "model.pt2"]
    expected = head.probabilities(bundle.encode(x, rate_hz=50))
    exported = load_onnx(done.folder / "model.onnx")
    assert exported.classes == spec.classes
    np.testing.assert_allclose(exported.probabilities(x, rate_hz=50), expected, atol=1e-4)
    assert exported.predict(x, rate_hz=50) == head.names(expected)
    assert load_onnx(done.folder / "model.int8.onnx").probabilities(x, rate_hz=50).shape == (8, 3)
    x[1, :3] = np.nan
    with torch.no_grad():
        again = torch.export.load(done.folder / "model.pt2").module(check_guards=False)(torch.from_numpy(x[:3, :, :77]))
    np.testing.assert_allclose(again.numpy(), bundle.encode(x[:3, :, :77], rate_hz=50), atol=1e-4)
    stated = json.loads((done.folder / "export.json").read_text())
    assert set(stated["measured"]) == {"torch", *done.bytes}
    assert all(0 <= one["accuracy"] <= 1 and one["ms"] > 0 for one in stated["measured"].values())
    assert stated["head"]["classes"] == list(spec.classes)
    page = (done.folder / "README.md").read_text()
    assert "probe accuracy" in page
    assert "torch.export.load" in page
    foreign = Head(spec=spec, weight=weight, bias=np.zeros(3), encoder="other")
    with pytest.raises(ConfigError, match="the head was fitted on encoder other"):
        export_onnx(bundle, tmp_path / "third", head=foreign)


@pytest.mark.slow
def test_an_encoder_that_cannot_be_exported_is_refused_with_the_reason(tmp_path: Path) -> None:
    @registry.encoders.register("decides_in_python")
    class DecidesInPython(nn.Module):
        def __init__(self, *, channels: int = 6) -> None:
            super().__init__()
            self.channels = self.feature_dim = channels
            self.scale = nn.Parameter(torch.ones(channels))

        def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
            if bool((imu > 0).all()):
                return imu.amax(-1) * self.scale
            return imu.mean(-1) * self.scale

    with pytest.raises(
        ConfigError, match=r"'decides_in_python' cannot be exported as ONNX: .*data-dependent"
    ) as caught:
        export_onnx(make("decides_in_python"), tmp_path / "out")
    assert "segment_cnn" in str(caught.value.hint)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_file_with_other_features_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imu_video.export import parity

    monkeypatch.setattr(parity, "TOLERANCE", -1.0)
    with pytest.raises(ParityError, match="parity failed"):
        export_onnx(make("segment_cnn", width=8, blocks=2), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    make("segment_cnn", width=8).save(tmp_path / "encoder")
    out = tmp_path / "out"
    for options, message in (
        ([], "no format was chosen"),
        (["--onnx", "--placement", "wrist"], "--placement needs --calibrate"),
    ):
        done = CliRunner().invoke(app, ["export", str(tmp_path / "encoder"), str(out), *options])
        assert isinstance(done.exception, ConfigError)
        assert message in str(done.exception)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="exists and is not an export"):
        export_onnx(make("segment_cnn", width=8), tmp_path / "mine", force=True)
    with pytest.raises(ConfigError, match="at least 2 windows"):
        export_onnx(make("segment_cnn", width=8), out, windows=np.zeros((1, 6, 200), np.float32))
    assert not out.exists()
