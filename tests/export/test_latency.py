"""Latency: the work that is timed, and one run of the command over every runtime; numbers are not asserted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eval.cli import app
from imu_video.bundle.encoder import EncoderBundle
from imu_video.errors import ConfigError
from imu_video.export.classifier import probe_accuracy
from imu_video.export.latency import measured, timed
from imu_video.export.parity import made_windows
from tests.export.models import SPEC


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = EncoderBundle(spec=SPEC, encoder={"name": "segment_cnn", "width": 8, "blocks": 2}).eval()
    return bundle.save(tmp_path_factory.mktemp("latency") / "encoder")


def test_the_median_of_the_calls_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of 1, 2, 3, 50 and 2 seconds after two that are not measured: 2 seconds."""
    lengths = iter([9.0, 9.0, 1.0, 2.0, 3.0, 50.0, 2.0])
    clock = [0.0]

    def work() -> None:
        clock[0] += next(lengths)

    monkeypatch.setattr("imu_video.export.latency.time.perf_counter", lambda: clock[0])
    assert timed(work, seconds=0.0, least=5) == 2.0


def test_an_encoder_is_measured_in_this_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imu_video.export.latency.timed", lambda call: call() is not None and 0.002)
    bundle = EncoderBundle(spec=SPEC, encoder={"name": "segment_cnn", "width": 8, "blocks": 2})
    found = measured("eager", folder, made_windows(bundle, 100), started=0.0)
    assert found.bytes == (folder / "model.safetensors").stat().st_size
    assert (found.ms, found.per_second) == (2.0, 64 / 0.002)
    assert found.peak_mb >= found.base_mb


def test_a_probe_needs_labels_of_several_subjects() -> None:
    features = np.arange(8.0)[:, None]
    labels = np.array(["a", "b"] * 4)
    assert probe_accuracy(features, labels, np.array(["s"] * 8)) is None
    assert probe_accuracy(features, np.array([""] * 8), np.repeat(["s", "t"], 4)) is None


def test_an_unknown_runtime_is_refused(folder: Path) -> None:
    done = CliRunner().invoke(app, ["latency", str(folder), "--runtime", "onx"])
    assert isinstance(done.exception, ConfigError)
    assert "unknown runtime 'onx'" in str(done.exception)


@pytest.mark.slow
def test_the_command_measures_every_runtime(folder: Path) -> None:
    done = CliRunner().invoke(app, ["latency", str(folder)])
    assert done.exit_code == 0, done.output
    for name in ("eager", "compiled", "onnx", "int8"):
        assert name in done.output
