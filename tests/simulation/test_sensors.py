"""The virtual IMU against mechanics that can be written down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from imu_video.errors import ConfigError
from imu_video.simulation.body import Pose, forward
from imu_video.simulation.person import draw_person, stream
from imu_video.simulation.rotations import exponential, rot_y, rot_z
from imu_video.simulation.sensors import (
    PLACEMENTS,
    PROFILES,
    Mount,
    SensorProfile,
    draw_mount,
    look_up,
    measure,
    mounted,
    specific_force_and_rate,
)
from imu_video.types import GRAVITY

INSIDE = slice(4, -4)
PERFECT = SensorProfile(
    rate_hz=50.0,
    acc_range=1e3,
    gyr_range=1e3,
    acc_step=0.0,
    gyr_step=0.0,
    acc_noise=0.0,
    gyr_noise=0.0,
    acc_bias=0.0,
    gyr_bias=0.0,
    scale_error=0.0,
    jitter=0.0,
    drift=0.0,
    losses_per_minute=0.0,
    mount=0.0,
    slip=0.0,
    flip=0.0,
    slack=0.0,
)


def test_still_body_measures_exactly_gravity_and_no_rotation() -> None:
    person = draw_person(0, "p00")
    motion = forward(Pose.neutral(50), person.body)
    times = np.arange(50) / 200
    for placement in PLACEMENTS:
        mount = draw_mount(person, placement, PROFILES["cheap"], stream(1), stream(2))
        position, rotation = mounted(motion, replace(mount, slack=0.0), times, stream(3))
        force, rate = specific_force_and_rate(position, rotation, 200.0)
        assert_allclose(np.linalg.norm(force, axis=0), GRAVITY, rtol=1e-9, err_msg=placement)
        assert_allclose(rate, 0.0, atol=1e-9, err_msg=placement)


def test_turntable_gives_its_rate_and_the_centripetal_acceleration() -> None:
    hz, omega, radius = 200.0, 3.0, 0.4
    angle = omega * np.arange(400) / hz
    rotation = rot_z(angle)
    force, rate = specific_force_and_rate(radius * rotation[:, 0], rotation, hz)
    assert_allclose(rate[:, INSIDE], np.array([[0], [0], [omega]]) + np.zeros((3, 392)), atol=1e-6)
    assert_allclose(force[0, INSIDE], -(omega**2) * radius, rtol=1e-6)  # towards the centre
    assert_allclose(force[1, INSIDE], 0.0, atol=1e-5)
    assert_allclose(force[2, INSIDE], GRAVITY, rtol=1e-9)


def test_pendulum_gives_tangential_and_centripetal_parts_and_turns_gravity() -> None:
    hz, length, swing, omega = 200.0, 0.6, 0.8, 2 * np.pi * 1.3
    t = np.arange(600) / hz
    angle = swing * np.sin(omega * t)
    speed, change = swing * omega * np.cos(omega * t), -swing * omega**2 * np.sin(omega * t)
    rotation = rot_y(angle)
    force, rate = specific_force_and_rate(-length * rotation[:, 2], rotation, hz)
    expected = np.stack(
        [-length * change - GRAVITY * np.sin(angle), 0 * t, length * speed**2 + GRAVITY * np.cos(angle)]
    )
    assert_allclose(force[:, INSIDE], expected[:, INSIDE], atol=2e-4)
    assert_allclose(rate[1, INSIDE], speed[INSIDE], atol=1e-4)


def tumbling(hz: float, seconds: float = 3.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    t = np.arange(int(seconds * hz)) / hz
    rotation = exponential(np.stack([np.sin(2 * t), 0.8 * np.cos(3 * t), 0.5 * t]))
    position = np.stack([np.sin(3 * t), 0.4 * np.cos(5 * t), 0.2 * np.sin(7 * t) + 0.1 * t])
    return t, position, rotation


def test_integrating_the_gyroscope_reproduces_the_orientation() -> None:
    hz = 200.0
    _, position, rotation = tumbling(hz)
    _, rate = specific_force_and_rate(position, rotation, hz)
    now = rotation[:, :, 5]
    for k in range(5, 500):
        step = exponential(((rate[:, k] + rate[:, k + 1]) / 2 / hz)[:, None])[:, :, 0]
        now = now @ step
    assert_allclose(now, rotation[:, :, 500], atol=2e-3)


def test_integrating_the_accelerometer_twice_reproduces_the_path() -> None:
    hz = 200.0
    _, position, rotation = tumbling(hz)
    force, _ = specific_force_and_rate(position, rotation, hz)
    world = np.einsum("ijt,jt->it", rotation, force) - np.array([[0], [0], [GRAVITY]])
    begin, end = 5, 500
    velocity = (position[:, begin + 1] - position[:, begin - 1]) * hz / 2
    place = position[:, begin].copy()
    for k in range(begin, end):
        place = place + velocity / hz + world[:, k] / hz**2 / 2
        velocity = velocity + (world[:, k] + world[:, k + 1]) / 2 / hz
    assert_allclose(place, position[:, end], atol=5e-3)


def test_specific_force_of_a_walking_thigh_matches_differences_at_a_finer_step() -> None:
    hz = 200.0
    _, position, rotation = tumbling(hz)
    _, fine, fine_rotation = tumbling(10 * hz)
    force, _ = specific_force_and_rate(position, rotation, hz)
    acceleration = np.zeros_like(fine)
    acceleration[:, 1:-1] = (fine[:, 2:] - 2 * fine[:, 1:-1] + fine[:, :-2]) * (10 * hz) ** 2
    expected = np.einsum("ijt,it->jt", fine_rotation, acceleration + np.array([[0], [0], [GRAVITY]]))[:, ::10]
    assert_allclose(force[:, INSIDE], expected[:, INSIDE], atol=1e-3)


def test_lever_arm_of_a_mount_follows_its_segment() -> None:
    person = draw_person(0, "p00")
    pose = Pose.neutral(400)
    t = np.arange(400) / 200.0
    pose["left_elbow"] = 1.0 + 0.5 * np.sin(4 * t)
    motion = forward(pose, person.body)
    reach = 0.2
    mount = Mount(segment="left_forearm", offset=np.array([0.0, 0.0, -reach]), axes=np.eye(3))
    force, rate = specific_force_and_rate(*mounted(motion, mount, t, stream(0)), 200.0)
    speed = 2.0 * np.cos(4 * t)
    assert_allclose(rate[1, INSIDE], -speed[INSIDE], atol=1e-5)  # flexion turns about -y
    along = force[2] - GRAVITY * np.cos(pose["left_elbow"])
    assert_allclose(along[INSIDE], reach * speed[INSIDE] ** 2, atol=1e-4)


# ------------------------------------------------------------------------------------------------ measuring


def report(profile: SensorProfile, force: np.ndarray, rate: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    times = np.arange(force.shape[1]) / 200.0 - 0.25
    seconds = float(times[-1]) - 0.25
    out = measure(force, rate, times, placement="waist", profile=profile, seconds=seconds, rng=stream(seed))
    return out.times, out.values


def flat(level: float, seconds: float = 20.0) -> np.ndarray:
    return np.full((3, int(seconds * 200)), level)


def test_perfect_device_reports_a_slow_signal_at_its_own_times() -> None:
    grid = np.arange(4000) / 200.0 - 0.25
    times, values = report(PERFECT, np.tile(np.sin(2 * grid), (3, 1)), np.tile(np.cos(3 * grid), (3, 1)))
    assert_allclose(values[0], np.sin(2 * times), atol=5e-3)
    assert_allclose(values[5], np.cos(3 * times), atol=5e-3)
    assert_allclose(np.diff(times), 0.02, atol=1e-9)


@pytest.mark.parametrize("device", sorted(PROFILES))
def test_rate_range_and_resolution_are_honoured(device: str) -> None:
    profile = PROFILES[device]
    grid = np.arange(8000) / 200.0
    large = np.tile(400 * np.sin(2 * np.pi * 0.5 * grid), (3, 1))
    times, values = report(profile, large, large)
    assert abs(1 / np.median(np.diff(times)) / profile.rate_hz - 1) < 0.02
    assert np.all(np.diff(times) > 0)
    assert times[0] >= 0
    assert times[-1] < grid[-1] - 0.5
    assert_allclose(np.abs(values[:3]).max(), profile.acc_range)
    assert_allclose(np.abs(values[3:]).max(), profile.gyr_range)
    inner = values[0][np.abs(values[0]) < profile.acc_range]
    assert_allclose(inner / profile.acc_step, np.round(inner / profile.acc_step), atol=1e-6)


def test_bias_is_constant_in_a_session_and_has_the_stated_spread() -> None:
    profile = replace(PERFECT, acc_bias=0.5, gyr_bias=0.1)
    biases = []
    for seed in range(60):
        _, values = report(profile, flat(1.0, 2.0), flat(0.0, 2.0), seed)
        assert_allclose(values.std(axis=1), 0.0, atol=1e-9)
        biases.append(values.mean(axis=1) - [1, 1, 1, 0, 0, 0])
    spread = np.std(biases, axis=0)
    assert np.all((spread[:3] > 0.35) & (spread[:3] < 0.68))
    assert np.all((spread[3:] > 0.07) & (spread[3:] < 0.135))


def test_noise_is_white_with_the_stated_deviation() -> None:
    _, values = report(replace(PERFECT, acc_noise=0.3, gyr_noise=0.02), flat(0.0, 60), flat(0.0, 60))
    assert_allclose(values[:3].std(axis=1), 0.3, rtol=0.06)
    assert_allclose(values[3:].std(axis=1), 0.02, rtol=0.06)
    neighbours = np.corrcoef(values[0, 1:], values[0, :-1])[0, 1]
    assert abs(neighbours) < 0.06


def test_jitter_moves_samples_and_losses_leave_gaps() -> None:
    times, _ = report(replace(PERFECT, jitter=0.1), flat(0.0, 60), flat(0.0, 60))
    assert 0.1 * 0.02 < np.diff(times).std() < 0.2 * 0.02
    times, _ = report(replace(PERFECT, losses_per_minute=20.0), flat(0.0, 60), flat(0.0, 60))
    gaps = np.diff(times)
    assert 0.03 < gaps.max() < 0.9
    assert (gaps > 0.025).sum() >= 5


def test_fast_content_is_filtered_before_slow_sampling() -> None:
    grid = np.arange(8000) / 200.0
    fast = np.tile(np.sin(2 * np.pi * 24.0 * grid), (3, 1))  # would alias to 2 Hz at 26 Hz
    _, values = report(replace(PERFECT, rate_hz=26.0), fast, fast)
    assert np.abs(values).max() < 0.25


def test_device_faster_than_the_kinematics_is_refused() -> None:
    with pytest.raises(ConfigError, match="is too high"):
        report(replace(PERFECT, rate_hz=180.0), flat(0.0), flat(0.0))


# ------------------------------------------------------------------------------------------------ mounting


def test_axes_of_placements_are_right_handed_and_face_outwards() -> None:
    for name, place in PLACEMENTS.items():
        assert_allclose(place.axes.T @ place.axes, np.eye(3), atol=1e-12, err_msg=name)
        assert_allclose(np.linalg.det(place.axes), 1.0, err_msg=name)


def test_mounts_repeat_with_the_habit_and_differ_between_days_and_devices() -> None:
    person = draw_person(0, "p00")

    def axes(device: str, habit: int, day: int) -> np.ndarray:
        return draw_mount(person, "right_wrist", PROFILES[device], stream(habit), stream(day)).axes

    def degrees(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.degrees(np.arccos(np.clip((np.trace(a.T @ b) - 1) / 2, -1, 1))))

    assert_allclose(axes("watch", 1, 2), axes("watch", 1, 2))
    assert 0.5 < degrees(axes("watch", 1, 2), axes("watch", 1, 3)) < 60
    assert degrees(axes("watch", 1, 2), axes("cheap", 1, 2)) > 60  # another axis convention
    assert_allclose(np.linalg.det(axes("cheap", 1, 2)), 1.0)


def test_thigh_device_is_in_the_persons_pocket() -> None:
    for name in ("p00", "p01", "p02", "p03", "p04", "p05"):
        person = draw_person(0, name)
        mount = draw_mount(person, "thigh", PROFILES["watch"], stream(1), stream(2))
        assert mount.segment == f"{person.pocket}_thigh"


def test_unknown_names_offer_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'watch'"):
        look_up(PROFILES, "wach", "device")
