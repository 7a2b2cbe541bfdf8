"""Features of converted folders against float64 twins of the published networks, in physical units, to 1e-5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imu_video.bundle import load_encoder
from imu_video.converters import convert
from imu_video.recordings.signal import resample_uniform
from tests.converters.conftest import GRAVITY, recording, write
from tests.converters.naive import harnet_features, harnet_state, linear, mw2_features, mw2_state

CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
PUBLISHED = [pytest.param(1, marks=pytest.mark.slow), 8]  # the full width takes seconds to make and to hash


@pytest.mark.parametrize("divide", PUBLISHED)
@pytest.mark.parametrize("seconds", [5, 10, 30])
def test_harnet(seconds: int, divide: int, tmp_path: Path) -> None:
    """A window in m/s^2, axes in another order, against the network on the window in g."""
    state = harnet_state(seconds, divide=divide)
    done = convert("harnet", write(tmp_path / "mtl_best.mdl", state), tmp_path / "out")
    encoder = load_encoder(tmp_path / "out")
    assert (encoder.spec.rate_hz, encoder.spec.window_s, encoder.spec.channels[2:]) == (30, seconds, ("acc_z",))
    assert done.feature_dim == {5: 512, 10: 1024, 30: 1024}[seconds] // divide
    assert done.difference == 0
    x = recording(3, 30 * seconds)
    expected = harnet_features(state, x.astype(np.float64) / GRAVITY, seconds)
    np.testing.assert_allclose(encoder.encode(x, rate_hz=30), expected, **CLOSE)
    turned = encoder.encode(x[:, ::-1], rate_hz=30, channels=["acc_z", "acc_y", "acc_x"])
    np.testing.assert_allclose(turned, expected, **CLOSE)
    with_gyroscope = np.concatenate([x, np.ones_like(x)], axis=1)
    names = ["acc_x", "acc_y", "acc_z", "gyr_x", "gyr_y", "gyr_z"]
    np.testing.assert_allclose(encoder.encode(with_gyroscope, rate_hz=30, channels=names), expected, **CLOSE)


def test_harnet_at_another_rate(tmp_path: Path) -> None:
    state = harnet_state(5, divide=8)
    convert("harnet", write(tmp_path / "a.mdl", state), tmp_path / "out")
    x = recording(3, 500)  # 5 s at 100 Hz
    slow = resample_uniform(x, 100, 30)
    expected = harnet_features(state, slow.astype(np.float64) / GRAVITY, 5)
    np.testing.assert_allclose(load_encoder(tmp_path / "out").encode(x, rate_hz=100), expected, **CLOSE)


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_harnet_of_one_process_or_several(prefix: str, tmp_path: Path) -> None:
    """Names start with ``module.`` where several processes trained; a classifier behind the features is dropped."""
    state = harnet_state(10, divide=16, prefix=prefix, heads=False)
    state |= {f"{prefix}classifier.linear{i}.bias": np.zeros(4, np.float32) for i in (1, 2)}
    done = convert("harnet", write(tmp_path / "a.pt", state), tmp_path / "out")
    assert list(done.dropped.values()).count("head of a training task") == 2
    x = recording(3, 300)
    expected = harnet_features(state, x.astype(np.float64) / GRAVITY, 10, prefix=prefix)
    np.testing.assert_allclose(load_encoder(tmp_path / "out").encode(x, rate_hz=30), expected, **CLOSE)


@pytest.mark.parametrize("trainer", [False, True], ids=["weights", "file-of-the-trainer"])
def test_imu2clip(trainer: bool, tmp_path: Path) -> None:
    """The published width of 512, at 200 Hz over 5 s; in the trainer's file beside CLIP."""
    prefix = "imu_encoder.net." if trainer else "net."
    state = mw2_state(prefix)
    stored = state | ({"text_encoder.weight": np.ones((2, 2), np.float32)} if trainer else {})
    file = write(tmp_path / "a.ckpt", stored, **({"epoch": 3} if trainer else {}))
    done = convert("imu2clip", file, tmp_path / "out")
    assert (done.encoder, done.feature_dim, len(done.dropped)) == ("cnn_gru", 512, int(trainer))
    x = recording(6, 1000, rows=2)
    encoder = load_encoder(tmp_path / "out")
    assert (encoder.spec.rate_hz, encoder.spec.samples) == (200, 1000)
    expected = mw2_features(state, prefix, x.astype(np.float64))
    np.testing.assert_allclose(encoder.encode(x, rate_hz=200), expected, **CLOSE)


@pytest.mark.parametrize("features", ["mmcl", "ssl", "emb"])
def test_primus(features: str, tmp_path: Path) -> None:
    """The published 1.4 M parameters, as in ``best_model.ckpt``; 250 samples reach the GRU as 32 averages."""
    state = mw2_state("imu_encoder.backbone.", heads="imu_encoder.")
    assert sum(value.size for value in state.values()) == 1_376_204
    stored = state | {"mmcl_loss.temperature": np.ones((), np.float32)}
    file = write(tmp_path / "best_model.ckpt", stored, epoch=1)
    done = convert({"name": "primus", "features": features}, file, tmp_path / "out")
    assert (done.encoder, done.feature_dim) == ("primus", 512)
    assert len(done.dropped) == (5 if features == "emb" else 3)
    x = recording(6, 250, rows=2)
    expected = mw2_features(state, "imu_encoder.backbone.", x.astype(np.float64), steps=32)
    if features != "emb":
        expected = linear(state, f"imu_encoder.{features}_head", expected)
    encoder = load_encoder(tmp_path / "out")
    assert (encoder.spec.rate_hz, encoder.spec.samples) == (50, 250)
    np.testing.assert_allclose(encoder.encode(x, rate_hz=50), expected, **CLOSE)


def test_primus_with_one_head(tmp_path: Path) -> None:
    """Trained without ``--multihead``, the names are those of IMU2CLIP."""
    state = mw2_state("net.", hidden=16)
    done = convert({"name": "primus", "features": "emb"}, write(tmp_path / "a.pt", state), tmp_path / "out")
    assert (done.feature_dim, done.dropped) == (16, {})
    x = recording(6, 250, rows=2)
    expected = mw2_features(state, "net.", x.astype(np.float64), steps=32)
    np.testing.assert_allclose(load_encoder(tmp_path / "out").encode(x, rate_hz=50), expected, **CLOSE)
