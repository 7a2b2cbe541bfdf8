"""Axes by name against rotations written out, for every one of the 24 orientations and the 24 mirror images."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from imu_video.errors import RecordingError
from imu_video.recordings.axes import axis_matrix, rotate
from imu_video.types import IMU_CHANNELS


def test_all_signed_permutations() -> None:
    """Naive twin: read each named component by hand; half of the 48 are rotations, the others are refused."""
    vector = {"x": 2.0, "y": 3.0, "z": 5.0}
    accepted = 0
    for letters, signs in product(permutations("xyz"), product(("", "-"), repeat=3)):
        axes = {wanted: sign + letter for wanted, sign, letter in zip("xyz", signs, letters, strict=True)}
        naive = [(-1 if sign else 1) * vector[letter] for sign, letter in zip(signs, letters, strict=True)]
        matrix = axis_matrix(axes, mirrored=True)
        np.testing.assert_array_equal(matrix @ np.array([2.0, 3.0, 5.0]), naive)
        x, y, z = matrix  # right-handed: x cross y is z
        if np.array_equal(np.cross(x, y), z):
            accepted += 1
            np.testing.assert_array_equal(axis_matrix(axes), matrix)
        else:
            with pytest.raises(RecordingError, match="left-handed"):
                axis_matrix(axes)
    assert accepted == 24


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"x": "x", "y": "y"}, "expected the keys x, y and z"),
        ({"x": "x", "y": "x", "z": "z"}, "used twice"),
        ({"x": "up", "y": "y", "z": "z"}, "'up' is not an axis"),
        ({"x": "--x", "y": "y", "z": "z"}, "is not an axis"),
        ({"x": "", "y": "y", "z": "z"}, "is not an axis"),
    ],
)
def test_malformed_axes_are_refused(axes: dict[str, str], words: str) -> None:
    with pytest.raises(RecordingError, match=words):
        axis_matrix(axes)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_rotation_keeps_norms_and_angles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = Rotation.random(random_state=seed).as_matrix()
    values = rng.normal(size=(6, 20))
    out = rotate(values, matrix)
    for rows in (slice(0, 3), slice(3, 6)):
        np.testing.assert_allclose(np.linalg.norm(out[rows], axis=0), np.linalg.norm(values[rows], axis=0))
        np.testing.assert_allclose(out[rows], matrix @ values[rows])
    np.testing.assert_allclose((out[:3] * out[3:]).sum(axis=0), (values[:3] * values[3:]).sum(axis=0))
    np.testing.assert_allclose(rotate(out, matrix.T), values)


def test_one_rotation_a_sample() -> None:
    matrices = Rotation.random(7, random_state=3).as_matrix()
    values = np.random.default_rng(0).normal(size=(6, 7))
    out = rotate(values, matrices)
    for t in range(7):
        np.testing.assert_allclose(out[:3, t], matrices[t] @ values[:3, t])
        np.testing.assert_allclose(out[3:, t], matrices[t] @ values[3:, t])


def test_angular_rate_is_an_axial_vector() -> None:
    """A mirror image of a turning body: r' = M r for all its points means w' = det(M) M w, from v = w x r."""
    mirror = axis_matrix({"x": "-x", "y": "y", "z": "z"}, mirrored=True)
    rng = np.random.default_rng(1)
    rate, arm = rng.normal(size=3), rng.normal(size=3)
    turned = rotate(np.concatenate([np.zeros(3), rate])[:, None], mirror)[3:, 0]
    np.testing.assert_allclose(np.cross(turned, mirror @ arm), mirror @ np.cross(rate, arm))


def test_missing_values_spread_no_further_than_they_must() -> None:
    values = np.ones((6, 2))
    values[0, 0] = np.nan
    swapped = rotate(values, axis_matrix({"x": "-y", "y": "x", "z": "z"}))
    np.testing.assert_array_equal(np.isnan(swapped[:, 0]), [False, True, False, False, False, False])


def test_what_cannot_be_rotated_is_refused() -> None:
    with pytest.raises(RecordingError, match="2 of 3 axes"):
        rotate(np.ones((2, 4)), np.eye(3), IMU_CHANNELS[:2])
    with pytest.raises(RecordingError, match="not orthonormal"):
        rotate(np.ones((6, 4)), 2 * np.eye(3))
    with pytest.raises(RecordingError, match=r"\(3, 3\) or \(T, 3, 3\)"):
        rotate(np.ones((6, 4)), np.zeros((5, 3, 3)))
    assert rotate(np.ones((3, 4), np.float32), np.eye(3), IMU_CHANNELS[:3]).dtype == np.float32
