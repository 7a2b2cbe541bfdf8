"""Pairs without a common clock: offsets and stretches are found, and what is no pair is refused or scored low."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from imu_video.modalities.base import Curve
from imu_video.modalities.skeleton import SkeletonTrack
from imu_video.recordings.pairing import CALIBRATION, MAX_RATIO, calibrated, estimate_pair, features
from imu_video.recordings.quality import Inspector
from imu_video.recordings.recipe import Processed, Recipe
from imu_video.recordings.sync import SyncConfig
from imu_video.types import ImuStream, Recording

TIMES = np.arange(0, 75, 0.02)


def movement(seed: int) -> np.ndarray:
    """Bursts of motion, never negative, without a period."""
    noise = np.random.default_rng(seed).normal(size=len(TIMES))
    return np.abs(gaussian_filter1d(noise, 12)) * 10 + 0.02


def seen(values: np.ndarray, start: float, end: float, *, offset: float = 0.0, stretch: float = 1.0) -> Curve:
    """A part of the movement as another device shows it: noisy, on a clock and a time base of its own."""
    rng = np.random.default_rng(5)
    inside = (start <= TIMES) & (end > TIMES)
    own = TIMES[inside][0] - offset + (TIMES[inside] - TIMES[inside][0]) / stretch
    return Curve(times=own, values=values[inside] * rng.lognormal(0, 0.3, inside.sum()), breaks=0.1)


@pytest.mark.parametrize(("offset", "stretch"), [(-30.0, 1.0), (-4.2, 0.94), (11.1, 1.06), (30.0, 1.0)])
def test_offset_and_stretch_are_found(offset: float, stretch: float) -> None:
    values = movement(0)
    reference = seen(values, 20.0, 55.0, offset=offset, stretch=stretch)
    found = estimate_pair(Curve(times=TIMES, values=values, breaks=0.1), reference, max_offset_s=31)
    moved = reference.times[0] + found.stretch * (reference.times - reference.times[0]) + found.offset_s
    truth = TIMES[(TIMES >= 20.0) & (TIMES < 55.0)]
    assert np.sqrt(np.mean((moved - truth) ** 2)) < 0.1
    assert found.score > 0.9
    assert found.refused is None


def test_a_partial_overlap_is_enough() -> None:
    values = movement(1)
    found = estimate_pair(seen(values, 0, 45), seen(values, 20, 65, offset=-8.0))
    assert found.offset_s == pytest.approx(-8.0, abs=0.1)
    assert found.overlap_s == pytest.approx(25, abs=1)
    assert found.score > 0.9


def test_wrong_partners_score_low() -> None:
    motion = Curve(times=TIMES, values=movement(0), breaks=0.1)
    scores = [estimate_pair(motion, seen(movement(seed), 20, 50), max_stretch=1.04).score for seed in range(1, 5)]
    assert max(scores) < 0.9
    assert np.median(scores) < 0.3


def test_one_period_is_ambiguous() -> None:
    periodic = 1 + np.sin(2 * np.pi * TIMES)
    found = estimate_pair(Curve(times=TIMES, values=periodic, breaks=0.1), seen(periodic, 20, 50))
    assert found.correlation > 0.8
    assert found.score < 0.5


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (20.0, 44.0, "durations of 75.0 s and 24.0 s differ by a factor of 3.1, expected less than 3"),
        (3.0, 3.2, "fewer"),
    ],
)
def test_what_cannot_be_a_pair_is_refused(start: float, end: float, message: str) -> None:
    values = movement(0)
    found = estimate_pair(Curve(times=TIMES, values=values, breaks=0.1), seen(values, start, end))
    assert found.refused is not None
    assert message in found.refused
    assert (found.score, found.offset_s, found.stretch) == (0.0, 0.0, 1.0)
    assert MAX_RATIO == 3


def test_short_and_still_curves_are_refused() -> None:
    values = movement(0)
    found = estimate_pair(seen(values, 0, 6), seen(values, 1, 4))
    assert found.refused == "3.0 s of motion, expected at least 4 s"
    flat = np.zeros_like(values)
    found = estimate_pair(Curve(times=TIMES, values=flat, breaks=0.1), seen(values, 20, 55))
    assert found.refused == "no overlap in which both curves move"


def test_the_score_grows_with_each_of_its_features() -> None:
    """The calibration is not degenerate: a clearer fit never scores lower."""
    values = movement(0)
    found = estimate_pair(Curve(times=TIMES, values=values, breaks=0.1), seen(values, 20, 50))
    assert all(weight >= 0 for weight in CALIBRATION[1:])
    worse = replace(found, lead=0.5)
    assert calibrated(worse) < found.score == calibrated(found)
    assert len(features(found)) == len(CALIBRATION) - 1


def test_a_build_keeps_sure_pairs_and_leaves_out_the_others() -> None:
    """The skeleton of a pair is moved onto the clock of the IMU; that of a wrong partner is left out."""
    own = movement(0)

    def recording(values: np.ndarray) -> Recording:
        angle = np.cumsum(values) * 0.02
        inside = (TIMES >= 20) & (TIMES < 55)
        hand = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)[inside]
        track = SkeletonTrack(
            times=TIMES[inside] + 9.0, joints=np.stack([0 * hand, hand], axis=1), names=("right_elbow", "right_wrist")
        )
        device = ImuStream(
            placement="right_wrist",
            times=TIMES,
            values=np.stack([0 * own, 0 * own, 0 * own + 9.8, own, 0 * own, 0 * own]),
        )
        return Recording(dataset="d", subject="s", name="r", imu=(device,), streams={"skeleton": track})

    recipe = Recipe.model_validate(
        {
            "window": {"seconds": 5, "skeleton_fps": 10},
            "sync": {"mode": "pair", "min_score": 0.9, "max_offset_s": 30},
        }
    )
    kept = Processed(recording(own), recipe, Inspector({}))
    assert kept.estimate is not None
    assert kept.estimate.offset_s == pytest.approx(-9.0, abs=0.1)
    assert kept.corrected
    shown = [window.start for window in kept if "skeleton" in window.streams]
    assert shown == [20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0]
    wrong = Processed(recording(movement(3)), recipe, Inspector({}))
    assert not wrong.corrected
    assert all(not window.streams for window in wrong)
    row = wrong.sync_row()
    assert row is not None
    assert row.score < 0.9


def test_other_modes_resolve_as_before() -> None:
    assert "max_stretch" not in SyncConfig().model_dump(mode="json")
    assert SyncConfig(mode="pair").model_dump(mode="json")["max_stretch"] == 1.1
