"""Shocks of foot contacts that kinematics of rigid segments do not contain; no sensors.

When a foot lands, a shock runs up the body and leaves every segment ringing with its muscles and fat, a wobbling mass
at some 5 to 20 Hz (Gruber et al., *J. Biomech.* 31, 1998; Pain and Challis, *J. Biomech.* 39, 2006). Simulated and
captured skeletons are smooth there. Each contact adds to the acceleration of a segment

    a(t) = share v w exp(-d w t) sin(w t),    w = 2 pi f,

v being the downward speed of the foot that is stopped, and a rotation of the same shape with the rate ``a / (w r)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import find_peaks, lfilter

from imu_video.errors import ConfigError
from imu_video.simulation.body import SIDES, Motion

SHARES: dict[str, float] = {
    "foot": 0.1,
    "shank": 0.1,
    "thigh": 0.05,
    "pelvis": 0.12,
    "torso": 0.1,
    "head": 0.07,
    "upper_arm": 0.08,
    "forearm": 0.08,
    "hand": 0.08,
}
"""Share of the foot's speed that rings in a segment: some half a g at the pelvis in walking.

The legs' skeleton is stopped by the ground in any case, and their shares are small."""
_OTHER_LEG = 0.3  # of the share, for segments of the leg that does not land
_SLOWEST_M_S = 0.15
_APART_S = 0.2
_RESTING_M_S, _REST_FROM_S, _REST_TO_S = 0.5, 0.05, 0.12


@dataclass(frozen=True, kw_only=True, eq=False)
class Impact:
    """How the contacts of one recording shake one device.

    Args:
        share: of the stopped speed, 0 to 2.
        hz: frequency of the ringing in Hz, 1 to 60.
        damping: damping ratio, above 0 and below 1.
        radius: ratio of linear to angular speed of the shock in m, 0.05 or more.
        directions: side -> (3,) direction of the shock in world axes.
        axes: side -> (3,) axis of its rotation in world axes.

    Raises:
        ConfigError: a value out of range.
    """

    share: float
    hz: float
    damping: float
    radius: float
    directions: dict[str, np.ndarray]
    axes: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        if not (0 <= self.share <= 2 and 1 <= self.hz <= 60 and 0 < self.damping < 1 and self.radius >= 0.05):
            raise ConfigError(
                f"impact with share {self.share:g}, {self.hz:g} Hz, damping {self.damping:g}, radius {self.radius:g} m",
                hint="expected a share of 0 to 2, 1 to 60 Hz, damping between 0 and 1, a radius of 0.05 m or more",
            )


def contacts(motion: Motion, side: str, rate_hz: float) -> np.ndarray:
    """(T,) downward speed in m/s that is stopped when the foot lands, at the sample of the contact, else 0.

    A contact is the end of a fall of the ankle or the ball of the foot, whichever is lower, after which the foot rests:
    the dip of a foot in mid-swing is none.

    Args:
        motion: joints in the world, z up.
        side: ``left`` or ``right``.
        rate_hz: samples per second.

    Example:
        >>> from imu_video.simulation.body import Body, Pose, forward
        >>> float(contacts(forward(Pose.neutral(50), Body(height=1.7)), "left", 200.0).sum())
        0.0
    """
    lowest = np.minimum(motion.joint(f"{side}_ankle")[2], motion.joint(f"{side}_foot")[2])
    down = -np.gradient(lowest) * rate_hz
    across = np.linalg.norm(np.gradient(motion.joint(f"{side}_ankle")[:2], axis=1), axis=0) * rate_hz
    out = np.zeros(len(down))
    peaks, _ = find_peaks(down, height=_SLOWEST_M_S, distance=max(1, int(_APART_S * rate_hz)))
    for peak in peaks:
        # The foot has landed once it is slower than a fifth of its fastest fall.
        stopped = np.flatnonzero(down[peak:] < 0.2 * down[peak])
        if len(stopped):
            at = peak + int(stopped[0])
            after = across[at + int(_REST_FROM_S * rate_hz) : at + int(_REST_TO_S * rate_hz)]
            if len(after) and after.mean() < _RESTING_M_S:
                out[at] = down[peak]
    return out


def shock(motion: Motion, segment: str, impact: Impact, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Acceleration in m/s^2 and angular rate in rad/s that contacts add to a segment, (3, T) each in world axes.

    Args:
        motion: of the body.
        segment: on which the device is.
        impact: strength and shape.
        rate_hz: samples per second.
    """
    w = 2 * np.pi * impact.hz
    # exp(-d w t) sin(w t) sampled at t = n / rate is the response of a filter of second order.
    decay, turn = np.exp(-impact.damping * w / rate_hz), w / rate_hz
    numerator, denominator = [0.0, decay * np.sin(turn)], [1.0, -2 * decay * np.cos(turn), decay**2]
    force, rate = np.zeros((3, motion.joints.shape[2])), np.zeros((3, motion.joints.shape[2]))
    for side in SIDES:
        share = impact.share * (_OTHER_LEG if segment.startswith(_other(side)) and segment.endswith(_LEG) else 1.0)
        ringing = lfilter(numerator, denominator, contacts(motion, side, rate_hz)) * share
        force += impact.directions[side][:, None] * (w * ringing)
        rate += impact.axes[side][:, None] * (ringing / impact.radius)
    return force, rate


_LEG = ("thigh", "shank", "foot")


def _other(side: str) -> str:
    return "right" if side == "left" else "left"
