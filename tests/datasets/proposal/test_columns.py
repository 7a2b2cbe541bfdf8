"""Columns by name and value: what is told, and above all what is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imu_video.datasets.proposal import propose_columns

T = np.arange(600) / 50


def moving(turn: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Acceleration in g with gravity, and angular rate in rad/s, of a device that turns about x."""
    angle = turn * np.sin(2 * np.pi * 0.3 * T)
    acc = np.stack([0.05 * np.sin(31 * T), np.cos(angle), -np.sin(angle)])
    return acc, np.stack([np.gradient(angle, T), 0.01 * np.sin(5 * T), 0.01 * np.cos(7 * T)])


def table(acc: np.ndarray | None, gyr: np.ndarray | None = None, names: str = "acc_{}|gyr_{}", **time: Any) -> Any:
    columns: dict[str, np.ndarray] = dict(time or {"t": T})
    for values, name in zip((acc, gyr), names.split("|"), strict=False):
        if values is not None:
            columns |= {name.format(axis): row for axis, row in zip("xyz", values, strict=True)}
    return propose_columns(list(columns), columns, {})


@pytest.mark.parametrize(("unit", "factor"), [("g", 1.0), ("m/s^2", 9.80665), ("mg", 1000.0)])
def test_gravity_tells_the_unit_of_the_acceleration(unit: str, factor: float) -> None:
    found = table(moving()[0] * factor)
    assert found.units["acc"].value == unit
    assert found.gravity is not None
    assert found.gravity.value == "included"


@pytest.mark.parametrize(("unit", "factor"), [("rad/s", 1.0), ("deg/s", 180 / np.pi)])
def test_the_turning_of_gravity_tells_the_unit_of_the_gyroscope(unit: str, factor: float) -> None:
    acc, gyr = moving()
    assert table(acc, gyr * factor).units["gyr"].value == unit


def test_two_readings_are_left_to_the_owner() -> None:
    acc, gyr = moving(turn=0.0)
    gyr = gyr + 0.5 * np.sin(3 * T)  # turns about gravity would not show, and these do not fit it either
    slow = table(acc, gyr * 0.02)
    assert slow.units["gyr"].value is None
    assert "both fit" in slow.units["gyr"].evidence
    counts = table(moving()[0] * 2048)
    assert (counts.units["acc"].value, "raw counts" in counts.units["acc"].evidence) == (None, True)
    linear = table(np.stack([np.sin(9 * T), np.cos(11 * T), np.sin(13 * T)]))
    assert linear.units["acc"].value is None
    assert linear.gravity is not None
    assert linear.gravity.value == "removed"


def test_names_that_contradict_the_values_are_no_guess() -> None:
    acc, gyr = moving()
    found = table(acc, gyr, names="Acc {} (m/s^2)|Gyro {} (deg/s)")
    assert found.channels["acc_y"] == "Acc y (m/s^2)"
    assert (found.units["acc"].value, found.units["gyr"].value) == (None, None)
    assert "but the column names contain m/s^2" in found.units["acc"].evidence
    assert "but the column names contain deg/s" in found.units["gyr"].evidence
    agreed = table(acc, gyr, names="Acc {} (g)|Gyro {} (rad/s)")
    assert (agreed.units["acc"].value, agreed.units["gyr"].value) == ("g", "rad/s")


@pytest.mark.parametrize(
    ("times", "unit", "rate"),
    [
        (T, "s", 50.0),
        (T * 1e3, "ms", 50.0),
        (T * 1e6 + 5, "us", 50.0),
        (1.7e18 + T * 1e9, "ns", 50.0),
        (1.7e9 + T, "s", 50.0),
        (np.arange(600.0), None, 0.0),  # a number of the sample, or milliseconds at 1000 Hz
        (np.arange(600.0) * 2, "ms", 500.0),
        (np.arange(600.0) * 0.5, None, 0.0),  # 2 Hz or 2000 Hz
    ],
)
def test_the_step_tells_the_unit_of_the_times(times: np.ndarray, unit: str | None, rate: float) -> None:
    found = table(moving()[0], timestamp=times)
    assert (found.time.value, found.time_unit.value, found.rate_hz) == ("timestamp", unit, rate)


def test_dates_and_tables_without_times() -> None:
    acc = dict(zip(("x", "y", "z"), moving()[0] * 9.8, strict=True))
    stamps = [f"2024-05-06T12:00:{t:06.3f}Z" for t in T]
    found = propose_columns(["when", *acc], {"when": np.full(600, np.nan), **acc}, {"when": stamps})
    assert (found.time.value, found.time_unit.value, found.rate_hz) == ("when", "iso8601", 50.0)
    assert found.channels == {"acc_x": "x", "acc_y": "y", "acc_z": "z"}
    assert found.units["acc"].value == "m/s^2", "columns x, y, z are taken where gravity shows in them"
    nothing = propose_columns(list(acc), acc, {})
    assert nothing.time.value is None


@pytest.mark.parametrize(
    "names",
    [
        "a{}|g{}",
        "Accel{}|Gyro{}",
        "{}_acc|{}_gyro",
        "acc.{}|gyr.{}",
        "Acc_{} [g]|Rot_{} [rad/s]",
        "{}-axis (g)|w{}",
        "Beschl_{}|Dreh_gyro_{}",
    ],
)
def test_columns_of_many_names(names: str) -> None:
    for change in (str, str.upper):
        found = table(*moving(), names=change(names))
        assert len(found.channels) == 6
        assert found.channels["gyr_z"] == change(names).split("|")[1].format("z")


def test_a_column_of_labels_and_raw_counts() -> None:
    acc = dict(zip(("ax", "ay", "az"), moving()[0], strict=True))
    activity = ["walk"] * 300 + ["sit"] * 250 + [""] * 50
    values = {"t": T, **acc, "activity": np.full(600, np.nan), "event": np.full(600, np.nan)}
    texts = {"activity": activity, "event": [f"step {i}" for i in range(600)]}
    found = propose_columns(list(values), values, texts)
    assert found.label.value == "activity"
    assert found.unused == ("event",), "a text of its own in every row is no label"
    assert "scale: {acc: 0.0004883}" in table(moving()[0] * 2048).units["acc"].evidence, "2048 counts per g"
