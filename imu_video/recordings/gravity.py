"""Direction of gravity in the sensor's frame, to remove gravity or to align signals; no heading, no magnetometer.

Three methods: ``vqf`` (Laidig and Seel 2023, from the package `vqf`, extra ``vqf``), ``complementary`` (built in: the
accelerometer is low-passed in a frame that the gyroscope keeps fixed) and ``low_pass`` (accelerometer only, 0.3 Hz as
in UCI HAR; Anguita et al. 2013). ``auto`` uses ``complementary`` if the device has a gyroscope, else ``low_pass``. It
never uses ``vqf``, so that a result does not depend on the installed packages.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy.signal import butter, sosfiltfilt

from imu_video.errors import ConfigError, RecordingError
from imu_video.recordings.axes import rotate
from imu_video.types import GRAVITY, IMU_CHANNELS

GravityMethod = Literal["auto", "vqf", "complementary", "low_pass"]

LOW_PASS_HZ = 0.3
"""Cut-off in Hz for the accelerometer alone: body motion lies above it, changes of posture below."""

COMPLEMENTARY_HZ = 0.05
"""Cut-off in Hz in the frame that the gyroscope keeps fixed: above its drift, below changes of linear acceleration."""


def gravity_vector(values: np.ndarray, rate_hz: float, method: GravityMethod = "auto") -> np.ndarray:
    """Specific force of gravity in the sensor's frame at every sample.

    Args:
        values: (6, T) canonical channels in m/s^2 and rad/s, NaN where missing.
        rate_hz: samples per second.
        method: see the module.

    Returns:
        (3, T) float64 in m/s^2, pointing up, as measured by an accelerometer at rest; NaN if an axis of the
        accelerometer has no values.

    Raises:
        RecordingError: an array that is not (6, T), or a method that needs a gyroscope without one.
        ConfigError: ``vqf`` is not installed.

    Example:
        >>> still = np.tile([[0.0], [0.0], [9.8], [0.0], [0.0], [0.0]], 100)
        >>> gravity_vector(still, 50.0)[:, 0].round(3).tolist()
        [0.0, 0.0, 9.8]
    """
    acc, gyr, measured = _prepared(values)
    if not measured:
        return np.full(acc.shape, np.nan)
    if _resolve(method, gyr) == "low_pass":
        return _smooth(acc, rate_hz, LOW_PASS_HZ)
    frame = _earth_frame(acc, gyr, rate_hz, _resolve(method, gyr))
    size = (
        GRAVITY if method == "vqf" else np.linalg.norm(_smooth(_apply(frame, acc), rate_hz, COMPLEMENTARY_HZ), axis=0)
    )
    return frame[:, 2, :].T * size


def remove_gravity(values: np.ndarray, rate_hz: float, method: GravityMethod = "auto") -> np.ndarray:
    """Linear acceleration: the acceleration minus `gravity_vector`; angular rate is unchanged.

    Args:
        values, rate_hz, method: as in `gravity_vector`.

    Returns:
        (6, T) in the dtype of ``values``.

    Raises:
        RecordingError, ConfigError: as in `gravity_vector`.
    """
    out = np.array(values, copy=True)
    out[:3] -= gravity_vector(values, rate_hz, method).astype(out.dtype)
    return out


def align_gravity(values: np.ndarray, rate_hz: float, method: GravityMethod = "auto") -> np.ndarray:
    """Both sensors in a frame whose z axis points up; gravity stays included.

    With a gyroscope this frame does not rotate with the sensor; its heading is arbitrary, drifts slowly and equals that
    of the sensor at the first sample. With an accelerometer alone each sample is rotated upright by the smallest angle.

    Args:
        values, rate_hz, method: as in `gravity_vector`.

    Returns:
        (6, T) in the dtype of ``values``.

    Raises:
        RecordingError, ConfigError: as in `gravity_vector`.
    """
    acc, gyr, measured = _prepared(values)
    if not measured:
        return np.array(values, copy=True)
    chosen = _resolve(method, gyr)
    if chosen == "low_pass":
        frame = _shortest(_smooth(acc, rate_hz, LOW_PASS_HZ))
        if gyr is None:
            out = np.array(values, copy=True)
            out[:3] = rotate(values[:3], frame, IMU_CHANNELS[:3])
            return out
    else:
        frame = _earth_frame(acc, gyr, rate_hz, chosen)
    return rotate(values, frame)


def vqf_package() -> Any:
    """The module `vqf`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import vqf
    except ImportError as error:
        raise ConfigError(
            f"gravity_method=vqf needs the package vqf, which is not installed ({error})",
            hint="pip install 'imu-video[vqf]', or use gravity_method=complementary",
        ) from error
    return vqf


def _resolve(method: GravityMethod, gyr: np.ndarray | None) -> str:
    if method == "auto":
        return "low_pass" if gyr is None else "complementary"
    if method != "low_pass" and gyr is None:
        raise RecordingError(
            f"gravity_method={method} needs a gyroscope, but this device has none",
            hint="use gravity_method=auto or low_pass",
        )
    return method


def _prepared(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, bool]:
    """Acceleration and angular rate without gaps, and whether all axes of the accelerometer were measured.

    Gaps of the accelerometer are interpolated. Gaps of the gyroscope become zero (no rotation): how the sensor turned
    meanwhile is unknown, and the accelerometer corrects the frame afterwards.
    """
    if values.ndim != 2 or len(values) != len(IMU_CHANNELS):
        raise RecordingError(
            f"signal has shape {values.shape}, expected (6, T)", hint="IMU arrays are channels first: acc, then gyr"
        )
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0).astype(np.float64)
    index = np.arange(values.shape[1])
    for row in range(3):
        if known[row].any():
            filled[row] = np.interp(index, index[known[row]], filled[row][known[row]])
    return filled[:3], (filled[3:] if known[3:].any(axis=1).all() else None), bool(known[:3].any(axis=1).all())


def _smooth(x: np.ndarray, rate_hz: float, cutoff_hz: float) -> np.ndarray:
    """Zero-phase low-pass along the last axis; unchanged if the rate is too low, the mean below 4 samples."""
    pad = int(3 * rate_hz / (2 * np.pi * cutoff_hz))
    if cutoff_hz >= 0.45 * rate_hz:
        return np.array(x)
    if x.shape[-1] < 4:
        return np.repeat(x.mean(axis=-1, keepdims=True), x.shape[-1], axis=-1)
    filter_ = butter(2, cutoff_hz, fs=rate_hz, output="sos")
    # Even reflection keeps gravity constant beyond the ends; an odd one would extrapolate the last movement.
    return np.asarray(sosfiltfilt(filter_, x, axis=-1, padtype="even", padlen=min(pad, x.shape[-1] - 1)))


def _earth_frame(acc: np.ndarray, gyr: np.ndarray | None, rate_hz: float, method: str) -> np.ndarray:
    """(T, 3, 3): sensor to a frame with z up."""
    if gyr is None:
        raise RecordingError("the gyroscope is missing")
    if method == "vqf":
        filtered = vqf_package().offlineVQF(
            np.ascontiguousarray(gyr.T), np.ascontiguousarray(acc.T), None, 1.0 / rate_hz
        )
        return _matrices(filtered["quat6D"])
    # In a frame that the gyroscope keeps fixed gravity is constant up to drift, so a much lower cut-off than for the
    # accelerometer alone is possible, and body motion hardly leaks into the estimate.
    still = _matrices(_integrate(gyr, rate_hz))
    up = _smooth(_apply(still, acc), rate_hz, COMPLEMENTARY_HZ)
    return np.asarray(_shortest(up) @ still)


def _apply(frames: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(T, 3, 3) matrices on (3, T) vectors."""
    return np.asarray(np.einsum("tij,jt->it", frames, vectors))


def _integrate(gyr: np.ndarray, rate_hz: float) -> np.ndarray:
    """(T, 4) orientations from (3, T) angular rate; the first one is the identity.

    Each step rotates by the mean rate of its two ends. The products of all prefixes are computed by doubling: log2 T
    rounds of array arithmetic instead of a Python loop over samples.
    """
    turn = (gyr[:, 1:] + gyr[:, :-1]).T / (2 * rate_hz)
    angle = np.linalg.norm(turn, axis=1, keepdims=True)
    half = angle / 2
    # sin(x / 2) / x tends to 1 / 2; the guard avoids 0 / 0 for a sensor at rest.
    sinc = np.where(angle > 1e-12, np.sin(half) / np.maximum(angle, 1e-12), 0.5)
    q = np.concatenate([[[1.0, 0.0, 0.0, 0.0]], np.concatenate([np.cos(half), sinc * turn], axis=1)])
    step = 1
    while step < len(q):
        q = np.concatenate([q[:step], _multiply(q[:-step], q[step:])])
        q /= np.linalg.norm(q, axis=1, keepdims=True)  # rounding would otherwise grow with the length of the recording
        step *= 2
    return q


def _multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton product of (T, 4) quaternions, scalar first."""
    scalar = a[:, :1] * b[:, :1] - np.sum(a[:, 1:] * b[:, 1:], axis=1, keepdims=True)
    vector = a[:, :1] * b[:, 1:] + b[:, :1] * a[:, 1:] + np.cross(a[:, 1:], b[:, 1:])
    return np.concatenate([scalar, vector], axis=1)


def _matrices(q: np.ndarray) -> np.ndarray:
    """(T, 3, 3) rotation matrices of (T, 4) unit quaternions, scalar first."""
    w, x, y, z = q.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def _shortest(up: np.ndarray) -> np.ndarray:
    """(T, 3, 3): the smallest rotations that map the (3, T) directions to +z.

    For -z the smallest rotation is not unique and the formula divides by zero; half a turn about x is used.
    """
    x, y, z = up / np.maximum(np.linalg.norm(up, axis=0), 1e-9)
    down = z < -1 + 1e-9
    k = 1.0 / np.where(down, 1.0, 1.0 + z)
    rows = [[1 - x * x * k, -x * y * k, -x], [-x * y * k, 1 - y * y * k, -y], [x, y, z]]
    out = np.moveaxis(np.array(rows), 2, 0)
    out[down] = np.diag([1.0, -1.0, -1.0])
    return out
