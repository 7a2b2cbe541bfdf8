"""Common parts of encoders: input validation and arithmetic under a mask; no architectures."""

from __future__ import annotations

import torch
from torch import Tensor


def check_window(imu: Tensor, mask: Tensor | None, channels: int) -> None:
    """Reject inputs that are not (B, C, T) with the encoder's C, so that a wrong axis order never trains silently.

    Args:
        imu: (B, C, T) normalised windows.
        mask: (B, C, T) bool, True where measured, or None.
        channels: the encoder's C.

    Raises:
        TypeError: not tensors.
        ValueError: another shape or type; the message gives the actual and the expected shape.

    Example:
        >>> check_window(torch.zeros(2, 6, 100), None, 6)
    """
    check_tensor(imu)
    shape = tuple(imu.shape)
    if imu.ndim != 3 or shape[1] != channels or shape[2] < 1:
        why = ""
        if imu.ndim == 3 and shape[2] == channels:
            why = "; the axes seem to be (B, T, C): transpose the windows after loading"
        elif imu.ndim == 2 and shape[0] == channels:
            why = "; the axes seem to be (C, T): add the batch axis with imu[None]"
        raise ValueError(f"imu has shape {shape}, expected (B, C, T) with C={channels}{why}")
    if mask is not None and (mask.shape != imu.shape or mask.dtype != torch.bool):
        raise ValueError(f"mask must be bool {shape} like imu, got {mask.dtype} {tuple(mask.shape)}")


def check_tensor(imu: object) -> None:
    """Reject windows that are not a torch tensor, most often a NumPy array.

    Raises:
        TypeError: another type; the message names the two ways to compute features.

    Example:
        >>> check_tensor(torch.zeros(2, 6, 100))
    """
    if not isinstance(imu, Tensor):
        raise TypeError(
            f"imu must be a torch tensor, got {type(imu).__module__}.{type(imu).__name__}\n"
            "  try: torch.from_numpy(imu).float(); EncoderBundle.encode(imu, rate_hz=...) takes NumPy arrays"
        )


def masked_mean(x: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Mean over ``dim`` (kept) of the entries where ``mask`` is True; zero where no entry is True.

    Entries under False may have any value, including NaN; they affect neither the result nor the gradient.
    Shapes: x and mask (..., n, ...) -> (..., 1, ...).
    """
    # torch.where instead of x * mask: NaN x 0 is NaN, in the value and in the gradient.
    total = torch.where(mask, x, 0).sum(dim, keepdim=True)
    return total / mask.sum(dim, keepdim=True).clamp(min=1)


def fill_gaps(imu: Tensor, mask: Tensor) -> Tensor:
    """Interpolate linearly over the gaps of each channel; at both ends the nearest sample is repeated.

    With zeros, a convolution could not distinguish a gap from free fall. A channel without any sample becomes zeros.

    Args:
        imu: (B, C, T); entries under False may have any value.
        mask: (B, C, T) bool, True where measured.

    Shapes: -> (B, C, T), measured samples unchanged.

    Example:
        >>> mask = torch.tensor([[[False, True, False, True]]])
        >>> fill_gaps(torch.tensor([[[9.0, 1.0, 9.0, 3.0]]]), mask).tolist()
        [[[1.0, 1.0, 2.0, 3.0]]]
    """
    if mask.device.type == "cpu" and not torch.compiler.is_compiling() and bool(mask.all()):
        return imu  # on a GPU, reading the result of this check would wait for all queued kernels
    count = imu.shape[-1]
    place = torch.arange(count, device=imu.device).expand_as(mask)
    # The nearest measured sample on each side, without a loop over time: `found` lists the places of the measured
    # samples of a channel, and a running count gives the entry of each step. Running sums and scattered writes are
    # operators of ONNX, running maxima are not. Where one side has no sample, both ends are the same sample and the
    # interpolation is constant.
    rank = mask.cumsum(-1)
    last = (rank[..., -1:] - 1).clamp(min=0)
    found = place.new_zeros((*mask.shape[:-1], count + 1))
    found = found.scatter(-1, torch.where(mask, rank - 1, count), place)  # places of gaps go to a further column
    left = found.gather(-1, torch.minimum((rank - 1).clamp(min=0), last))
    right = found.gather(-1, torch.minimum(torch.where(mask, rank - 1, rank), last))
    values = torch.where(mask, imu, 0)
    low, high = values.gather(-1, left), values.gather(-1, right)
    share = (place - left).to(imu.dtype) / (right - left).clamp(min=1).to(imu.dtype)
    return low + (high - low) * share
