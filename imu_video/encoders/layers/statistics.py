"""Statistics of signals as a differentiable layer: the hand-crafted features of probes and hybrid encoders; no network.

For each signal (every channel, and the magnitude of every sensor with three axes: eight signals for accelerometer and
gyroscope) they are, by group:

- ``time``: mean, standard deviation, five quantiles, mean absolute deviation from the median, log power, log power of
  the jerk (first difference times rate), mean-crossing rate;
- ``spectrum``, of the Hann-windowed signal: log power in eight bands, median and dominant frequency, spectral entropy;
  and the height of the largest autocorrelation peak;
- ``joint``: the signal magnitude area of every sensor with three axes, and the correlations between its axes and
  between the magnitudes of a device (``torso`` in ``torso.acc_x``).

Missing samples are excluded from statistics in time; in spectra and differences they are replaced by the mean of the
signal. Crossings and frequencies are counts and positions, whose gradient is zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, pairwise
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imu_video.channels import triads
from imu_video.errors import ConfigError

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BANDS_HZ = (0.2, 0.7, 1.5, 2.5, 4.0, 6.0, 9.0, 14.0, 25.0)
TINY = 1e-6
"""Added to powers before their logarithm, and lower bound of divisors; in the squared unit of the windows."""
Group = Literal["time", "spectrum", "joint"]
GROUPS: tuple[Group, ...] = get_args(Group)
PER_SIGNAL: dict[Group, tuple[str, ...]] = {
    "time": (
        "mean",
        "std",
        *(f"q{int(100 * q):02d}" for q in QUANTILES),
        "mad",
        "log_power",
        "log_jerk_power",
        "crossings",
    ),
    "spectrum": (
        *(f"band_{low:g}_{high:g}" for low, high in pairwise(BANDS_HZ)),
        "median_frequency",
        "dominant_frequency",
        "spectral_entropy",
        "periodicity",
    ),
}
SHORTEST = 4
"""Fewest samples of a window; shorter ones are extended by missing samples."""


@dataclass(frozen=True)
class Signals:
    """The signals of some channels: the channels, then the magnitude of each triad.

    Args:
        names: of the signals.
        triads: rows of x, y and z of each sensor with three axes; neighbouring rows as a slice, which is not copied.
        sensors: names of these sensors.
        pairs: signals whose correlation is a statistic.
    """

    names: tuple[str, ...]
    triads: tuple[list[int] | slice, ...]
    sensors: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, channels: Sequence[str]) -> Signals:
        """The signals of channels of these names."""
        return _signals(tuple(channels))


@lru_cache(maxsize=8)
def _signals(channels: tuple[str, ...]) -> Signals:
    found = triads(channels)
    norms = {sensor: len(channels) + i for i, sensor in enumerate(found)}
    devices: dict[str, list[int]] = {}
    for sensor in found:
        devices.setdefault(sensor.rpartition(".")[0], []).append(norms[sensor])
    return Signals(
        names=(*channels, *(f"{sensor}_norm" for sensor in found)),
        triads=tuple(slice(r[0], r[0] + 3) if r == (r[0], r[0] + 1, r[0] + 2) else list(r) for r in found.values()),
        sensors=tuple(found),
        pairs=tuple(pair for group in [*found.values(), *devices.values()] for pair in combinations(group, 2)),
    )


def statistic_names(channels: Sequence[str], groups: Sequence[Group] = GROUPS) -> tuple[str, ...]:
    """Names of the statistics of some channels, in order.

    Args:
        channels: names of the C channels; sensors with three axes are recognised by them.
        groups: which statistics, see the docstring of the module.

    Example:
        >>> len(statistic_names(["emg_1"])), statistic_names(["emg_1"], ["time"])[:2]
        (23, ('emg_1.mean', 'emg_1.std'))
    """
    signals = Signals.of(channels)
    own = [name for group in ("time", "spectrum") if group in groups for name in PER_SIGNAL[group]]
    per_signal = [f"{signal}.{name}" for signal in signals.names for name in own]
    if "joint" not in groups:
        return tuple(per_signal)
    pairs = [f"corr.{signals.names[i]}.{signals.names[j]}" for i, j in signals.pairs]
    return (*per_signal, *(f"{sensor}.sma" for sensor in signals.sensors), *pairs)


class SignalStatistics(nn.Module):
    """Statistics of windows under a mask, in the precision of the windows, with a finite gradient everywhere.

    The definitions are in the docstring of the module. A graph that `torch.export` traces holds the Fourier transforms
    as matrix products, because few runtimes of exported graphs have them as operators; window length and batch size may
    stay dynamic.

    Args:
        channels: names of the C channels; sensors with three axes are recognised by them.
        rate_hz: sampling rate of the windows, above 0.
        groups: which statistics.
        samples: window length that band powers refer to: they grow with the length of the window, and with ``samples``
            given they are scaled to it. None: those of the window itself.

    Attributes:
        names: of the statistics, in order.

    Shapes: x (B, C, T), mask (B, C, T) bool, True where measured, or None (all) -> values (B, E) and bool (B, E), False
        where a statistic has no value (a missing channel, a band above half the rate); its value is 0.

    Raises:
        ConfigError: no statistic in these groups.

    Example:
        >>> layer = SignalStatistics(channels=["acc_x", "acc_y", "acc_z"], rate_hz=50.0)
        >>> values, defined = layer(torch.zeros(2, 3, 100))
        >>> values.shape == (2, len(layer.names))
        True
    """

    def __init__(
        self,
        *,
        channels: Sequence[str],
        rate_hz: float,
        groups: Sequence[Group] = GROUPS,
        samples: int | None = None,
    ) -> None:
        super().__init__()
        self.signals = Signals.of(channels)
        self.rate_hz, self.samples = float(rate_hz), samples
        self.groups = tuple(group for group in GROUPS if group in groups)
        self.names = statistic_names(channels, self.groups)
        if not self.names:
            raise ConfigError(f"no statistic of channels {list(channels)} in groups {list(groups)}")

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Values (B, E) of windows (B, C, T), and where they are defined."""
        if x.shape[-1] < SHORTEST:
            mask = torch.ones_like(x, dtype=torch.bool) if mask is None else mask
            missing = (0, SHORTEST - x.shape[-1])
            x, mask = F.pad(x, missing), F.pad(mask, missing)
        if mask is not None:
            x = torch.where(mask, x, 0)
        signals = self.signals
        # A magnitude is missing where any of its axes is, so it is treated as missing present.
        s = torch.cat([x, *(_root(x[:, rows].square().sum(1, keepdim=True)) for rows in signals.triads)], dim=1)
        present = None
        if mask is not None:
            present = torch.cat([mask, *(mask[:, rows].all(1, keepdim=True) for rows in signals.triads)], dim=1)
            s = torch.where(present, s, 0)
            count = present.to(s.dtype).sum(-1)
        else:
            count = torch.full_like(s[..., 0], s.shape[-1])
        mean = s.sum(-1) / count.clamp(min=1)
        centred = s - mean[..., None]
        if present is not None:
            centred = torch.where(present, centred, 0)
        variance = centred.square().sum(-1) / count.clamp(min=1)
        std = _root(variance)
        measured = count > 0
        own, own_defined = [], []
        if "time" in self.groups:
            own += _moments(s, present, count, centred, mean, variance, std, self.rate_hz)
            own_defined += [measured] * len(PER_SIGNAL["time"])
        if "spectrum" in self.groups:
            bands, in_range, rest = _spectrum(centred, variance, self.rate_hz, self.samples)
            own += [*bands.unbind(-1), *rest]
            own_defined += [*(measured[..., None] & in_range).unbind(-1), *([measured] * len(rest))]
        values = [torch.stack(own, dim=-1).flatten(1)] if own else []
        defined = [torch.stack(own_defined, dim=-1).flatten(1)] if own else []
        if "joint" in self.groups and signals.sensors:
            joint, joint_defined = self._joint(centred, std, measured)
            values.append(joint)
            defined.append(joint_defined)
        flat, known = torch.cat(values, dim=1), torch.cat(defined, dim=1)
        # A signal without samples would give log(0 + tiny) and similar values.
        known = known & flat.isfinite()
        return torch.where(known, flat, 0), known

    def _joint(self, centred: Tensor, std: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
        """Signal magnitude areas and correlations (B, E'), and where any of their signals was measured."""
        signals = self.signals
        size = centred[:, : len(signals.names) - len(signals.sensors)].abs().mean(-1)
        areas = [size[:, rows].mean(1) for rows in signals.triads]
        known = [measured[:, rows].any(1) for rows in signals.triads]
        first, second = ([pair[i] for pair in signals.pairs] for i in (0, 1))
        together = (centred[:, first] * centred[:, second]).mean(-1)
        correlation = _ratio(together, std[:, first] * std[:, second], floor=TINY)
        both = measured[:, first] & measured[:, second]
        return torch.cat([torch.stack(areas, dim=1), correlation], dim=1), torch.cat(
            [torch.stack(known, dim=1), both], dim=1
        )


def _moments(
    s: Tensor,
    present: Tensor | None,
    count: Tensor,
    centred: Tensor,
    mean: Tensor,
    variance: Tensor,
    std: Tensor,
    rate_hz: float,
) -> list[Tensor]:
    """The statistics of group ``time`` of signals (B, S, T), each (B, S)."""
    quantiles = _quantiles(s, present, count)
    deviation = (s - quantiles[..., QUANTILES.index(0.5), None]).abs()
    if present is not None:
        deviation = torch.where(present, deviation, 0)
    mad = deviation.sum(-1) / count.clamp(min=1)
    # Quantities over neighbouring samples use the centred signal, in which a gap is 0 and adds little power.
    jerk_power = centred.diff(dim=-1).square().mean(-1) * rate_hz**2
    above = centred > 0
    crossings = (above[..., 1:] ^ above[..., :-1]).to(s.dtype).mean(-1) * rate_hz
    power = variance + mean.square()
    return [
        mean,
        std,
        *quantiles.unbind(-1),
        mad,
        torch.log(power + TINY),
        torch.log(jerk_power + TINY),
        crossings,
    ]


def _quantiles(s: Tensor, present: Tensor | None, count: Tensor) -> Tensor:
    """Linear quantiles over the measured samples of signals (B, S, T), with one sort for all: (B, S, Q)."""
    last = (count - 1).clamp(min=0)[..., None]
    # Missing samples come last; a signal without samples stays 0, because infinities have no gradient.
    filled = s if present is None else torch.where(present | (count == 0)[..., None], s, torch.inf)
    ordered = _sorted(filled)
    position = last * torch.tensor(QUANTILES, dtype=s.dtype, device=s.device)
    low = position.floor().to(torch.int64)
    a, b = ordered.gather(-1, torch.cat([low, torch.minimum(low + 1, last.to(torch.int64))], dim=-1)).chunk(2, dim=-1)
    return a + (b - a) * (position - low)


def _sorted(s: Tensor) -> Tensor:
    """Values in ascending order along the last axis."""
    if (
        not torch.compiler.is_compiling()
        and s.device.type == "cpu"
        and not (torch.is_grad_enabled() and s.requires_grad)
    ):
        import numpy as np  # sorts without the permutation, several times faster

        return torch.from_numpy(np.sort(s.detach().numpy(), axis=-1))
    return s.sort(dim=-1).values


def _spectrum(
    centred: Tensor, variance: Tensor, rate_hz: float, samples: int | None
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Log band powers (B, S, 8), which bands the spectrum has (8,), and the other statistics of the group (B, S)."""
    t = centred.shape[-1]
    length = _count(t, like=centred)
    place = torch.arange(t, device=centred.device, dtype=centred.dtype)
    power = _power(centred * (0.5 - 0.5 * torch.cos(place * (2 * math.pi / (length - 1)))), t) / length
    number = torch.arange(t // 2 + 1, device=centred.device)
    power = power * (number > 0)  # the mean is a statistic of its own and would dominate shares and frequencies
    step_hz = 1.0 / (length * (1.0 / rate_hz))
    hertz = number.to(centred.dtype) * step_hz
    # The margin makes a frequency that equals the limit of a band belong to the same band in float32 and in float64.
    edges = torch.tensor(BANDS_HZ, dtype=centred.dtype, device=centred.device) * (1 - 1e-6)
    inside = (hertz[:, None] >= edges[:-1]) & (hertz[:, None] < edges[1:])  # (K, 8)
    in_range = inside.any(0)
    banded = power @ inside.to(centred.dtype)
    if samples is not None:
        banded = banded * (samples / length)
    bands = torch.where(in_range, torch.log(banded + TINY), 0)
    total = power.sum(-1)
    share = power / total.clamp(min=TINY)[..., None]
    below = share.cumsum(-1) < 0.5 * share.sum(-1, keepdim=True)
    # The spectrum of a constant signal is rounding noise, whose frequencies would be arbitrary.
    moving = (total > TINY) * step_hz
    median = below.sum(-1) * moving
    dominant = power.argmax(-1) * moving
    entropy = -(share * torch.log(share.clamp(min=1e-12))).sum(-1) / torch.log(_count(t // 2 + 1, like=centred))
    # Lags range from 0.25 s, below which every smooth signal correlates with itself, to half the window.
    correlation = _autocorrelation(centred, t // 2 + 1) / (variance * length).clamp(min=TINY)[..., None]
    lag = torch.arange(t // 2 + 1, device=centred.device)
    usable = (lag >= max(1, round(0.25 * rate_hz))) & (lag < t // 2)
    peak = torch.where(usable, correlation, -torch.inf).amax(-1)
    return bands, in_range, [median, dominant, entropy, torch.where(usable.any(), peak, 0)]


def _power(s: Tensor, n: int) -> Tensor:
    """Squared magnitude of the discrete Fourier transform of n points: (B, S, T) -> (B, S, n // 2 + 1)."""
    if not torch.compiler.is_exporting():
        transform = torch.fft.rfft(s, n=n)
        return transform.real.square() + transform.imag.square()
    angle = _angles(s.shape[-1], n // 2 + 1, n, like=s)
    return (s @ angle.cos()).square() + (s @ angle.sin()).square()


def _autocorrelation(s: Tensor, lags: int) -> Tensor:
    """Sums of products with the delayed signal, for the delays 0 .. lags - 1: (B, S, T) -> (B, S, lags)."""
    n = 2 * s.shape[-1]  # with as many zeros as samples, so that lags do not wrap around
    power = _power(s, n)
    if not torch.compiler.is_exporting():
        return torch.fft.irfft(power, n=n)[..., :lags]
    number = torch.arange(n // 2 + 1, device=s.device)
    twice = torch.where((number > 0) & (number < n // 2), 2.0, 1.0).to(s.dtype)
    return (power * twice) @ _angles(n // 2 + 1, lags, n, like=s).cos() / _count(n, like=s)


def _angles(rows: int, columns: int, n: int, *, like: Tensor) -> Tensor:
    """Angles 2 pi r c / n: (rows, columns)."""
    first, second = (torch.arange(count, device=like.device) for count in (rows, columns))
    turn = torch.arange(1, n + 1, device=like.device)[-1]
    # Reduced to one turn in integers: large angles lose digits in float32.
    part = torch.remainder(first[:, None] * second, turn)
    return part.to(like.dtype) / turn.to(like.dtype) * (2 * math.pi)


def _count(n: int, *, like: Tensor) -> Tensor:
    """A count as a tensor; in an exported graph a window length is a symbol, which ONNX has no arithmetic for."""
    if not torch.compiler.is_exporting():
        return like.new_full((), n)
    return torch.arange(1, n + 1, device=like.device)[-1].to(like.dtype)


def _root(x: Tensor) -> Tensor:
    """Square root with gradient 0 at 0."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1).sqrt(), 0)


def _ratio(top: Tensor, bottom: Tensor, *, floor: float) -> Tensor:
    """Quotient; 0 where the divisor is not above ``floor``."""
    large = bottom > floor
    return torch.where(large, top / torch.where(large, bottom, 1), 0)
