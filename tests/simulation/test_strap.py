"""Straps against limits and responses that can be written down."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from imu_video.errors import ConfigError
from imu_video.simulation.rotations import exponential, rot_y
from imu_video.simulation.sensors import specific_force_and_rate
from imu_video.simulation.strap import Strap, carried, displacement, loose_force_and_rate
from imu_video.types import GRAVITY

HZ = 200.0
OUT = np.array([0.0, 0.0, 1.0])
INSIDE = slice(20, -20)


def tumbling(seconds: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    t = np.arange(int(seconds * HZ)) / HZ
    rotation = exponential(np.stack([np.sin(2 * t), 0.8 * np.cos(3 * t), 0.5 * t]))
    return np.stack([np.sin(3 * t), 0.4 * np.cos(5 * t), 0.2 * np.sin(7 * t) + 0.1 * t]), rotation


def test_a_stiff_strap_is_a_rigid_mount() -> None:
    position, rotation = tumbling()
    rigid = specific_force_and_rate(position, rotation, HZ)
    errors = []
    for hz in (20.0, 60.0, 600.0):
        loose = loose_force_and_rate(position, rotation, OUT, Strap(hz=hz, damping=0.5), HZ)
        errors.append([float(np.abs(a - b)[:, INSIDE].max()) for a, b in zip(loose, rigid, strict=True)])
    assert errors[0] > errors[1] > errors[2]
    assert_allclose(errors[2], 0.0, atol=2e-3)


@pytest.mark.parametrize("damping", [0.2, 0.6])
@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.5])
def test_a_sine_is_amplified_by_the_gain_of_base_excitation(damping: float, ratio: float) -> None:
    strap = Strap(hz=6.0, damping=damping)
    t = np.arange(4000) / HZ
    out = carried(np.sin(2 * np.pi * ratio * strap.hz * t)[None], strap, HZ)[0, 2000:]
    loss = 2 * damping * ratio
    gain = np.sqrt((1 + loss**2) / ((1 - ratio**2) ** 2 + loss**2))
    # The drive is a polygon of the sine, which is slightly smaller; the peak may lie between two samples.
    assert np.abs(out).max() == pytest.approx(gain, rel=0.02)


def test_energy_of_a_free_strap_decays_at_the_rate_of_its_damping() -> None:
    """After a step of the drive the energy about the new rest falls, and by exp(-4 pi d) per undamped period."""
    strap = Strap(hz=10.0, damping=0.1)
    w = 2 * np.pi * strap.hz
    drive = np.ones((1, 2000))
    drive[0, 0] = 0.0
    away = displacement(drive, strap, 2000.0)[0] - 1 / w**2
    speed = np.gradient(away, 1 / 2000.0)
    energy = (speed**2 + (w * away) ** 2)[2:-2]
    assert np.all(np.diff(energy) < 1e-4 * energy[0])
    assert energy[-1] < energy[0] * np.exp(-2 * strap.damping * w * 0.99) * 1.5
    per_period = round(2000.0 / strap.hz / np.sqrt(1 - strap.damping**2))
    assert energy[4 * per_period] / energy[0] == pytest.approx(
        np.exp(-2 * strap.damping * w * 4 * per_period / 2000.0), rel=0.05
    )


def test_no_strap_of_the_allowed_range_is_unstable() -> None:
    drive = np.random.default_rng(0).normal(size=(3, 4000))
    for hz in (1.0, 99.0, 100.0, 101.0, 1000.0):
        for damping in (0.05, 1.0, 2.0):
            out = carried(drive, Strap(hz=hz, damping=damping), HZ)
            assert np.abs(out).max() < 60


def test_the_weight_tips_a_device_on_the_front_downwards() -> None:
    """A device whose z axis points to the front: its outer side sinks, so that z measures negative gravity."""
    rotation = np.repeat(np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])[:, :, None], 100, axis=2)
    force, rate = loose_force_and_rate(
        np.zeros((3, 100)), rotation, OUT, Strap(hz=8.0, damping=0.3, tilt_per_g=0.05), HZ
    )
    assert_allclose(force[2], -GRAVITY * np.sin(0.05), rtol=1e-6)
    assert_allclose(np.linalg.norm(force, axis=0), GRAVITY, rtol=1e-9)
    assert_allclose(rate, 0.0, atol=1e-9)


def test_a_jolt_rings_at_the_natural_frequency_of_the_strap() -> None:
    t = np.arange(800) / HZ
    position = np.zeros((3, 800))
    position[0] = 0.02 / (1 + np.exp(-(t - 1.0) * 120))
    rotation = np.repeat(np.eye(3)[:, :, None], 800, axis=2)
    force, _ = loose_force_and_rate(position, rotation, OUT, Strap(hz=7.0, damping=0.1), HZ)
    ringing = force[0, 220:620]
    power = np.abs(np.fft.rfft(ringing * np.hanning(400), 4000)) ** 2
    assert np.fft.rfftfreq(4000, 1 / HZ)[power.argmax()] == pytest.approx(7.0, abs=0.4)


def test_a_turning_segment_turns_the_device_late() -> None:
    angle = 0.4 * np.sin(2 * np.pi * 1.0 * np.arange(1200) / HZ)
    _, rigid = specific_force_and_rate(np.zeros((3, 1200)), rot_y(angle), HZ)
    _, loose = loose_force_and_rate(np.zeros((3, 1200)), rot_y(angle), OUT, Strap(hz=3.0, damping=0.5), HZ)
    gain = loose[1, INSIDE].std() / rigid[1, INSIDE].std()
    ratio, loss = 1 / 3, 2 * 0.5 / 3
    assert gain == pytest.approx(np.sqrt((1 + loss**2) / ((1 - ratio**2) ** 2 + loss**2)), rel=0.05)


@pytest.mark.parametrize("wrong", [{"hz": 0.5}, {"damping": 0.0}, {"tilt_per_g": 1.0}])
def test_impossible_straps_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected 1 to 1000 Hz"):
        Strap(**{"hz": 10.0, "damping": 0.3, **wrong})
