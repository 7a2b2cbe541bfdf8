"""Checks of the data folders of a run, by their indexes, and of the devices in their windows; see checks.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from imu_video.errors import ConfigError, LeakageError, nearest
from imu_video.modalities import modality_of
from imu_video.shards.remote import Address, is_address
from imu_video.shards.schema import Index
from pretrain.config import DataSection
from pretrain.prepare.needs import Needs


def check_addresses(section: DataSection) -> None:
    """The run's config and checkpoints store `data.root`: an address must not contain credentials.

    Raises:
        ConfigError: an address with a signed query.
    """
    for folder in section.folders:
        if is_address(folder.root) and Address.parse(folder.root).query:
            raise ConfigError(
                f"data.root {Address.parse(folder.root)}: the address has a signed query, which the run's config "
                "would store",
                hint="imu-video fetch ADDRESS FOLDER, then data.root=FOLDER",
            )


def check_splits(section: DataSection, indexes: Sequence[Index]) -> None:
    """Every folder must have the splits of the run.

    Raises:
        ConfigError: a split that a folder lacks.
    """
    for index in indexes:
        for key in ("train_split", "val_split"):
            split = getattr(section, key)
            if split is not None and split not in index.splits:
                raise ConfigError(f"data.{key}: {index.root} has no split {split!r}{nearest(split, index.splits)}")


def check_placements(section: DataSection, indexes: Sequence[Index], needs: Needs) -> None:
    """Some folder must have each device of the run, and a loss that compares devices needs two.

    Args:
        section: names of the devices; None = all.
        indexes: of all folders.
        needs: whether a loss compares devices.

    Raises:
        ConfigError: an unknown device, or one device where two are compared.
    """
    known = sorted({name for index in indexes for name in index.placements})
    for placement in section.placements or ():
        if placement not in known:
            where = " and ".join(one.root for one in section.folders)
            raise ConfigError(f"data.placements: {where} has no device {placement!r}{nearest(placement, known)}")
    used = section.placements or known
    if needs.devices and len(used) < 2:
        raise ConfigError(
            f"a loss compares devices, but there is one: {', '.join(used)}",
            hint="data.placements=null, or data with several devices",
        )


def check_conditioning(indexes: Sequence[Index]) -> None:
    """All folders must contain the same quantity: with or without gravity, in one frame, equally normalised.

    Raises:
        ConfigError: recordings with and without gravity in one folder, or folders that differ.
    """
    first = indexes[0]
    for index in indexes:
        if index.gravity == "mixed":
            raise ConfigError(
                f"{index.root}: some recordings include gravity and some do not",
                hint="build it with signal.gravity=remove",
            )
        for fact in ("gravity", "frame", "normalised"):
            if getattr(index, fact) != getattr(first, fact):
                raise ConfigError(
                    f"{index.root} has {fact} {getattr(index, fact)!r}, {first.root} has {getattr(first, fact)!r}",
                    hint="build both with the same `signal` section",
                )


def check_subjects(section: DataSection, subjects: Mapping[str, Sequence[str]]) -> None:
    """Subjects of the validation split must not be trained on.

    Args:
        section: names of the splits.
        subjects: of each split.

    Raises:
        LeakageError: a subject is in both.
    """
    if section.val_split is None:
        return
    shared = sorted(set(subjects[section.train_split]) & set(subjects[section.val_split]))
    if shared:
        raise LeakageError(
            f"splits {section.train_split!r} and {section.val_split!r} share subjects {shared}",
            hint="build the data folder with disjoint subjects, or data.val_split=null",
        )


def check_streams(needs: Needs, indexes: Sequence[Index]) -> None:
    """A tower needs its modality in every folder.

    Raises:
        ConfigError: a folder without.
    """
    without = [index.root for index in indexes if needs.tower is not None and needs.tower not in index.streams]
    if needs.tower is not None and without:
        raise ConfigError(
            f"tower: {without[0]} has no {needs.tower}",
            hint=f"build the data with {modality_of(needs.tower).window_key()}=..., or tower=null",
        )


def check_worn_together(present: np.ndarray, *, split: str) -> None:
    """A loss that compares devices needs windows with two devices; without any it would silently be zero.

    Args:
        present: (N, V) bool: the device is used and was worn, for the usable windows.
        split: for the error.

    Raises:
        ConfigError: no window has two.
    """
    if not (present.sum(axis=1) >= 2).any():
        raise ConfigError(
            f"a loss compares devices, but no window of split {split!r} has two devices worn at once",
            hint="use data with several devices at a time, or another loss",
        )
