"""Splits by subject, made before any window is cut; not what a split is used for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import Field, field_validator, model_validator

from imu_video.config import Config
from imu_video.errors import ConfigError, LeakageError, nearest

DEFAULT_FRACTIONS = {"train": 0.7, "val": 0.15, "test": 0.15}
"""Used where a config names neither subjects nor fractions."""


class SplitConfig(Config):
    """Assignment of subjects to splits: either explicit subjects, or fractions of the shuffled subjects.

    Args:
        subjects: split name -> subjects; subjects in no split are not used.
        fractions: split name -> fraction of the subjects, > 0, summing to 1; rounded to whole subjects, at least one
            per split.
        seed: of the shuffle behind ``fractions``.

    Example:
        >>> SplitConfig(subjects={"train": ["s1", "s3"], "test": ["s2"]}).names
        ('train', 'test')
    """

    subjects: dict[str, list[str]] | None = None
    fractions: dict[str, float] | None = None
    seed: int = Field(default=0, ge=0)

    @field_validator("subjects", "fractions")
    @classmethod
    def _names(cls, value: dict[str, object] | None) -> dict[str, object] | None:
        for name in value or {}:
            if not name or not all(c.isascii() and (c.isalnum() or c in "-_") for c in name):
                raise ValueError(f"split name {name!r}: use letters, digits, '-' and '_' only")
        if value is not None and not value:
            raise ValueError("name at least one split")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> SplitConfig:
        if self.subjects is not None and self.fractions is not None:
            raise ValueError("give either 'subjects' or 'fractions', not both")
        if self.fractions is not None:
            total = sum(self.fractions.values())
            if min(self.fractions.values()) <= 0 or not math.isclose(total, 1.0, abs_tol=1e-6):
                raise ValueError(f"fractions must be positive and sum to 1, got a sum of {total:.4g}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Split names in the order of the config."""
        return tuple(self.subjects or self.fractions or DEFAULT_FRACTIONS)


def assign(subjects: Sequence[str], config: SplitConfig) -> dict[str, list[str]]:
    """Divide the subjects of a dataset; the result depends only on the set of subjects and the config.

    Args:
        subjects: all subjects of the dataset, without repeats.
        config: explicit lists or fractions.

    Returns:
        Split name -> sorted subjects, disjoint.

    Raises:
        LeakageError: a subject in two splits.
        ConfigError: an unknown subject, an empty split, or fewer subjects than splits.

    Example:
        >>> assign(["a", "b", "c"], SplitConfig(fractions={"train": 0.67, "test": 0.33}))
        {'train': ['a', 'c'], 'test': ['b']}
    """
    everybody = sorted(set(subjects))
    if config.subjects is not None:
        return _explicit(everybody, config.subjects)
    fractions = config.fractions or DEFAULT_FRACTIONS
    if len(everybody) < len(fractions):
        raise ConfigError(
            f"{len(everybody)} subjects cannot be divided into {len(fractions)} splits ({', '.join(fractions)})",
            hint="name fewer splits, for example splits.fractions={train: 1.0}",
        )
    order = [everybody[i] for i in np.random.default_rng(config.seed).permutation(len(everybody))]
    split: dict[str, list[str]] = {}
    for name, count in _counts(fractions, len(everybody)).items():
        split[name], order = sorted(order[:count]), order[count:]
    return split


def _explicit(everybody: list[str], wanted: dict[str, list[str]]) -> dict[str, list[str]]:
    owner: dict[str, str] = {}
    for name, members in wanted.items():
        if not members:
            raise ConfigError(f"split {name!r} has no subjects", hint="leave the split out")
        for subject in members:
            if subject not in everybody:
                raise ConfigError(
                    f"split {name!r}: the dataset has no subject {subject!r}{nearest(subject, everybody)}"
                )
            if owner.get(subject, name) != name:
                raise LeakageError(
                    f"subject {subject!r} is in split {owner[subject]!r} and in split {name!r}",
                    hint="remove the subject from one of the two splits",
                )
            owner[subject] = name
    return {name: sorted(set(members)) for name, members in wanted.items()}


def _counts(fractions: dict[str, float], total: int) -> dict[str, int]:
    """Whole numbers with the given proportions, at least one each, by the largest remainder method."""
    exact = {name: share * total for name, share in fractions.items()}
    counts = {name: max(1, math.floor(value + 1e-9)) for name, value in exact.items()}
    # Splits that were raised to one subject take it from the split that exceeds its own fraction most.
    while sum(counts.values()) > total:
        name = max((n for n in counts if counts[n] > 1), key=lambda n: counts[n] - exact[n])
        counts[name] -= 1
    while sum(counts.values()) < total:
        name = max(counts, key=lambda n: exact[n] - counts[n])
        counts[name] += 1
    return counts
