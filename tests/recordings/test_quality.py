"""Policies: what is found flags, drops or refuses exactly the windows that it concerns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from imu_video.errors import ConfigError, RecordingError
from imu_video.modalities.skeleton import SkeletonTrack
from imu_video.recordings.checks import Flat, Spell
from imu_video.recordings.prepare import SignalConfig
from imu_video.recordings.quality import Inspector, _Found, resolve_checks
from imu_video.recordings.recipe import NOT_MEASURED, Processed, Recipe
from imu_video.recordings.sync import SyncConfig
from imu_video.recordings.windows import WindowConfig
from imu_video.types import GRAVITY, IMU_CHANNELS, ImuStream, Recording

TIMES = np.arange(1000) / 50  # 20 s: ten windows of 2 s


def values(seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(0, 0.1, (6, len(TIMES)))
    x[2] += GRAVITY
    return x


class Grey:
    """20 s at 10 Hz: noise until 10 s, then black; frozen all the time where asked."""

    def __init__(self, frozen: bool = False) -> None:
        self.frozen = frozen

    @property
    def times(self) -> np.ndarray:
        return np.arange(200) / 10

    def read(self, indices: Any) -> np.ndarray:
        rng = np.random.default_rng(0)
        noise = rng.integers(60, 200, (200, 16, 16, 3)).astype(np.uint8)
        frames = noise[[0] * len(indices)] if self.frozen else noise[list(indices)]
        frames = frames.copy()
        frames[np.array(indices) >= 100] = 0 if not self.frozen else frames[0]
        return frames


def recording(**changes: Any) -> Recording:
    dead = values(1)
    dead[:3, 300:500] = 0.0  # 6 s to 10 s: windows 3, 4
    whole = Recording(
        dataset="d",
        subject="s",
        name="r",
        imu=(
            ImuStream(placement="waist", times=TIMES, values=values()),
            ImuStream(placement="wrist", times=TIMES, values=dead),
        ),
    )
    return replace(whole, **changes)


def process(given: Recording, quality: dict[str, Any] | None = None, **sections: Any) -> tuple[list[Any], Processed]:
    recipe = Recipe(
        window=WindowConfig(seconds=2.0, rate_hz=50, clip_fps=5, clip_size=16), quality=quality or {}, **sections
    )
    processed = Processed(given, recipe, Inspector(recipe.quality))
    return list(processed), processed


def test_flags_name_device_and_reason_in_the_windows_concerned() -> None:
    windows, processed = process(recording())
    assert [w.flags for w in windows] == [("wrist:flat",) if i in (3, 4) else () for i in range(10)]
    assert all(sorted(w.imu) == ["waist", "wrist"] for w in windows)
    (finding,) = processed.findings()
    assert (finding.recording, finding.subject, finding.part, finding.reason) == ("r", "s", "wrist", "flat")
    assert (finding.policy, finding.windows, finding.spells, finding.threshold, finding.unit) == ("flag", 2, 1, 1, "s")
    assert finding.value == finding.seconds == pytest.approx(3.98)
    assert not processed.dropped


def test_drop_leaves_the_device_out_and_the_window_where_none_is_left() -> None:
    windows, processed = process(recording(), {"flat": "drop"})
    assert len(windows) == 10
    assert [sorted(w.imu) for w in windows] == [["waist"] if i in (3, 4) else ["waist", "wrist"] for i in range(10)]
    assert all(w.flags == () for w in windows)
    alone = recording(imu=recording().imu[1:])
    windows, processed = process(alone, {"flat": {"policy": "drop"}})
    assert len(windows) == 8
    assert processed.dropped == {"flat": 2}
    assert processed.considered == 10
    nothing = values()
    nothing[:, :250] = np.nan
    _, processed = process(recording(imu=(ImuStream(placement="waist", times=TIMES, values=nothing),)))
    assert processed.dropped == {NOT_MEASURED: 3}


def test_refuse_names_everything_and_the_way_out() -> None:
    with pytest.raises(RecordingError) as error:
        process(recording(), {"flat": "refuse"})
    message = str(error.value)
    for words in ("'r' of 's'", "wrist", "flat from 6 s to 9.98 s", "3.98 s", "threshold 1 s", "quality.flat=drop"):
        assert words in message


def test_off_and_thresholds() -> None:
    for quality in ({"flat": "off"}, {"flat": False}, {"flat": {"seconds": 5.0}}):
        windows, processed = process(recording(), quality)
        assert processed.findings() == []
        assert all(w.flags == () for w in windows)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"flt": "drop"}, "did you mean 'flat'"),
        ({"flat": "delete"}, "policy is 'delete', expected one of: drop, flag, refuse, off"),
        ({"flat": {"second": 1}}, "did you mean 'seconds'"),
        ({"flat": {"seconds": "long"}}, "'seconds'"),
    ],
)
def test_wrong_entries_are_refused(entries: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resolve_checks(entries)
    assert resolve_checks({})["gap"] == {"policy": "flag", "seconds": 0.5}


def test_clips_are_judged_window_by_window() -> None:
    windows, processed = process(recording(imu=recording().imu[:1], streams={"video": Grey()}))
    assert [w.flags for w in windows] == [
        ("video:black_video", "video:frozen_video") if i >= 5 else () for i in range(10)
    ]
    assert {f.reason: (f.part, f.windows, f.value) for f in processed.findings()} == {
        "black_video": ("video", 5, 0.0),
        "frozen_video": ("video", 5, 0.0),
    }
    windows, _ = process(
        recording(imu=recording().imu[:1], streams={"video": Grey(frozen=True)}), {"frozen_video": "drop"}
    )
    assert len(windows) == 10
    assert all(w.streams.get("video") is None and w.flags == () for w in windows)


def test_sync_is_stored_and_low_scores_are_marked() -> None:
    rng = np.random.default_rng(0)
    track = SkeletonTrack(times=TIMES, joints=rng.normal(size=(1000, 2, 3)).cumsum(axis=0) * 0.01, names=("a", "b"))
    given = recording(imu=recording().imu[:1], streams={"skeleton": track})
    sections = {"sync": SyncConfig(mode="correct")}
    recipe = Recipe(window=WindowConfig(seconds=2.0, skeleton_fps=10), **sections)
    processed = Processed(given, recipe, Inspector({}))
    windows = list(processed)
    row = processed.sync_row()
    assert row is not None
    assert row.score < 0.6
    assert not row.corrected
    assert {w.flags for w in windows} == {("skeleton:low_sync",)}
    assert all(w.sync == {"offset_s": row.offset_s, "drift_ppm": row.drift_ppm, "score": row.score} for w in windows)
    windows = list(Processed(given, recipe, Inspector({"low_sync": "drop"})))
    assert len(windows) == 10
    assert all(w.streams.get("skeleton") is None for w in windows)
    plain = list(Processed(given, Recipe(window=recipe.window), Inspector({})))
    assert all(w.sync is None and w.flags == () for w in plain)


def test_gravity_is_not_expected_where_the_recording_says_so() -> None:
    linear = values()
    linear[2] -= GRAVITY
    given = recording(imu=(ImuStream(placement="waist", times=TIMES, values=linear),))
    _, processed = process(given)
    assert [f.reason for f in processed.findings()] == ["gravity_norm"]
    assert processed.gravity == "included"
    _, processed = process(replace(given, tags={"gravity": "removed"}))
    assert processed.findings() == []
    assert processed.gravity == "removed"
    _, processed = process(recording(), signal=SignalConfig(gravity="remove"))
    assert processed.gravity == "removed"


# ------------------------------------------------------------------------------------------- conditioning in windows


def test_signal_steps_reach_the_windows() -> None:
    spiky = values()
    spiky[0, 120] = 500.0
    spiky[:, 205:215] = np.nan  # 0.2 s in the third window
    given = recording(imu=(ImuStream(placement="waist", times=TIMES, values=spiky),))
    plain, _ = process(given, {"gravity_norm": "off"})
    assert plain[1].imu["waist"][0].max() > 400
    assert np.isnan(plain[2].imu["waist"]).any()
    signal = SignalConfig(median=5, fill_gap_s=0.5, gravity="remove", axes={"waist": {"x": "-y", "y": "x", "z": "z"}})
    windows, _ = process(given, {"gravity_norm": "off"}, signal=signal)
    assert np.abs(windows[1].imu["waist"]).max() < 1
    assert np.isfinite(windows[2].imu["waist"]).all()
    assert [w.flags for w in windows] == [("waist:filled",) if i == 2 else () for i in range(10)]
    turned, _ = process(given, {"gravity_norm": "off"}, signal=SignalConfig(axes=signal.axes))
    np.testing.assert_array_equal(turned[5].imu["waist"][0], -plain[5].imu["waist"][1])


def test_normalised_by_recording_with_statistics_kept() -> None:
    windows, processed = process(recording(), {"flat": "off"}, signal=SignalConfig(normalise="recording"))
    everything = np.concatenate([w.imu["waist"] for w in windows], axis=1)
    np.testing.assert_allclose(everything.mean(axis=1), 0, atol=1e-3)
    np.testing.assert_allclose(everything.std(axis=1), 1, atol=1e-3)
    mean = processed.statistics["waist"]["mean"]
    assert mean[IMU_CHANNELS.index("acc_z")] == pytest.approx(GRAVITY, abs=0.05)
    plain, _ = process(recording(), {"flat": "off"})
    std = np.array(processed.statistics["waist"]["std"])[:, None]
    undone = windows[4].imu["waist"] * std + np.array(mean)[:, None]
    np.testing.assert_allclose(undone, plain[4].imu["waist"], atol=1e-4)


def test_a_jittering_clock_can_be_made_regular() -> None:
    rng = np.random.default_rng(0)
    tone = np.sin(2 * np.pi * 4 * TIMES)
    shaken = TIMES + rng.uniform(-0.008, 0.008, len(TIMES))
    x = np.tile(tone, (6, 1))
    given = recording(imu=(ImuStream(placement="waist", times=shaken, values=x),))
    off = {"gravity_norm": "off"}
    errors = {}
    for clock in ("keep", "regular"):
        windows, _ = process(given, off, signal=SignalConfig(clock=clock))
        moments = windows[4].start + np.arange(100) / 50
        errors[clock] = float(np.abs(windows[4].imu["waist"][0] - np.sin(2 * np.pi * 4 * moments)).mean())
    assert errors["regular"] < 0.5 * errors["keep"]


def test_wrong_signal_configs_are_refused() -> None:
    with pytest.raises(ValueError, match="odd number"):
        SignalConfig(median=4)
    with pytest.raises(ValueError, match=r"waist: .*left-handed"):
        SignalConfig(axes={"waist": {"x": "-x", "y": "y", "z": "z"}})


def test_what_touches_a_window_is_what_overlaps_it() -> None:
    rng = np.random.default_rng(0)
    found = _Found("flag", Flat(), 1.0)
    for _ in range(30):
        start = float(rng.uniform(0, 100))
        found.spells.append(Spell(start=start, end=start + float(rng.exponential(3)), value=1.0))
        for begin in rng.uniform(-5, 105, 20):
            naive = any(s.start < begin + 2 and s.end > begin for s in found.spells)
            assert found.touches(begin, begin + 2) == naive
