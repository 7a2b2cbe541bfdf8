"""Motion of pictures and bones against displacements, rotations and rates that are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from imu_video.modalities.picture_motion import block_motion, picture_motion
from imu_video.modalities.skeleton import SkeletonTrack, skeleton_motion


def texture(height: int, width: int, dy: float, dx: float) -> np.ndarray:
    """A smooth random picture seen displaced, in grey levels."""
    rng = np.random.default_rng(5)
    rows, columns = np.meshgrid(np.arange(height) + dy, np.arange(width) + dx, indexing="ij")
    coarse = rng.uniform(0, 255, (height // 4 + 10, width // 4 + 10))
    return np.asarray(map_coordinates(coarse, [rows / 4 + 3, columns / 4 + 3], order=3, mode="reflect"))


@pytest.mark.parametrize(("dy", "dx"), [(0.0, 0.5), (0.3, -0.4), (-0.7, 0.0)])
def test_block_motion_is_the_displacement(dy: float, dx: float) -> None:
    still, moved = texture(64, 96, 0, 0), texture(64, 96, dy, dx)
    assert block_motion(still, moved) == pytest.approx(np.hypot(dy, dx), rel=0.15)
    assert block_motion(still, still) == 0


def test_flat_pictures_and_noise_do_not_move() -> None:
    rng = np.random.default_rng(0)
    grey = np.full((64, 96), 100.0)
    assert block_motion(grey, grey + 20) == pytest.approx(0)  # the light changes, nothing moves
    assert block_motion(grey + rng.normal(0, 0.3, grey.shape), grey + rng.normal(0, 0.3, grey.shape)) < 0.2


class Panning:
    """A camera that turns: the picture is displaced by ``dx`` pixels a frame for half of the time."""

    def __init__(self, frames: int = 60, dx: float = 0.5) -> None:
        self.dx, self.count = dx, frames

    @property
    def times(self) -> np.ndarray:
        return np.arange(self.count) / 30.0

    def read(self, indices: Sequence[int]) -> np.ndarray:
        grey = [texture(48, 64, 0, self.dx * max(0, i - self.count // 2)) for i in indices]
        return np.repeat(np.clip(np.stack(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=3)


def test_picture_motion_has_the_right_times_and_units() -> None:
    curve = picture_motion(Panning(), np.arange(60))
    assert len(curve.times) == 59
    np.testing.assert_allclose(curve.times[:2], [0.5 / 30, 1.5 / 30])
    assert curve.values[:28].max() < 0.02
    assert np.median(curve.values[31:]) == pytest.approx(0.5 * 30 / 64, rel=0.2)  # picture widths a second
    apart = picture_motion(Panning(), np.array([0, 1, 2, 3, 40, 41, 42]))
    assert len(apart.times) == 5  # no motion is made up across frames that were not looked at


def test_the_bone_under_the_sensor_turns() -> None:
    times = np.arange(200) / 50
    angle = np.cumsum(2.0 + np.sin(times)) / 50
    turn = Rotation.from_rotvec(angle[:, None] * [0, 0, 1.0]).apply([0.3, 0, 0])
    elbow = np.array([1.0, 2.0, 0.5]) + 0.1 * times[:, None]
    joints = np.stack([elbow, elbow + turn, np.zeros_like(elbow)], axis=1)
    track = SkeletonTrack(times=times, joints=joints, names=("Right Elbow", "right-wrist", "head"))
    curve = skeleton_motion(track, "right_wrist")
    np.testing.assert_allclose(curve.values, np.diff(angle) * 50, rtol=1e-3)
    everything = skeleton_motion(track, "left_wrist")
    speeds = np.linalg.norm(np.diff(joints, axis=0), axis=2) * 50
    np.testing.assert_allclose(everything.values, speeds.mean(axis=1))
