"""Units are inferred from evidence in the data; every hint is applied, and the result must then be right."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from imu_video.errors import RecordingError
from imu_video.recordings.units import (
    UNITS,
    GravityState,
    check_plausible,
    convert,
    gravity_evidence,
    turn_evidence,
)
from imu_video.types import GRAVITY, IMU_CHANNELS


@pytest.mark.parametrize(
    ("unit", "kind", "factor"),
    [
        ("m/s^2", "acc", 1),
        ("g", "acc", 9.80665),
        ("mg", "acc", 0.00980665),
        ("rad/s", "gyr", 1),
        ("deg/s", "gyr", 0.0174533),
    ],
)
def test_convert(unit: str, kind: str, factor: float) -> None:
    np.testing.assert_allclose(convert(np.array([[2, -3]]), unit, kind), [[2 * factor, -3 * factor]], rtol=1e-6)


@pytest.mark.parametrize(
    ("unit", "kind", "words"),
    [("deg/s", "acc", "m/s^2, g, mg"), ("degs", "gyr", "did you mean 'deg/s'"), ("g", "mag", "mag")],
)
def test_convert_refuses_unknown_units(unit: str, kind: str, words: str) -> None:
    with pytest.raises(RecordingError, match=words.replace("^", r"\^")):
        convert(np.ones(3), unit, kind)


# ------------------------------------------------------------------------------------------------------ plausibility

TIMES = np.arange(450) / 50.0
COUNTS = {"acc": GRAVITY / 16384, "gyr": np.pi / 180 / 16.4}
"""SI units per raw count of a common sensor at 2 g and 2000 deg/s."""


def worn(motion: str, gravity: bool) -> np.ndarray:
    """(6, 450) in SI units: a sensor that turns and is shaken, one that is shaken only, or one at rest."""
    rng = np.random.default_rng(1)
    waves = np.sin(2 * np.pi * np.array([[0.11], [0.17], [0.07]]) * TIMES + np.array([[0.0], [1.0], [2.0]]))
    turning = 1.4 * waves if motion == "turning" else 0.0 * waves
    frames = Rotation.from_rotvec(turning.T)
    rate = (frames[:-1].inv() * frames[1:]).as_rotvec() * 50.0
    shake = np.sin(2 * np.pi * np.array([[1.9], [1.3], [2.3]]) * TIMES + 0.3) * [[1.5], [1.0], [2.0]]
    push = np.zeros((3, len(TIMES))) if motion == "rest" else shake
    up = np.array([[0.0], [0.0], [GRAVITY if gravity else 0.0]])
    acc = frames.inv().apply((push + up).T).T
    gyr = np.concatenate([rate, rate[-1:]]).T
    return np.concatenate([acc + rng.normal(0, 0.03, acc.shape), gyr + rng.normal(0, 0.005, gyr.shape)])


@dataclass(frozen=True)
class Declared:
    """What somebody declares about a file: units, a factor for raw counts, and whether gravity was removed."""

    acc: str
    gyr: str
    gravity: GravityState = "included"
    acc_scale: float = 1.0
    gyr_scale: float = 1.0

    def read(self, raw: np.ndarray) -> np.ndarray:
        acc = convert(self.acc_scale * raw[:3], self.acc, "acc")
        return np.concatenate([acc, convert(self.gyr_scale * raw[3:], self.gyr, "gyr")])

    def check(self, raw: np.ndarray) -> None:
        check_plausible(
            self.read(raw),
            IMU_CHANNELS,
            source="watch.csv",
            acc_unit=self.acc,
            gyr_unit=self.gyr,
            times=TIMES,
            gravity=self.gravity,
            scale={"acc": self.acc_scale, "gyr": self.gyr_scale},
        )


def obeyed(declared: Declared, error: RecordingError) -> Declared | None:
    """The declaration after doing what the hint says; None where it says that the data does not determine."""
    hint, kind = str(error.hint), "gyr" if "angular rate" in error.message else "acc"
    if found := re.search(r"the numbers look like (\S+):", hint):
        return replace(declared, acc=found[1]) if kind == "acc" else replace(declared, gyr=found[1])
    if found := re.search(r"declare unit (g|deg/s) with the scale (?:of the data sheet, about )?([\d.e+-]+)", hint):
        scale = float(found[2])
        if kind == "acc":
            return replace(declared, acc=found[1], acc_scale=scale)
        return replace(declared, gyr=found[1], gyr_scale=scale)
    if "declare `gravity: removed`" in hint:
        return replace(declared, gravity="removed")
    if "leave out `gravity: removed`" in hint:
        return replace(declared, gravity="included")
    assert "does not determine" in hint or "look the unit up" in hint.lower() or "Look up" in hint, hint
    return None


@pytest.mark.parametrize("motion", ["turning", "shaken", "rest"])
@pytest.mark.parametrize("gravity", [True, False])
def test_every_hint_obeyed_makes_things_right(motion: str, gravity: bool) -> None:
    """All combinations of units in the file and declared units, until nothing is refused any more."""
    truth = worn(motion, gravity)
    told = silent = 0
    wanted: tuple[GravityState, ...] = ("included", "removed")
    for acc_in, gyr_in in itertools.product([*UNITS["acc"], "counts"], [*UNITS["gyr"], "counts"]):
        factors = (UNITS["acc"] | {"counts": COUNTS["acc"]})[acc_in], (UNITS["gyr"] | {"counts": COUNTS["gyr"]})[gyr_in]
        raw = truth / np.repeat(factors, 3)[:, None]
        for acc, gyr, state in itertools.product(UNITS["acc"], UNITS["gyr"], wanted):
            declared = Declared(acc, gyr, state)
            for _ in range(4):
                try:
                    declared.check(raw)
                except RecordingError as error:
                    following = obeyed(declared, error)
                    if following is None:
                        silent += 1
                        break
                    told += 1
                    declared = following
                else:
                    compare(declared, raw, truth, motion, gravity)
                    break
            else:
                pytest.fail(f"{declared} is still refused for {acc_in}, {gyr_in}")
    assert told > 20 if gravity and motion != "rest" else told + silent > 20


def compare(declared: Declared, raw: np.ndarray, truth: np.ndarray, motion: str, gravity: bool) -> None:
    """An accepted declaration reads what was measured, as far as the data can tell."""
    ratio = np.sqrt(np.mean(declared.read(raw) ** 2, axis=1) / np.mean(truth**2, axis=1))
    if gravity:
        assert declared.gravity == "included", declared
        np.testing.assert_allclose(ratio[:3], 1, rtol=0.1, err_msg=str(declared))
    elif motion != "rest":
        # A sensor at rest without gravity measures nothing but its noise.
        assert declared.gravity == "removed", declared
    if gravity and motion == "turning":
        np.testing.assert_allclose(ratio[3:], 1, rtol=0.5, err_msg=str(declared))


@pytest.mark.parametrize("acc_scale", [16384.0, 16384.0**-2, 16 / 16384, -16384.0, 1 / 16384])
@pytest.mark.parametrize("gyr_scale", [16.4, 1 / 16.4])
def test_a_wrong_scale_is_corrected_by_the_hint(acc_scale: float, gyr_scale: float) -> None:
    truth = worn("turning", gravity=True)
    raw = truth / np.repeat([COUNTS["acc"], COUNTS["gyr"]], 3)[:, None]
    declared = Declared("g", "deg/s", acc_scale=acc_scale, gyr_scale=gyr_scale)
    for _ in range(3):
        try:
            declared.check(raw)
        except RecordingError as error:
            declared = obeyed(declared, error) or pytest.fail(f"the data tells the scale: {error.hint}")
        else:
            break
    np.testing.assert_allclose(np.abs(declared.read(raw)), np.abs(truth), rtol=0.15, atol=1e-6)


def test_a_scale_that_is_not_needed_is_named() -> None:
    truth = worn("turning", gravity=True)
    with pytest.raises(RecordingError, match="look like g already: declare that unit, without a scale"):
        Declared("g", "rad/s", acc_scale=1 / 4096).check(np.concatenate([truth[:3] / GRAVITY, truth[3:]]))


def test_gravity_free_acceleration_never_gets_a_unit() -> None:
    """Read as m/s^2 it is too small, and as g it would be plausible in size and 9.8 times too large."""
    linear = worn("shaken", gravity=False)
    for unit in ("m/s^2", "g"):
        with pytest.raises(RecordingError, match="gravity has been removed") as error:
            Declared(unit, "rad/s").check(linear)
        assert not re.search(r"look like|declare (that )?unit|declare m?g\b", str(error.value.hint))
    Declared("m/s^2", "rad/s", "removed").check(linear)


def test_degrees_and_radians_are_told_by_the_turning_of_gravity() -> None:
    """Also where the numbers alone are plausible in both units."""
    truth = worn("turning", gravity=True)
    slow = truth.copy()
    slow[3:] *= 180 / np.pi
    assert np.abs(slow[3:]).max() < 5000
    with pytest.raises(RecordingError, match=r"5\d(\.\d)? times the rate at which gravity rotates\n.*look like deg/s"):
        Declared("m/s^2", "rad/s").check(slow)
    with pytest.raises(RecordingError, match=r"0\.01\d+ times the rate at which gravity rotates\n.*look like rad/s"):
        Declared("m/s^2", "deg/s").check(truth)
    evidence = turn_evidence(TIMES, truth[:3], truth[3:])
    assert evidence is not None
    assert evidence.factor == pytest.approx(1.0, abs=0.3)
    assert evidence.correlation > 0.8
    # Without times, or of a sensor that does not turn, the data does not determine.
    check_plausible(slow / 10, IMU_CHANNELS, source="x", gravity="unknown")
    with pytest.raises(RecordingError, match=r"angular rate reaches.*\n.*does not determine.*plausible"):
        Declared("m/s^2", "rad/s").check(worn("shaken", True) + np.repeat([0, 90.0], 3)[:, None])


def test_what_cannot_be_checked_passes() -> None:
    values = worn("rest", gravity=True)
    check_plausible(values, IMU_CHANNELS, source="x")
    check_plausible(values[:2], IMU_CHANNELS[:2], source="two axes have no norm")
    check_plausible(np.full((6, 5), np.nan), IMU_CHANNELS, source="nothing measured")
    check_plausible(values[:3] * 1e-3, IMU_CHANNELS[:3], source="x", gravity="unknown")


def test_evidence_needs_seconds() -> None:
    values = worn("turning", gravity=True)
    assert gravity_evidence(TIMES[:100], values[:3, :100]) is None
    assert turn_evidence(TIMES[:100], values[:3, :100], values[3:, :100]) is None
    short = values[:3, :60] / GRAVITY
    with pytest.raises(RecordingError, match="look like g:"):
        check_plausible(short * 0 + [[0.0], [0.0], [1.0]], IMU_CHANNELS[:3], source="x")


def test_seconds_of_shaking_do_not_hide_gravity() -> None:
    """As in a real file of a logger that was shaken by hand for a tenth of its time, at its range of 16 g."""
    rng = np.random.default_rng(0)
    times = np.arange(6000) / 100
    acc = np.tile([[0.0], [0.0], [1.0]], len(times)) + 0.02 * rng.normal(size=(3, len(times)))
    acc[0, 2000:2600] += 16 * np.sign(np.sin(2 * np.pi * 3.3 * times[2000:2600]))
    check_plausible(acc * GRAVITY, IMU_CHANNELS[:3], source="a.cwa", acc_unit="g", times=times)
    linear = acc - np.array([[0.0], [0.0], [1.0]])
    with pytest.raises(RecordingError, match=r"without gravity|median acceleration"):
        check_plausible(linear * GRAVITY, IMU_CHANNELS[:3], source="a.cwa", acc_unit="g", times=times)


def test_half_a_g_of_mean_is_gravity_that_a_loose_sensor_turns() -> None:
    """A runner's pocket: 0.63 g of mean beside 1.7 g of motion; gravity-free running has a fifth of a g."""
    times = np.arange(1500) / 50
    motion = np.stack([1.37 * np.sin(2 * np.pi * f * times + f) for f in (3.0, 5.0, 6.0)]) * GRAVITY
    names = IMU_CHANNELS[:3]
    turned = motion + np.array([[0.0], [0.63], [0.0]]) * GRAVITY
    check_plausible(turned, names, source="pocket.csv", acc_unit="g", times=times)
    free = motion + np.array([[0.0], [0.2], [0.0]]) * GRAVITY
    with pytest.raises(RecordingError, match=r"without gravity when read as g: its mean over a second is only 0\.2 g"):
        check_plausible(free, names, source="pocket.csv", acc_unit="g", times=times)
