"""Each check against faults that were put in, and against real sensors: one known dead one, many healthy ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imu_video.errors import ConfigError
from imu_video.recordings.checks import Flat, GravityNorm, _runs
from imu_video.recordings.quality import Inspector
from imu_video.registry import checks, datasets
from imu_video.types import GRAVITY, ImuStream, Recording

TIMES = np.arange(3000) / 50


def healthy() -> np.ndarray:
    rng = np.random.default_rng(1)
    values = rng.normal(0, 0.05, (6, len(TIMES)))
    values[0] += 1.5 * np.sin(2 * np.pi * 1.8 * TIMES)
    values[2] += GRAVITY + 2.0 * np.cos(2 * np.pi * 1.8 * TIMES)
    return values


def stream(values: np.ndarray, times: np.ndarray = TIMES) -> ImuStream:
    return ImuStream(placement="waist", times=times, values=values)


def spells(
    name: str, values: np.ndarray, times: np.ndarray = TIMES, **options: Any
) -> list[tuple[float, float, float]]:
    found = checks.build({"name": name, **options}).stream(stream(values, times))
    return [(round(s.start, 3), round(s.end, 3), round(s.value, 3)) for s in found]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), max_size=30))
def test_runs_are_the_runs(flags: list[bool]) -> None:
    naive, start = [], None
    for i, flag in enumerate([*flags, False]):
        if flag and start is None:
            start = i
        elif not flag and start is not None:
            naive.append((start, i))
            start = None
    assert _runs(np.array(flags, dtype=bool)) == naive


def test_flat_needs_all_axes_of_a_sensor_for_long_enough() -> None:
    values = healthy()
    values[:3, 500:600] = values[:3, 500:501]  # two seconds of the accelerometer
    assert spells("flat", values) == [(10.0, 11.98, 1.98)]
    assert spells("flat", values, seconds=3.0) == []
    values = healthy()
    values[:2, 500:600] = values[:2, 500:501]  # one axis lives
    assert spells("flat", values) == []
    values = healthy()
    values[3:, 100:200] = 0.0
    values[3:, ::2] = np.nan  # measured at half the rate, as in streams of two sensors
    assert spells("flat", values) == [(2.02, 3.98, 1.96)]
    wobble = healthy()
    wobble[:3, 500:600] = values[:3, 500:501] + np.random.default_rng(0).uniform(-1e-4, 1e-4, (3, 100))
    assert spells("flat", wobble) == []
    assert spells("flat", wobble, tolerance=1e-3) == [(10.0, 11.98, 1.98)]


def test_saturated_is_a_plateau_at_a_range() -> None:
    strong = 3 * (healthy() - [[0], [0], [GRAVITY], [0], [0], [0]]) * 6
    clipped = np.clip(strong, -2 * GRAVITY, 2 * GRAVITY)
    found = spells("saturated", clipped)
    assert len(found) > 20
    assert spells("saturated", strong) == []
    start, end, count = found[0]
    inside = np.abs(TIMES - (start + end) / 2) <= (end - start) / 2 + 1e-9
    assert count == np.count_nonzero(inside)
    assert spells("saturated", clipped, samples=1000) == []
    assert spells("saturated", np.clip(healthy(), -1, 1)) == []  # no sensor has a range of 1 m/s^2


def test_gap_is_measured_between_samples_of_a_sensor() -> None:
    values = healthy()
    values[3:, 1000:1100] = np.nan
    assert spells("gap", values) == [(19.98, 22.0, 2.02)]
    keep = np.ones(len(TIMES), bool)
    keep[200:230] = False
    assert spells("gap", healthy()[:, keep], TIMES[keep]) == [(3.98, 4.6, 0.62)] * 2
    values = healthy()
    values[3:] = np.nan
    assert spells("gap", values) == []  # a sensor that is not there


def test_clock_jump_forwards_and_bunches() -> None:
    assert spells("clock_jump", healthy(), TIMES + 30 * (TIMES >= 20)) == [(19.98, 50.0, 30.02)]
    bunched = TIMES.copy()
    bunched[1000:1100] = TIMES[1000] + np.arange(100) * 1e-4
    ((start, end, lost),) = spells("clock_jump", healthy(), bunched)
    assert (start, end) == (20.0, 20.01)
    assert lost == pytest.approx(99 * 0.02, abs=0.02)
    assert spells("clock_jump", healthy()) == []


@pytest.mark.parametrize(("factor", "value"), [(0.5, 0.5), (2.0, 2.0), (1 / GRAVITY, 0.1)])
def test_gravity_norm(factor: float, value: float) -> None:
    values = healthy()
    values[:3, 1500:] *= factor
    found = spells("gravity_norm", values, seconds=10.0)
    assert len(found) >= 2
    assert min(a for a, _, _ in found) > 20  # the piece that is half and half may go either way
    assert max(b for _, b, _ in found) == pytest.approx(59.98)
    assert found[-1][2] == pytest.approx(value, rel=0.05)
    assert spells("gravity_norm", healthy()) == []
    planar = ImuStream(placement="waist", times=TIMES, values=values[:2], channels=("acc_x", "acc_y"))
    assert checks.build("gravity_norm").stream(planar) == []  # two axes have no norm


def test_non_finite() -> None:
    values = healthy()
    values[4, 700] = np.inf
    values[1, 900:905] = np.nan  # one axis missing
    values[:, 1200:1300] = np.nan  # all missing: a gap
    found = spells("non_finite", values)
    assert [(a, n) for a, _, n in found] == [(14.0, 1.0), (18.0, 5.0)]
    assert spells("non_finite", values, samples=7) == []
    values = healthy()
    values[5] = np.nan  # a gyroscope of two axes
    assert spells("non_finite", values) == []


def test_black_and_frozen_clips() -> None:
    rng = np.random.default_rng(0)
    moving = rng.integers(30, 220, (6, 16, 16, 3)).astype(np.uint8)
    black, frozen = checks.build("black_video"), checks.build("frozen_video")
    assert black.clip(moving) is None
    assert frozen.clip(moving) is None
    dark = moving.copy()
    dark[:4] = 2
    assert black.clip(dark) == 2.0
    half = moving.copy()
    half[:2] = 2
    assert black.clip(half) is None
    still = np.repeat(moving[:1], 6, axis=0)
    assert frozen.clip(still) == 0.0
    noisy = np.clip(still.astype(int) + (rng.random(still.shape) < 0.1), 0, 255).astype(np.uint8)
    assert frozen.clip(noisy) is None
    assert frozen.clip(still[:2]) is None  # too few to tell
    wrapping = np.full((4, 4, 4, 3), 255, np.uint8)
    wrapping[1::2] = 0
    assert frozen.clip(wrapping) is None  # a difference of uint8 would wrap to 1


def test_thresholds_are_checked() -> None:
    with pytest.raises(ConfigError, match="argument 'seconds': must be above 0"):
        Flat(seconds=0)
    with pytest.raises(ConfigError, match=r"argument 'low': must be in \(0, 1\)"):
        checks.build({"name": "gravity_norm", "low": 1.2})


# ---------------------------------------------------------------------------------------------------- real sensors


def daphnet(real_data: Path, name: str) -> Recording:
    source = datasets.build({"name": "daphnet", "root": str(real_data / "daphnet-fog" / "dataset")})
    return next(r for r in source.recordings([s for s in source.subjects() if s.lower() == "s03"]) if r.name == name)


@pytest.mark.realdata
def test_the_dead_thigh_sensor_of_daphnet_is_found(real_data: Path) -> None:
    """S03R03: 507 s of zeros, which make the mean norm 527 mg; the same patient's other recording is sound."""
    found = {f.reason: f for f in Inspector({}).inspect(daphnet(real_data, "S03R03")).findings() if f.part == "thigh"}
    assert {"flat", "gravity_norm"} <= set(found)
    assert found["flat"].value == pytest.approx(507.3, abs=0.5)
    assert found["gravity_norm"].value == 0
    assert found["gravity_norm"].seconds == pytest.approx(507, abs=30)
    sound = Inspector({}).inspect(daphnet(real_data, "S03R02")).findings()
    assert "gravity_norm" not in {f.reason for f in sound}
    assert sum(f.seconds for f in sound if f.reason == "flat") < 30  # short dropouts, which every file has


@pytest.mark.realdata
def test_healthy_phones_raise_few_alarms(real_data_unpacked: Any) -> None:
    """Four HAPT recordings, half an hour at the waist: nothing but samples at the edge of the range."""
    hapt = datasets.build({"name": "hapt", "root": str(real_data_unpacked("uci-hapt") / "RawData")})
    inspector = Inspector({})
    findings = [f for s in hapt.subjects()[:2] for r in hapt.recordings([s]) for f in inspector.inspect(r).findings()]
    assert {f.reason for f in findings} <= {"saturated"}
    assert sum(f.seconds for f in findings) < 2.0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), size=st.floats(0.3, 2.5), spread=st.floats(0.0, 1.5))
def test_stretches_whose_gravity_is_not_looked_at_closely_are_sound(seed: int, size: float, spread: float) -> None:
    rng = np.random.default_rng(seed)
    times = np.arange(1000) / 50
    values = np.zeros((3, 1000))
    values[2] = GRAVITY * np.abs(size + spread * rng.standard_exponential(1000))
    check = GravityNorm()
    found = check.stream(ImuStream(placement="waist", times=times, values=values, channels=("acc_x", "acc_y", "acc_z")))
    norm = values[2] / GRAVITY  # one stretch: the recording is 19.98 s, and stretches last 10 s at least
    median, deviation = np.median(norm), norm.std()
    wrong = not check.low - 2 * deviation <= median <= check.high + 2 * deviation
    assert [spell.value for spell in found] == pytest.approx([median] if wrong else [])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999))
def test_a_sensor_is_flat_where_every_axis_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.cumsum(rng.random((6, 400)) < 0.05, axis=1).astype(float)
    times = np.arange(400) / 50
    expected = []
    for rows in (slice(0, 3), slice(3, 6)):
        still = (np.diff(values[rows], axis=1) == 0).all(axis=0)
        expected += [(times[a], times[b]) for a, b in _runs(still) if times[b] - times[a] >= 0.2]
    found = Flat(seconds=0.2).stream(stream(values, times))
    assert [(spell.start, spell.end) for spell in found] == expected
