"""The articulated body: bone lengths, mirror symmetry, reaching."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from imu_video.simulation.body import (
    BONES,
    DOFS,
    JOINTS,
    SEGMENTS,
    SIDES,
    Body,
    Pose,
    forward,
    plant_leg,
    reach_arm,
    trunk,
    two_bone,
)
from imu_video.simulation.rotations import rot_y, rot_yxz


def random_pose(samples: int, seed: int = 0) -> Pose:
    return Pose(np.random.default_rng(seed).uniform(-1.5, 1.5, (len(DOFS), samples)))


def test_bones_keep_their_lengths_in_any_pose() -> None:
    body = Body(height=1.66, legs=1.05, arms=0.95, breadth=1.1)
    moving, still = forward(random_pose(50), body), forward(Pose.neutral(1), body)
    for a, b in BONES:
        length = np.linalg.norm(moving.joint(a) - moving.joint(b), axis=0)
        assert_allclose(length, np.linalg.norm(still.joint(a) - still.joint(b)), rtol=1e-9, err_msg=f"{a}-{b}")
        assert length[0] > 0.03


def test_segments_are_rotations() -> None:
    motion = forward(random_pose(20), Body(height=1.7))
    assert set(motion.segments) == set(SEGMENTS)
    for name, rotation in motion.segments.items():
        gram = np.einsum("kit,kjt->ijt", rotation, rotation)
        assert_allclose(gram, np.repeat(np.eye(3)[:, :, None], 20, axis=2), atol=1e-9, err_msg=name)
        assert_allclose(np.linalg.det(rotation.transpose(2, 0, 1)), 1.0)


def test_neutral_pose_stands_at_its_stature() -> None:
    body = Body(height=1.8)
    pose = Pose.neutral(1)
    pose["z"] = body.leg + body.ankle_height
    motion = forward(pose, body)
    assert_allclose(motion.joint("left_ankle")[2], body.ankle_height, atol=1e-9)
    assert_allclose(motion.joint("neck")[2], 0.83 * 1.8, atol=1e-9)
    assert motion.joint("left_wrist")[1, 0] > 0 > motion.joint("right_wrist")[1, 0]
    assert motion.joint("left_foot")[0, 0] > 0.1  # toes point forwards


def test_same_angles_on_both_sides_mirror_the_limbs() -> None:
    pose = random_pose(10)
    for name in ("y", "yaw", "roll", "spin", "side", "twist", "tilt", "turn"):
        pose[name] = 0.0
    for name in DOFS:
        if name.startswith("left_"):
            pose[name.replace("left_", "right_")] = pose[name]
    motion = forward(pose, Body(height=1.7))
    for name in JOINTS:
        if name.startswith("left_"):
            left, right = motion.joint(name), motion.joint(name.replace("left_", "right_"))
            assert_allclose(left * np.array([[1], [-1], [1]]), right, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("backwards", [True, False])
def test_two_bone_limb_ends_at_the_target(backwards: bool) -> None:
    rng = np.random.default_rng(3)
    upper, lower, twist = 0.42, 0.40, 0.3
    direction = rng.normal(size=(3, 200))
    direction[2] = -np.abs(direction[2]) - 0.5
    direction[1] *= 0.3
    target = direction / np.linalg.norm(direction, axis=0) * rng.uniform(0.3, 0.78, 200)
    flex, abd, hinge = two_bone(target, upper, lower, twist, backwards=backwards)
    first = rot_yxz(-flex, abd, np.full(200, -twist))
    bend = rot_y(hinge if backwards else -hinge)
    second = np.einsum("ijt,jkt->ikt", first, bend)
    assert_allclose(-upper * first[:, 2] - lower * second[:, 2], target, atol=2e-4)
    assert np.all(hinge >= 0)


def test_targets_out_of_reach_give_a_straight_limb_towards_them() -> None:
    target = np.array([[0.9], [0.0], [-1.2]])
    flex, _, hinge = two_bone(target, 0.4, 0.4, 0.0, backwards=True)
    assert hinge[0] < 0.3
    assert abs(flex[0] - hinge[0] / 2 - np.arctan2(0.9, 1.2)) < 0.02


def test_planted_foot_is_where_it_was_planted_and_flat() -> None:
    body, pose = Body(height=1.75), Pose.neutral(40)
    sway = np.linspace(-0.1, 0.1, 40)
    pose["z"], pose["x"], pose["yaw"], pose["pitch"] = body.stand_height - 0.15, sway, sway, 0.3
    for side in SIDES:
        s = 1 if side == "left" else -1
        ankle = np.repeat(np.array([[0.05], [0.12 * s], [body.ankle_height]]), 40, axis=1)
        plant_leg(pose, body, trunk(pose, body), side, ankle, 0.0, 0.0)
        motion = forward(pose, body)
        assert_allclose(motion.joint(f"{side}_ankle"), ankle, atol=1e-3)
        # The toe-up axis of the foot stays near the vertical.
        assert np.all(motion.segments[f"{side}_foot"][2, 2] > np.cos(0.2))


def test_reached_wrist_is_at_the_target() -> None:
    body, pose = Body(height=1.75), Pose.neutral(5)
    pose["bend"], pose["twist"], pose["z"] = 0.3, 0.2, 0.9
    frames = trunk(pose, body)
    for side in SIDES:
        target = frames.joint(f"{side}_shoulder") + np.array([[0.3], [0.05], [-0.2]])
        reach_arm(pose, body, frames, side, target, 0.4)
        assert_allclose(forward(pose, body).joint(f"{side}_wrist"), target, atol=1e-3)


def test_pose_of_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="pose values"):
        Pose(np.zeros((3, 10)))
