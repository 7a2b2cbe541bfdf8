"""GoPro telemetry: clocks and axes on made-up payloads, sync and gravity on the real clips."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from imu_video.datasets import gopro
from imu_video.datasets.gopro import GoPro, axis_order, to_camera_axes
from imu_video.errors import ConfigError, RecordingError
from imu_video.recordings.splits import SplitConfig
from imu_video.recordings.windows import WindowConfig
from imu_video.registry import datasets


def payload(count: int, first: int | None, *, tick: float | None = None, stamp: float | None = None, mp4: float = 0.0):
    return gopro._Payload(
        values=np.zeros((count, 3)),
        first_sample=first,
        mp4_s=mp4,
        mp4_end_s=mp4 + 1.001,
        tick_s=tick,
        stamp_s=stamp,
        device="x",
        unit="m/s\xb2",
        order="ZXY",
    )


# ---------------------------------------------------------------------------------------------------------- clocks


@pytest.mark.parametrize("clock", ["stamp", "tick", "mp4"])
def test_times_follow_the_clock_not_the_payload_length(clock: str) -> None:
    """196, 199, 200 ... samples a payload and only 14 in the last one: the rate stays the sensor's."""
    rate, counts = 198.7, [196, 199, 200, 199, 199, 14]
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    parts = []
    for i, (count, first) in enumerate(zip(counts, firsts, strict=True)):
        truth = 100.0 + first / rate
        shown = {"stamp": {"stamp": truth}, "tick": {"tick": round(truth, 3)}, "mp4": {"mp4": i * 1.001}}[clock]
        parts.append(payload(count, int(first), **shown))
    shutter = payload(30, 0, tick=100.018, stamp=100.018)
    times = gopro._times(parts, shutter)
    expected = np.arange(sum(counts)) / rate - (0.018 if clock != "mp4" else 0)
    assert np.abs(times - expected).max() < {"stamp": 1e-6, "tick": 1e-3, "mp4": 0.03}[clock]


def test_a_lost_payload_leaves_a_gap() -> None:
    parts = [payload(200, 200 * i, stamp=i * 1.0) for i in (0, 1, 3, 4)]
    times = gopro._times(parts, None)
    assert len(times) == 800
    assert np.diff(times).max() == pytest.approx(1.005)
    assert times[-1] == pytest.approx(4.995)


def test_a_clock_that_jumps_is_followed_piecewise() -> None:
    parts = [payload(200, 200 * i, stamp=i * 1.0 + (0.5 if i >= 3 else 0)) for i in range(6)]
    times = gopro._times(parts, None)
    np.testing.assert_allclose(times[::200], [0, 1, 2, 3.5, 4.5, 5.5])
    assert (np.diff(times) > 0).all()


def test_one_payload_is_spread_over_its_duration() -> None:
    times = gopro._times([payload(100, 0, mp4=2.0)], None)
    np.testing.assert_allclose(times, 2.0 + np.arange(100) * 0.01001)


# ------------------------------------------------------------------------------------------------------------ axes


@pytest.mark.parametrize(
    ("device", "title", "orin", "orio", "order"),
    [
        ("Camera", "Gyroscope (z,x,y)", "", "", "ZXY"),
        ("Camera", "Accelerometer (up/down, right/left, forward/back)", "", "", "ZXY"),
        ("GoPro Max", "Accelerometer", "XzY", "ZXY", "ZXY"),
        ("Some", "Accelerometer", "YxZ", "", "YxZ"),
        ("Fusion", "Gyroscope (z,x,y)", "", "", "yXZ"),
        ("Some", "Accelerometer", "", "", ""),
    ],
)
def test_axis_order(device: str, title: str, orin: str, orio: str, order: str) -> None:
    assert axis_order(device, title, orin, orio) == order


def test_camera_axes() -> None:
    values = np.array([[1.0, 2.0, 3.0]])
    assert to_camera_axes(values, "ZXY").tolist() == [[2, 3, 1]]
    assert to_camera_axes(values, "yXZ").tolist() == [[2, -1, 3]]
    assert to_camera_axes(values, "").tolist() == [[1, 2, 3]]


def klv(key: str, kind: str | None, size: int, data: bytes) -> bytes:
    head = key.encode() + bytes([ord(kind) if kind else 0, size]) + struct.pack(">H", len(data) // size)
    return head + data + b"\0" * (-len(data) % 4)


def test_a_made_up_payload_is_read_with_scale_clock_and_axes() -> None:
    package = pytest.importorskip("py_gpmf_parser")
    samples = struct.pack(">6h", 100, 200, 981, 110, 210, -981)
    stream = b"".join(
        [
            klv("TSMP", "L", 4, struct.pack(">I", 12)),
            klv("TICK", "L", 4, struct.pack(">I", 4321)),
            klv("STNM", "c", 1, b"Accelerometer"),
            klv("ORIN", "c", 1, b"YxZ"),
            klv("ORIO", "c", 1, b"ZXY"),
            klv("SIUN", "c", 4, b"m/s\xb2"),
            klv("SCAL", "s", 2, struct.pack(">h", 100)),
            klv("ACCL", "s", 6, samples),
        ]
    )
    data = klv("DEVC", None, 1, klv("DVNM", "c", 1, b"Hero") + klv("STRM", None, 1, stream))
    words = list(struct.unpack(f"<{len(data) // 4}I", data))
    part = gopro._payload(package, words, len(data), "ACCL", 1.0, 2.0)
    assert part is not None
    assert (part.device, part.unit, part.order) == ("Hero", "m/s\xb2", "ZXY")
    assert (part.first_sample, part.tick_s, part.stamp_s) == (10, 4.321, None)
    # stored Y, -X, Z = 1, 2, 9.81: x = -2, y = 1, z = 9.81
    np.testing.assert_allclose(to_camera_axes(part.values, part.order), [[-2, 1, 9.81], [-2.1, 1.1, -9.81]])
    assert gopro._payload(package, words, len(data), "GYRO", 1.0, 2.0) is None


# ---------------------------------------------------------------------------------------------------------- faults


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "py_gpmf_parser", None)
    with pytest.raises(ConfigError, match="py-gpmf-parser") as error:
        GoPro(root=str(tmp_path))
    assert "imu-video[gopro]" in str(error.value.hint)


def test_faults_name_the_file(tmp_path: Path) -> None:
    pytest.importorskip("py_gpmf_parser")
    with pytest.raises(RecordingError, match="no MP4 file"):
        GoPro(root=str(tmp_path))
    (tmp_path / "x.MP4").write_bytes(b"not a video at all")
    with pytest.raises(RecordingError, match=r"x\.MP4: not an MP4 file"):
        next(GoPro(root=str(tmp_path)).recordings())
    with pytest.raises(ConfigError, match=r"no y\.mp4"):
        GoPro(root=str(tmp_path), subjects={"y": "anna"})


def test_a_video_without_telemetry_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("py_gpmf_parser")
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
    pytest.importorskip("py_gpmf_parser")
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
def test_both_real_clips_build_into_shards(real_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("py_gpmf_parser")
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
    pytest.importorskip("py_gpmf_parser")
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
