"""Windows against naive twins: grid, pairing by time stamp, labels, missing devices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imu_video.config import validate
from imu_video.errors import ConfigError, RecordingError
from imu_video.modalities.base import nearest_index
from imu_video.modalities.skeleton import SkeletonTrack
from imu_video.modalities.video import square
from imu_video.recordings.windows import WindowConfig, _label, cut
from imu_video.types import IMU_CHANNELS, ImuStream, Recording, Segment


class Numbered:
    """A video whose frame i is a flat picture of brightness i (modulo 256)."""

    def __init__(self, times: np.ndarray, shape: tuple[int, int] = (32, 48)) -> None:
        self.times = np.asarray(times, dtype=np.float64)
        self.shape = shape
        self.asked: list[int] = []

    def read(self, indices: Sequence[int]) -> np.ndarray:
        self.asked += list(indices)
        return np.stack([np.full((*self.shape, 3), i % 256, dtype=np.uint8) for i in indices])


def ramp(placement: str = "waist", *, start: float = 0.0, seconds: float = 10.0, rate: float = 100.0) -> ImuStream:
    """Every channel equals the time, so that a window's content tells where it was cut."""
    times = start + np.arange(round(seconds * rate)) / rate
    return ImuStream(placement=placement, times=times, values=np.tile(times, (6, 1)))


def recording(*streams: ImuStream, **more: object) -> Recording:
    return Recording(dataset="d", subject="s1", name="r1", imu=streams or (ramp(),), **more)  # type: ignore[arg-type]


def test_sliding_windows_lie_on_one_grid() -> None:
    config = WindowConfig(seconds=2.0, stride_s=0.5, rate_hz=20)
    windows = list(cut(recording(ramp(start=100.0)), config))
    assert [w.start for w in windows] == [100 + 0.5 * k for k in range(17)]
    assert [w.key for w in windows][:2] == ["d-r1-00000", "d-r1-00001"]
    for w in windows:
        assert w.imu["waist"].shape == (6, 40)
        np.testing.assert_allclose(w.imu["waist"][3], w.start + np.arange(40) / 20, atol=1e-4)
        assert (w.recording, w.subject, w.session, w.streams) == ("r1", "s1", "1", {})


def test_stride_that_is_no_multiple_of_the_period_is_rounded_and_reported() -> None:
    starts = [w.start for w in cut(recording(), WindowConfig(seconds=2.0, stride_s=0.333, rate_hz=20))]
    np.testing.assert_allclose(np.diff(starts), 0.35)


def test_whole_mode_crops_the_middle_and_pads_both_ends() -> None:
    (long,) = cut(recording(), WindowConfig(seconds=4.0, mode="whole"))
    assert long.start == pytest.approx(3.0)
    np.testing.assert_allclose(long.imu["waist"][0], 3 + np.arange(200) / 50, atol=1e-5)
    (short,) = cut(recording(ramp(seconds=2.0)), WindowConfig(seconds=4.0, mode="whole"))
    measured = np.isfinite(short.imu["waist"][0])
    assert measured.sum() == 100
    assert not measured[:50].any()
    assert not measured[150:].any()
    assert short.start == pytest.approx(-1.0)
    np.testing.assert_allclose(short.imu["waist"][0][measured], np.arange(100) / 50, atol=1e-5)


def test_devices_come_and_go() -> None:
    late = ramp("wrist", start=5.0, seconds=5.0)
    acc_only = ImuStream(
        placement="ankle", times=np.arange(1000) / 100, values=np.ones((3, 1000)), channels=IMU_CHANNELS[:3]
    )
    windows = list(cut(recording(ramp(), late, acc_only), WindowConfig(seconds=2.0, min_measured=0.8)))
    assert [sorted(w.imu) for w in windows] == [["ankle", "waist"]] * 2 + [["ankle", "waist"]] + [
        ["ankle", "waist", "wrist"]
    ] * 2  # the third window is half covered by the wrist: not enough
    assert np.isnan(windows[0].imu["ankle"][3:]).all()
    assert np.isfinite(windows[0].imu["ankle"][:3]).all()
    half = list(cut(recording(ramp(), late, acc_only), WindowConfig(seconds=2.0, min_measured=0.4)))
    assert "wrist" in half[2].imu
    assert np.isnan(half[2].imu["wrist"][:, :49]).all()


def test_windows_without_any_device_are_skipped_but_keep_their_number() -> None:
    times = np.concatenate([np.arange(200), np.arange(600, 1000)]) / 100
    stream = ImuStream(placement="waist", times=times, values=np.tile(times, (6, 1)))
    windows = list(cut(recording(stream), WindowConfig(seconds=2.0)))
    assert [w.key[-5:] for w in windows] == ["00000", "00003", "00004"]
    assert [w.start for w in windows] == [0.0, 6.0, 8.0]


# --------------------------------------------------------------------------------------------------------- labels


def naive_label(segments: list[Segment], start: float, end: float, coverage: float) -> str | None:
    """Count covered milliseconds."""
    moments = np.arange(round(start * 1000), round(end * 1000)) / 1000 + 0.0005
    counts: dict[str, int] = {}
    for label in {s.label for s in segments}:
        covered = np.zeros(len(moments), bool)
        for s in segments:
            if s.label == label:
                covered |= (moments >= s.start) & (moments < s.end)
        counts[label] = int(covered.sum())
    best = sorted(counts, key=lambda k: counts[k], reverse=True)
    if not best or counts[best[0]] < coverage * len(moments) or counts[best[0]] == 0:
        return None
    return None if len(best) > 1 and counts[best[1]] == counts[best[0]] else best[0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20), st.sampled_from("abc")), max_size=6),
    st.sampled_from([0.5, 0.75, 1.0]),
)
def test_labels_by_coverage(parts: list[tuple[int, int, str]], coverage: float) -> None:
    segments = [Segment(start=a / 4, end=(a + n) / 4, label=k) for a, n, k in parts]
    config = WindowConfig(seconds=2.0, stride_s=1.0, rate_hz=20, label_coverage=coverage)
    for w in cut(recording(ramp(rate=20.0), segments=tuple(segments)), config):
        assert w.label == naive_label(segments, w.start, w.start + 2.0, coverage)


def test_whole_mode_label_counts_only_what_was_recorded() -> None:
    spoken = (Segment(start=0.0, end=2.0, label="wave"),)
    (window,) = cut(recording(ramp(seconds=2.0), segments=spoken), WindowConfig(seconds=8.0, mode="whole"))
    assert window.label == "wave"


# -------------------------------------------------------------------------------------------------------- pairing


def test_clips_are_paired_by_time_stamp_not_by_position() -> None:
    rng = np.random.default_rng(3)
    times = np.sort(0.35 + np.arange(260) / 25 + rng.uniform(-0.008, 0.008, 260))
    dropped = rng.choice(np.arange(5, 250), 40, replace=False)
    dropped = dropped[~np.isin(dropped + 1, dropped)]  # single dropped frames
    video = Numbered(np.delete(times, dropped))
    config = WindowConfig(seconds=2.0, stride_s=1.0, clip_fps=10, clip_size=16)
    windows = list(cut(recording(streams={"video": video}), config))
    assert "video" not in windows[0].streams  # the video starts 0.35 s late
    assert all(w.streams.get("video") is not None for w in windows[1:])
    for w in windows[1:]:
        assert "video" in w.streams
        assert w.streams["video"].shape == (20, 16, 16, 3)
        for i, frame in enumerate(w.streams["video"]):
            moment = w.start + i / 10
            naive = min(range(len(video.times)), key=lambda k: abs(video.times[k] - moment))
            assert frame[0, 0, 0] == naive
            assert abs(video.times[naive] - moment) < 1.5 / 25


def test_holes_in_the_video_cost_the_clip_not_the_window() -> None:
    times = np.delete(np.arange(250) / 25, slice(100, 110))
    windows = list(
        cut(recording(streams={"video": Numbered(times)}), WindowConfig(seconds=2.0, clip_fps=5, clip_size=16))
    )
    assert [w.streams.get("video") is not None for w in windows] == [True, True, False, True, True]
    assert len(windows) == 5


def test_only_the_needed_frames_are_read() -> None:
    video = Numbered(np.arange(300) / 30)
    list(cut(recording(streams={"video": video}), WindowConfig(seconds=5.0, clip_fps=3, clip_size=16)))
    assert video.asked == sorted(set(video.asked))
    assert len(video.asked) == 30
    video = Numbered(np.arange(300) / 30)
    list(cut(recording(streams={"video": video}), WindowConfig(seconds=5.0)))
    assert video.asked == []


def test_whole_mode_holds_the_outer_frames_of_a_short_trial() -> None:
    video = Numbered(np.linspace(0, 1.99, 40))
    joints = np.tile(video.times[:, None, None], (1, 2, 3))
    track = SkeletonTrack(times=video.times, joints=joints, names=("a", "b"))
    config = WindowConfig(seconds=4.0, mode="whole", clip_fps=5, clip_size=16, skeleton_fps=10)
    (window,) = cut(
        recording(
            ramp(seconds=2.0),
            streams={"video": video, "skeleton": track},
        ),
        config,
    )
    assert "video" in window.streams
    assert "skeleton" in window.streams
    assert window.streams["video"][:5, 0, 0, 0].tolist() == [0] * 5
    assert window.streams["video"][-5:, 0, 0, 0].tolist() == [39] * 5
    expected = np.clip(-1 + np.arange(40) / 10, 0, 1.99)
    np.testing.assert_allclose(window.streams["skeleton"][:, 1, 2], expected, atol=1e-6)


def test_skeletons_are_interpolated_by_time_stamp() -> None:
    times = np.arange(401) / 40 + np.random.default_rng(4).uniform(-0.012, 0.012, 401)
    track = SkeletonTrack(times=times, joints=np.sin(times)[:, None, None] * np.ones((1, 3, 3)), names=("a", "b", "c"))
    windows = list(cut(recording(streams={"skeleton": track}), WindowConfig(seconds=2.0, skeleton_fps=20)))
    assert len(windows) == 5
    for w in windows:
        assert "skeleton" in w.streams
        assert w.streams["skeleton"].shape == (40, 3, 3)
        assert w.streams["skeleton"].dtype == np.float32
        np.testing.assert_allclose(w.streams["skeleton"][:, 0, 0], np.sin(w.start + np.arange(40) / 20), atol=0.02)


def test_nearest_index_against_argmin() -> None:
    rng = np.random.default_rng(5)
    for n in (1, 2, 7):
        times, wanted = np.sort(rng.normal(size=n)), rng.normal(size=50) * 2
        assert np.array_equal(nearest_index(times, wanted), [int(np.argmin(np.abs(times - w))) for w in wanted])


def test_square_scales_and_keeps_the_middle() -> None:
    frame = np.zeros((1, 40, 100, 3), np.uint8)
    frame[:, :, 30:70] = 200  # the middle square
    assert (square(frame, 20) >= 175).all()
    assert (square(frame, 20)[:, :, 1:-1] == 200).all()
    assert square(frame, 20).shape == (1, 20, 20, 3)
    stripes = np.zeros((1, 200, 200, 3), np.uint8)
    stripes[:, ::2] = 255  # anti-aliased: grey, not black or white
    assert np.abs(square(stripes, 50).astype(int)[:, 2:-2] - 128).max() <= 4
    same = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3), dtype=np.uint8)
    assert np.array_equal(square(same, 16), same)
    assert square(same, 32).shape == (2, 32, 32, 3)


# ---------------------------------------------------------------------------------------------------------- config


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        ({"seconds": 0}, "greater than 0"),
        ({"seconds": 0.01, "rate_hz": 50}, "has 0 samples"),
        ({"mode": "whole", "stride_s": 1.0}, "stride_s belongs to"),
        ({"clip_fps": 5, "clip_size": 33}, "even"),
        ({"label_coverage": 0.3}, "0.5"),
        ({"stride": 1.0}, "did you mean 'stride_s'"),
    ],
)
def test_bad_window_configs(raw: dict, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        validate(raw, WindowConfig, source="window")


def test_a_jump_of_the_clock_is_refused_instead_of_filling_memory() -> None:
    times = np.array([0.0, 0.02, 0.04, 1.7e9])
    stream = ImuStream(placement="waist", times=times, values=np.zeros((6, 4)))
    with pytest.raises(RecordingError, match=r"span .* hours"):
        list(cut(recording(stream), WindowConfig()))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), mode=st.sampled_from(["sliding", "whole"]), stride=st.sampled_from([0.3, 1.0, 2.5]))
def test_windows_are_slices_of_the_grid(seed: int, mode: str, stride: float) -> None:
    rng = np.random.default_rng(seed)
    samples = int(rng.integers(5, 200))
    values = rng.normal(size=(6, samples))
    lost = int(rng.integers(0, samples))
    values[:, lost : lost + int(rng.integers(0, 40))] = np.nan
    streams = ImuStream(placement="waist", times=np.arange(samples) / 20, values=values)
    segments = tuple(
        Segment(start=a, end=a + float(rng.uniform(0.1, 3)), label=str(rng.choice(["sit", "walk"])))
        for a in rng.uniform(-1, samples / 20, int(rng.integers(0, 9))).tolist()
    )
    config = validate(
        {
            "seconds": 1.0,
            "rate_hz": 20,
            "max_gap_s": 0.05,
            "mode": mode,
            **({"stride_s": stride} if mode == "sliding" else {}),
        },
        WindowConfig,
        source="test",
    )
    found = {w.key: w for w in cut(recording(streams, segments=segments), config)}
    firsts = [(samples - 20) // 2] if mode == "whole" else range(0, samples - 19, round(stride * 20))
    for number, first in enumerate(firsts):
        inside = [i for i in range(first, first + 20) if 0 <= i < samples]
        measured = np.mean([bool(np.isfinite(values[:, i]).any()) for i in inside])
        window = found.pop(f"d-r1-{number:05d}", None)
        assert (window is not None) is bool(measured >= config.min_measured)
        if window is not None:
            expected = np.full((6, 20), np.nan, np.float32)
            expected[:, [i - first for i in inside]] = values[:, inside]
            np.testing.assert_array_equal(window.imu["waist"], expected)
            span = (inside[0] / 20, (inside[-1] + 1) / 20)
            assert window.label == _label(segments, *span, config.label_coverage)
    assert not found
