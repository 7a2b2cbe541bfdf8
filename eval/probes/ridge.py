"""Ridge regression on class indicators in closed form; one eigendecomposition serves every strength."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eval.probes.base import LinearScores, Scaling, check_support, probes, scaling_of

STRENGTHS = tuple(float(10.0**e) for e in np.arange(-4, 2.01, 0.5))


@probes.register("ridge")
class RidgeProbe:
    """Linear scores by ridge regression on one-hot targets, strength chosen by leave-one-out on the support.

    With z the scaled support (n, E), Zc its centred rows, Yc the centred one-hot targets and K = Zc Zc^T = Q diag(l)
    Q^T:

        A = (K + s t I)^-1 Yc,   t = trace(K) / n,   scores(z) = (z - mean) Zc^T A + mean(Y)

    (the dual form, since n is far smaller than E). The hat matrix with an unpenalised intercept is
    ``H = 11^T / n + K (K + s t I)^-1`` and the leave-one-out residual ``(Y - H Y)_i / (1 - H_ii)`` (Allen's PRESS),
    so that every strength s costs one product. The smallest mean squared leave-one-out residual wins, ties go to the
    larger s. The scaling is fitted on all of the support, labels unseen. With one shot a left-out class has no sample
    to be predicted from, leave-one-out would always ask for the largest strength, and ``one_shot_strength`` is used.

    Args:
        scaling: ``standard``, ``center`` or ``none``, fitted on the support.
        strengths: candidates s > 0, relative to the mean eigenvalue of K.
        one_shot_strength: s where some class has a single support window.

    Example:
        >>> x = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
        >>> RidgeProbe().fit(x, np.array([0, 0, 1, 1]), classes=2).scores(x).argmax(axis=1).tolist()
        [0, 0, 1, 1]
    """

    def __init__(
        self,
        *,
        scaling: Scaling = "standard",
        strengths: Sequence[float] = STRENGTHS,
        one_shot_strength: float = 1.0,
    ) -> None:
        if not len(strengths) or min(strengths) <= 0 or one_shot_strength <= 0:
            raise ValueError(f"ridge strengths must be above 0, got {list(strengths)} and {one_shot_strength}")
        self.scaling = scaling
        self.strengths = tuple(sorted(float(s) for s in strengths))
        self.one_shot_strength = float(one_shot_strength)

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> LinearScores:
        """Fit the scores. Shapes: features (n, E), labels (n,)."""
        x, y = check_support(features, labels, classes)
        centre, factor = scaling_of(x, self.scaling)
        z = (x - centre) * factor
        mean = z.mean(axis=0)
        z = z - mean
        onehot = np.eye(classes)[y]
        target = onehot - onehot.mean(axis=0)
        values, vectors = np.linalg.eigh(z @ z.T)
        values = np.maximum(values, 0.0)
        unit = max(float(values.mean()), 1e-12)
        rotated = vectors.T @ target
        if np.bincount(y, minlength=classes).min() < 2:
            strength = self.one_shot_strength
        else:
            strength = self.choose(values / unit, vectors, rotated, target)
        dual = vectors @ (rotated / (values + strength * unit)[:, None])
        inner = z.T @ dual
        weight = factor[:, None] * inner
        return LinearScores(weight, onehot.mean(axis=0) - centre @ weight - mean @ inner)

    def choose(self, values: np.ndarray, vectors: np.ndarray, rotated: np.ndarray, target: np.ndarray) -> float:
        """The strength with the smallest mean squared leave-one-out residual.

        Shapes: values (n,), vectors (n, n), rotated = vectors^T target (n, M), target (n, M), centred.
        """
        n = len(values)
        s = np.array(self.strengths)
        shrink = values / (values + s[:, None])  # (strengths, n)
        fitted = np.einsum("ij,sj,jm->sim", vectors, shrink, rotated, optimize=True)
        leverage = 1.0 / n + (vectors**2) @ shrink.T  # (n, strengths)
        residual = (target - fitted) / np.maximum(1.0 - leverage.T, 1e-9)[:, :, None]
        error = (residual**2).mean(axis=(1, 2))
        return float(s[np.flatnonzero(error <= error.min() * (1 + 1e-9))[-1]])
