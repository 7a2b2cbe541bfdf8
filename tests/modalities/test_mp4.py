"""Clips survive the round trip, bytes repeat, and user videos keep their own time stamps."""

from __future__ import annotations

import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from imu_video.errors import RecordingError, ShardError
from imu_video.modalities.mp4 import Mp4Source, decode_mp4, encode_mp4


def moving_gradient(frames: int, height: int, width: int) -> np.ndarray:
    """Smooth colour picture that moves, different in every frame and asymmetric in both axes."""
    y, x = np.mgrid[0:height, 0:width]
    out = np.empty((frames, height, width, 3), np.uint8)
    for f in range(frames):
        out[f, ..., 0] = np.clip(20 + 20 * f + 100 * x / width, 0, 255)
        out[f, ..., 1] = np.clip(200 * y / height, 0, 255)
        out[f, ..., 2] = np.clip(220 - 15 * f - 80 * x / width, 0, 255)
    return out


def write_variable_rate(path: Path, ticks: list[int]) -> None:
    """An MP4 with B-frames whose frame i is grey 20*i and shown at ticks[i] / 10 s."""
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10, options={"x264-params": "keyint=5:bframes=2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for i, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


# 96, 144, 32 and 48 are widths for which decord misreports the number of channels.
@pytest.mark.parametrize(("height", "width"), [(48, 64), (32, 96), (64, 144), (32, 32), (36, 48), (62, 98), (90, 160)])
def test_round_trip_keeps_frames_in_order_and_colour(height: int, width: int) -> None:
    frames = moving_gradient(9, height, width)
    back = decode_mp4(encode_mp4(frames, fps=10))
    assert back.shape == frames.shape
    assert back.dtype == np.uint8
    error = np.abs(back.astype(int) - frames.astype(int))
    assert error.mean() < 4
    nearest = [int(np.argmin([np.abs(b.astype(int) - f.astype(int)).mean() for f in frames])) for b in back]
    assert nearest == list(range(9))


def test_indices_select_reorder_and_repeat() -> None:
    data = encode_mp4(moving_gradient(7, 48, 96), fps=5)
    everything = decode_mp4(data)
    assert np.array_equal(decode_mp4(data, [5, 0, 5, 2]), everything[[5, 0, 5, 2]])


def test_bytes_repeat_and_depend_on_the_frames() -> None:
    frames = moving_gradient(5, 48, 64)
    assert encode_mp4(frames, fps=10) == encode_mp4(frames.copy(), fps=10)
    assert encode_mp4(frames, fps=10) != encode_mp4(frames[::-1].copy(), fps=10)


def test_odd_sides_gain_a_copy_of_the_last_row_and_column() -> None:
    frames = moving_gradient(2, 31, 45)
    back = decode_mp4(encode_mp4(frames, fps=10, crf=1))
    assert back.shape == (2, 32, 46, 3)
    padded = np.pad(frames, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    assert np.abs(back.astype(int) - padded.astype(int)).mean() < 2


def test_encode_refuses_wrong_arrays() -> None:
    with pytest.raises(ValueError, match="uint8"):
        encode_mp4(np.zeros((3, 8, 8, 3), np.float32), fps=10)
    with pytest.raises(ValueError, match=r"\(F, H, W, 3\)"):
        encode_mp4(np.zeros((3, 3, 8, 8), np.uint8), fps=10)
    with pytest.raises(ValueError, match="fps"):
        encode_mp4(np.zeros((1, 8, 8, 3), np.uint8), fps=0)


def test_damaged_clip_is_a_shard_error() -> None:
    data = encode_mp4(moving_gradient(4, 48, 64), fps=10)
    for bad in (b"", b"not a video", data[: len(data) // 2]):
        with pytest.raises(ShardError, match="cannot be decoded"):
            decode_mp4(bad)
    with pytest.raises(ShardError, match=r"0\.\.3"):
        decode_mp4(data, [4])


def test_a_table_with_more_pictures_than_bytes_is_refused() -> None:
    data = bytearray(encode_mp4(moving_gradient(4, 48, 64), fps=10))
    count = data.index(b"stts") + 12  # of the first run of equal durations: 4
    assert data[count : count + 4] == (4).to_bytes(4, "big")
    data[count : count + 4] = (0x7FFFFFFF).to_bytes(4, "big")
    with pytest.raises(ShardError, match="they list 2147483647 frames in"):
        decode_mp4(bytes(data))


def test_source_reports_real_time_stamps_not_a_frame_rate(tmp_path: Path) -> None:
    ticks = [0, 3, 4, 9, 10, 20, 23, 30]
    write_variable_rate(tmp_path / "phone.mp4", ticks)
    source = Mp4Source(tmp_path / "phone.mp4", offset_s=2.5)
    np.testing.assert_allclose(source.times, np.array(ticks) / 10 + 2.5, atol=1e-4)
    assert source.times.dtype == np.float64
    read = source.read([6, 1, 4])
    assert read.shape == (3, 48, 64, 3)
    np.testing.assert_allclose(read.mean(axis=(1, 2, 3)), [120, 20, 80], atol=3)


def test_source_survives_pickling(tmp_path: Path) -> None:
    write_variable_rate(tmp_path / "a.mp4", [0, 1, 2])
    source = Mp4Source(tmp_path / "a.mp4")
    source.read([0])
    again = pickle.loads(pickle.dumps(source))
    assert np.array_equal(again.read([2]), source.read([2]))


def test_source_names_a_missing_or_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"absent\.mp4: no such file"):
        Mp4Source(tmp_path / "absent.mp4")
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(RecordingError, match=r"text\.mp4 \(5 bytes\): it is not a readable video\n  try: play it"):
        _ = Mp4Source(tmp_path / "text.mp4").times
    write_variable_rate(tmp_path / "a.mp4", [0, 1, 2])
    with pytest.raises(RecordingError, match=r"a\.mp4.*0\.\.2"):
        Mp4Source(tmp_path / "a.mp4").read([3])


@pytest.mark.realdata
def test_gopro_clip_has_its_nominal_frame_rate(real_data: Path) -> None:
    source = Mp4Source(real_data / "gopro-gpmf" / "karma.mp4")
    assert len(source.times) == 362
    np.testing.assert_allclose(np.diff(source.times), 1001 / 30000, atol=1e-4)
    assert source.read([0, 180]).shape == (2, 480, 854, 3)
