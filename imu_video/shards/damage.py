"""Policies for unreadable samples: raise, skip, or skip and list them; pipeline.py detects them.

A skipped sample keeps its row number, so that columns, feature caches and the plans of all ranks stay aligned.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from imu_video.config import Config
from imu_video.errors import ConfigError, ShardError, nearest
from imu_video.runtime.documents import read_model
from imu_video.runtime.files import write_atomic
from imu_video.shards.schema import QUARANTINE_FOLDER, Index

ErrorPolicy = Literal["raise", "skip", "quarantine"]
"""``raise``: the first damaged sample is an error. ``skip``: damaged samples are left out and counted. ``quarantine``:
also listed in DATA/quarantine/<split>.json, which every later reader honours without looking at them again."""


def check_policy(errors: str) -> None:
    """Check that ``errors`` is an `ErrorPolicy`.

    Raises:
        ConfigError: any other value.
    """
    if errors not in get_args(ErrorPolicy):
        raise ConfigError(f"errors is {errors!r}{nearest(errors, get_args(ErrorPolicy))}")


@dataclass(kw_only=True)
class Damage:
    """The samples that a reader skipped; filled while it reads.

    Args:
        left_out: key of each sample that was not yielded -> reason.
        notes: faults of shards without loss of a sample (unknown members, wrong size).

    Example:
        >>> damage = Damage()
        >>> from imu_video.shards import load_index, read_samples
        >>> index = load_index("data/demo")
        >>> samples = list(read_samples(index, "train", damage=damage))
        >>> len(samples) + len(damage.left_out) == index.split("train").samples
        True
    """

    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """One line with the number of samples per reason; reasons are grouped by the text before the colon."""
        kinds = Counter(reason.split(":")[0] for reason in self.left_out.values())
        return f"{len(self.left_out)} samples left out" + "".join(f"; {n} {kind}" for kind, n in kinds.most_common())


class QuarantineList(Config):
    """Content of DATA/quarantine/<split>.json: the index's digest, and key -> reason of each damaged sample."""

    split: str
    digest: str
    samples: dict[str, str]


def quarantine_file(index: Index, split: str) -> Path:
    """Path of the list of a split's damaged samples."""
    return index.root / QUARANTINE_FOLDER / f"{split}.json"


def quarantined(index: Index, split: str) -> dict[str, str]:
    """Keys of a split's listed samples with their reasons; empty if there is no list for these shards.

    Raises:
        ShardError: the list cannot be read.
    """
    file = quarantine_file(index, split)
    hint = f"delete {file}; it is written again when the damage is met"
    if not file.exists():
        return {}
    content = read_model(file, QuarantineList, error=ShardError, hint=hint)
    if content.digest != index.digest:
        return {}
    foreign = sorted(content.samples.keys() - set(index.split(split).all_keys())) if content.samples else []
    if foreign or content.split != split:
        what = f"lists {foreign[0]!r}, which" if foreign else f"is a list of split {content.split!r}, which"
        raise ShardError(f"{file}: {what} is not of split {split!r}", hint=hint)
    return dict(content.samples)


def quarantine(index: Index, split: str, left_out: dict[str, str]) -> dict[str, str]:
    """Add samples to a split's list, atomically; returns the whole list.

    Raises:
        ShardError: the data folder cannot be written.
    """
    listed = quarantined(index, split)
    if left_out.items() <= listed.items():
        return listed
    samples = {**listed, **left_out}
    file = quarantine_file(index, split)
    content = {"split": split, "digest": index.digest, "samples": samples}
    try:
        file.parent.mkdir(exist_ok=True)
        write_atomic(file, json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True))
    except OSError as error:
        raise ShardError(
            f"{file}: cannot be written: {error.strerror}", hint="errors=skip leaves damaged samples out without a list"
        ) from error
    return samples
