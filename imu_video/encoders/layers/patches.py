"""Patches of each IMU channel, aligned to the end of the window, with gaps filled; encoders embed the patches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from imu_video.encoders.base import masked_mean


def patch_count(samples: int, *, patch: int, stride: int) -> int:
    """Patches of a window of ``samples`` steps; a window shorter than one patch is padded to one.

    Example:
        >>> patch_count(250, patch=16, stride=16), patch_count(9, patch=16, stride=16)
        (15, 1)
    """
    return max(samples - patch, 0) // stride + 1


def cut_patches(imu: Tensor, mask: Tensor | None, *, patch: int, stride: int) -> tuple[Tensor, Tensor | None]:
    """Cut every channel into patches that end with the window; the oldest ``(T - patch) % stride`` samples are unused.

    A gap inside a patch is filled with the mean of its measured samples: zeros would look like free fall.

    Args:
        imu: (B, C, T); entries under False may have any value.
        mask: (B, C, T) bool, True where measured, or None.
        patch: samples per patch.
        stride: samples between the starts of patches.

    Shapes: -> (B*C, P, patch), and (B*C, P) bool, True for patches with a measured sample; None if all samples are
        measured.

    Example:
        >>> patches, measured = cut_patches(torch.arange(5.0)[None, None], None, patch=2, stride=2)
        >>> patches.tolist(), measured
        ([[[1.0, 2.0], [3.0, 4.0]]], None)
    """
    short = patch - imu.shape[-1]
    if mask is None and short > 0:
        mask = torch.ones_like(imu, dtype=torch.bool)
    if mask is None:
        return _cut(imu, patch, stride), None
    if short > 0:
        imu, mask = F.pad(imu, (short, 0)), F.pad(mask, (short, 0))
    values, measured = _cut(imu, patch, stride), _cut(mask, patch, stride)
    return torch.where(measured, values, masked_mean(values, measured, -1)), measured.any(-1)


def needed_mask(mask: Tensor | None, *, samples: int, patch: int) -> Tensor | None:
    """None in place of a mask that is True everywhere, for windows of at least one patch.

    Without a mask, ``scaled_dot_product_attention`` can use its faster kernels. An exported program keeps the mask: it
    is one graph for windows with and without gaps.
    """
    if torch.compiler.is_exporting():
        return mask
    return None if mask is not None and samples >= patch and bool(mask.all()) else mask


def standardise(imu: Tensor, mask: Tensor | None) -> Tensor:
    """Each series to zero mean and unit variance over its measured samples. Shapes: (B, C, T) -> (B, C, T)."""
    if mask is None:
        mask = torch.ones_like(imu, dtype=torch.bool)
    centred = imu - masked_mean(imu, mask, -1)
    return centred / (masked_mean(centred.square(), mask, -1) + 1e-5).sqrt()


def _cut(x: Tensor, patch: int, stride: int) -> Tensor:
    used = patch + stride * (patch_count(x.shape[-1], patch=patch, stride=stride) - 1)
    return x[..., x.shape[-1] - used :].unfold(-1, patch, stride).flatten(0, 1)
