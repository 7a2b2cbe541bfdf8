"""Exported files: features with the interface of an encoder, and errors for other, damaged and unfitting files."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from imu_video.bundle.encoder import load_encoder
from imu_video.errors import CheckpointError, ConfigError, RecordingError
from imu_video.export.folder import serialised
from imu_video.export.packages import needed
from imu_video.export.runtime import load_onnx, read_facts
from tests.export.models import facts, network


@pytest.fixture
def file(tmp_path: Path) -> Path:
    graph = network(least=4)
    path = tmp_path / "model.onnx"
    path.write_bytes(serialised(graph.model, facts(graph)))
    return path


def test_features_of_any_rate_and_channels(file: Path) -> None:
    encoder = load_onnx(file)
    x = np.random.default_rng(0).normal(0, 5, (3, 6, 200)).astype(np.float32)
    x[:, 2] += 9.8
    features = encoder.encode(x, rate_hz=100)
    assert features.shape == (3, 8)
    assert features.dtype == np.float32
    order = [3, 4, 5, 0, 1, 2]
    names = [encoder.spec.channels[i] for i in order]
    np.testing.assert_array_equal(encoder.encode(x[:, order], rate_hz=100, channels=names), features)
    few = encoder.encode(x[:, :3], rate_hz=100, channels=names[3:])
    lost = x.copy()
    lost[:, 3:] = np.nan
    np.testing.assert_array_equal(few, encoder.encode(lost, rate_hz=100))


def test_facts_name_the_file_and_its_origin(file: Path) -> None:
    found = read_facts(file)
    assert found["weights_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert found["lineage"] == {"untrained": {"seed": 0}}
    encoder = load_onnx(file)
    assert encoder.encoder_config == {"name": "segment_cnn", "width": 8}
    assert encoder.parts == {}
    encoder.facts["parts"] = {"network": [0, 6], "statistics": [6, 8]}
    assert encoder.parts == {"network": slice(0, 6), "statistics": slice(6, 8)}


def test_a_window_that_the_file_does_not_accept_is_refused(file: Path, tmp_path: Path) -> None:
    x = np.full((2, 6, 3), 4.0, np.float32)
    with pytest.raises(RecordingError, match="windows of 3 samples at 50 Hz, the exported file accepts 4 and more"):
        load_onnx(file).encode(x, rate_hz=50, check_units=False)
    graph = network(samples=100)
    other = tmp_path / "fixed.onnx"
    other.write_bytes(serialised(graph.model, facts(graph)))
    with pytest.raises(RecordingError, match=r"accepts 100\n  try: cut windows of 2 s"):
        load_onnx(other).encode(x, rate_hz=50, check_units=False)


def test_other_files_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model.onnx of an export|model.onnx or model.int8.onnx"):
        load_onnx(tmp_path / "absent.onnx")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(file.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="not an ONNX model that ONNX Runtime"):
        load_onnx(damaged)
    graph = network()
    for wrong, message in (
        (facts(graph, format="x"), "that imu-video did not export"),
        (facts(graph, format_version=9), "format version 9, expected 1"),
        (facts(graph, lineage=3), "key 'lineage': expected a mapping of keys"),
        ({k: v for k, v in facts(graph).items() if k != "least"}, "key 'least' is missing"),
        (facts(graph, feature_dim="8"), "key 'feature_dim'"),
        (facts(graph, samples="x"), "key 'samples'"),
        (facts(graph, parts=[1]), "key 'parts'"),
        (facts(graph, parts={"network": [0]}), "key 'parts.network'"),
        (facts(graph, feature_dim=4), r"metadata describe \(B, 6, T\) -> \(B, 4\)"),
        (facts(graph, input={"rate_hz": -1}), "rate_hz"),
    ):
        damaged.write_bytes(serialised(graph.model, wrong))
        with pytest.raises(CheckpointError, match=message):
            load_onnx(damaged)


def test_a_network_of_another_project(tmp_path: Path) -> None:
    """Neither as an ONNX file nor as an encoder folder."""
    path = tmp_path / "detector.onnx"
    path.write_bytes(network().model.SerializeToString())
    with pytest.raises(CheckpointError, match="an ONNX model that imu-video did not export") as caught:
        load_onnx(path)
    assert "imu-video export ENCODER OUT --onnx" in str(caught.value.hint)
    with pytest.raises(CheckpointError, match=r"detector\.onnx: a file, expected an encoder folder") as caught:
        load_encoder(path)
    assert "load_onnx" in str(caught.value.hint)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"pip install 'imu-video\[export\]'"):
        load_onnx(file)
    assert needed("json").__name__ == "json"
