"""Splits by subject, folds and strata included, made before any window is cut; not what a split is used for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from imu_video.config import Config
from imu_video.errors import ConfigError, LeakageError, nearest

DEFAULT_FRACTIONS = {"train": 0.7, "val": 0.15, "test": 0.15}
"""Used where a config names neither subjects nor fractions."""


class SplitConfig(Config):
    """Assignment of subjects to splits: either explicit subjects, fractions of the shuffled subjects, or a fold.

    Args:
        subjects: split name -> subjects; subjects in no split are not used.
        fractions: split name -> fraction of the subjects, > 0, summing to 1; rounded to whole subjects, at least one
            per split.
        seed: of the shuffle behind ``fractions`` and ``folds``.
        stratify: tag of subjects (``group``, ``sex``) whose values are divided alike between the splits, as far as
            whole subjects allow; for datasets that know tags by subject.
        folds: number of folds of a cross-validation, or ``loso`` for one per subject.
        fold: which fold is the split ``test``, from 1; ``fractions`` without ``test`` divide the other subjects, which
            are all ``train`` by default.

    Example:
        >>> SplitConfig(subjects={"train": ["s1", "s3"], "test": ["s2"]}).names
        ('train', 'test')
        >>> SplitConfig(fold=2, folds="loso").names
        ('train', 'test')
    """

    subjects: dict[str, list[str]] | None = None
    fractions: dict[str, float] | None = None
    seed: int = Field(default=0, ge=0)
    stratify: str | None = None
    folds: Annotated[int, Field(ge=2)] | Literal["loso"] | None = None
    fold: int | None = Field(default=None, ge=1)

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # The digest of a build config names its folder: configs from before these keys keep the digest they had.
        late = ("stratify", "folds", "fold")
        return {key: value for key, value in dump(self).items() if key not in late or value is not None}

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
        if (self.fold is None) != (self.folds is None):
            raise ValueError("'fold' and 'folds' come together: {fold: 1, folds: loso}")
        if self.subjects is not None and (self.fold is not None or self.stratify is not None):
            raise ValueError("'subjects' names every split: leave out 'fold', 'folds' and 'stratify'")
        if self.fold is not None and isinstance(self.folds, int) and self.fold > self.folds:
            raise ValueError(f"fold is {self.fold}, expected 1 .. {self.folds}")
        if self.fractions is not None:
            total = sum(self.fractions.values())
            if min(self.fractions.values()) <= 0 or not math.isclose(total, 1.0, abs_tol=1e-6):
                raise ValueError(f"fractions must be positive and sum to 1, got a sum of {total:.4g}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Split names in the order of the config."""
        if self.fold is not None:
            return (*self.rest, "test")
        return tuple(self.subjects or self.fractions or DEFAULT_FRACTIONS)

    @property
    def rest(self) -> dict[str, float]:
        """Fractions of the subjects outside the fold."""
        given = {name: share for name, share in (self.fractions or {}).items() if name != "test"}
        return {name: share / sum(given.values()) for name, share in given.items()} or {"train": 1.0}


def assign(
    subjects: Sequence[str], config: SplitConfig, tags: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, list[str]]:
    """Divide the subjects of a dataset; the result depends only on the set of subjects and the config.

    Args:
        subjects: all subjects of the dataset, without repeats.
        config: explicit lists, fractions or a fold.
        tags: subject -> tags, for ``stratify``.

    Returns:
        Split name -> sorted subjects, disjoint.

    Raises:
        LeakageError: a subject in two splits.
        ConfigError: an unknown subject, an empty split, fewer subjects than splits or folds, or a tag of no subject.

    Example:
        >>> assign(["a", "b", "c"], SplitConfig(fractions={"train": 0.67, "test": 0.33}))
        {'train': ['a', 'c'], 'test': ['b']}
        >>> assign(["a", "b", "c"], SplitConfig(fold=2, folds="loso"))
        {'train': ['a', 'c'], 'test': ['b']}
    """
    everybody = sorted(set(subjects))
    if config.subjects is not None:
        return _explicit(everybody, config.subjects)
    strata = _strata(everybody, config.stratify, tags)
    if config.fold is not None:
        held = _fold(everybody, config, strata)
        rest = [subject for subject in everybody if subject not in held]
        return {**_divide(rest, config.rest, config.seed, strata), "test": held}
    return _divide(everybody, config.fractions or DEFAULT_FRACTIONS, config.seed, strata)


def _divide(
    everybody: list[str], fractions: dict[str, float], seed: int, strata: Mapping[str, str] | None
) -> dict[str, list[str]]:
    if len(everybody) < len(fractions):
        raise ConfigError(
            f"{len(everybody)} subjects cannot be divided into {len(fractions)} splits ({', '.join(fractions)})",
            hint="name fewer splits, for example splits.fractions={train: 1.0}",
        )
    order = [everybody[i] for i in np.random.default_rng(seed).permutation(len(everybody))]
    split: dict[str, list[str]] = {}
    counts = _counts(fractions, len(everybody))
    if strata is not None:
        return _stratified(sorted(order, key=lambda subject: strata[subject]), counts)
    for name, count in counts.items():
        split[name], order = sorted(order[:count]), order[count:]
    return split


def _stratified(order: list[str], counts: dict[str, int]) -> dict[str, list[str]]:
    """Subjects in the order of their strata, each to the split that is furthest behind its share of those before it."""
    split: dict[str, list[str]] = {name: [] for name in counts}
    for number, subject in enumerate(order, 1):
        behind = {n: count * number / len(order) - len(split[n]) for n, count in counts.items()}
        split[max((n for n in counts if len(split[n]) < counts[n]), key=lambda n: behind[n])].append(subject)
    return {name: sorted(members) for name, members in split.items()}


def _fold(everybody: list[str], config: SplitConfig, strata: Mapping[str, str] | None) -> list[str]:
    """The subjects of the fold; with ``loso`` the fold-th in alphabetical order."""
    count = len(everybody) if config.folds == "loso" else int(config.folds or 1)
    number = config.fold or 1
    if count > len(everybody) or number > count or len(everybody) < 2:
        raise ConfigError(
            f"fold {number} of {config.folds}: the dataset has {len(everybody)} subjects, expected at least "
            f"{max(count, number, 2)}",
            hint=f"splits={{fold: 1, folds: {min(count, len(everybody))}}}" if len(everybody) > 1 else None,
        )
    if config.folds == "loso":
        return [everybody[number - 1]]
    order = [everybody[i] for i in np.random.default_rng(config.seed).permutation(len(everybody))]
    if strata is not None:
        order.sort(key=lambda subject: strata[subject])
    return sorted(order[number - 1 :: count])


def _strata(
    everybody: list[str], tag: str | None, tags: Mapping[str, Mapping[str, str]] | None
) -> dict[str, str] | None:
    """Subject -> value of the tag; subjects without it form a stratum of their own."""
    if tag is None:
        return None
    known = sorted({name for subject in everybody for name in (tags or {}).get(subject, {})})
    if tag not in known:
        raise ConfigError(
            f"splits.stratify: no subject has the tag {tag!r}" + (nearest(tag, known) if known else ""),
            hint="declare a table of subjects in dataset.yaml: subjects: {file: subjects.csv, tags: [...]}",
        )
    return {subject: (tags or {}).get(subject, {}).get(tag, "") for subject in everybody}


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
