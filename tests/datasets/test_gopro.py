"""GoPro clips as recordings: faults, sync and gravity of real clips; telemetry is tested with its reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imu_video.datasets.gopro import GoPro
from imu_video.errors import ConfigError, RecordingError
from imu_video.recordings.splits import SplitConfig
from imu_video.recordings.windows import WindowConfig
from imu_video.registry import datasets

# ---------------------------------------------------------------------------------------------------------- faults


def test_faults_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no MP4 file"):
        GoPro(root=str(tmp_path))
    (tmp_path / "x.MP4").write_bytes(b"not a video at all")
    with pytest.raises(RecordingError, match=r"x\.MP4: not an MP4 file"):
        next(GoPro(root=str(tmp_path)).recordings())
    with pytest.raises(ConfigError, match=r"no y\.mp4"):
        GoPro(root=str(tmp_path), subjects={"y": "anna"})


def test_a_video_without_telemetry_is_refused(tmp_path: Path) -> None:
    from imu_video.modalities.mp4 import encode_mp4

    (tmp_path / "x.mp4").write_bytes(encode_mp4(np.zeros((5, 32, 32, 3), np.uint8), fps=10))
    with pytest.raises(RecordingError, match=r"x\.mp4: no GoPro telemetry") as error:
        next(GoPro(root=str(tmp_path), subjects={"x": "anna"}).recordings(["anna"]))
    assert "original file" in str(error.value.hint)


# ------------------------------------------------------------------------------------------------------- real data


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("clip", "camera", "acc_hz", "gyr_hz", "end"),
    [("karma", "Camera", 198.77, 397.54, 12.04), ("max-heromode", "GoPro Max", 197.455, 197.455, 10.53)],
)
def test_real_clips(real_data: Path, clip: str, camera: str, acc_hz: float, gyr_hz: float, end: float) -> None:
    source = datasets.build({"name": "gopro", "root": str(real_data / "gopro-gpmf" / f"{clip}.mp4")})
    (recording,) = source.recordings()
    stream = recording.imu[0]
    acc, gyr = (stream.times[np.isfinite(stream.values[row])] for row in (0, 3))
    assert 1 / np.diff(acc).mean() == pytest.approx(acc_hz, abs=0.01)
    assert 1 / np.diff(gyr).mean() == pytest.approx(gyr_hz, abs=0.01)
    assert acc[-1] == pytest.approx(end, abs=0.02)
    assert (recording.name, recording.subject, dict(recording.tags)) == (
        clip,
        "camera",
        {"camera": camera, "axes": "camera"},
    )
    norm = np.linalg.norm(stream.values[:3], axis=0)
    assert np.nanmedian(norm) == pytest.approx(9.8, abs=0.3)
    assert np.nanmean(stream.values[2]) == pytest.approx(9.7, abs=0.1)  # z is up in both


@pytest.mark.realdata
@pytest.mark.parametrize(("key", "channels"), [(b"GYRO", "acc"), (b"ACCL", "gyr")])
def test_a_clip_without_one_sensor_is_read(real_data: Path, tmp_path: Path, key: bytes, channels: str) -> None:
    content = (real_data / "gopro-gpmf" / "karma.mp4").read_bytes()
    (tmp_path / "GH010011.MP4").write_bytes(content.replace(key, b"XXXX"))
    (recording,) = GoPro(root=str(tmp_path)).recordings()
    assert recording.imu[0].channels == tuple(f"{channels}_{axis}" for axis in "xyz")
    assert np.isfinite(recording.imu[0].values).all()


@pytest.mark.realdata
def test_both_real_clips_build_into_shards(real_data: Path, tmp_path: Path) -> None:
    from imu_video.shards.building.build import BuildConfig, build
    from imu_video.shards.reading.pipeline import read_samples

    people = {"karma": "drone", "max-heromode": "walker"}
    config = BuildConfig(
        dataset={"name": "gopro", "root": str(real_data / "gopro-gpmf"), "subjects": people},
        window=WindowConfig(seconds=4.0, clip_fps=1, clip_size=32),
        splits=SplitConfig(subjects={"train": ["drone"], "test": ["walker"]}),
    )
    index = build(config, tmp_path / "data")
    for split, recording, count in (("train", "karma", 3), ("test", "max-heromode", 2)):
        samples = list(read_samples(index, split))
        assert [s.meta["recording"] for s in samples] == [recording] * count
        for sample in samples:
            assert np.isfinite(sample.imu["camera"]).all()
            assert "video" in sample.streams


@pytest.mark.realdata
def test_real_telemetry_runs_with_the_picture(real_data: Path) -> None:
    """Yaw rate against the horizontal shift of the picture: near 1 with the right sample times, and in time."""
    (recording,) = GoPro(root=str(real_data / "gopro-gpmf" / "karma.mp4")).recordings()
    assert "video" in recording.streams
    video = recording.streams["video"]
    first = len(video.times) - 150
    frames = video.read(range(first, len(video.times)))[:, ::4, ::4].mean(axis=-1)
    moments = video.times[first:]
    window = np.outer(np.hanning(frames.shape[1]), np.hanning(frames.shape[2]))
    spectra = np.fft.rfft2((frames - frames.mean(axis=(1, 2), keepdims=True)) * window)
    cross = spectra[1:] * spectra[:-1].conj()
    surface = np.fft.irfft2(cross / (np.abs(cross) + 1e-9), s=frames.shape[1:])
    peak = surface.reshape(len(surface), -1).argmax(axis=1) % frames.shape[2]
    shift = np.where(peak > frames.shape[2] / 2, peak - frames.shape[2], peak)

    stream = recording.imu[0]
    known = np.isfinite(stream.values[5])
    yaw = np.convolve(stream.values[5, known], np.ones(13) / 13, "same")
    middle = (moments[1:] + moments[:-1]) / 2
    lags = np.arange(-0.2, 0.2, 0.01)
    scores = [abs(np.corrcoef(shift, np.interp(middle + lag, stream.times[known], yaw))[0, 1]) for lag in lags]
    assert max(scores) > 0.95
    assert abs(lags[int(np.argmax(scores))]) <= 0.1  # a frame or two of delivery, at whole pixels
