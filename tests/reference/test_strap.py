"""The exact discretisation of straps against a Runge-Kutta integration with small steps."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from imu_video.simulation.strap import Strap, carried, displacement
from tests.reference.naive_strap import acceleration, oscillator


@pytest.mark.parametrize(("hz", "damping"), [(3.0, 0.2), (12.0, 0.6), (45.0, 0.05), (8.0, 1.0), (20.0, 2.0)])
def test_the_filter_solves_the_equation_of_motion(hz: float, damping: float) -> None:
    drive = np.cumsum(np.random.default_rng(0).normal(size=40))
    strap = Strap(hz=hz, damping=damping)
    expected = np.array(oscillator(drive.tolist(), hz=hz, damping=damping, rate_hz=200.0))[:, 0]
    assert_allclose(displacement(drive[None], strap, 200.0)[0], expected, rtol=1e-6, atol=1e-9)
    expected = np.array(acceleration(drive.tolist(), hz=hz, damping=damping, rate_hz=200.0))
    assert_allclose(carried(drive[None], strap, 200.0)[0], expected, rtol=1e-6, atol=1e-6)
