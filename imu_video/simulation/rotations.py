"""Rotation matrices over time as (3, 3, T) arrays; for the simulator's kinematics only, not a general geometry library.

Time runs along the last axis so that every product is a plain vectorised sum. Matrices map segment coordinates to world
coordinates: ``v_world = R v_segment``.
"""

from __future__ import annotations

import numpy as np


def rot_x(angle: np.ndarray) -> np.ndarray:
    """Rotation about x by ``angle`` (T,) rad, (3, 3, T)."""
    return _axis(angle, 1, 2)


def rot_y(angle: np.ndarray) -> np.ndarray:
    """Rotation about y by ``angle`` (T,) rad, (3, 3, T)."""
    return _axis(angle, 2, 0)


def rot_z(angle: np.ndarray) -> np.ndarray:
    """Rotation about z by ``angle`` (T,) rad, (3, 3, T).

    Example:
        >>> rot_z(np.array([np.pi / 2]))[:, 0, 0].round(6).tolist()
        [0.0, 1.0, 0.0]
    """
    return _axis(angle, 0, 1)


def _axis(angle: np.ndarray, i: int, j: int) -> np.ndarray:
    angle = np.atleast_1d(np.asarray(angle, dtype=np.float64))
    out = np.zeros((3, 3, len(angle)))
    k = 3 - i - j
    out[k, k] = 1.0
    out[i, i] = out[j, j] = np.cos(angle)
    out[j, i] = np.sin(angle)
    out[i, j] = -out[j, i]
    return out


def rot_yxz(about_y: np.ndarray, about_x: np.ndarray, about_z: np.ndarray) -> np.ndarray:
    """Product ``Ry Rx Rz`` written out, (T,) each to (3, 3, T); it is the order of every ball joint of the skeleton."""
    cy, sy = np.cos(about_y), np.sin(about_y)
    cx, sx = np.cos(about_x), np.sin(about_x)
    cz, sz = np.cos(about_z), np.sin(about_z)
    out = np.empty((3, 3, len(cy)))
    sysx, cysx = sy * sx, cy * sx
    out[0, 0] = cy * cz + sysx * sz
    out[0, 1] = sysx * cz - cy * sz
    out[0, 2] = sy * cx
    out[1, 0] = cx * sz
    out[1, 1] = cx * cz
    out[1, 2] = -sx
    out[2, 0] = cysx * sz - sy * cz
    out[2, 1] = sy * sz + cysx * cz
    out[2, 2] = cy * cx
    return out


def compose(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Matrix product at every time: (3, 3, T) times (3, 3, T) or constant (3, 3)."""
    if b.ndim == 2:
        return np.einsum("ijt,jk->ikt", a, b)
    return np.einsum("ijt,jkt->ikt", a, b)


def apply(rotation: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Rotate a vector at every time: (3, 3, T) times (3,) or (3, T) gives (3, T)."""
    if vector.ndim == 1:
        return np.einsum("ijt,j->it", rotation, vector)
    return np.einsum("ijt,jt->it", rotation, vector)


def apply_inverse(rotation: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Rotate back, ``R^T v`` at every time: (3, 3, T) times (3, T) gives (3, T)."""
    return np.einsum("ijt,it->jt", rotation, vector)


def exponential(vector: np.ndarray) -> np.ndarray:
    """Rotation matrices of rotation vectors (Rodrigues), (3, T) rad to (3, 3, T)."""
    vector = np.asarray(vector, dtype=np.float64)
    angle2 = np.einsum("it,it->t", vector, vector)
    angle = np.sqrt(angle2)
    small = angle < 1e-6
    safe = np.where(small, 1.0, angle)
    a = np.where(small, 1.0 - angle2 / 6, np.sin(safe) / safe)
    b = np.where(small, 0.5 - angle2 / 24, (1 - np.cos(safe)) / safe**2)
    x, y, z = vector
    out = np.empty((3, 3, vector.shape[1]))
    out[0, 0] = 1 - b * (y * y + z * z)
    out[1, 1] = 1 - b * (x * x + z * z)
    out[2, 2] = 1 - b * (x * x + y * y)
    out[0, 1], out[1, 0] = b * x * y - a * z, b * x * y + a * z
    out[0, 2], out[2, 0] = b * x * z + a * y, b * x * z - a * y
    out[1, 2], out[2, 1] = b * y * z - a * x, b * y * z + a * x
    return out
