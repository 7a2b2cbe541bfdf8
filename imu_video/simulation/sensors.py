"""The virtual IMU: from a segment's position and orientation to the signals of a worn device; no body or activities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import correlate1d, gaussian_filter1d

from imu_video.errors import ConfigError, nearest
from imu_video.simulation.body import SIDES, Motion
from imu_video.simulation.person import Person
from imu_video.simulation.rotations import apply, apply_inverse, compose, exponential
from imu_video.types import GRAVITY, ImuStream

T = TypeVar("T")

# Central differences of sixth order (Fornberg 1988): exact on polynomials of degree 6.
FIRST = np.array([-1, 9, -45, 0, 45, -9, 1]) / 60
_SECOND = np.array([2, -27, 270, -490, 270, -27, 2]) / 180


def specific_force_and_rate(
    position: np.ndarray, rotation: np.ndarray, rate_hz: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ideal accelerometer and gyroscope of a moving frame: ``f = R^T (d2p/dt2 - g)`` and ``[w]x = R^T dR/dt``.

    Source: strapdown mechanisation, for example Titterton and Weston, *Strapdown Inertial Navigation Technology*. The
    derivatives of the first and last three samples are not accurate, so simulate a margin.

    Args:
        position: (3, T) metres in world axes, z up.
        rotation: (3, 3, T) device to world.
        rate_hz: samples per second.

    Returns:
        Specific force in m/s^2 and angular rate in rad/s, both (3, T) in device axes.

    Example:
        >>> still = np.repeat(np.eye(3)[:, :, None], 20, axis=2)
        >>> force, rate = specific_force_and_rate(np.zeros((3, 20)), still, 100.0)
        >>> force[:, 10].round(5).tolist()
        [0.0, 0.0, 9.80665]
    """
    acceleration = world_acceleration(position, rate_hz)
    acceleration[2] += GRAVITY
    return apply_inverse(rotation, acceleration), turning_rate(rotation, rate_hz)


def world_acceleration(position: np.ndarray, rate_hz: float) -> np.ndarray:
    """Second derivative in m/s^2 of a position (3, T) in metres, without gravity."""
    return np.asarray(correlate1d(position, _SECOND, axis=-1, mode="nearest") * rate_hz**2)


def turning_rate(rotation: np.ndarray, rate_hz: float) -> np.ndarray:
    """Angular rate (3, T) in rad/s of an orientation (3, 3, T), in its own axes."""
    turning = correlate1d(rotation, FIRST, axis=-1, mode="nearest") * rate_hz
    # Element (i, j) of R^T dR is column i of R times column j of dR.
    columns = [(2, 1), (0, 2), (1, 0)]
    return np.stack([np.einsum("kt,kt->t", rotation[:, i], turning[:, j]) for i, j in columns])


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Placement of a device on the body.

    Args:
        segment: name of the rigid segment; ``{pocket}`` is replaced by the person's pocket side.
        offset: position in the segment's axes in units of stature (x, y) and segment length (z).
        x_axis: direction of the device's x axis (3 o'clock) in the segment's axes.
        out: direction of the device's z axis (out of the screen).
        loose: factor on the motion of the device relative to the body; 1 is a tight strap.
        pocketed: whether the device lies in a pocket, in any orientation.
    """

    segment: str
    offset: tuple[float, float, float]
    x_axis: tuple[float, float, float]
    out: tuple[float, float, float]
    loose: float = 1.0
    pocketed: bool = False

    @property
    def axes(self) -> np.ndarray:
        """(3, 3) device to segment, columns x, y, z."""
        x, z = np.array(self.x_axis), np.array(self.out)
        return np.stack([x, np.cross(z, x), z], axis=1)


_LEFT, _RIGHT, _FRONT = (0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0)
PLACEMENTS: dict[str, Placement] = {
    # A watch's 3 o'clock points to the hand on the left wrist and to the elbow on the right one.
    "left_wrist": Placement(segment="left_forearm", offset=(0.0, 0.018, -0.90), x_axis=(0.0, 0.0, -1.0), out=_LEFT),
    "right_wrist": Placement(segment="right_forearm", offset=(0.0, -0.018, -0.90), x_axis=(0.0, 0.0, 1.0), out=_RIGHT),
    "chest": Placement(segment="torso", offset=(0.065, 0.0, 0.62), x_axis=_LEFT, out=_FRONT),
    "waist": Placement(segment="pelvis", offset=(0.055, -0.04, 0.35), x_axis=_LEFT, out=_FRONT, loose=1.3),
    "thigh": Placement(
        segment="{pocket}_thigh", offset=(0.045, 0.0, -0.3), x_axis=_LEFT, out=_FRONT, loose=1.8, pocketed=True
    ),
    "ankle": Placement(segment="right_shank", offset=(0.0, -0.025, -0.88), x_axis=_FRONT, out=_RIGHT),
    "head": Placement(segment="head", offset=(0.0, -0.048, 0.9), x_axis=_FRONT, out=_RIGHT),
}
"""Placements by name."""


@dataclass(frozen=True, kw_only=True)
class SensorProfile:
    """A kind of device: mounting, sampling and sensor errors.

    Args:
        rate_hz: nominal samples per second.
        acc_range: largest specific force per axis in m/s^2; larger values are clipped.
        gyr_range: largest angular rate per axis in rad/s.
        acc_step: resolution in m/s^2, 0 for none.
        gyr_step: resolution in rad/s, 0 for none.
        acc_noise: standard deviation of white noise in m/s^2.
        gyr_noise: standard deviation of white noise in rad/s.
        acc_bias: standard deviation of the constant error per axis and session in m/s^2.
        gyr_bias: the same for the gyroscope in rad/s.
        scale_error: standard deviation of the relative error of each axis' gain.
        jitter: standard deviation of sample times relative to the sample period, 0 to 0.2.
        drift: standard deviation of the clock rate's relative error.
        losses_per_minute: mean number of short interruptions.
        mount: standard deviation of the mounting angle in rad, once per person and once per session.
        slip: standard deviation of the position on the body in m.
        flip: probability that a person wears it turned by 180 degrees.
        slack: standard deviation of slow rotation on the body during the session in rad.
        cross_axis: standard deviation of the share of one axis that another axis of the same sensor measures.
        cut_off: -3 dB of the device's digital low-pass relative to its rate, 0.1 to 1.
        axes: (x, y, z) of the device's axis convention: rows of a rotation from the placement's axes.
    """

    rate_hz: float
    acc_range: float
    gyr_range: float
    acc_step: float
    gyr_step: float
    acc_noise: float
    gyr_noise: float
    acc_bias: float
    gyr_bias: float
    scale_error: float
    jitter: float
    drift: float
    losses_per_minute: float
    mount: float
    slip: float
    flip: float
    slack: float
    cross_axis: float = 0.0
    cut_off: float = 0.4
    axes: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]] = (
        (1.0, 0.0, 0.0),
        (0.0, 1.0, 0.0),
        (0.0, 0.0, 1.0),
    )


PROFILES: dict[str, SensorProfile] = {
    "research": SensorProfile(
        rate_hz=100.0,
        acc_range=16 * GRAVITY,
        gyr_range=np.deg2rad(2000),
        acc_step=16 * GRAVITY / 2**15,
        gyr_step=np.deg2rad(2000) / 2**15,
        acc_noise=0.015,
        gyr_noise=0.0015,
        acc_bias=0.03,
        gyr_bias=0.002,
        scale_error=0.002,
        jitter=0.005,
        drift=5e-6,
        losses_per_minute=0.0,
        mount=np.deg2rad(4),
        slip=0.005,
        flip=0.0,
        slack=np.deg2rad(0.7),
    ),
    "watch": SensorProfile(
        rate_hz=50.0,
        acc_range=8 * GRAVITY,
        gyr_range=np.deg2rad(2000),
        acc_step=8 * GRAVITY / 2**15,
        gyr_step=np.deg2rad(2000) / 2**15,
        acc_noise=0.04,
        gyr_noise=0.004,
        acc_bias=0.1,
        gyr_bias=0.01,
        scale_error=0.006,
        jitter=0.02,
        drift=3e-5,
        losses_per_minute=0.2,
        mount=np.deg2rad(7),
        slip=0.012,
        flip=0.06,
        slack=np.deg2rad(2.5),
    ),
    "cheap": SensorProfile(
        rate_hz=26.0,
        acc_range=2 * GRAVITY,
        gyr_range=np.deg2rad(250),
        acc_step=2 * GRAVITY / 2**7,
        gyr_step=np.deg2rad(250) / 2**7,
        acc_noise=0.15,
        gyr_noise=0.03,
        acc_bias=0.45,
        gyr_bias=0.06,
        scale_error=0.03,
        jitter=0.08,
        drift=1e-4,
        losses_per_minute=2.0,
        mount=np.deg2rad(14),
        slip=0.02,
        flip=0.15,
        slack=np.deg2rad(5),
        axes=((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
    ),
}
"""Kinds of devices: an accurate ``research`` unit, a ``watch``, and a ``cheap`` tag (26 Hz, 2 g, 8 bit, other axes)."""


def look_up(table: dict[str, T], name: str, kind: str) -> T:
    """An entry by name.

    Raises:
        ConfigError: unknown name; the nearest spelling is offered.
    """
    if name not in table:
        raise ConfigError(f"unknown {kind} {name!r}{nearest(name, table)}")
    return table[name]


@dataclass(frozen=True, kw_only=True, eq=False)
class Mount:
    """Mounting of one device on one person in one session.

    Args:
        segment: name of the segment.
        offset: (3,) metres in the segment's axes.
        axes: (3, 3) device to segment.
        slack: standard deviation in rad of slow rotation about ``axes`` during the session.
    """

    segment: str
    offset: np.ndarray
    axes: np.ndarray
    slack: float = 0.0


def draw_mount(
    person: Person, placement: str, profile: SensorProfile, habit: np.random.Generator, today: np.random.Generator
) -> Mount:
    """Mount a device: nominal placement, axis convention of the profile, deviations of the person and of the session.

    Args:
        person: who wears it.
        placement: name in PLACEMENTS.
        profile: kind of device.
        habit: generator of the deviation that all sessions of the person share.
        today: generator of this session's deviation.
    """
    place = look_up(PLACEMENTS, placement, "placement")
    length = {
        "forearm": person.body.forearm,
        "torso": person.body.trunk,
        "pelvis": person.body.lumbar,
        "thigh": person.body.thigh,
        "shank": person.body.shank,
        "head": person.body.neck,
    }[place.segment.split("_")[-1]]
    height = person.body.height
    offset = np.array(place.offset) * (height, height, length)
    axes = place.axes
    if place.pocketed:
        turned = np.deg2rad(float(person.choose("pocket_turn", today)))
        axes = axes @ about_z(turned)
        if person.choose("pocket_face", today) == "in":
            axes = axes @ np.diag([-1.0, 1.0, -1.0])
    elif habit.random() < profile.flip:
        axes = axes @ np.diag([-1.0, -1.0, 1.0])
    spread = profile.mount * place.loose
    tilt = habit.normal(0, spread, 3) + today.normal(0, spread, 3)
    axes = axes @ exponential(tilt[:, None])[:, :, 0] @ np.array(profile.axes).T
    slip = (habit.normal(0, 0.7, 3) + today.normal(0, 0.7, 3)) * profile.slip * place.loose
    return Mount(
        segment=place.segment.format(pocket=person.pocket),
        offset=offset + slip * (0.4, 0.4, 1.0),
        axes=axes,
        slack=profile.slack * place.loose,
    )


def about_z(angle: float) -> np.ndarray:
    """(3, 3) rotation about z by an angle in rad."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def mounted(motion: Motion, mount: Mount, times: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Position (3, T) in metres and orientation (3, 3, T) of a mounted device in the world."""
    segment = motion.segments[mount.segment]
    position = motion.joint(ORIGINS[mount.segment]) + apply(segment, mount.offset)
    rotation = compose(segment, mount.axes)
    if mount.slack > 0:
        knots = np.arange(times[0] - 20.0, times[-1] + 30.0, 10.0)
        drift = CubicSpline(knots, rng.normal(0, mount.slack, (len(knots), 3)))(times).T
        rotation = compose(rotation, exponential(drift))
    return position, rotation


ORIGINS: dict[str, str] = {
    "pelvis": "pelvis",
    "torso": "spine",
    "head": "neck",
    **{
        f"{side}_{segment}": f"{side}_{joint}"
        for side in SIDES
        for segment, joint in (
            ("upper_arm", "shoulder"),
            ("forearm", "elbow"),
            ("hand", "wrist"),
            ("thigh", "hip"),
            ("shank", "knee"),
            ("foot", "ankle"),
        )
    },
}
"""Segment -> the joint at which it starts."""


def measure(
    force: np.ndarray,
    rate: np.ndarray,
    times: np.ndarray,
    *,
    placement: str,
    profile: SensorProfile,
    seconds: float,
    rng: np.random.Generator,
) -> ImuStream:
    """Signals of a device: low-pass, its own sample times, gain, bias, noise, clipping, quantisation, lost samples.

    Args:
        force: (3, T) ideal specific force in m/s^2 on a regular grid.
        rate: (3, T) ideal angular rate in rad/s.
        times: (T,) seconds of the grid, from before 0 to beyond ``seconds``.
        placement: name of the stream.
        profile: kind of device.
        seconds: samples are taken in 0 <= t < ``seconds``.
        rng: generator of this device in this session.

    Raises:
        ConfigError: the rate of the device is too high for the grid.
    """
    grid_hz = 1.0 / float(times[1] - times[0])
    if profile.rate_hz > 0.6 * grid_hz:
        raise ConfigError(f"sensor rate {profile.rate_hz} Hz is too high for kinematics at {grid_hz:.0f} Hz")
    ideal = np.concatenate([force, rate])
    # A Gaussian low-pass models the digital filter of the device: without one, the sharp contacts of a stride would
    # alias into the signal as in no real device.
    ideal = gaussian_filter1d(ideal, 0.1325 / (profile.cut_off * profile.rate_hz) * grid_hz, axis=-1, mode="nearest")
    period = 1.0 / (profile.rate_hz * (1 + rng.normal(0, profile.drift)))
    count = int(np.floor((seconds - 1e-9) / period))
    taken = (np.arange(count) + rng.uniform(0.05, 0.95)) * period
    taken = taken + period * np.clip(rng.normal(0, 1, count) * profile.jitter, -0.35, 0.35)
    taken = taken[(taken >= 0) & (taken < seconds)]
    values = _interpolate(ideal, times, taken)

    gain = 1 + rng.normal(0, profile.scale_error, (6, 1))
    if profile.cross_axis > 0:  # drawn only here, so that profiles without it keep their other errors
        for rows in (slice(0, 3), slice(3, 6)):
            leak = rng.normal(0, profile.cross_axis, (3, 3))
            np.fill_diagonal(leak, 1.0)
            values[rows] = leak @ values[rows]
    spread = np.repeat([profile.acc_bias, profile.gyr_bias], 3)[:, None]
    white = np.repeat([profile.acc_noise, profile.gyr_noise], 3)[:, None]
    values = gain * values + rng.normal(0, 1, (6, 1)) * spread + rng.normal(0, 1, values.shape) * white
    for rows, limit, step in (
        (slice(0, 3), profile.acc_range, profile.acc_step),
        (slice(3, 6), profile.gyr_range, profile.gyr_step),
    ):
        if step > 0:
            values[rows] = np.round(values[rows] / step) * step
        values[rows] = np.clip(values[rows], -limit, limit)
    keep = np.ones(len(taken), dtype=bool)
    for begin in rng.uniform(0, seconds, rng.poisson(profile.losses_per_minute * seconds / 60)):
        keep &= ~((taken >= begin) & (taken < begin + rng.uniform(0.03, 0.25)))
    return ImuStream(placement=placement, times=taken[keep], values=values[:, keep])


def _interpolate(values: np.ndarray, times: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Cubic Lagrange interpolation of rows on a regular grid, (R, T) to (R, len(at))."""
    step = float(times[1] - times[0])
    where = (at - times[0]) / step
    base = np.clip(np.floor(where).astype(np.int64), 1, len(times) - 3)
    f = where - base
    weights = (
        -f * (f - 1) * (f - 2) / 6,
        (f + 1) * (f - 1) * (f - 2) / 2,
        -(f + 1) * f * (f - 2) / 2,
        (f + 1) * f * (f - 1) / 6,
    )
    out = np.zeros((values.shape[0], len(at)))
    for shift, weight in zip((-1, 0, 1, 2), weights, strict=True):
        out += values[:, base + shift] * weight
    return out
