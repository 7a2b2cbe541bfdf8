"""Windows of several devices, and the rates, lengths and channels that an encoder accepts."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from imu_video import EncoderBundle, InputSpec, list_pretrained, load_encoder
from imu_video.bundle.input_spec import Accepts
from imu_video.errors import ConfigError, RecordingError
from imu_video.types import IMU_CHANNELS
from tests.bundle.shipped import tiny

ACCEPTS = Accepts(min_rate_hz=20, min_window_s=1, max_window_s=10)


def motion(rate_hz: float, seconds: float, number: int = 2) -> np.ndarray:
    """(N, 6, T) of a swing at 1.5 Hz."""
    time = np.arange(round(rate_hz * seconds)) / rate_hz
    out = np.zeros((number, 6, len(time)))
    for i in range(number):
        swing = np.sin(2 * np.pi * 1.5 * time + i)
        out[i, 0], out[i, 2], out[i, 4] = 2 * swing, 9.81 + swing, swing
    return out


@pytest.fixture(scope="module")
def encoder() -> EncoderBundle:
    spec = InputSpec(rate_hz=50, window_s=5, mean=(0,) * 6, std=(9.8,) * 3 + (1.0,) * 3, accepts=ACCEPTS)
    return EncoderBundle(spec=spec, encoder={"name": "segment_cnn", "width": 8}).eval()


def test_the_feature_of_several_devices_is_the_mean_of_those_that_measured(encoder: EncoderBundle) -> None:
    windows = np.stack([motion(50, 5, 3), 1.1 * motion(50, 5, 3)], axis=1)  # (N, V, C, T)
    windows[1, 0] = np.nan
    windows[2, 1] = np.nan
    waist, wrist = (encoder.encode(windows[[0, 2 - v], v], rate_hz=50) for v in range(2))
    expected = np.stack([(waist[0] + wrist[0]) / 2, wrist[1], waist[1]])
    found = encoder.encode(windows, rate_hz=50)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    named = encoder.encode({"waist": windows[:, 0], "wrist": windows[:, 1]}, rate_hz=50)
    np.testing.assert_array_equal(named, found)
    alone = encoder.encode({"waist": windows[:1, 0]}, rate_hz=50)
    np.testing.assert_allclose(alone, encoder.encode(windows[:1, 0], rate_hz=50), atol=1e-7)


def test_a_device_without_a_channel_of_the_encoder_is_missing(encoder: EncoderBundle) -> None:
    """Only channels that the encoder does not read were measured: the same as a device that measured nothing."""
    names = (*IMU_CHANNELS, "ppg")
    windows = np.stack([motion(50, 5, 3), motion(50, 5, 3)], axis=1)
    windows = np.concatenate([windows, np.ones((3, 2, 1, 250))], axis=2)
    windows[1, 1, :6] = np.nan
    found = encoder.encode(windows, rate_hz=50, channels=names)
    np.testing.assert_allclose(found, encoder.encode(windows[:, 0], rate_hz=50, channels=names), atol=1e-6)
    windows[2, :, :6] = np.nan
    with pytest.raises(RecordingError, match="1 of 3 windows contain no measured sample of any device, the first is"):
        encoder.encode(windows, rate_hz=50, channels=names)


def test_what_is_no_window_or_rate_is_one_message(encoder: EncoderBundle) -> None:
    windows = motion(50, 5)
    for wrong, words in (
        (windows.astype(complex), "windows are complex128, expected real numbers"),
        (windows.astype(object), "windows are object, expected numbers"),
        ([windows[0], windows[0, :, :9]], "windows are no array"),
        (torch.zeros(2, 6, 250, requires_grad=True), "windows are no array"),
        ({"a": windows.astype(complex)}, "device a: windows are complex128"),
        (None, r"windows are object of shape \(\)"),
    ):
        with pytest.raises(RecordingError, match=words) as caught:
            encoder.encode(wrong, rate_hz=50)  # type: ignore[arg-type]
        assert "\n" not in caught.value.message
    for rate in (None, "50", float("nan"), [50.0, 100.0], 50j):
        with pytest.raises(ConfigError, match=r"rate_hz is .*, expected samples per second within 1 \.\. 10000"):
            encoder.encode(windows, rate_hz=rate)  # type: ignore[arg-type]


def test_devices_may_differ_in_length_and_not_in_number_of_windows(encoder: EncoderBundle) -> None:
    assert encoder.encode({"a": motion(50, 5), "b": motion(50, 4)}, rate_hz=50).shape == (2, encoder.feature_dim)
    with pytest.raises(RecordingError, match="same number N of windows"):
        encoder.encode({"a": motion(50, 5), "b": motion(50, 5, 3)}, rate_hz=50)
    with pytest.raises(RecordingError, match="same number N of windows"):
        encoder.encode({}, rate_hz=50)
    with pytest.raises(RecordingError, match=r"device b: .*deg/s|device b: angular rates"):
        encoder.encode({"a": motion(50, 5), "b": motion(50, 5) * [[1], [1], [1], [99], [99], [99]]}, rate_hz=50)
    nothing = np.full((2, 2, 6, 250), np.nan)
    nothing[0, 0] = motion(50, 5, 1)
    with pytest.raises(RecordingError, match=r"1 of 2 windows contain no measured sample of any device, .* window 1"):
        encoder.encode(nothing, rate_hz=50)


@pytest.mark.parametrize("rate_hz", [20, 31.25, 100, 400])
def test_rates_of_20_hz_and_more_give_nearly_equal_features(encoder: EncoderBundle, rate_hz: float) -> None:
    reference = encoder.encode(motion(50, 8), rate_hz=50)
    other = encoder.encode(motion(rate_hz, 8), rate_hz=rate_hz)
    assert np.abs(other - reference).max() < 0.1 * np.abs(reference).max()


def test_rates_and_lengths_outside_are_refused_with_a_way_out(encoder: EncoderBundle) -> None:
    slow = motion(10, 5)
    with pytest.raises(ConfigError, match="windows at 10 Hz: this encoder accepts 20 Hz and more") as caught:
        encoder.encode(slow, rate_hz=10)
    assert "check_units=False" in str(caught.value.hint)
    assert encoder.encode(slow, rate_hz=10, check_units=False).shape[0] == 2
    for seconds in (0.5, 20):
        with pytest.raises(RecordingError, match="this encoder accepts 1 s to 10 s"):
            encoder.encode(motion(50, seconds), rate_hz=50)
    for seconds in (1, 10):
        encoder.encode(motion(50, seconds), rate_hz=50)


def test_any_subset_of_the_channels_is_encoded(encoder: EncoderBundle) -> None:
    windows = motion(50, 5)
    for number in (1, 3, 5):
        for rows in itertools.combinations(range(6), number):
            some = encoder.encode(windows[:, list(rows)], rate_hz=50, channels=[IMU_CHANNELS[r] for r in rows])
            assert np.isfinite(some).all()


def test_what_is_accepted_is_stored_only_where_it_is_stated(encoder: EncoderBundle, tmp_path: Path) -> None:
    stated = json.loads((encoder.save(tmp_path / "a") / "config.json").read_text())["input"]
    assert stated["accepts"] == {"min_rate_hz": 20.0, "min_window_s": 1.0, "max_window_s": 10.0}
    assert load_encoder(tmp_path / "a").spec.accepts == ACCEPTS
    assert "windows of 1 to 10 s" in (tmp_path / "a" / "README.md").read_text()
    assert "accepts" not in json.loads((tiny().save(tmp_path / "b") / "config.json").read_text())["input"]
    with pytest.raises(ValueError, match="is above max_window_s"):
        Accepts(min_rate_hz=20, min_window_s=5, max_window_s=1)


@pytest.mark.parametrize("name", [record.name for record in list_pretrained()])
def test_shipped_encoders_accept_what_the_guide_states(name: str) -> None:
    """20 Hz and more, any subset of the channels, 1 to 10 s, several devices."""
    shipped = load_encoder(name)
    assert shipped.spec.accepts == ACCEPTS
    assert set(shipped.spec.channels) == set(IMU_CHANNELS)
    for rate_hz, seconds in ((20, 1), (20, 10), (50, 5), (100, 1), (100, 10), (400, 2)):
        windows = motion(rate_hz, seconds)
        assert np.isfinite(shipped.encode(windows, rate_hz=rate_hz)).all()
        both = shipped.encode(np.stack([windows, windows], axis=1), rate_hz=rate_hz)
        np.testing.assert_allclose(both, shipped.encode(windows, rate_hz=rate_hz), rtol=1e-4, atol=1e-5)
    for number in (1, 3):
        for rows in itertools.combinations(range(6), number):
            channels = [IMU_CHANNELS[r] for r in rows]
            assert np.isfinite(shipped.encode(motion(50, 5)[:, list(rows)], rate_hz=50, channels=channels)).all()


def test_units_are_stated_for_channels_of_the_windows(encoder: EncoderBundle) -> None:
    """A sensor's name is no channel: its unit would be ignored, and windows in g pass as m/s^2."""
    with pytest.raises(ConfigError, match="'acc', which is no channel of the windows: acc_x") as caught:
        encoder.encode(motion(50, 5), rate_hz=50, units={"acc": "g"})
    assert "units={'acc_x': 'm/s^2'}" in str(caught.value.hint)


def test_masked_samples_are_missing(encoder: EncoderBundle) -> None:
    windows = motion(50, 5)
    hidden = np.zeros(windows.shape, bool)
    hidden[:, :, 100:130] = True
    gaps = np.where(hidden, np.nan, windows)
    spoilt = np.where(hidden, 500.0, windows)
    expected = encoder.encode(gaps, rate_hz=50)
    np.testing.assert_array_equal(encoder.encode(np.ma.masked_array(spoilt, hidden), rate_hz=50), expected)
    of_devices = encoder.encode({"waist": np.ma.masked_array(spoilt, hidden)}, rate_hz=50)
    np.testing.assert_array_equal(of_devices, expected)
    whole = np.ma.masked_array(np.round(spoilt).astype(np.int16), hidden)
    rounded = np.where(hidden, np.nan, np.round(windows))
    np.testing.assert_array_equal(encoder.encode(whole, rate_hz=50), encoder.encode(rounded, rate_hz=50))


def test_arrays_whose_meaning_is_not_certain_are_refused_with_what_to_pass(encoder: EncoderBundle) -> None:
    windows = motion(50, 5, 4)
    for value, options, words in (
        ([windows, windows], {}, "mapping of placements"),
        (windows[0].T, {}, r"the axes are probably \(T, C\): pass windows.T$"),
        (windows.transpose(0, 2, 1), {}, r"transpose\(0, 2, 1\)"),
        (windows[:, :3], {"channels": "acc"}, "channels must be a list of names, got 'acc'"),
        (windows, {"gravity": "removed"}, "prepare the windows"),
    ):
        with pytest.raises((RecordingError, ConfigError), match=words):
            encoder.encode(value, rate_hz=50, **options)
