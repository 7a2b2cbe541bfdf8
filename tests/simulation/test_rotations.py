"""Rotations over time: products, directions, exponential map against scipy."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from imu_video.simulation.rotations import (
    apply,
    apply_inverse,
    compose,
    exponential,
    rot_x,
    rot_y,
    rot_yxz,
    rot_z,
)


def test_single_axes_agree_with_scipy() -> None:
    angle = np.array([0.3, -2.0])
    for function, axis in ((rot_x, "x"), (rot_y, "y"), (rot_z, "z")):
        expected = Rotation.from_euler(axis, angle[:, None]).as_matrix().transpose(1, 2, 0)
        assert_allclose(function(angle), expected, atol=1e-12)


def test_written_out_product_equals_the_product_of_three() -> None:
    a, b, c = np.random.default_rng(0).uniform(-3, 3, (3, 7))
    assert_allclose(rot_yxz(a, b, c), compose(compose(rot_y(a), rot_x(b)), rot_z(c)), atol=1e-12)


def test_exponential_agrees_with_scipy_also_for_tiny_angles() -> None:
    vector = np.random.default_rng(1).normal(size=(3, 6)) * [1e-9, 1e-7, 1e-3, 0.1, 1.0, 3.0]
    expected = Rotation.from_rotvec(vector.T).as_matrix().transpose(1, 2, 0)
    assert_allclose(exponential(vector), expected, atol=1e-12)


def test_apply_inverse_undoes_apply() -> None:
    rng = np.random.default_rng(2)
    rotation, vector = exponential(rng.normal(size=(3, 5))), rng.normal(size=(3, 5))
    assert_allclose(apply_inverse(rotation, apply(rotation, vector)), vector, atol=1e-12)
    assert_allclose(apply(rotation, vector[:, 0])[:, 2], rotation[:, :, 2] @ vector[:, 0], atol=1e-12)
