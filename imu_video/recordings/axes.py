"""Sensor axes by name: permutations with signs, rotations, handedness checked; units are converted in signal.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from imu_video.errors import RecordingError
from imu_video.types import IMU_CHANNELS

_ORTHONORMAL = 1e-6


def axis_matrix(axes: Mapping[str, str], *, mirrored: bool = False) -> np.ndarray:
    """Matrix that maps a sensor's axes to the target axes.

    Args:
        axes: for each target axis the sensor's axis with its sign. ``{"x": "-y", "y": "x", "z": "z"}`` means that the
            target x points along the sensor's -y.
        mirrored: allow a change of handedness, which no rotation makes: only for a sensor whose file is left-handed.

    Returns:
        (3, 3) float64 with one +-1 per row; target = matrix @ sensor.

    Raises:
        RecordingError: an axis is missing, used twice or unknown, or the result is left-handed.

    Example:
        >>> axis_matrix({"x": "-y", "y": "x", "z": "z"}) @ np.array([1.0, 2.0, 3.0])
        array([-2.,  1.,  3.])
    """
    hint = "name each of x, y, z once, for example {x: -y, y: x, z: z}"
    if sorted(axes) != ["x", "y", "z"]:
        raise RecordingError(f"axes {dict(axes)}: expected the keys x, y and z", hint=hint)
    matrix = np.zeros((3, 3))
    for row, wanted in enumerate("xyz"):
        name = str(axes[wanted]).strip().lower()
        sign, letter = (-1.0 if name[:1] == "-" else 1.0), name.lstrip("+-")
        if letter not in ("x", "y", "z") or len(name) - len(letter) > 1:
            raise RecordingError(
                f"axes {dict(axes)}: {axes[wanted]!r} is not an axis, expected x, y or z with a sign", hint=hint
            )
        matrix[row, "xyz".index(letter)] = sign
    if np.any(np.abs(matrix).sum(axis=0) != 1):
        raise RecordingError(f"axes {dict(axes)}: an axis of the sensor is used twice", hint=hint)
    if not mirrored and np.linalg.det(matrix) < 0:
        raise RecordingError(
            f"axes {dict(axes)} turn a right-handed frame into a left-handed one",
            hint="correct one sign; only a file that is itself left-handed needs mirrored: true",
        )
    return matrix


def rotate(values: np.ndarray, matrix: np.ndarray, channels: Sequence[str] = IMU_CHANNELS) -> np.ndarray:
    """Express acceleration and angular rate in other axes.

    Angular rate is an axial vector: under a reflection it also changes sign. A sensor must have all three axes. A NaN
    in one axis affects only the axes that it contributes to.

    Args:
        values: (C, T).
        matrix: (3, 3) orthonormal, or (T, 3, 3), one per sample; target = matrix @ sensor.
        channels: names of the C rows.

    Returns:
        (C, T) in the dtype of ``values``.

    Raises:
        RecordingError: a matrix that is not orthonormal, or a sensor that lacks an axis.

    Example:
        >>> quarter = axis_matrix({"x": "-y", "y": "x", "z": "z"})
        >>> rotate(np.array([[1.0], [0.0], [9.8]]), quarter, ("acc_x", "acc_y", "acc_z")).ravel().tolist()
        [0.0, 1.0, 9.8]
    """
    matrices = np.asarray(matrix, dtype=np.float64)
    if matrices.shape not in ((3, 3), (values.shape[1], 3, 3)):
        raise RecordingError(f"rotation has shape {matrices.shape}, expected (3, 3) or (T, 3, 3)")
    if not np.allclose(matrices @ np.swapaxes(matrices, -1, -2), np.eye(3), atol=_ORTHONORMAL):
        raise RecordingError("rotation is not orthonormal: its rows must be unit vectors at right angles")
    out = np.array(values, copy=True)
    for kind in ("acc", "gyr"):
        rows = [channels.index(f"{kind}_{axis}") for axis in "xyz" if f"{kind}_{axis}" in channels]
        if not rows:
            continue
        if len(rows) < 3:
            raise RecordingError(f"{kind} has {len(rows)} of 3 axes, and a rotation needs all three")
        turn = matrices * np.linalg.det(matrices)[..., None, None] if kind == "gyr" else matrices
        x = np.asarray(values, dtype=np.float64)[rows]
        # Term by term rather than by a matrix product, in which 0 * NaN would spread a missing axis to the others.
        terms = np.moveaxis(turn, 0, -1) if turn.ndim == 3 else turn[..., None]  # (3, 3, T or 1)
        product = np.where(terms == 0, 0.0, terms * x[None])
        out[rows] = product.sum(axis=1)
    return out
