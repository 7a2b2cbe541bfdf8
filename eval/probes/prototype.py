"""Nearest class mean by cosine; it learns nothing but means."""

from __future__ import annotations

import numpy as np

from eval.probes.base import LinearScores, Scaling, check_support, probes, scaling_of, unit_rows


@probes.register("prototype")
class PrototypeProbe:
    """Predicts the class whose mean support feature has the largest cosine with the window's feature.

    Snell, Swersky, Zemel 2017 (arXiv 1703.05175) with cosine instead of Euclidean distance. With
    ``z = (x - mu) / sigma`` fitted on the support, ``p_c`` the mean over the class's support of ``z / |z|``:
    ``argmax_c  z . p_c / |p_c|``. The query's own norm does not change the argmax, so the probe is linear in x.

    Args:
        scaling: ``standard`` (centre and standardise each dimension on the support), ``center`` or ``none``.

    Example:
        >>> x = np.array([[1.0, 0.0], [0.0, 1.0]])
        >>> PrototypeProbe().fit(x, np.array([0, 1]), classes=2).scores(x).argmax(axis=1).tolist()
        [0, 1]
    """

    def __init__(self, *, scaling: Scaling = "standard") -> None:
        self.scaling = scaling

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> LinearScores:
        """Fit the class means. Shapes: features (n, E), labels (n,)."""
        x, y = check_support(features, labels, classes)
        centre, factor = scaling_of(x, self.scaling)
        z = unit_rows((x - centre) * factor)
        means = np.eye(classes)[y].T @ z / np.bincount(y, minlength=classes)[:, None]
        weight = factor[:, None] * unit_rows(means).T
        return LinearScores(weight, -(centre @ weight))
