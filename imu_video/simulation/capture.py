"""Cleaning of captured motion before sensors are simulated on it: rest pose, glitches, noise; no files and no rigs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter1d

from imu_video.errors import RecordingError
from imu_video.modalities.skeleton import SkeletonTrack
from imu_video.simulation.mocap import Take
from imu_video.types import ImuStream

FASTEST_M_S = 15.0
"""No joint of a person moves faster, in m/s: what does is an error of the capture."""
GLITCH_S = 0.15
"""Seconds before and after a glitch that smoothing and derivatives spread it over."""
GAUSSIAN_3DB = float(np.sqrt(np.log(2)) / (2 * np.pi))
"""Standard deviation in seconds, times the frequency in Hz, of a Gaussian filter with -3 dB at that frequency."""


def too_fast(positions: np.ndarray, rate_hz: float, *, limit_m_s: float = FASTEST_M_S) -> np.ndarray:
    """(T - 1,) bool: the steps between frames in which any joint is faster than the limit.

    Args:
        positions: (J, 3, T) metres.
        rate_hz: frames per second.
        limit_m_s: speed in m/s.

    Example:
        >>> walk = np.zeros((1, 3, 5))
        >>> walk[0, 0] = [0.0, 1.0, 1.01, 1.02, 1.03]
        >>> too_fast(walk, 100.0).tolist()
        [True, False, False, False]
    """
    speed = np.linalg.norm(np.diff(positions, axis=2), axis=1) * rate_hz
    return np.asarray((speed > limit_m_s).any(axis=0))


def smoothed(take: Take, hz: float) -> Take:
    """The take behind a Gaussian low-pass with -3 dB at ``hz``; rotations are made orthonormal by their user.

    Marker noise of a few tenths of a millimetre becomes tens of m/s^2 in the second derivative at 100 Hz and above.

    Args:
        take: captured motion.
        hz: cut-off in Hz, above 0 and below half of the take's rate.

    Raises:
        RecordingError: a cut-off outside this range.
    """
    if not 0 < hz < take.rate_hz / 2:
        raise RecordingError(
            f"smooth_hz {hz:g}, expected above 0 and below half of the {take.rate_hz:.4g} frames per second"
        )
    sigma = GAUSSIAN_3DB / hz * take.rate_hz
    return replace(
        take,
        joints={name: _low_pass(at, sigma) for name, at in take.joints.items()},
        bones={name: _low_pass(bone, sigma) for name, bone in take.bones.items()},
    )


def _low_pass(values: np.ndarray, sigma: float) -> np.ndarray:
    """Along the last axis; both ends are continued point-symmetrically, so that slopes do not bend there."""
    reach = min(values.shape[-1] - 1, int(np.ceil(4 * sigma)))
    first, last = values[..., :1], values[..., -1:]
    before = 2 * first - values[..., reach:0:-1]
    after = 2 * last - values[..., -2 : -reach - 2 : -1]
    padded = np.concatenate([before, values, after], axis=-1)
    out = gaussian_filter1d(padded, sigma, axis=-1, mode="nearest")
    return np.asarray(out[..., reach : reach + values.shape[-1]])


def spans(steps: np.ndarray, rate_hz: float, *, margin_s: float = GLITCH_S) -> list[tuple[float, float]]:
    """Begin and end in seconds of the intervals around faulty steps, merged where they overlap.

    Args:
        steps: (T - 1,) bool, step i lies between frames i and i + 1.
        rate_hz: frames per second.
        margin_s: seconds added on both sides.

    Example:
        >>> [tuple(round(t, 2) for t in span) for span in spans(np.arange(99) == 50, 100.0)]
        [(0.35, 0.66)]
    """
    if not steps.any():
        return []
    margin = int(np.ceil(margin_s * rate_hz))
    wide = np.pad(steps, margin + 1)
    wide = binary_dilation(wide, structure=np.ones(2 * margin + 1, dtype=bool))
    edges = np.flatnonzero(np.diff(wide.astype(np.int8)))
    return [
        (float(a - margin) / rate_hz, float(b - margin) / rate_hz) for a, b in zip(edges[::2], edges[1::2], strict=True)
    ]


def outside(times: np.ndarray, intervals: Sequence[tuple[float, float]]) -> np.ndarray:
    """(T,) bool: the times that lie in none of the intervals."""
    keep = np.ones(len(times), dtype=bool)
    for begin, end in intervals:
        keep &= (times < begin) | (times > end)
    return keep


def cut(
    imu: Sequence[ImuStream], skeleton: SkeletonTrack, intervals: Sequence[tuple[float, float]]
) -> tuple[tuple[ImuStream, ...], SkeletonTrack]:
    """Devices and skeleton without the samples and frames in the intervals, which become gaps.

    Raises:
        RecordingError: fewer than two samples remain.
    """
    kept = []
    for device in imu:
        keep = outside(device.times, intervals)
        if np.count_nonzero(keep) < 2:
            raise RecordingError("nothing is left outside the glitches of the capture", hint="leave the file out")
        kept.append(replace(device, times=device.times[keep], values=device.values[:, keep]))
    frames = outside(skeleton.times, intervals)
    return tuple(kept), replace(skeleton, times=skeleton.times[frames], joints=skeleton.joints[frames])
