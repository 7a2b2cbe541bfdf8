"""Encoders of other channels than the canonical six: saved, loaded, selected by name; folders of six are unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from imu_video.bundle.encoder import EncoderBundle, fit_input_spec, load_encoder
from imu_video.bundle.input_spec import InputSpec
from imu_video.config import validate
from imu_video.errors import RecordingError
from tests.eval.made_arrays import EIGHT, FORTY_FIVE, signals


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    return signals(FORTY_FIVE, subjects=2, classes=2, windows=2, samples=25)[0]


@pytest.fixture(scope="module")
def bundle(windows: np.ndarray) -> EncoderBundle:
    spec = fit_input_spec(windows, rate_hz=25, window_s=1, channels=list(FORTY_FIVE), units=FORTY_FIVE)
    return EncoderBundle(spec=spec, encoder={"name": "harood_cnn", "kernel": 5}).eval()


def test_an_encoder_of_45_channels_is_the_same_after_saving(
    tmp_path: Path, bundle: EncoderBundle, windows: np.ndarray
) -> None:
    folder = bundle.save(tmp_path / "encoder")
    loaded = load_encoder(folder)
    assert loaded.spec == bundle.spec
    assert loaded.spec.units == FORTY_FIVE
    assert np.array_equal(loaded.encode(windows, rate_hz=25), bundle.encode(windows, rate_hz=25))
    card = (folder / "README.md").read_text()
    assert "45 channels of sensor data" in card
    assert "m/s^2 and rad/s and uT, NaN = missing" in card


def test_channels_are_selected_and_ordered_by_name(bundle: EncoderBundle, windows: np.ndarray) -> None:
    names, rng = list(FORTY_FIVE), np.random.default_rng(0)
    order = rng.permutation(45)
    full = bundle.encode(windows, rate_hz=25)
    shuffled = bundle.encode(windows[:, order], rate_hz=25, channels=[names[i] for i in order])
    assert np.array_equal(shuffled, full)
    more = np.concatenate([windows, windows[:, :1]], axis=1)
    assert np.array_equal(bundle.encode(more, rate_hz=25, channels=[*names, "heart_rate"]), full)
    missing = windows.copy()
    missing[:, 9:] = np.nan
    assert np.array_equal(
        bundle.encode(windows[:, :9], rate_hz=25, channels=names[:9]), bundle.encode(missing, rate_hz=25)
    )
    with pytest.raises(
        RecordingError, match=r"'torso.acc_X': .* lacks 1 of its 45 channels; did you mean 'torso.acc_x'"
    ):
        bundle.encode(windows, rate_hz=25, channels=["torso.acc_X", *names[1:]])


def test_triads_share_a_scale_and_other_channels_have_their_own() -> None:
    rng = np.random.default_rng(0)
    channels = {"chest.acc_x": "g", "chest.acc_y": "g", "chest.acc_z": "g", "heart_rate": "bpm", "temp": "degC"}
    scale, offset = np.array([1.0, 2.0, 3.0, 5.0, 0.1]), np.array([0, 0, 1.0, 80, 33])
    x = rng.normal(size=(40, 5, 30)) * scale[:, None] + offset[:, None]
    spec = fit_input_spec(x, rate_hz=30, window_s=1, channels=list(channels), units=channels)
    assert spec.std[:3] == pytest.approx([np.sqrt((x[:, :3] ** 2).mean())] * 3)
    assert spec.mean[:3] == (0, 0, 0)
    assert spec.mean[3:] == pytest.approx(x[:, 3:].mean(axis=(0, 2)))
    assert spec.std[3:] == pytest.approx(x[:, 3:].std(axis=(0, 2)), rel=1e-6)


def test_canonical_channels_keep_their_checks_beside_others() -> None:
    channels = ("acc_x", "acc_y", "acc_z", *EIGHT)
    spec = validate(
        {"channels": channels, "units": EIGHT, "rate_hz": 50, "window_s": 1, "mean": [0] * 11, "std": [1] * 11},
        InputSpec,
        source="test",
    )
    assert spec.units == {**EIGHT, **dict.fromkeys(channels[:3], "m/s^2")}
    bundle = EncoderBundle(spec=spec, encoder={"name": "harood_cnn", "kernel": 5})
    x = np.random.default_rng(0).normal(size=(2, 11, 50))
    x[:, 2] += 9.8
    assert bundle.encode(x, rate_hz=50).shape == (2, bundle.feature_dim)
    with pytest.raises(RecordingError, match="unit is probably g"):
        bundle.encode(x / 9.8, rate_hz=50)


def test_an_unknown_normalisation_states_no_units_and_is_not_checked() -> None:
    spec = fit_input_spec(
        np.random.default_rng(0).normal(size=(3, 6, 20)) * 50, rate_hz=20, window_s=1, normalised="unknown",
        gravity="unknown",
    )  # fmt: skip
    assert set(spec.units.values()) == {"1"}
    bundle = EncoderBundle(spec=spec, encoder={"name": "harood_cnn", "kernel": 5})
    assert len(bundle.encode(np.ones((1, 6, 20)), rate_hz=20)) == 1


def test_a_folder_of_six_channels_states_what_it_did_before(tmp_path: Path) -> None:
    spec = InputSpec(rate_hz=50, window_s=1, mean=(0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
    folder = EncoderBundle(spec=spec, encoder={"name": "harood_cnn", "kernel": 5}).save(tmp_path / "e")
    stored = json.loads((folder / "config.json").read_text())["input"]
    assert stored == {
        "channels": ["acc_x", "acc_y", "acc_z", "gyr_x", "gyr_y", "gyr_z"],
        "units": {"acc_x": "m/s^2", "acc_y": "m/s^2", "acc_z": "m/s^2", "gyr_x": "rad/s", "gyr_y": "rad/s",
                  "gyr_z": "rad/s"},
        "rate_hz": 50.0, "window_s": 1.0, "gravity": "included", "normalised": "none",
        "mean": [0.0] * 6, "std": [9.8, 9.8, 9.8, 1.0, 1.0, 1.0],
    }  # fmt: skip
    card = (folder / "README.md").read_text()
    assert "Turns a window of accelerometer and gyroscope data into" in card
    assert "acc_x acc_y acc_z gyr_x gyr_y gyr_z\n# m/s^2 and rad/s, NaN = missing" in card
