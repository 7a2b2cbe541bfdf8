"""Amount of motion between the frames of a video, by optical flow over blocks; the curve is aligned by recordings/sync.

Frames are reduced to 128 pixels width and divided into 4 x 6 blocks. The displacement of a block to the next frame is
the least-squares solution of the brightness constancy equation (Lucas and Kanade 1981); the motion is the mean length
over the blocks. A moving camera moves all blocks, a subject in front of a fixed camera some of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from imu_video.modalities.base import Curve

if TYPE_CHECKING:
    from imu_video.modalities.video import FrameSource

WIDTH = 128
_ROWS, _COLUMNS = 4, 6
_RIDGE = 1.0  # grey levels squared per pixel: a block without texture gives no motion instead of amplified noise
_BATCH = 8  # frames decoded at a time


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
