"""Augmentations of values: mounting (rotate), gain (scale), noise (jitter), offset (bias); all in SI units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from imu_video.arguments import LATER, Probability
from imu_video.registry import augmentations
from imu_video.transforms.base import Augmentation, GlobalDraws
from imu_video.transforms.layout import Layout

Sigma = Annotated[float, Field(ge=0, le=10)]
"""Standard deviation of noise or offset in m/s^2 or rad/s; values above 10 are not realistic for wearables."""


@augmentations.register("rotate")
class Rotate(Augmentation):
    """Change of mounting: one random rotation per row and device, shared by accelerometer and gyroscope.

    Only sensors with three axes are rotated; those of one device (``torso`` in ``torso.acc_x``) turn together. Gravity
    is rotated as well, as on the body. A rotated axis mixes all three axes: where one axis of a sensor is
    missing for some time, all its axes become missing there; a row in which an axis is missing throughout is unchanged.

    Args:
        max_degrees: the angle is uniform in [0, max_degrees] about a random axis; in [0, 180].
        p: probability per row, in [0, 1].
        axis: uniform on the ``sphere``, or the direction of a point uniform in a ``cube``, which prefers its corners
            (Tang et al. 2020, arXiv 2011.11542, and others after Um et al. 2017); ``gravity``: the mean acceleration of
            the window, so that its tilt is kept and only the heading changes. Rows without accelerations are unchanged.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> imu = torch.ones(1, 6, 4)
        >>> out, _ = Rotate(max_degrees=180)(imu, torch.ones_like(imu, dtype=torch.bool), g)
        >>> torch.allclose(out[:, :3].norm(dim=1), imu[:, :3].norm(dim=1))
        True
    """

    def __init__(
        self,
        *,
        max_degrees: Annotated[float, Field(ge=0, le=180)] = 30.0,
        p: Probability = 1.0,
        axis: Annotated[Literal["sphere", "cube", "gravity"], LATER] = "sphere",
    ) -> None:
        super().__init__(p=p)
        self.max_degrees, self.axis = max_degrees, axis

    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        out, out_mask = imu.clone(), mask.clone()
        for device in self.layout(imu).triads:
            if self.axis == "gravity":
                axis = self._gravity(imu, mask, device)
            else:
                # The direction of a standard normal vector is uniform on the sphere.
                axis = draws.normal(len(imu), 3) if self.axis == "sphere" else 2 * draws.uniform(len(imu), 3) - 1
            angle = draws.uniform(len(imu)) * math.radians(self.max_degrees)
            matrix = rotation_matrices(axis, angle).to(imu)
            possible = torch.ones(len(imu), 1, 1, dtype=torch.bool, device=imu.device)
            for triad in device:
                present = mask[:, list(triad)].any(-1, keepdim=True)
                possible &= present.all(1, keepdim=True) | ~present.any(1, keepdim=True)
            for triad in device:
                rows = list(triad)
                turned = matrix @ torch.where(mask[:, rows], imu[:, rows], 0)
                out[:, rows] = torch.where(possible, turned, imu[:, rows])
                out_mask[:, rows] = torch.where(possible, mask[:, rows].all(1, keepdim=True), mask[:, rows])
        return out, out_mask

    def _gravity(self, imu: Tensor, mask: Tensor, device: Sequence[tuple[int, ...]]) -> Tensor:
        """(B, 3) mean acceleration of a device; zeros, about which nothing turns, where it has none."""
        rows = next((list(triad) for triad in device if set(triad) <= set(self.layout(imu).acc)), None)
        if rows is None:
            return imu.new_zeros(len(imu), 3).cpu()
        return torch.where(mask[:, rows], imu[:, rows], 0).sum(-1).cpu()


def rotation_matrices(axis: Tensor, angle: Tensor) -> Tensor:
    """Rotations about axes (Rodrigues): R = I + sin(a) K + (1 - cos(a)) K^2, K the cross-product matrix of the axis.

    Args:
        axis: (B, 3), any norm above 0.
        angle: (B,) rad.

    Shapes: -> (B, 3, 3).

    Example:
        >>> quarter = rotation_matrices(torch.tensor([[0.0, 0.0, 2.0]]), torch.tensor([math.pi / 2]))
        >>> torch.allclose(quarter[0] @ torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0]), atol=1e-6)
        True
    """
    x, y, z = torch.nn.functional.normalize(axis, dim=-1).unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    eye = torch.eye(3, dtype=axis.dtype, device=axis.device)
    return eye + angle.sin()[:, None, None] * cross + (1 - angle.cos())[:, None, None] * (cross @ cross)


@augmentations.register("scale")
class Scale(Augmentation):
    """A gain error: each sensor of a row times exp(sigma * n), n standard normal.

    Args:
        sigma: relative spread, in [0, 1]; 0.1 is about 10 %. Gravity is scaled as well, as by a real gain error.
        p: probability per row, in [0, 1].
        factor: ``exp`` (always above 0), or ``linear``: 1 + sigma * n (Tang et al. 2020, arXiv 2011.11542).
        per: ``sensor``: its axes share a gain, so that directions are kept; or ``channel``.

    Example:
        >>> imu = torch.ones(2, 6, 4)
        >>> out, _ = Scale()(imu, torch.ones_like(imu, dtype=torch.bool), torch.Generator().manual_seed(0))
        >>> bool((out[:, 0] == out[:, 2]).all())
        True
    """

    def __init__(
        self,
        *,
        sigma: Probability = 0.1,
        p: Probability = 1.0,
        factor: Annotated[Literal["exp", "linear"], LATER] = "exp",
        per: Annotated[Literal["sensor", "channel"], LATER] = "sensor",
    ) -> None:
        super().__init__(p=p)
        self.sigma, self.factor, self.per = sigma, factor, per

    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        layout = self.layout(imu)
        owner = list(layout.owner) if self.per == "sensor" else list(range(imu.shape[1]))
        deviation = self.sigma * draws.normal(len(imu), max(owner) + 1, 1)
        gain = deviation.exp() if self.factor == "exp" else 1 + deviation
        return imu * gain[:, owner].to(imu), mask


@augmentations.register("magnitude_warp")
class MagnitudeWarp(Augmentation):
    """Multiply each sensor by a smooth random curve over time, the same for its axes, so that directions are kept.

    The curve is exp of a random mixture of ``knots`` half-cosines over the window.

    Args:
        sigma: standard deviation of the log factor, in [0, 1]; 0.2 is about 20 % more or less.
        knots: number of half-cosines, in [1, 16]; more give faster changes.
        p: probability per row, in [0, 1].

    Example:
        >>> imu = torch.ones(1, 6, 50)
        >>> warp = MagnitudeWarp(p=1)
        >>> out, _ = warp(imu, torch.ones_like(imu, dtype=torch.bool), torch.Generator().manual_seed(0))
        >>> bool((out[:, :3] == out[:, :1]).all()), bool((out > 0).all())
        (True, True)
    """

    def __init__(
        self, *, sigma: Probability = 0.2, knots: Annotated[int, Field(ge=1, le=16)] = 4, p: Probability = 1.0
    ) -> None:
        super().__init__(p=p)
        self.sigma = sigma
        self.knots = knots

    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        samples, owner = imu.shape[-1], list(self.layout(imu).owner)
        weights = draws.normal(len(imu), max(owner) + 1, self.knots).to(imu)
        place = (torch.arange(samples, device=imu.device, dtype=imu.dtype) + 0.5) / samples
        steps = torch.arange(1, self.knots + 1, device=imu.device, dtype=imu.dtype)
        waves = torch.cos(math.pi * steps[:, None] * place)
        factor = torch.exp(self.sigma * math.sqrt(2 / self.knots) * weights @ waves)  # each cosine: mean square 1/2
        return imu * factor[:, owner], mask


@augmentations.register("swap_axes")
class SwapAxes(Augmentation):
    """Another order of the axes: one of the six per row, the same for every sensor with three axes.

    An augmentation of ssl-wearables (Yuan et al. 2024, arXiv 2206.02909). Half of the orders mirror the motion, which
    no mounting of a sensor does.

    Args:
        p: probability per row, in [0, 1]; an order may be the original one.

    Example:
        >>> imu = torch.arange(6.0)[None, :, None].expand(1, 6, 4)
        >>> out, _ = SwapAxes()(imu, torch.ones_like(imu, dtype=torch.bool), torch.Generator().manual_seed(0))
        >>> bool((out[:, 3:] == out[:, :3] + 3).all())
        True
    """

    def __init__(self, *, p: Probability = 1.0) -> None:
        super().__init__(p=p)

    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        order = draws.uniform(len(imu), 3).argsort(1)
        source = torch.arange(imu.shape[1]).repeat(len(imu), 1)
        for triad in (rows for device in self.layout(imu).triads for rows in device):
            source[:, list(triad)] = torch.tensor(triad)[order.cpu()]
        source = source.to(imu.device)
        source = source[..., None].expand_as(imu)
        return imu.gather(1, source), mask.gather(1, source)


@augmentations.register("jitter")
class Jitter(Augmentation):
    """White sensor noise.

    Args:
        acc_sigma: m/s^2, in [0, 10]; 0.2 is a noisy wearable.
        gyr_sigma: rad/s, in [0, 10].
        p: probability per row, in [0, 1].
        other_sigma: of channels in other units, as a share of their standard deviation in the window; in [0, 1].

    Example:
        >>> imu = torch.zeros(2, 6, 4)
        >>> out, _ = Jitter(gyr_sigma=0)(imu, torch.ones_like(imu, dtype=torch.bool), torch.Generator().manual_seed(0))
        >>> bool(out[:, :3].any()), bool(out[:, 3:].any())
        (True, False)
    """

    def __init__(
        self,
        *,
        acc_sigma: Sigma = 0.2,
        gyr_sigma: Sigma = 0.05,
        p: Probability = 1.0,
        other_sigma: Annotated[Probability, LATER] = 0.05,
    ) -> None:
        super().__init__(p=p)
        self.sigmas = {"acc": acc_sigma, "gyr": gyr_sigma, "other": other_sigma}

    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        noise = draws.normal(*imu.shape).to(imu)
        return imu + noise * _per_channel(self.sigmas, self.layout(imu), imu, mask), mask


@augmentations.register("bias")
class Bias(Augmentation):
    """A constant offset on every axis, as in an uncalibrated sensor.

    Args:
        acc_sigma: m/s^2, in [0, 10].
        gyr_sigma: rad/s, in [0, 10].
        p: probability per row, in [0, 1].
        other_sigma: of channels in other units, as a share of their standard deviation in the window; in [0, 1].

    Example:
        >>> imu = torch.zeros(1, 6, 4)
        >>> out, _ = Bias()(imu, torch.ones_like(imu, dtype=torch.bool), torch.Generator().manual_seed(0))
        >>> bool((out == out[..., :1]).all())
        True
    """

    def __init__(
        self,
        *,
        acc_sigma: Sigma = 0.3,
        gyr_sigma: Sigma = 0.03,
        p: Probability = 1.0,
        other_sigma: Annotated[Probability, LATER] = 0.05,
    ) -> None:
        super().__init__(p=p)
        self.sigmas = {"acc": acc_sigma, "gyr": gyr_sigma, "other": other_sigma}

    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        offset = draws.normal(len(imu), imu.shape[1], 1).to(imu)
        return imu + offset * _per_channel(self.sigmas, self.layout(imu), imu, mask), mask


def _per_channel(sigmas: Mapping[str, float], layout: Layout, imu: Tensor, mask: Tensor) -> Tensor:
    """Standard deviation of the noise of each channel, (C, 1), or (B, C, 1) with channels in other units."""
    sigma = imu.new_tensor([sigmas[kind] for kind in layout.kinds])[:, None]
    other = torch.tensor([kind == "other" for kind in layout.kinds], device=imu.device)[:, None]
    if not bool(other.any()):
        return sigma
    count = mask.sum(-1, keepdim=True).clamp(min=1)
    centred = torch.where(mask, imu - torch.where(mask, imu, 0).sum(-1, keepdim=True) / count, 0)
    return torch.where(other, sigma * (centred.square().sum(-1, keepdim=True) / count).sqrt(), sigma)
