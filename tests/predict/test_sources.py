"""Windows of a file, of a folder of recordings and of a data folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.errors import ConfigError, RecordingError
from imu_video.predict.sources import FACTS, open_windows

DECLARATION = """
dataset: mine
licence: none
imu:
  time: {column: time_s, unit: s}
  channels: {acc_x: acc_x, acc_y: acc_y, acc_z: acc_z}
  units: {acc: m/s^2}
placements: {wrist: }
files: {imu: "{subject}.csv"}
"""


def test_a_file_is_cut_at_the_rate_and_length_of_the_encoder(encoder: EncoderBundle, walk: Path) -> None:
    (windows,) = open_windows(walk, encoder.spec, stride_s=1.0)
    assert windows.x.shape == (15, 6, 100)
    assert windows.start.tolist() == list(range(15))
    assert {name: set(windows.facts[name].tolist()) for name in FACTS} == {
        "dataset": {"recording"},
        "subject": {"unknown"},
        "session": {"1"},
        "recording": {"walk"},
        "placement": {"device"},
        "label": {""},
    }
    (longer,) = open_windows(walk, encoder.spec, seconds=4.0)
    assert longer.x.shape == (4, 6, 200)


def test_a_declared_folder_gives_each_recording(encoder: EncoderBundle, walk: Path, tmp_path: Path) -> None:
    for subject in ("s1", "s2"):
        shutil.copy(walk, tmp_path / f"{subject}.csv")
    (tmp_path / "dataset.yaml").write_text(DECLARATION)
    blocks = list(open_windows(tmp_path, encoder.spec))
    assert [set(block.facts["subject"].tolist()) for block in blocks] == [{"s1"}, {"s2"}]
    assert np.isnan(blocks[0].x[:, 3:]).all(), "the declaration names no gyroscope"
    with pytest.raises(ConfigError, match="no recording has a device 'ankle'"):
        list(open_windows(tmp_path, encoder.spec, placement="ankle"))


def test_a_data_folder_gives_its_windows(encoder: EncoderBundle, data: Path) -> None:
    blocks = list(open_windows(data, encoder.spec))
    assert sum(len(block) for block in blocks) == 48
    assert set(np.concatenate([block.facts["label"] for block in blocks]).tolist()) == {"rest", "walk"}
    with pytest.raises(ConfigError, match="already cut"):
        open_windows(data, encoder.spec, stride_s=1.0)
    with pytest.raises(ConfigError, match=r"no placement 'wrest'.*wrist"):
        list(open_windows(data, encoder.spec, placement="wrest"))


def test_data_that_does_not_fit_the_encoder_is_refused(encoder: EncoderBundle, data: Path, walk: Path) -> None:
    linear = InputSpec(**{**encoder.spec.model_dump(), "gravity": "removed"})
    with pytest.raises(ConfigError, match="gravity is 'included'"):
        list(open_windows(data, linear))
    (windows,) = open_windows(walk, linear)
    assert abs(windows.x[:2, 2].mean()) < 1.0, "gravity is removed from recordings as in training"
    with pytest.raises(RecordingError, match=r"lasts 15\.98 s"):
        list(open_windows(walk, encoder.spec, seconds=60.0))


def test_windows_that_cannot_be_cut_are_errors_that_name_the_source(encoder: EncoderBundle, walk: Path) -> None:
    infinite = float("inf")
    for options in ({"seconds": infinite}, {"stride_s": infinite}, {"seconds": 1e6}, {"seconds": 1e-6}):
        with pytest.raises(ConfigError, match=r"windows of .*walk\.csv: "):
            open_windows(walk, encoder.spec, **options)


def test_a_device_that_is_slower_than_the_encoder_accepts_is_refused(encoder: EncoderBundle, tmp_path: Path) -> None:
    accepts = {"min_rate_hz": 20, "min_window_s": 1, "max_window_s": 10}
    spec = InputSpec(**{**encoder.spec.model_dump(), "accepts": accepts})
    for seconds in (0.5, 20.0):
        with pytest.raises(ConfigError, match="this encoder accepts 1 s to 10 s"):
            open_windows(tmp_path / "slow.csv", spec, seconds=seconds)
    for rate_hz in (10.0, 19.8):  # 19.8 Hz is a device of nominally 20 Hz
        time = np.arange(round(12 * rate_hz)) / rate_hz
        rows = np.stack([time, np.sin(time), np.cos(time), 9.8 + np.sin(7 * time)], axis=1)
        path = tmp_path / "slow.csv"
        np.savetxt(path, rows, delimiter=",", header="time_s,acc_x,acc_y,acc_z", comments="", fmt="%.6f")
        if rate_hz < 19:
            with pytest.raises(ConfigError, match="device is sampled at 10 Hz, this encoder accepts 20 Hz and more"):
                list(open_windows(path, spec))
        else:
            assert len(next(open_windows(path, spec)))


def test_a_sensor_without_a_value_is_missing_and_noted(encoder: EncoderBundle, tmp_path: Path) -> None:
    path = tmp_path / "phone.csv"
    time = np.arange(300) / 50
    rows = "".join(f"{t:.2f},0.1,{np.sin(t):.4f},{9.8 + np.sin(7 * t):.4f},,nan,\n" for t in time)
    path.write_text("time_s,acc_x,acc_y,acc_z,gyr_x,gyr_y,gyr_z\n" + rows)
    (windows,) = open_windows(path, encoder.spec)
    assert "columns without a value: gyr_x, gyr_y, gyr_z" in windows.notes
    assert np.isnan(windows.x[:, 3:]).all()
    assert np.isfinite(windows.x[:, :3]).all()
