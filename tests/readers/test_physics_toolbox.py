"""Physics Toolbox: g-force, both kinds of time, decimal commas."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from imu_video.errors import ConfigError
from imu_video.readers import PhysicsToolbox


@pytest.mark.parametrize("how", [{}, {"clock": True}, {"semicolon": True}])
def test_every_form_gives_the_same_motion(files: ModuleType, tmp_path: Path, how: dict[str, Any]) -> None:
    gravity, linear, rate = files.turning()
    phone = PhysicsToolbox().read(files.physics_toolbox(tmp_path, **how)).devices[0]
    assert (phone.tracks["acc"].unit, phone.gravity) == ("g", True)
    np.testing.assert_allclose(phone.tracks["acc"].values * 9.80665, gravity + linear, atol=1e-9)
    np.testing.assert_allclose(phone.tracks["gyr"].values, rate, atol=1e-9)
    start = 86_399.0 if how.get("clock") else 0.0
    np.testing.assert_allclose(phone.tracks["acc"].times, start + files.TIMES, atol=1e-6)


def test_linear_acceleration_has_no_gravity(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("time,ax,ay,az,aT\n0.01,0.1,0.2,0.1,0.3\n0.02,0.1,0.1,0.2,0.3\n")
    assert PhysicsToolbox().read(path).devices[0].gravity is False
    assert PhysicsToolbox().recognises(path) == "columns time and aT"
    with pytest.raises(ConfigError, match="has no columns gFx gFy gFz"):
        PhysicsToolbox(acceleration="g_force").read(path)
    path.write_text("time,ax,ay,az\n0.01,0.1,0.2,0.1\n0.02,0.1,0.1,0.2\n")
    assert PhysicsToolbox().recognises(path) is None, "such columns are in other files too"
