"""Soft tissue and straps: a device on a spring and a damper follows its segment with its own dynamics; no bodies.

The device is a mass that a spring and a damper couple to the point of the segment on which it is mounted. With the
displacement u of the device relative to that point and the acceleration b'' of the point,

    u'' + 2 d w u' + w^2 u = -b'',    w = 2 pi f,

in every direction alike, so that the acceleration of the device is ``b'' + u'' = -2 d w u' - w^2 u``. The rotation of
the device relative to the segment obeys the same equation, driven by the angular acceleration of the segment and by the
torque of the device's weight, whose centre lies above the skin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import expm
from scipy.ndimage import correlate1d
from scipy.signal import lfilter

from imu_video.errors import ConfigError
from imu_video.simulation.rotations import apply_inverse, compose, exponential
from imu_video.simulation.sensors import FIRST, turning_rate, world_acceleration
from imu_video.types import GRAVITY

_EDGE = 3  # samples at both ends whose central differences reach beyond the signal


@dataclass(frozen=True, kw_only=True)
class Strap:
    """Coupling of one device to its segment.

    Natural frequencies of accelerometers on the skin lie between about 10 and 50 Hz with damping ratios of 0.2 to 0.6
    (Kitazaki and Griffin, *J. Biomech.* 28, 1995; Forner-Cordero et al., *Physiol. Meas.* 29, 2008); a phone that lies
    loosely in a pocket is slower.

    Args:
        hz: natural frequency in Hz, 1 to 1000; large values approach a rigid mount.
        damping: damping ratio, 0.05 to 2; 1 is critical.
        tilt_per_g: rotation in rad by which the weight tips the device where gravity lies in its plane, 0 to 0.2.

    Raises:
        ConfigError: a value out of range.

    Example:
        >>> Strap(hz=12.0, damping=0.4).hz
        12.0
    """

    hz: float
    damping: float
    tilt_per_g: float = 0.0

    def __post_init__(self) -> None:
        if not (1 <= self.hz <= 1000 and 0.05 <= self.damping <= 2 and 0 <= self.tilt_per_g <= 0.2):
            raise ConfigError(
                f"strap of {self.hz:g} Hz, damping {self.damping:g}, tilt {self.tilt_per_g:g} rad per g",
                hint="expected 1 to 1000 Hz, damping 0.05 to 2 and a tilt of 0 to 0.2",
            )


def _filters(strap: Strap, rate_hz: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numerators of u and of u', and the common denominator, for a drive that is linear between samples."""
    w, step = 2 * np.pi * strap.hz, 1 / rate_hz
    # First-order hold: the exact solution for a piecewise linear drive is one matrix exponential (Franklin, Powell and
    # Workman, Digital Control of Dynamic Systems, section 6.3), stable for every frequency and step.
    block = np.zeros((4, 4))
    block[0, 1], block[1, 0], block[1, 1], block[1, 2] = step, -(w**2) * step, -2 * strap.damping * w * step, step
    block[2, 3] = 1.0
    whole = expm(block)
    phi, held, ramp = whole[:2, :2], whole[:2, 2], whole[:2, 3]
    # x[k+1] = phi x[k] + (held - ramp) drive[k] + ramp drive[k+1], as a transfer function of the drive.
    now, after = held - ramp, ramp
    adjugate = np.array([[-phi[1, 1], phi[0, 1]], [phi[1, 0], -phi[0, 0]]])
    numerators = np.stack([after, now + adjugate @ after, adjugate @ now], axis=1)
    return numerators[0], numerators[1], np.array([1.0, -np.trace(phi), np.linalg.det(phi)])


def _run(numerator: np.ndarray, denominator: np.ndarray, drive: np.ndarray) -> np.ndarray:
    """Filter rows (R, T) from the steady state of their first sample."""
    first = drive[:, :1]
    steady = first * (numerator.sum() / denominator.sum())
    late = numerator[2] * first - denominator[2] * steady
    early = numerator[1] * first - denominator[1] * steady + late
    out, _ = lfilter(numerator, denominator, drive, axis=-1, zi=np.concatenate([early, late], axis=1))
    return np.asarray(out)


def displacement(drive: np.ndarray, strap: Strap, rate_hz: float) -> np.ndarray:
    """Solution of ``u'' + 2 d w u' + w^2 u = drive``, exact for a drive that is linear between samples.

    It starts in the steady state of the first sample.

    Args:
        drive: (R, T) in m/s^2 or rad/s^2.
        strap: frequency and damping.
        rate_hz: samples per second.

    Returns:
        (R, T) in m or rad.

    Example:
        >>> still = displacement(np.full((1, 5), 2.0), Strap(hz=5.0, damping=0.3), 200.0)
        >>> bool(np.allclose(still, 2.0 / (2 * np.pi * 5.0) ** 2))
        True
    """
    position, _, denominator = _filters(strap, rate_hz)
    return _run(position, denominator, drive)


def carried(acceleration: np.ndarray, strap: Strap, rate_hz: float) -> np.ndarray:
    """Acceleration of the device for the acceleration of its mounting point, (R, T) in m/s^2 each.

    Source: base excitation of a damped oscillator, for example Inman, *Engineering Vibration*, section 2.4: gain
    ``sqrt((1 + (2 d r)^2) / ((1 - r^2)^2 + (2 d r)^2))`` at r times the natural frequency.

    Args:
        acceleration: (R, T) in m/s^2, of the mounting point.
        strap: frequency and damping.
        rate_hz: samples per second.

    Example:
        >>> carried(np.full((1, 4), 1.5), Strap(hz=8.0, damping=0.4), 200.0).round(6).tolist()
        [[1.5, 1.5, 1.5, 1.5]]
    """
    position, velocity, denominator = _filters(strap, rate_hz)
    w = 2 * np.pi * strap.hz
    return _run(2 * strap.damping * w * velocity + w**2 * position, denominator, acceleration)


def loose_force_and_rate(
    position: np.ndarray, rotation: np.ndarray, out: np.ndarray, strap: Strap, rate_hz: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ideal signals of a device on a strap; `sensors.specific_force_and_rate` of the rigid mount in the stiff limit.

    Args:
        position: (3, T) metres in world axes of the mounting point.
        rotation: (3, 3, T) device to world of the rigid mount.
        out: (3,) unit vector away from the body, in device axes.
        strap: coupling.
        rate_hz: samples per second.

    Returns:
        Specific force in m/s^2 and angular rate in rad/s, both (3, T) in device axes.

    Example:
        >>> still, up = np.repeat(np.eye(3)[:, :, None], 20, axis=2), np.array([0.0, 0.0, 1.0])
        >>> force, rate = loose_force_and_rate(np.zeros((3, 20)), still, up, Strap(hz=9.0, damping=0.3), 100.0)
        >>> force[:, 10].round(5).tolist()
        [0.0, 0.0, 9.80665]
    """
    w = 2 * np.pi * strap.hz
    acceleration = _without_edges(world_acceleration(position, rate_hz))
    rigid_force = apply_inverse(rotation, acceleration + np.array([[0.0], [0.0], [GRAVITY]]))
    rigid_rate = _without_edges(turning_rate(rotation, rate_hz))
    drive = -correlate1d(rigid_rate, FIRST, axis=-1, mode="nearest") * rate_hz
    # The device's weight, -f per mass, acts above the skin: its torque is along -(out x f).
    drive -= strap.tilt_per_g * w**2 / GRAVITY * np.cross(out, rigid_force, axisb=0, axisc=0)
    turned = compose(rotation, exponential(displacement(_without_edges(drive), strap, rate_hz)))
    force = carried(acceleration, strap, rate_hz)
    force[2] += GRAVITY
    return apply_inverse(turned, force), turning_rate(turned, rate_hz)


def _without_edges(values: np.ndarray) -> np.ndarray:
    """(3, T) whose first and last samples repeat their neighbours: an oscillator would ring from a wrong derivative."""
    out = values.copy()
    out[:, :_EDGE] = values[:, _EDGE : _EDGE + 1]
    out[:, -_EDGE:] = values[:, -_EDGE - 1 : -_EDGE]
    return out
