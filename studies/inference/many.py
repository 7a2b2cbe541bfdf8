"""Estimates of many simulated studies of one size at once; the procedure is that of `imu_video.metrics.inference`."""

from __future__ import annotations

import numpy as np

from imu_video.metrics.inference import WEIGHTS
from imu_video.metrics.variance import FOLD, SUBJECT

BLOCK = 250
"""Studies whose mixture is in memory at once."""
NODES = (32, 24, 8)
"""Nodes for three factors, an eighth of those of a single estimate; p values are up to a tenth smaller."""


class Parts:
    """Variance parts of n studies.

    Args:
        cells: values without gaps.
        folds: the fold of each subject; None without folds.

    Shapes:
        cells (n, P, R, S), folds (S,).
    """

    def __init__(self, cells: np.ndarray, folds: np.ndarray | None = None) -> None:
        subjects = cells.shape[-1]
        means = cells.mean(axis=(1, 2))
        self.value = means.mean(axis=1)
        self.parts = [(SUBJECT, subjects - 1, means.var(axis=1, ddof=1) / subjects, np.zeros(len(cells)), 1)]
        if folds is not None:
            self.parts.append(_folds(means, folds))
        for axis in (2, 1):
            levels = cells.shape[axis]
            if levels > 1:
                own = (cells - means[:, None, None]).mean(axis=3 - axis)  # (n, levels, S)
                effects = own.mean(axis=2)
                freedom = (levels - 1) * (subjects - 1)
                square = ((own - effects[..., None]) ** 2).sum(axis=(1, 2)) / freedom
                gross, noise = effects.var(axis=1, ddof=1) / levels, square / subjects / levels
                self.parts.append(("seed", levels - 1, gross, noise, freedom))

    def tail(self, distance: np.ndarray) -> np.ndarray:
        """Probability of a deviation above a distance. Shapes: (n,) -> (n,)."""
        from scipy.special import stdtr

        net = [np.maximum(0.0, gross - noise) for _, _, gross, noise, _ in self.parts]
        total = np.sum(net, axis=0)
        spread = np.sum([g**2 / nu + d**2 / own for _, nu, g, d, own in self.parts], axis=0)
        least = np.min([np.where(v > 0, nu, np.inf) for v, (_, nu, *_) in zip(net, self.parts, strict=True)], axis=0)
        # Studies whose subjects all have the same value have no interval, so that nothing is excluded.
        some = total > 0
        distance, total, spread = np.where(some, distance, 0.0), np.where(some, total, 1.0), np.where(some, spread, 1.0)
        p = 2 * stdtr(np.maximum(total**2 / spread, np.where(some, least, 1.0)), -distance / np.sqrt(total))
        freedom = [nu for factor, nu, *_ in self.parts if factor != FOLD]
        share = WEIGHTS.get(min(freedom), 0.0) if len(freedom) > 1 else 0.0
        if share == 0:
            return np.asarray(p)
        mixed = [self._mixture(distance, slice(i, i + BLOCK)) for i in range(0, len(distance), BLOCK)]
        return np.asarray(share * np.concatenate(mixed) + (1 - share) * p)

    def _mixture(self, distance: np.ndarray, some: slice) -> np.ndarray:
        from scipy.special import ndtr

        from imu_video.metrics.inference import _NODES, _inverse_chi_square

        number = NODES if len(self.parts) > 2 else _NODES
        weight, variance = np.ones(1), np.zeros((len(distance[some]), 1))
        for (_, nu, gross, noise, _), nodes in zip(sorted(self.parts, key=lambda part: part[1]), number, strict=False):
            own, scale = _inverse_chi_square(nu, nodes)
            weight = np.outer(weight, own).ravel()
            added = np.maximum(0.0, gross[some, None] * scale - noise[some, None])
            variance = (variance[:, :, None] + added[:, None]).reshape(len(variance), -1)
        # A node without variance has no tail, and a distance of zero is within all of them.
        scaled = np.divide(
            distance[some, None], np.sqrt(variance), out=np.full(variance.shape, np.inf), where=variance > 0
        )
        return np.asarray(2 * ndtr(-np.where(distance[some, None] > 0, scaled, 0.0)) @ weight)


def _folds(means: np.ndarray, fold: np.ndarray) -> tuple[str, int, np.ndarray, np.ndarray, int]:
    size = np.bincount(fold)
    subjects, folds = means.shape[1], len(size)
    centre = np.stack([means[:, fold == f].mean(axis=1) for f in range(folds)], axis=1)
    within = ((means - centre[:, fold]) ** 2).sum(axis=1) / (subjects - folds)
    between = (size * (centre - means.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) / (folds - 1)
    usual = (subjects - (size**2).sum() / subjects) / (folds - 1)
    scale = (1 + folds / (folds - 1)) * (size**2).sum() / usual / subjects**2
    gross, noise = between * scale, within * scale
    pooled = between <= within
    return FOLD, folds - 1, np.where(pooled, 0.0, gross), np.where(pooled, 0.0, noise), subjects - folds
