"""Training and test windows of the evaluation of frozen representations, and their checks; no features."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from eval.data.splits import refuse_training_subjects
from eval.data.windows import LabelledWindows
from eval.protocols.representation.config import RepresentationConfig
from imu_video.errors import ConfigError, LeakageError


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Some rows of labelled windows.

    Args:
        windows: the windows.
        rows: (n,) row numbers, sorted.
    """

    windows: LabelledWindows
    rows: np.ndarray

    def names(self, fact: str) -> np.ndarray:
        """(n,) values of a fact."""
        return self.windows.facts[fact][self.rows]

    @property
    def labels(self) -> np.ndarray:
        """(n,) names of the classes."""
        return np.asarray(self.windows.classes)[self.windows.labels[self.rows]]

    @property
    def facts(self) -> dict[str, Any]:
        """Dataset, digest and number of windows, as stored with results."""
        return {"dataset": self.windows.dataset, "digest": self.windows.digest, "windows": len(self.rows)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """Training and test windows without common recordings and, with ``split: subject``, without common subjects.

    Args:
        train, test: the windows.
        split: see `RepresentationConfig`.

    Raises:
        LeakageError: a recording, or with ``split: subject`` a subject, is in both.
        ConfigError: an empty part, fewer than two classes, or a test class without training windows.
    """

    train: Part
    test: Part
    split: str

    def __post_init__(self) -> None:
        for name, part in (("training", self.train), ("test", self.test)):
            if not len(part.rows):
                raise ConfigError(f"no labelled {name} window", hint="check train, test and classes of the config")
        if len(self.classes) < 2:
            raise ConfigError(
                f"the training windows have one class, {self.classes[0]!r}; a probe needs two",
                hint="name another training slice",
            )
        lacking = sorted(set(self.test.labels.tolist()) - set(self.classes))
        if lacking:
            raise ConfigError(
                f"test classes {lacking} have no training window", hint=f"list `classes` among {list(self.classes)}"
            )
        recordings = self.shared("recording")
        if recordings:
            raise LeakageError(
                f"{len(recordings)} recordings are in training and test: {', '.join(recordings[:3])}",
                hint="name slices without common recordings, or draw them: split=recording draw=0.2",
            )
        if self.split == "subject" and self.shared("subject"):
            raise LeakageError(
                f"subjects {self.shared('subject')} are in training and test",
                hint="name slices without common subjects; split=recording allows common subjects and states it",
            )

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the M classes of the training windows, sorted."""
        return tuple(np.unique(self.train.labels).tolist())

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """Names of the S test subjects, sorted."""
        return tuple(np.unique(self.test.names("subject")).tolist())

    def shared(self, fact: str) -> list[str]:
        """Values of a fact in both parts, sorted; none where they are of different datasets, whose names may recur."""
        if self.train.windows.dataset != self.test.windows.dataset:
            return []
        return sorted(set(self.train.names(fact).tolist()) & set(self.test.names(fact).tolist()))

    def targets(self, part: Part) -> np.ndarray:
        """(n,) class numbers 0..M-1 of a part's windows."""
        return np.searchsorted(np.asarray(self.classes), part.labels)

    @property
    def subject(self) -> np.ndarray:
        """(n,) number of the subject of every test window."""
        return np.searchsorted(np.asarray(self.subjects), self.test.names("subject"))


def divide(windows: LabelledWindows, train: LabelledWindows | None, config: RepresentationConfig) -> Parts:
    """The two parts of a config.

    Args:
        windows: with the test slice and, without ``train``, the training slice.
        train: windows of another folder with the training slice, or None.
        config: split, slices and classes.

    Raises:
        ConfigError: an unknown class, a draw over two folders, or see `Parts`.
        LeakageError: see `Parts`.
    """
    source = windows if train is None else train
    own, test = (_rows(w, part.rows(w), config) for w, part in ((source, config.train), (windows, config.test)))
    if config.draw is not None:
        if train is not None:
            raise ConfigError(
                "draw divides the recordings of one folder, but --train-data names a second", hint="draw=null"
            )
        own, test = draw_recordings(windows, np.union1d(own, test), config)
    return Parts(
        train=Part(windows=source, rows=np.sort(own)),
        test=Part(windows=windows, rows=np.sort(test)),
        split=config.split,
    )


def _rows(windows: LabelledWindows, rows: np.ndarray, config: RepresentationConfig) -> np.ndarray:
    """The rows whose class is distinguished."""
    if config.classes is None:
        return rows
    unknown = sorted(set(config.classes) - set(windows.classes))
    if unknown:
        raise ConfigError(
            f"classes {unknown} are not in the data", hint=f"classes of the data: {list(windows.classes)}"
        )
    return rows[np.isin(np.asarray(windows.classes)[windows.labels[rows]], config.classes)]


def draw_recordings(
    windows: LabelledWindows, rows: np.ndarray, config: RepresentationConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows: of each class's recordings, a share (at least one, never all) is drawn for the test.

    The class of a recording is that of most of its windows. A class with a single recording is in the training part.

    Args:
        windows: the windows.
        rows: rows to divide.
        config: draw, seed and name.

    Raises:
        ConfigError: no class has two recordings.
    """
    names, recording = np.unique(windows.recording[rows], return_inverse=True)
    counts = np.zeros((len(names), len(windows.classes)), dtype=np.int64)
    np.add.at(counts, (recording, windows.labels[rows]), 1)
    rng = np.random.default_rng([config.seed, zlib.crc32(config.name.encode())])
    order, own = rng.permutation(len(names)), counts.argmax(axis=1)
    for_test = np.zeros(len(names), dtype=bool)
    for c in np.unique(own):
        inside = order[own[order] == c]
        number = round(float(config.draw or 0) * len(inside))
        for_test[inside[: min(max(1, number), len(inside) - 1)]] = True
    if not for_test.any():
        raise ConfigError(
            "draw: no class has two recordings, so none can be tested on another recording",
            hint="draw=null with slices of different subjects",
        )
    return rows[~for_test[recording]], rows[for_test[recording]]


def pretraining_remarks(lineage: Mapping[str, Any], parts: Parts, config: RepresentationConfig) -> list[str]:
    """Refuse or state test subjects on whom the encoder was pretrained, and state those of its validation.

    Raises:
        LeakageError: training subjects of the pretraining among the test subjects, with ``refuse``.
    """
    test = parts.test
    try:
        chosen_on = refuse_training_subjects(lineage, test.windows, test.rows)
    except LeakageError as error:
        if config.pretraining_subjects == "refuse":
            raise
        return [f"{config.name}: {error.message}"]
    return [f"{config.name}: test subjects {chosen_on} were used to choose the checkpoint"] if chosen_on else []


def remarks(lineage: Mapping[str, Any], parts: Parts, config: RepresentationConfig) -> list[str]:
    """Sentences that are stored with every figure."""
    out = list(dict.fromkeys([*parts.test.windows.remarks, *parts.train.windows.remarks]))
    shared = parts.shared("subject")
    if shared:
        out.append(
            f"{config.name}: training and test share {len(shared)} of {len(parts.subjects)} test subjects, so the "
            "figures do not measure generalisation to other subjects"
        )
    large = [k for k in config.ks if k >= len(parts.classes)]
    if large:
        names = ", ".join(f"acc@{k}" for k in large)
        out.append(f"{config.name}: {names} is 1 by definition with {len(parts.classes)} classes and is left out")
    return out + pretraining_remarks(lineage, parts, config)
