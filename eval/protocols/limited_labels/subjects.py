"""Training, validation and test subjects of the limited-label protocol, disjoint; nothing is trained here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eval.data.splits import Slice, spread_over_subjects
from eval.data.windows import LabelledWindows
from eval.probes.base import Confidence, confidence_of
from eval.protocols.limited_labels.config import LabelsConfig, Number
from imu_video.errors import ConfigError, LeakageError
from imu_video.metrics.calibration import reliability_bins
from imu_video.metrics.classify import confusion_counts


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """Windows of the training pool, of the validation subjects and of the test subjects.

    Args:
        windows: all windows.
        pool, choose, test: row numbers of the three groups, sorted; ``choose`` (validation) may be empty.

    Raises:
        LeakageError: a subject in two groups.
        ConfigError: an empty pool or test group, or a class that the pool lacks.
    """

    windows: LabelledWindows
    pool: np.ndarray
    choose: np.ndarray
    test: np.ndarray

    def __post_init__(self) -> None:
        groups = {"pool": self.pool, "choose": self.choose, "test": self.test}
        subjects = {name: set(self.windows.subject[rows].tolist()) for name, rows in groups.items()}
        for one, other in (("pool", "choose"), ("pool", "test"), ("choose", "test")):
            shared = sorted(subjects[one] & subjects[other])
            if shared:
                raise LeakageError(f"{one} and {other} share {shared}", hint="name splits without common subjects")
        if not len(self.pool) or not len(self.test):
            raise ConfigError(
                f"pool has {len(self.pool)} labelled windows, test {len(self.test)}; both need at least one",
                hint="check pool.split and test.split",
            )
        lacking = np.setdiff1d(self.windows.labels[self.test], self.windows.labels[self.pool])
        if len(lacking):
            names = [self.windows.classes[c] for c in lacking]
            raise ConfigError(f"the pool has no window of {names}", hint="name another pool, or filter the test slice")

    @property
    def classes(self) -> np.ndarray:
        """Numbers into ``windows.classes`` of the M classes of the pool."""
        return np.unique(self.windows.labels[self.pool])

    @property
    def subjects(self) -> tuple[str, ...]:
        """Test subjects, sorted."""
        return tuple(np.unique(self.windows.subject[self.test]).tolist())

    def truth(self, rows: np.ndarray) -> np.ndarray:
        """Class numbers 0..M-1 of some rows."""
        return np.searchsorted(self.classes, self.windows.labels[rows])

    def labelled(self, number: Number, seed: int) -> np.ndarray:
        """Indices into ``pool`` that carry a label: ``number`` per class (or all), drawn round-robin over subjects.

        The first k of a class are the same for every larger number, so smaller sets are subsets of larger ones.
        """
        if number == "all":
            return np.arange(len(self.pool))
        return np.sort(np.searchsorted(self.pool, self._drawn(self.pool, number, [seed])))

    def validation(self, number: int | None, seed: int) -> np.ndarray:
        """Row numbers of ``choose`` on which a step is chosen: ``number`` per class, or all for None."""
        # The second number separates these draws from those of the labels.
        return self.choose if number is None else np.sort(self._drawn(self.choose, number, [seed, 1]))

    def short_classes(self, rows: np.ndarray, number: Number | None) -> dict[str, int]:
        """Classes with fewer windows than ``number`` among some rows, and how many they have."""
        if number is None or number == "all" or not len(rows):
            return {}
        have = {self.windows.classes[c]: int((self.windows.labels[rows] == c).sum()) for c in self.classes}
        return {name: count for name, count in have.items() if count < number}

    def _drawn(self, rows: np.ndarray, number: int, seeds: list[int]) -> np.ndarray:
        """``number`` of some rows per class, round-robin over subjects."""
        out = []
        for c in self.classes:
            own = rows[self.windows.labels[rows] == c]
            rng = np.random.default_rng([*seeds[:1], int(c), *seeds[1:]])
            out.append(spread_over_subjects(self.windows, own, number, rng))
        return np.concatenate(out)

    def counts(self, predicted: np.ndarray) -> np.ndarray:
        """Confusion counts (S, M, M) of predictions for the rows of ``test``."""
        subject = self.windows.subject[self.test]
        truth = self.truth(self.test)
        own = [subject == s for s in self.subjects]
        return np.stack([confusion_counts(truth[o], predicted[o], classes=len(self.classes)) for o in own])

    def bins(self, scores: np.ndarray, how: Confidence) -> np.ndarray:
        """Reliability bins (S, B, 3) of scores (n, M) for the rows of ``test``; ``how`` makes them probabilities."""
        correct, stated = scores.argmax(axis=1) == self.truth(self.test), confidence_of(scores, how)
        own = [self.windows.subject[self.test] == s for s in self.subjects]
        return np.stack([reliability_bins(stated[o], correct[o]) for o in own])


def group_subjects(windows: LabelledWindows, config: LabelsConfig) -> Groups:
    """The three groups of a config.

    Raises:
        ConfigError: a class that the data does not have.
        LeakageError: see `Groups`.
    """
    unknown = sorted(set(config.classes or ()) - set(windows.classes))
    if unknown:
        raise ConfigError(
            f"classes {unknown} are not in the data", hint=f"classes of the data: {sorted(windows.classes)}"
        )

    def rows(part: Slice | None) -> np.ndarray:
        own = part.rows(windows) if part else np.zeros(0, dtype=np.int64)
        if config.classes is None:
            return own
        return own[np.isin(np.asarray(windows.classes)[windows.labels[own]], config.classes)]

    return Groups(windows=windows, pool=rows(config.pool), choose=rows(config.choose), test=rows(config.test))
