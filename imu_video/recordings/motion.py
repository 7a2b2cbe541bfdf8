"""Amount of motion over time in videos, skeletons and IMU streams: the curves that sync.py aligns; no alignment here.

Videos: frames are reduced to 128 pixels width and divided into 4 x 6 blocks. The displacement of a block to the next
frame is the least-squares solution of the brightness constancy equation (Lucas and Kanade 1981); the motion is the
mean length over the blocks. A moving camera moves all blocks, a subject in front of a fixed camera some of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from imu_video.modalities.skeleton import SkeletonTrack
from imu_video.modalities.video import FrameSource
from imu_video.types import GRAVITY, ImuStream

WIDTH = 128
_ROWS, _COLUMNS = 4, 6
_RIDGE = 1.0  # grey levels squared per pixel: a block without texture gives no motion instead of amplified noise
BONES: dict[str, tuple[str, str]] = {
    "upper_arm": ("shoulder", "elbow"),
    "forearm": ("elbow", "wrist"),
    "wrist": ("elbow", "wrist"),
    "hand": ("wrist", "hand"),
    "thigh": ("hip", "knee"),
    "pocket": ("hip", "knee"),
    "shin": ("knee", "ankle"),
    "shank": ("knee", "ankle"),
    "ankle": ("knee", "ankle"),
    "foot": ("ankle", "foot"),
}
"""Joints (without side) at the ends of the bone on which a sensor at this placement is worn."""

_BATCH = 8  # frames decoded at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Motion over time: ``times`` (n,) seconds, increasing, and ``values`` (n,) >= 0 in a unit of its own.

    ``breaks`` is the longest step between two times that counts as continuous; longer steps are gaps.
    """

    times: np.ndarray
    values: np.ndarray
    breaks: float


def picture_motion(video: FrameSource, indices: np.ndarray) -> Curve:
    """Mean block displacement between consecutive frames, in frame widths per second.

    Args:
        video: frames on the recording's clock.
        indices: frames to read, increasing; motion is computed between neighbours in this list that are at most 1.5
            median frame periods apart.

    Returns:
        One value per pair of neighbours, at the middle of the two frames.
    """
    times = np.asarray(video.times, dtype=np.float64)[indices]
    breaks = 1.5 * float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    middle, motion = [], []
    before: np.ndarray | None = None
    for first in range(0, len(indices), _BATCH):
        for offset, picture in enumerate(_small(video.read(indices[first : first + _BATCH].tolist()))):
            at = first + offset
            step = times[at] - times[at - 1] if at else np.inf
            if before is not None and step <= breaks:
                middle.append((times[at] + times[at - 1]) / 2)
                motion.append(block_motion(before, picture) / (picture.shape[1] * step))
            before = picture
    return Curve(times=np.array(middle), values=np.array(motion), breaks=2 * breaks)


def block_motion(a: np.ndarray, b: np.ndarray) -> float:
    """Mean displacement in pixels over 4 x 6 blocks from one grey frame (H, W) to the next.

    A first-order estimate: accurate up to about a pixel and too small beyond, which suffices to find moments of motion.

    Example:
        >>> x = np.arange(96.0)
        >>> wave = lambda shift: np.broadcast_to(100 * np.sin((x - shift) / 5), (64, 96))
        >>> round(block_motion(wave(0.0), wave(0.5)), 1)
        0.5
    """
    dy, dx = np.gradient((a + b) / 2)
    change = b - a
    height, width = a.shape[0] // _ROWS, a.shape[1] // _COLUMNS

    def mean(x: np.ndarray) -> np.ndarray:
        cut = x[: height * _ROWS, : width * _COLUMNS]
        return np.asarray(cut.reshape(_ROWS, height, _COLUMNS, width).mean(axis=(1, 3)))

    xx, yy, xy = mean(dx * dx) + _RIDGE, mean(dy * dy) + _RIDGE, mean(dx * dy)
    xt, yt = mean(dx * change), mean(dy * change)
    determinant = xx * yy - xy * xy
    return float(np.hypot((yy * xt - xy * yt) / determinant, (xx * yt - xy * xt) / determinant).mean())


def _small(frames: np.ndarray) -> np.ndarray:
    """(F, H, W, 3) uint8 to smoothed grey (F, h, WIDTH) float by area interpolation; smaller frames keep their size."""
    grey = torch.from_numpy(frames.mean(axis=3, dtype=np.float32))[:, None]
    height, width = grey.shape[2:]
    if width > WIDTH:
        size = (max(_ROWS * 4, round(height * WIDTH / width)), WIDTH)
        grey = torch.nn.functional.interpolate(grey, size=size, mode="area")
    return np.stack([gaussian_filter(picture, 1.0) for picture in grey[:, 0].double().numpy()])


def skeleton_motion(track: SkeletonTrack, placement: str | None = None) -> Curve:
    """Angular speed in rad/s of the bone at a placement; without that bone, the mean speed of all joints in m/s.

    A gyroscope measures rotation: on simulated wrists its magnitude correlates with the angular speed of the forearm at
    0.95, and with the speed of the wrist at 0.6.

    Args:
        track: joints over time; spaces, dots and dashes in names are read as underscores.
        placement: placement of the IMU. ``right_wrist`` uses the bone from ``right_elbow`` to ``right_wrist``; without
            a side, or if the joints have other names, all joints are used.
    """
    names = [name.lower().replace(" ", "_").replace("-", "_").replace(".", "_") for name in track.names]
    side, _, part = (placement or "").partition("_")
    bone = [f"{side}_{joint}" for joint in BONES.get(part, ())]
    steps = np.maximum(np.diff(track.times), 1e-6)
    if bone and set(bone) <= set(names):
        along = track.joints[:, names.index(bone[1])] - track.joints[:, names.index(bone[0])]
        along = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
        speed = np.linalg.norm(np.diff(along, axis=0), axis=1)[:, None] / steps[:, None]
    else:
        speed = np.linalg.norm(np.diff(track.joints, axis=0), axis=2) / steps[:, None]
    known = np.isfinite(speed)
    mean = np.where(known, speed, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    keep = known.any(axis=1)
    breaks = 1.5 * float(np.median(steps)) if len(steps) else 1.0
    return Curve(times=((track.times[1:] + track.times[:-1]) / 2)[keep], values=mean[keep], breaks=2 * breaks)


def imu_motion(stream: ImuStream) -> Curve | None:
    """Magnitude of the angular rate in rad/s; without gyroscope how far the acceleration's norm is from gravity.

    Returns:
        The curve, or None where fewer than 16 samples have all three axes.
    """
    for kind in ("gyr", "acc"):
        rows = [i for i, channel in enumerate(stream.channels) if channel.startswith(kind)]
        known = np.isfinite(stream.values[rows]).all(axis=0) if len(rows) == 3 else np.zeros(len(stream.times), bool)
        if np.count_nonzero(known) >= 16:
            size = np.linalg.norm(stream.values[rows][:, known], axis=0)
            times = stream.times[known]
            breaks = max(0.1, 3 * float(np.median(np.diff(times))))
            return Curve(times=times, values=size if kind == "gyr" else np.abs(size - GRAVITY), breaks=breaks)
    return None


def on_grid(curve: Curve, start: float, samples: int, rate_hz: float, *, slow_s: float, fast_s: float) -> np.ndarray:
    """The curve on a regular grid for correlation: its square root, band-passed by the difference of two Gaussians.

    The square root keeps a single strong movement from dominating the correlation.

    Args:
        curve: motion over time.
        start: seconds of the first grid point.
        samples: grid points.
        rate_hz: grid rate.
        slow_s: standard deviation in seconds of the Gaussian that is subtracted; slower changes are removed.
        fast_s: standard deviation in seconds of the Gaussian that smooths; faster changes are removed.

    Returns:
        (samples,) float64, NaN where the curve is unknown.
    """
    grid = start + np.arange(samples) / rate_hz
    if len(curve.times) < 2:
        return np.full(samples, np.nan)
    step = 1 / rate_hz
    # Means over a grid step, from the integral of the curve: a sensor faster than the grid is averaged rather than
    # sampled, which would alias its noise.
    integral = np.concatenate([[0.0], np.cumsum(np.diff(curve.times) * (curve.values[1:] + curve.values[:-1]) / 2)])
    low, high = np.clip(grid - step / 2, *curve.times[[0, -1]]), np.clip(grid + step / 2, *curve.times[[0, -1]])
    width = np.maximum(high - low, 1e-9)
    x = (np.interp(high, curve.times, integral) - np.interp(low, curve.times, integral)) / width
    right = np.clip(np.searchsorted(curve.times, grid), 1, len(curve.times) - 1)
    known = (curve.times[right] - curve.times[right - 1] <= curve.breaks) & (high > low)
    x = np.sqrt(np.maximum(np.where(known, x, 0.0), 0.0))
    out = _blur(x, known, fast_s * rate_hz) - _blur(x, known, slow_s * rate_hz)
    out[~known] = np.nan
    return out


def _blur(x: np.ndarray, known: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean over the known neighbours."""
    weight = gaussian_filter1d(known.astype(np.float64), sigma, mode="constant")
    return np.asarray(gaussian_filter1d(np.where(known, x, 0.0), sigma, mode="constant") / np.maximum(weight, 1e-9))
