"""A network and statistics of the same window side by side, as one feature; the network is any registered encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from imu_video.arguments import LATER, Count, Positive
from imu_video.encoders.base import check_window
from imu_video.encoders.layers.standardise import Standardise
from imu_video.encoders.layers.statistics import GROUPS, Group, SignalStatistics
from imu_video.errors import ConfigError
from imu_video.registry import encoders
from imu_video.types import IMU_CHANNELS

CONTEXT = ("channels", "samples", "rate_hz", "names")
"""Arguments of the network that it shares with the hybrid; see `EncoderBundle`."""
FOLLOW = 0.1
"""Share of a batch in the moments of the network's features, as in batch norm."""
LIMIT = 10.0
"""Largest standardised statistic: beyond it, a value is outside everything in training, and its size says no more."""


def _complete(entry: Any) -> Any:
    """The entry of the network with all its defaults, except for what the windows determine."""
    if not isinstance(entry, str | Mapping):
        return entry  # the type of the argument refuses it
    found = encoders.entry(entry)
    shared = set(CONTEXT) - found.stated
    return {key: value for key, value in found.config.items() if key not in shared}


Network = Annotated[str | dict[str, Any], BeforeValidator(_complete), Field(validate_default=True)]


@encoders.register("hybrid")
class Hybrid(nn.Module):
    """Features of a network and statistics of the signal, each standardised, one beside the other.

    With f the network, g the statistics (`layers.statistics`), and mean and standard deviation over training windows:

        z = [ (f(x) - mean_f) / std_f,   w * clip((g(x) - mean_g) / std_g, -10, 10) ]

    With ``columns`` given, a linear map M, random and orthogonal at first, takes the first part to that number of
    columns, which are standardised again. Probes that standardise each column weigh the two parts by their numbers of
    columns, so that hundreds of columns of a network with little training drown the statistics.

    The moments of the statistics are fixed before the training (`fit`), those of the network follow it; see
    `Standardise`. A statistic that cannot be computed, for example of a missing channel, is 0, its mean in training.

    The statistics are those of normalised windows. With ``normalise: sensors``, one scale per sensor and no offset,
    they are up to their scale those of windows in SI units, gravity included; the constant in the logarithms of powers
    then is 1e-6 of the squared RMS of the sensor. With ``channels``, magnitudes are those of standardised axes.

    Args:
        channels: C.
        network: name or entry of the encoder of the first part.
        groups: statistics of the second part: ``time``, ``spectrum``, ``joint``; see `layers.statistics`.
        head_sees: features that projection heads of training take: ``network``, or ``both`` parts. With ``both``, the
            loss is also computed from the statistics, which distinguish many windows on their own.
        columns: columns of the first part after M, at most the features of the network; sensible 64 to 192. None: no
            map.
        weight: w, above 0; sensible 0.3 to 3. Probes that standardise features by themselves do not depend on it.
        rate_hz: sampling rate of the windows, above 0.
        samples: window length in training. Band powers of other windows are scaled to it.
        names: names of the channels; sensors with three axes are recognised by them. None: those of the
            canonical six if C is 6, else no sensor has three axes.

    Shapes: imu (B, C, T), mask (B, C, T) bool or None -> (B, E), E = features of the network + statistics.

    Raises:
        ConfigError: another number of names than channels, or more columns than features of the network.

    Example:
        >>> encoder = Hybrid(network={"name": "segment_cnn", "width": 16})
        >>> encoder(torch.zeros(2, 6, 250)).shape, encoder.parts["statistics"]
        (torch.Size([2, 353]), slice(160, 353, None))
    """

    def __init__(
        self,
        *,
        channels: Count = 6,
        network: Network = "segment_cnn",
        groups: Annotated[Sequence[Group], Field(min_length=1)] = GROUPS,
        head_sees: Literal["network", "both"] = "network",
        columns: Annotated[Count | None, LATER] = None,
        weight: Positive = 1.0,
        rate_hz: Positive = 50.0,
        samples: Count = 250,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if names is None:
            names = IMU_CHANNELS if channels == len(IMU_CHANNELS) else [f"channel_{i}" for i in range(channels)]
        if len(names) != channels:
            raise ConfigError(
                f"encoder 'hybrid': {len(names)} names of {channels} channels: {', '.join(names)}",
                hint="leave out `names`: they are those of the windows",
            )
        self.channels, self.weight, self.head_sees = channels, weight, head_sees
        shared = {"channels": channels, "samples": samples, "rate_hz": rate_hz, "names": tuple(names)}
        self.network: Any = encoders.entry(network).filled(**shared).build()
        self.statistics = SignalStatistics(channels=names, rate_hz=rate_hz, groups=groups, samples=samples)
        own, second = int(self.network.feature_dim), len(self.statistics.names)
        first = own if columns is None else columns
        if first > own:
            raise ConfigError(
                f"encoder 'hybrid': columns {columns}, expected at most the {own} features of the network",
                hint="fewer columns, or none: `columns: null`",
            )
        self.feature_dim, self._first = first + second, first
        self.network_scale = Standardise(width=own, follow=FOLLOW)
        self.projection: nn.Linear | None = None
        if columns is not None:
            self.projection = nn.Linear(own, columns, bias=False)
            nn.init.orthogonal_(self.projection.weight)
            self.projection_scale = Standardise(width=columns, follow=FOLLOW)
        self.statistics_scale = Standardise(width=second, limit=LIMIT)
        if hasattr(self.network, "tokens"):
            # Only where the network has features over time: their absence is how others find out.
            self.tokens = self.network.tokens
            self.token_dim = int(self.network.token_dim)

    @property
    def parts(self) -> dict[str, slice]:
        """Columns of the feature by where they come from; tables show each part alone beside the whole."""
        return {"network": slice(0, self._first), "statistics": slice(self._first, self.feature_dim)}

    @property
    def head_columns(self) -> slice:
        """Columns of the feature that projection heads of training take."""
        return self.parts["network"] if self.head_sees == "network" else slice(0, self.feature_dim)

    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features (B, E) of normalised windows (B, C, T); ``mask`` (B, C, T) is True where measured."""
        check_window(imu, mask, self.channels)
        learned = self._learned(imu, mask)
        values, defined = self._statistics(imu, mask)
        return torch.cat([learned, self.weight * self.statistics_scale(values, defined)], dim=1)

    def head_features(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """The columns `head_columns` of `forward`, without the statistics where no head takes them."""
        if self.head_sees == "both":
            return self(imu, mask)
        check_window(imu, mask, self.channels)
        return self._learned(imu, mask)

    @torch.no_grad()
    def fit(self, imu: Tensor, mask: Tensor | None = None) -> None:
        """Fix the moments of the statistics, and start those of the network's features, with training windows.

        Shapes: imu (N, C, T) normalised, mask (N, C, T) bool or None.
        """
        was = self.training
        self.eval()
        pieces = []
        for first in range(0, len(imu), 256):
            rows = slice(first, first + 256)
            some, there = imu[rows], None if mask is None else mask[rows]
            pieces.append((self.network(some, there).float(), *self._statistics(some, there)))
        learned, values, defined = (torch.cat(part) for part in zip(*pieces, strict=True))
        self.network_scale.fit(learned)
        if self.projection is not None:
            self.projection_scale.fit(self.projection(self.network_scale(learned)).float())
        self.statistics_scale.fit(values, defined)
        self.train(was)

    def keep_fit(self, trained: Hybrid) -> None:
        """Take from a trained encoder what no gradient step has made: the moments of the statistics."""
        self.statistics_scale.adopt(trained.statistics_scale)

    def _learned(self, imu: Tensor, mask: Tensor | None) -> Tensor:
        features: Tensor = self.network_scale(self.network(imu, mask).float())
        if self.projection is not None:
            features = self.projection_scale(self.projection(features).float())
        return features

    def _statistics(self, imu: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        kind = imu.device.type
        # In float32: powers of half-precision samples overflow, and their transforms are not implemented. The context
        # is entered only where needed, because it would be a part of an exported graph.
        with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext():
            values, defined = self.statistics(imu.float(), mask)
        return values, defined
