"""Camera and clip: projection, what is drawn where, frames on demand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from imu_video.errors import ConfigError, RecordingError
from imu_video.simulation.body import JOINTS
from imu_video.simulation.camera import VIEWS, draw_camera
from imu_video.simulation.person import draw_person, stream
from imu_video.simulation.render import RenderedVideo
from imu_video.simulation.session import Session, simulate
from imu_video.simulation.world import film


@pytest.fixture(scope="module")
def session() -> Session:
    return simulate(draw_person(0, "p00"), activities=("stand", "walk"), seconds_per_activity=4.0, seed=0, session="1")


def filmed(session: Session, camera: str = "front", size: int = 96, fps: float = 10.0) -> RenderedVideo:
    return film(session, camera=camera, fps=fps, size=size, seed=0, name="1")[0]


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_projection_of_known_points(view: str) -> None:
    camera, aim = draw_camera(view, 101, stream(5)), np.array([1.0, -2.0, 0.9])
    axes = camera.axes
    assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert_allclose(np.linalg.det(axes), 1.0)  # right, down, forward
    points = np.array([aim, aim + axes[0], aim - axes[1], aim + 2 * axes[2], aim + np.array([0, 0, 0.5])])
    pixels, depth = camera.project(points, aim)
    unit = camera.focal / camera.distance
    assert_allclose(pixels[0], [50, 50], atol=1e-9)
    assert_allclose(pixels[1], [50 + unit, 50], atol=1e-9)
    assert_allclose(pixels[2], [50, 50 - unit], atol=1e-9)
    assert_allclose(pixels[3], [50, 50], atol=1e-9)
    assert pixels[4, 1] < 50  # up in the world is up in the image
    assert_allclose(depth[3] - depth[0], 2.0)


def test_views_see_the_person_from_where_they_say() -> None:
    left = np.array([[0.0, 0.3, 1.0]])
    for seed in range(5):
        front, rear = draw_camera("front", 101, stream(seed)), draw_camera("rear", 101, stream(seed))
        assert front.project(left, np.array([0, 0, 1.0]))[0][0, 0] > 50  # the person's left is the viewer's right
        assert rear.project(left, np.array([0, 0, 1.0]))[0][0, 0] < 50
        high, side = draw_camera("high", 101, stream(seed)), draw_camera("side", 101, stream(seed))
        assert high.elevation > np.deg2rad(30) > side.elevation
        assert abs(side.axes[2, 1]) > 0.8


def test_limbs_are_drawn_where_their_joints_project_in_their_colours(session: Session) -> None:
    video = filmed(session, size=128)
    video.camera = replace(video.camera, noise=0.0, gain=1.0, ambient=0.5)
    person = session.person
    index = 20
    frame = video.read([index])[0].astype(float) / 255
    pixels = np.round(video.project(index)).astype(int)

    def likeness(colour: tuple[float, float, float], joint: str) -> float:
        column, row = pixels[JOINTS.index(joint)]
        seen = frame[row, column]
        return float(seen @ np.array(colour) / np.linalg.norm(seen) / np.linalg.norm(colour))

    assert likeness(person.look["trousers"], "left_knee") > 0.985
    assert likeness(person.look["trousers"], "right_knee") > 0.985
    assert likeness(person.look["skin"], "head") > 0.985
    for knee in ("left_knee", "right_knee"):
        column, row = pixels[JOINTS.index(knee)]
        assert np.abs(frame[row, column] - frame[row, 3]).max() > 0.05  # not the background


def test_person_stays_in_the_picture_while_walking(session: Session) -> None:
    for view in VIEWS:
        video = filmed(session, view)
        for index in range(0, len(video.times), 7):
            pixels = video.project(index)
            assert pixels.min() > -3
            assert pixels.max() < 98
        height = np.ptp(video.project(5)[:, 1])
        assert 25 < height < 85


def test_frames_are_rendered_on_demand_and_repeat(session: Session) -> None:
    video = filmed(session)
    some = video.read([7, 3])
    assert some.shape == (2, 96, 96, 3)
    assert some.dtype == np.uint8
    assert np.array_equal(video.read([3])[0], some[1])
    assert np.array_equal(filmed(session).read([3])[0], some[1])
    assert not np.array_equal(some[0], some[1])
    assert video.read([]).shape == (0, 96, 96, 3)
    assert np.all(np.diff(video.times) > 0)
    assert 0 <= video.times[0] < 0.1
    assert video.times[-1] < session.seconds


def test_moving_limbs_change_the_picture_and_still_ones_do_not(session: Session) -> None:
    video = filmed(session)
    video.camera = replace(video.camera, noise=0.0)

    def change(label: str) -> float:
        bout = next(b for b in session.bouts if b.label == label)
        index = int(np.searchsorted(video.times, bout.start + 1.0))
        first, second = video.read([index, index + 3]).astype(float)
        return float(np.abs(first - second).mean())

    assert change("walk") > 2 * change("stand")


def test_index_beyond_the_video_is_refused(session: Session) -> None:
    video = filmed(session)
    with pytest.raises(RecordingError, match="frame 100000"):
        video.read([100000])
    with pytest.raises(RecordingError, match="frame -1"):
        video.read([-1])


def test_unknown_camera_is_refused(session: Session) -> None:
    with pytest.raises(ConfigError, match="did you mean 'front'"):
        filmed(session, "frnt")


def test_skeleton_is_the_body_at_the_frame_times(session: Session) -> None:
    video, skeleton = film(session, camera="side", fps=10.0, size=64, seed=0, name="1")
    assert skeleton.names == JOINTS
    assert np.array_equal(skeleton.times, video.times)
    exact = np.stack(
        [np.interp(skeleton.times, session.times, session.motion.joint("left_hand")[axis]) for axis in range(3)], axis=1
    )
    assert np.abs(skeleton.joints[:, JOINTS.index("left_hand")] - exact).max() < 0.02
