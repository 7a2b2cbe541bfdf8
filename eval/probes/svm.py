"""Support vector machine with RBF kernel whose C is selected by cross-validation; no other estimator."""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from eval.probes.base import Strengths, check_support, inverse_spread, probes, scaling_of, unit_rows
from imu_video.arguments import Count, Positive
from imu_video.errors import ConfigError
from imu_video.runtime.logging import log_progress

logger = logging.getLogger(__name__)

STRENGTHS = tuple(float(10.0**e) for e in range(-4, 5))
_ROWS = 4096
"""Windows that are scaled and scored at a time."""
_SHOWN = 1000
"""Smallest support whose search is logged; a smaller one takes a second or less, and a command has thousands."""


@probes.register("svm_rbf")
class SvmProbe:
    """RBF support vector machine as in the evaluation of COMODO (Chen et al. 2025, arXiv 2503.07259).

    Rows are scaled to unit norm, then columns are standardised over the support, then an SVC is fitted
    (``gamma="scale"``). Its C has the largest mean accuracy in stratified cross-validation on the support; ties go to
    the smaller C. There are ``folds`` folds, or as many as the most frequent class has windows; folds whose training
    part has a single class are left out, and without any the middle candidate is used. Memory is linear in the number
    of windows: no kernel matrix is kept, and the kernel cache of libsvm is bounded.

    Args:
        strengths: candidates for C, each above 0.
        most: largest number of windows that the SVC is fitted on, at least 2. A larger support is reduced to a random
            sample in which each class has its share, at least one window. 10,000 as published.
        folds: number of folds, at least 2; 5 as published.
        shuffle: draw the folds at random. With ``false`` folds are consecutive parts of the support in its given order,
            as by default in scikit-learn; results then depend on that order.
        seed: of the sample and of the folds, at least 0.
        few_strength: C, above 0, that is used without a search for a support of fewer than 50 windows, or fewer than 5
            per class on average; null searches in every support.
        cache_mb: bound of the kernel cache in MB, at least 1; results do not depend on it.

    Example:
        >>> x = np.array([[2.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 2.0]])
        >>> SvmProbe().fit(x, np.array([0, 0, 1, 1]), classes=2).scores(x).argmax(axis=1).tolist()
        [0, 0, 1, 1]
    """

    def __init__(
        self,
        *,
        strengths: Strengths = STRENGTHS,
        most: Annotated[int, Field(ge=2)] = 10_000,
        folds: Annotated[int, Field(ge=2)] = 5,
        shuffle: bool = True,
        seed: Annotated[int, Field(ge=0)] = 0,
        few_strength: Positive | None = None,
        cache_mb: Count = 400,
    ) -> None:
        self.strengths, self.most, self.folds = tuple(sorted(strengths)), most, folds
        self.shuffle, self.seed, self.few_strength, self.cache_mb = shuffle, seed, few_strength, cache_mb

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> FittedSvm:
        """Fit the support vector machine. Shapes: features (n, E), labels (n,)."""
        x, y = check_support(features, labels, classes)
        # A column that is constant in the support may vary in queries, where it must not influence the norm.
        alive = scaling_of(x, "standard")[1] > 0
        centre, factor = _scaling(x, alive)
        # The order of a support has no meaning, so rows are sorted before they are drawn. Features come first and
        # classes last, so that the numbers of the classes do not matter.
        rows = np.lexsort((y, *x.T[::-1])) if self.shuffle else np.arange(len(x))
        if len(rows) > self.most:
            rows = rows[stratified_sample(y[rows], self.most, np.random.default_rng(self.seed))]
        z, y = (unit_rows(x[rows] * alive) - centre) * factor, y[rows]
        chosen = self._choose(z, y, classes)
        return FittedSvm(model=self._machine(chosen).fit(z, y), centre=centre, factor=factor, alive=alive, c=chosen)

    def _machine(self, strength: float) -> Any:
        from sklearn.svm import SVC

        return SVC(C=strength, cache_size=self.cache_mb)

    def _choose(self, z: np.ndarray, y: np.ndarray, classes: int) -> float:
        if self.few_strength is not None and (len(y) < 50 or len(y) < 5 * classes):
            return self.few_strength
        folds = self._folds(y)
        if not folds or len(self.strengths) == 1:
            return self.strengths[len(self.strengths) // 2]
        right = np.empty((len(self.strengths), len(folds)))
        seconds = np.full(right.shape, np.nan)
        if len(y) >= _SHOWN:
            logger.info(f"SVM on {len(y)} windows: {right.size} fits to select C")
        # All strengths of one fold come first: the later folds take about as long, so that the rest can be estimated.
        for f, (train, test) in enumerate(folds):
            z_train, y_train, z_test = z[train], y[train], z[test]
            for c, strength in enumerate(self.strengths):
                begun = time.monotonic()
                model = self._machine(strength).fit(z_train, y_train)
                right[c, f] = np.mean(model.predict(z_test) == y[test])
                seconds[c, f] = time.monotonic() - begun
                if len(y) >= _SHOWN:
                    left = _seconds_left(seconds)
                    what = f"fold {f + 1}, C={strength:g}" + (f", about {left:.0f} s left" if left else "")
                    log_progress(logger, f * len(right) + c + 1, right.size, "fits", what)
        return self.strengths[int(right.mean(axis=1).argmax())]

    def _folds(self, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows of training and test part of every fold."""
        from sklearn.model_selection import StratifiedKFold

        number = int(min(self.folds, np.bincount(y).max()))
        if number < 2:
            return []
        split = StratifiedKFold(number, shuffle=self.shuffle, random_state=self.seed if self.shuffle else None)
        with warnings.catch_warnings():
            # A class with fewer windows than folds is absent from some of them, which changes no comparison of C.
            warnings.filterwarnings("ignore", message="The least populated class")
            return [(train, test) for train, test in split.split(y, y) if len(np.unique(y[train])) > 1]


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedSvm:
    """A fitted machine with its scaling.

    Args:
        model: scikit-learn's SVC.
        centre, factor: (E,) scaling of unit-norm rows.
        alive: (E,) bool, columns that vary in the support.
        c: the selected C.
    """

    model: Any
    centre: np.ndarray
    factor: np.ndarray
    alive: np.ndarray
    c: float

    @property
    def chosen(self) -> dict[str, float]:
        """Hyper-parameters that were selected on the support."""
        return {"C": self.c}

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Decision values of every class against the others. Shapes: (N, E) -> (N, M)."""
        parts = [self._scores(features[first : first + _ROWS]) for first in range(0, len(features), _ROWS)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.model.classes_)))

    def _scores(self, features: np.ndarray) -> np.ndarray:
        x = np.asarray(features, dtype=np.float64)
        values = np.asarray(self.model.decision_function((unit_rows(x * self.alive) - self.centre) * self.factor))
        # With two classes scikit-learn returns one column, the score of the second class.
        return np.stack([-values, values], axis=1) if values.ndim == 1 else values


def stratified_sample(labels: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Places of a random sample without replacement in which each class has its share, at least one window.

    Shares are rounded by the largest remainder. The numbers of the classes do not matter, only which labels are equal.

    Args:
        labels: class of every window.
        number: size of the sample, at least the number of classes and at most ``len(labels)``.
        rng: source of the draw.

    Shapes:
        labels (n,) -> (number,) int64, in random order.

    Raises:
        ConfigError: fewer windows than classes.

    Example:
        >>> labels = np.repeat([0, 1, 2], [90, 9, 1])
        >>> kept = stratified_sample(labels, 20, np.random.default_rng(0))
        >>> np.bincount(labels[kept]).tolist(), len(np.unique(kept))
        ([18, 1, 1], 20)
    """
    _, first, member, count = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    if number < len(count):
        raise ConfigError(f"most={number} windows cannot contain {len(count)} classes", hint=f"most={10 * len(count)}")
    share = count * number / len(labels)
    quota = np.clip(np.floor(share), 1, count).astype(np.int64)
    # Ties of remainders go to the class that comes first in the support.
    by_remainder = sorted(range(len(count)), key=lambda m: (quota[m] - share[m], first[m]))
    while (missing := number - int(quota.sum())) != 0:
        # Minimum quotas of rare classes can exceed their share; the classes with the largest excess give way.
        able = [m for m in by_remainder if (quota[m] < count[m] if missing > 0 else quota[m] > 1)]
        for m in able[:missing] if missing > 0 else able[missing:]:
            quota[m] += 1 if missing > 0 else -1
        by_remainder.sort(key=lambda m: (quota[m] - share[m], first[m]))
    drawn = rng.permutation(len(labels))
    # The position of every drawn window within its class: those below the quota are kept.
    order = np.argsort(member[drawn], kind="stable")
    place = np.empty(len(labels), dtype=np.int64)
    place[order] = np.arange(len(labels)) - np.repeat(np.cumsum(count) - count, count)
    return np.asarray(drawn[place < quota[member[drawn]]], dtype=np.int64)


def _scaling(x: np.ndarray, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and factor of the unit-norm rows, without a second array of all of them. Shapes: (n, E) -> (E,), (E,)."""
    parts = range(0, len(x), _ROWS)
    centre = sum(unit_rows(x[i : i + _ROWS] * alive).sum(axis=0) for i in parts) / len(x)
    square = sum(((unit_rows(x[i : i + _ROWS] * alive) - centre) ** 2).sum(axis=0) for i in parts)
    return centre, inverse_spread(centre, np.sqrt(square / len(x)))


def _seconds_left(seconds: np.ndarray) -> float:
    """Expected time of the fits that are left, and of the last one on all folds. Shapes: (S, F), NaN = to do."""
    known = np.isfinite(seconds)
    each = np.where(known.any(axis=1), np.nansum(seconds, axis=1) / np.maximum(known.sum(axis=1), 1), np.nan)
    each = np.where(np.isfinite(each), each, np.nanmean(seconds))
    return float(((~known) * each[:, None]).sum())
