"""Label maps: the classes of several datasets under common names; queries are selected elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from eval.data.windows import LabelledWindows
from imu_video.config import Config, read_yaml, validate
from imu_video.errors import ConfigError, nearest
from imu_video.registry import datasets

UNMAPPED = ""
"""Class of labels without a common name."""

LabelMaps = dict[str, dict[str, str]]
"""Dataset -> {its label: common label}."""


class _File(Config):
    maps: LabelMaps


def load_label_maps(path: str | Path) -> LabelMaps:
    """Read a file of configs/eval/label_maps: dataset -> {its label: common label}.

    Raises:
        ConfigError: a missing or invalid file.

    Example:
        >>> load_label_maps("configs/eval/label_maps/locomotion.yaml")["hapt"]["laying"]
        'lying'
    """
    return validate({"maps": read_yaml(path)}, _File, source=str(path)).maps


def rename_labels(
    windows: LabelledWindows, maps: Mapping[str, Mapping[str, str]], *, known: Collection[str] = ()
) -> LabelledWindows:
    """The same windows under common labels, in the same rows; labels without one become `UNMAPPED`.

    Args:
        windows: windows of one dataset, or of several distinguished by the fact ``dataset``.
        maps: dataset -> {its label: common label}.
        known: labels that a map may name although no window has them.

    Raises:
        ConfigError: a map with an unknown dataset or label, or without any window, or common labels that are blank
            or differ in case and spaces only.
    """
    _check_names([name for one in maps.values() for name in one.values()])
    dataset = windows.facts["dataset"] if "dataset" in windows.facts else np.full(len(windows), windows.dataset)
    for name in maps:
        if not (dataset == name).any():
            raise ConfigError(f"label_map names dataset {name!r}{nearest(name, set(dataset.tolist()))}")
        unknown = [label for label in maps[name] if label not in windows.classes and label not in known]
        if unknown:
            raise ConfigError(
                f"label_map of {name!r}: the data has no label {unknown[0]!r}{nearest(unknown[0], windows.classes)}"
            )
    old = np.array(windows.classes)[windows.labels]
    new = np.array(
        [maps.get(d, {}).get(label, UNMAPPED) for d, label in zip(dataset.tolist(), old.tolist(), strict=True)]
    )
    if not (new != UNMAPPED).any():
        raise ConfigError("label_map removes all windows")
    classes = tuple(sorted(set(new.tolist())))
    return replace(windows, labels=np.searchsorted(np.array(classes), new).astype(np.int64), classes=classes)


def _check_names(names: Collection[str]) -> None:
    """Refuse common labels that would become a class without a name, or two classes with one."""
    spelled: dict[str, str] = {}
    for name in names:
        plain = " ".join(name.replace("_", " ").casefold().split())
        if not plain:
            raise ConfigError(
                f"label_map: common label {name!r} is blank", hint="leave a label out of the map to exclude its windows"
            )
        if spelled.setdefault(plain, name) != name:
            raise ConfigError(
                f"label_map: common labels {spelled[plain]!r} and {name!r} differ in case and spaces only",
                hint="use one spelling for one class",
            )


def common_names(windows: LabelledWindows, maps: LabelMaps) -> LabelledWindows:
    """Windows of one dataset under the common labels of its map; labels without one become `UNMAPPED`.

    Raises:
        ConfigError: a map without the dataset, or see `rename_labels`.
    """
    if windows.dataset not in maps:
        raise ConfigError(
            f"the label map has no dataset {windows.dataset!r}{nearest(windows.dataset, maps)}",
            hint=f"add `{windows.dataset}: {{its label: common label}}` to the map",
        )
    own = {windows.dataset: maps[windows.dataset]}
    return rename_labels(windows, own, known=adapter_labels(windows.dataset))


def map_labels(windows: LabelledWindows, maps: Mapping[str, Mapping[str, str]]) -> LabelledWindows:
    """Windows under common labels; windows without one are excluded.

    Raises:
        ConfigError: as `rename_labels`.
    """
    named = rename_labels(windows, maps)
    classes = tuple(name for name in named.classes if name != UNMAPPED)
    kept = named.take(np.flatnonzero(np.array(named.classes)[named.labels] != UNMAPPED))
    return replace(kept, labels=kept.labels - (len(named.classes) - len(classes)), classes=classes)


def adapter_labels(dataset: str) -> tuple[str, ...]:
    """Labels declared by a registered adapter; empty for an unregistered one, or if only the files define them."""
    found = getattr(datasets.get(dataset), "labels", ()) if dataset in datasets.names() else ()
    return () if isinstance(found, property) else tuple(found)
