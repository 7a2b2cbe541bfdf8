"""Augmentations of time: varying tempo (time_warp), another tempo (crop_resize), lower sampling rate (low_rate) and
random order of segments (permute).

Motion at r times the speed has r times the angular rate, so the gyroscope is scaled by the local rate. The
accelerometer is not scaled: gravity must not change, and the motion part, which would grow with r^2, cannot be
separated from gravity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from imu_video.arguments import LATER, Probability
from imu_video.errors import ConfigError
from imu_video.registry import augmentations
from imu_video.transforms.base import Augmentation, GlobalDraws


@augmentations.register("time_warp")
class TimeWarp(Augmentation):
    """Smooth random changes of the tempo; both ends of the window stay in place.

    The rate over the window is exp of a random mixture of ``knots`` half-cosines, normalised so that the end of the
    window is unchanged. Values are interpolated linearly; a new sample is measured if both neighbours are.

    Args:
        strength: standard deviation of the log rate, in [0, 1]; 0.2 is about 20 % faster or slower.
        knots: number of half-cosines, in [1, 16]; more give faster changes. Of a spline: knots between the two ends.
        scale_gyr: scale angular rates by the local rate.
        p: probability per row, in [0, 1].
        curve: ``cosines``, or ``spline``: the local slowness is a cubic spline through evenly spaced knots that are
            drawn from a normal distribution around 1 with standard deviation ``strength`` (Um et al. 2017,
            arXiv 1706.00527; Yuan et al. 2024, arXiv 2206.02909), and every channel has its own, as published there.
            The window's first value is repeated up to its new place.

    Raises:
        ConfigError: a spline whose angular rates would be scaled, which is not defined for a warp per channel.

    Example:
        >>> imu = torch.arange(50.0).expand(1, 6, 50)
        >>> warp = TimeWarp(scale_gyr=False)
        >>> out, _ = warp(imu, torch.ones_like(imu, dtype=torch.bool), torch.Generator().manual_seed(0))
        >>> bool((out.diff(dim=-1) > 0).all())
        True
    """

    def __init__(
        self,
        *,
        strength: Probability = 0.2,
        knots: Annotated[int, Field(ge=1, le=16)] = 4,
        scale_gyr: bool = True,
        p: Probability = 0.5,
        curve: Annotated[Literal["cosines", "spline"], LATER] = "cosines",
    ) -> None:
        super().__init__(p=p)
        if curve == "spline" and scale_gyr:
            raise ConfigError(
                "time_warp: with a spline every channel has its own warp, so angular rates cannot be scaled",
                hint="scale_gyr: false",
            )
        self.strength = strength
        self.knots = knots
        self.scale_gyr = scale_gyr
        self.curve = curve

    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        if self.curve == "spline":
            return self._spline(imu, mask, draws)
        samples = imu.shape[-1]
        weights = draws.normal(len(imu), self.knots).to(imu.device)
        middle = (torch.arange(samples - 1, device=imu.device) + 0.5) / max(samples - 1, 1)
        waves = torch.cos(math.pi * torch.arange(1, self.knots + 1, device=imu.device)[:, None] * middle)
        # A unit-variance mixture: each cosine has mean square 1/2 over the window.
        speed = torch.exp(self.strength * math.sqrt(2 / self.knots) * weights @ waves)
        speed = speed * (samples - 1) / speed.sum(-1, keepdim=True)
        source = F.pad(speed.cumsum(-1), (1, 0)).clamp(0, samples - 1)
        # The rate at a sample is the mean of the steps around it.
        rate = 0.5 * (F.pad(speed, (1, 0), mode="replicate") + F.pad(speed, (0, 1), mode="replicate"))
        return _resample(imu, mask, source, rate if self.scale_gyr else None, self.layout(imu).rates)

    def _spline(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        samples = imu.shape[-1]
        heights = 1 + self.strength * draws.normal(len(imu), imu.shape[1], self.knots + 2).to(imu)
        slowness = heights @ _spline_basis(self.knots + 2, samples).to(imu)
        # Sample t moves to place[t], increasing from sample to sample; a negative slowness would move it back in time.
        place = slowness.clamp(min=1e-3).cumsum(-1)
        place = place / place[..., -1:] * (samples - 1)
        times = torch.arange(samples, device=imu.device, dtype=imu.dtype).expand_as(place).contiguous()
        right = torch.searchsorted(place, times).clamp(max=samples - 1)
        left = (right - 1).clamp(min=0)
        before, after = place.gather(-1, left), place.gather(-1, right)
        source = left + ((times - before) / (after - before).clamp(min=1e-9)).clamp(0, 1) * (right - left)
        return _resample(imu, mask, source, None, ())


@lru_cache(maxsize=16)
def _spline_basis(knots: int, samples: int) -> Tensor:
    """(knots, samples) float64: the cubic spline through heights h at evenly spaced knots is h @ basis."""
    import numpy as np
    from scipy.interpolate import CubicSpline  # scipy is loaded only for splines

    place = np.linspace(0, max(samples - 1, 1), knots)
    return torch.from_numpy(CubicSpline(place, np.eye(knots), axis=0)(np.arange(samples)).T.copy())


@augmentations.register("crop_resize")
class CropResize(Augmentation):
    """A random part of the window, resampled to the full length: the motion becomes slower.

    Args:
        min_fraction: the part's share of the window is uniform in [min_fraction, 1]; in [0.1, 1].
        scale_gyr: scale angular rates by the share, because slower motion has lower angular rates.
        p: probability per row, in [0, 1].

    Example:
        >>> imu = torch.ones(1, 6, 50)
        >>> crop = CropResize(p=1)
        >>> out, _ = crop(imu, torch.ones_like(imu, dtype=torch.bool), torch.Generator().manual_seed(0))
        >>> bool((out[:, :3] == 1).all()), bool((out[:, 3:] < 1).all())
        (True, True)
    """

    def __init__(
        self, *, min_fraction: Annotated[float, Field(ge=0.1, le=1)] = 0.7, scale_gyr: bool = True, p: Probability = 0.5
    ) -> None:
        super().__init__(p=p)
        self.min_fraction = min_fraction
        self.scale_gyr = scale_gyr

    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        last = imu.shape[-1] - 1
        share = self.min_fraction + (1 - self.min_fraction) * draws.uniform(len(imu), 1).to(imu.device)
        start = draws.uniform(len(imu), 1).to(imu.device) * (1 - share) * last
        source = start + share * torch.arange(last + 1, device=imu.device)
        rate = share.expand_as(source) if self.scale_gyr else None
        return _resample(imu, mask, source.clamp(0, last), rate, self.layout(imu).rates)


@augmentations.register("low_rate")
class LowRate(Augmentation):
    """Simulate a lower sampling rate: averages over 2 .. max_factor samples, interpolated to the original rate.

    Args:
        max_factor: the factor is uniform over the integers 2 .. max_factor; in [2, 16].
        p: probability per row, in [0, 1].

    Example:
        >>> imu = torch.tensor([1.0, -1.0]).repeat(1, 6, 25)
        >>> low = LowRate(max_factor=2, p=1)
        >>> out, _ = low(imu, torch.ones_like(imu, dtype=torch.bool), torch.Generator().manual_seed(0))
        >>> bool(out.abs().max() < 1e-6)
        True
    """

    def __init__(self, *, max_factor: Annotated[int, Field(ge=2, le=16)] = 3, p: Probability = 0.3) -> None:
        super().__init__(p=p)
        self.max_factor = max_factor

    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        samples = imu.shape[-1]
        if samples < self.max_factor:
            raise ConfigError(f"low_rate: max_factor {self.max_factor} is longer than the window of {samples} samples")
        factors = 2 + (draws.uniform(len(imu)) * (self.max_factor - 1)).long().to(imu.device)
        out = imu.clone()
        weight = mask.to(imu.dtype)
        values = torch.where(mask, imu, 0)
        for factor in range(2, self.max_factor + 1):
            rows = factors == factor
            # Averages over measured samples only; ceil_mode keeps a shorter last bin.
            total = F.avg_pool1d(values[rows], factor, ceil_mode=True)
            share = F.avg_pool1d(weight[rows], factor, ceil_mode=True)
            low = total / share.clamp(min=1e-6)
            low = torch.where(share > 0, low, 0)
            out[rows] = _hold_linear(low, share > 0, factor, samples)
        return out, mask


@augmentations.register("permute")
class Permute(Augmentation):
    """Cut the window into segments and put them in random order; samples within a segment keep their order.

    Args:
        max_segments: the number of segments is uniform over the integers 2 .. max_segments; in [2, 32].
        min_samples: length of the shortest segment, in [1, 1000000]; reduced if the window is too short.
        p: probability per row, in [0, 1].
        number: ``any`` number of segments from 2 to max_segments, or always the ``max``.

    Example:
        >>> imu = torch.arange(40.0).expand(1, 6, 40)
        >>> out, _ = Permute(p=1)(imu, torch.ones_like(imu, dtype=torch.bool), torch.Generator().manual_seed(0))
        >>> bool((out.sort(dim=-1).values == imu).all()), bool((out == imu).all())
        (True, False)
    """

    def __init__(
        self,
        *,
        max_segments: Annotated[int, Field(ge=2, le=32)] = 4,
        min_samples: Annotated[int, Field(ge=1, le=1_000_000)] = 10,
        p: Probability = 0.5,
        number: Annotated[Literal["any", "max"], LATER] = "any",
    ) -> None:
        super().__init__(p=p)
        self.max_segments = max_segments
        self.min_samples = min_samples
        self.number = number

    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        rows, samples, most = len(imu), imu.shape[-1], self.max_segments
        number = 2 + (draws.uniform(rows) * (most - 1)).long()
        number = number if self.number == "any" else torch.full_like(number, most)
        cuts, keys = draws.uniform(rows, most), draws.uniform(rows, most)
        least = (samples // number).clamp(max=self.min_samples)
        count = torch.arange(most, device=number.device)
        used = count < number[:, None]
        # Every segment gets `least` samples; the remaining samples are distributed at sorted random points.
        spare = samples - least * number
        points = torch.where(count < number[:, None] - 1, cuts, 1.0).sort(dim=1).values
        ends = (points * spare[:, None]).round().long() + least[:, None] * (count + 1)
        ends = torch.where(used, ends, samples)
        begins = F.pad(ends[:, :-1], (1, 0))
        order = torch.where(used, keys, 2.0).argsort(dim=1)  # unused segments are empty and sorted to the end
        begins, ends = begins.gather(1, order), ends.gather(1, order)
        lengths = ends - begins
        stops = lengths.cumsum(1)
        place = torch.arange(samples, device=number.device).expand(rows, samples).contiguous()
        # The segment of each output sample, then its source: without a loop over rows of different cuts.
        piece = torch.searchsorted(stops, place, right=True)
        source = (begins - (stops - lengths)).gather(1, piece) + place
        source = source.to(imu.device)[:, None].expand_as(imu)
        return imu.gather(-1, source), mask.gather(-1, source)


def _hold_linear(low: Tensor, measured: Tensor, factor: int, samples: int) -> Tensor:
    """Interpolate bin means (B, C, S), located at bin centres, to (B, C, samples); unmeasured bins are excluded."""
    position = ((torch.arange(samples, device=low.device) + 0.5) / factor - 0.5).clamp(0, low.shape[-1] - 1)
    left = position.floor().long()
    right = (left + 1).clamp(max=low.shape[-1] - 1)
    share = (position - left).to(low.dtype)
    w_left = (1 - share) * measured[..., left]
    w_right = share * measured[..., right]
    total = w_left + w_right
    return (w_left * low[..., left] + w_right * low[..., right]) / torch.where(total > 0, total, 1)


def _resample(
    imu: Tensor, mask: Tensor, source: Tensor, rate: Tensor | None, rates: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Values and mask at fractional positions; angular rates, the channels ``rates``, times ``rate`` (B, T) if given.

    Shapes: ``source`` (B, T), or (B, C, T) for positions per channel.
    """
    source = source if source.ndim == 3 else source[:, None]
    left = source.floor().long()
    right = (left + 1).clamp(max=imu.shape[-1] - 1)
    share = (source - left).to(imu.dtype)
    left, right = (i.expand_as(imu) for i in (left, right))
    out = (1 - share) * imu.gather(-1, left) + share * imu.gather(-1, right)
    # At an exact sample (share 0) the right neighbour has weight 0, so it need not be measured.
    out_mask = mask.gather(-1, left) & (mask.gather(-1, right) | (share == 0))
    if rate is not None and rates:
        rows = list(rates)
        out[:, rows] = out[:, rows] * rate.to(imu.dtype)[:, None]
    return out, out_mask
