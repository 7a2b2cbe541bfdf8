"""Random search of hyper-parameters: distributions and seeded draws from them; grids are in config.py."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from imu_video.arguments import Seed
from imu_video.config import Config

MOST_DRAWS = 10_000
"""Most random settings of one algorithm."""
_Range = tuple[float, float]


class Distribution(Config):
    """Distribution of one hyper-parameter; exactly one of the first four keys.

    Args:
        uniform: lowest and highest value.
        log10: 10 to the power of a uniform number between the two exponents.
        log2: 2 to the power of such a number.
        choice: values with equal probability.
        whole: round down to an integer.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> Distribution(choice=[0.05]).draw(rng), 8 <= Distribution(log2=(3, 9), whole=True).draw(rng) < 512
        (0.05, True)
    """

    uniform: _Range | None = None
    log10: _Range | None = None
    log2: _Range | None = None
    choice: list[Any] | None = Field(default=None, min_length=1)
    whole: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> Distribution:
        given = [name for name in ("uniform", "log10", "log2", "choice") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of uniform, log10, log2 and choice is required, got {given or 'none'}")
        ends = self.uniform or self.log10 or self.log2
        if ends is not None and not ends[0] < ends[1]:
            raise ValueError(f"{given[0]}: the first number must be below the second, got {list(ends)}")
        if (self.log10 is not None and max(map(abs, self.log10)) > 300) or (
            self.log2 is not None and max(map(abs, self.log2)) > 1000
        ):
            raise ValueError(f"{given[0]}: an exponent is too large, got {list(ends or ())}")
        return self

    def draw(self, rng: np.random.Generator) -> Any:
        """One value."""
        if self.choice is not None:
            return self.choice[int(rng.integers(len(self.choice)))]
        if self.uniform is not None:
            value = float(rng.uniform(*self.uniform))
        elif self.log10 is not None:
            value = float(10.0 ** rng.uniform(*self.log10))
        else:
            assert self.log2 is not None
            value = float(2.0 ** rng.uniform(*self.log2))
        return int(value) if self.whole else value


class Search(Config):
    """Random search: the same number of settings for every algorithm that has distributions.

    Args:
        number: number of settings, the first of which has the defaults where ``defaults`` is true.
        seed: seed of the draws. A value depends only on this seed, the number of the setting and the name of the
            argument, so that a larger ``number`` continues the sequence.
        defaults: whether the first setting is that of `fixed`, without a draw.
        redraw: draw other settings in every seed of the benchmark; requires ``select: per_seed``.
        random: distributions for all algorithms, such as that of ``lr``; those of an algorithm replace them.
    """

    number: int = Field(default=20, ge=1, le=MOST_DRAWS)
    seed: Seed = 0
    defaults: bool = True
    redraw: bool = False
    random: dict[str, Distribution] = Field(default_factory=dict)

    def settings(self, own: Mapping[str, Distribution], fixed: Mapping[str, Any], trial: int) -> list[dict[str, Any]]:
        """The settings of an algorithm.

        Args:
            own: its distributions.
            fixed: its arguments with one value.
            trial: seed of the benchmark, for ``redraw``.
        """
        random = {**self.random, **own}
        out: list[dict[str, Any]] = []
        for number in range(self.number):
            drawn = {}
            if number > 0 or not self.defaults:
                for name, distribution in random.items():
                    seeds = [self.seed, number, zlib.crc32(name.encode()), *([trial] if self.redraw else [])]
                    drawn[name] = distribution.draw(np.random.default_rng(seeds))
            out.append({**fixed, **drawn})
        return out
