"""BlazePose: geometry of anchors, crops and regions, and the real networks where they are installed."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imu_video.errors import ConfigError
from imu_video.skeletons import blazepose
from imu_video.skeletons.blazepose import DETECTOR, NAMES, BlazePose, Region, as_joints, crop, load_files, region_of


def test_anchors_are_two_per_cell_and_layer() -> None:
    """28 x 28 cells with 2 anchors, 14 x 14 with 2, and 7 x 7 with 2 of each of three layers."""
    found = blazepose.anchors()
    naive = [
        [(column + 0.5) / cells, (row + 0.5) / cells]
        for cells, layers in ((28, 1), (14, 1), (7, 3))
        for row in range(cells)
        for column in range(cells)
        for _ in range(2 * layers)
    ]
    np.testing.assert_allclose(found, naive)


@pytest.mark.parametrize("angle", [0.0, 0.7, -2.0])
def test_a_crop_is_upright_for_its_region(angle: float) -> None:
    """The point above the hips of a tilted person lies above the centre of the crop."""
    rows, columns = np.mgrid[0:80, 0:120]
    hips = np.array([60.5, 40.5])
    head = hips + 12 * np.array([np.sin(angle), -np.cos(angle)])
    bump = np.exp(-((columns + 0.5 - head[0]) ** 2 + (rows + 0.5 - head[1]) ** 2) / 8)
    frame = np.repeat((255 * bump)[..., None], 3, -1).astype(np.uint8)
    region = region_of(hips, hips + (head - hips) * 2)
    assert region.angle == pytest.approx(angle)
    assert region.side == pytest.approx(60.0)
    picture = crop(frame, region, 60)[..., 0]
    peak = np.unravel_index(picture.argmax(), picture.shape)
    assert abs(peak[0] + 0.5 - 18) <= 1
    assert abs(peak[1] + 0.5 - 30) <= 1


def test_outside_the_picture_a_crop_is_black() -> None:
    frame = np.full((10, 10, 3), 200, np.uint8)
    picture = crop(frame, Region(centre=np.array([5.0, 5.0]), side=20.0, angle=0.0), 20)
    assert picture[10, 10].tolist() == [200, 200, 200]
    assert picture[0].max() == 0


def test_joints_are_means_of_landmarks_with_z_up() -> None:
    world = np.random.default_rng(0).normal(size=(2, 33, 3))
    joints = as_joints(world)
    names = list(blazepose.JOINTS)
    pelvis = (world[:, NAMES.index("left_hip")] + world[:, NAMES.index("right_hip")]) / 2
    np.testing.assert_allclose(joints[:, names.index("pelvis"), 2], -pelvis[:, 1])
    wrist = world[:, NAMES.index("left_wrist")]
    turn = np.stack([-wrist[:, 2], wrist[:, 0], -wrist[:, 1]], -1)
    np.testing.assert_allclose(joints[:, names.index("left_wrist")], turn)
    axes = np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]])
    assert np.linalg.det(axes) == pytest.approx(1), "a rotation, no mirror image: left stays left"


class Stub(BlazePose):
    """Networks that find a person at a fixed place, until they are told that it is gone."""

    def __init__(self, present: list[bool]) -> None:
        self.present, self.detections = present, 0
        self._anchors = blazepose.anchors()

    def _run(self, name: str, picture: np.ndarray) -> list[Any]:
        if name == DETECTOR:
            self.detections += 1
            boxes, scores = np.zeros((1, 2254, 12), np.float32), np.full((1, 2254, 1), -9, np.float32)
            scores[0, 900] = 3
            boxes[0, 900, :8] = [0, 0, 100, 100, 0, 20, 0, -80]
            return [boxes, scores]
        points = np.zeros((39, 5), np.float32)
        points[:, :2] = 128
        points[34, 1] = 28
        there = np.array([[0.9 if self.present.pop(0) else 0.1]])
        return [points.reshape(1, -1), there, None, None, np.ones((1, 117), np.float32)]


def test_tracking_detects_again_when_the_person_is_lost() -> None:
    frames = np.zeros((4, 96, 128, 3), np.uint8)
    # found; tracked; lost by the track and by a new detection; found by a new detection
    networks = Stub([True, True, False, False, True])
    world, seen = networks.track(frames)
    assert networks.detections == 3
    assert np.isfinite(world).all(axis=(1, 2)).tolist() == [True, True, False, True]
    assert seen[2].max() == 0


def test_missing_and_other_networks_are_refused(tmp_path: Path) -> None:
    for weights in (tmp_path / "none.whl", tmp_path):
        with pytest.raises(ConfigError, match="no network mediapipe/modules/pose_detection") as caught:
            load_files(weights)
        assert "mediapipe==0.10.21" in str(caught.value.hint)
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as wheel:
        for path, _ in blazepose.FILES.values():
            wheel.writestr(path, b"another network")
    with pytest.raises(ConfigError, match=r"has sha256 .*, expected 9ba9dd3d"):
        load_files(tmp_path / "other.whl")


@pytest.fixture(scope="module")
def networks() -> BlazePose:
    """The real networks: installed, or in the wheel that the variable names."""
    pytest.importorskip("ai_edge_litert", reason="the extra `pose` is not installed")
    try:
        return BlazePose(weights=os.environ.get("IMU_VIDEO_POSE_WEIGHTS"))
    except ConfigError as error:
        pytest.skip(error.message)


def test_joints_of_rendered_people_are_near_the_true_ones(networks: BlazePose) -> None:
    """Median joint error after a similarity transform, below 12 cm for every person and activity together."""
    from imu_video.simulation.body import JOINTS
    from imu_video.simulation.person import draw_person
    from imu_video.simulation.session import simulate
    from imu_video.simulation.world import film

    names = tuple(blazepose.JOINTS)
    person = draw_person(0, "p00", "general")
    session = simulate(person, activities=["walk", "squats"], seconds_per_activity=2.0, seed=0, session="1")
    video, truth = film(session, camera="oblique", fps=4, size=128, seed=0, name="1")
    found = as_joints(networks.track(video.read(range(len(video.times))))[0], names)
    known = np.isfinite(found).all(axis=(1, 2))
    assert known.mean() > 0.9
    columns = [JOINTS.index(name) for name in names]
    errors = [aligned(a, b) for a, b in zip(found[known], truth.joints[known][:, columns], strict=True)]
    assert float(np.median(errors)) < 0.12


def aligned(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distances (J,) after the best rotation, translation and scale (Umeyama 1991)."""
    a, b = found - found.mean(0), truth - truth.mean(0)
    u, s, vt = np.linalg.svd(a.T @ b)
    signs = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    turn = u @ np.diag(signs) @ vt
    return np.linalg.norm((s * signs).sum() / (a**2).sum() * a @ turn - b, axis=1)
