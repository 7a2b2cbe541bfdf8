"""Multinomial logistic regression on frozen features, for hard and for soft labels; nothing is selected."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from eval.probes.base import Confidence, LinearScores, check_support, probes
from eval.probes.descent import minimise
from eval.probes.many import LinearProbe, alive_inverse
from imu_video.errors import ConfigError

TOLERANCE = 1e-3
"""Of many supports at once (see `minimise`): predictions are then those of the minimum but for near ties."""

_FLOOR = 1e-3
"""Least spread of a feature, relative to the largest: dimensions that hardly vary say nothing about their scale."""


@probes.register("logreg")
class LogregProbe(LinearProbe):
    """Linear scores that minimise the penalised cross-entropy of the support.

    With z the features, standardised over the support and divided by the root of their number E:

        L(W, b) = - 1/n sum_i sum_m q_im log softmax(z_i W + b)_m + penalty / M ||W||^2

    which is convex: many supports at once are fitted by conjugate gradients (`eval.probes.descent`), one alone by
    L-BFGS in float64, since it may hold thousands of windows and a kernel costs their square. Targets q are one-hot
    rows, or soft labels in `fit_targets`. The strength is fixed: a 1-shot support leaves nothing to choose it on, and
    the figures hardly move between 1e-4 and 1e-2.

    Args:
        penalty: strength of the penalty, above 0; 1e-4 .. 1e-1.
        iterations: at most.

    Example:
        >>> x = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
        >>> LogregProbe().fit(x, np.array([0, 0, 1, 1]), classes=2).scores(x).argmax(axis=1).tolist()
        [0, 0, 1, 1]
    """

    confidence: Confidence = "softmax"

    def __init__(self, *, penalty: float = 1e-3, iterations: int = 100) -> None:
        if penalty <= 0 or iterations < 1:
            raise ConfigError(f"logreg: penalty must be above 0, iterations at least 1, got {penalty} and {iterations}")
        super().__init__()
        self.penalty = float(penalty)
        self.iterations = int(iterations)

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> LinearScores:
        """Fit the scores. Shapes: features (n, E), labels (n,)."""
        x, y = check_support(features, labels, classes)
        return self.fit_targets(x, np.eye(classes)[y])

    def factor(self, centre: Tensor, spread: Tensor) -> Tensor:
        """One over the spread and the root of E; a floor keeps features small that hardly vary over the support."""
        floor = (_FLOOR * spread.amax(dim=2, keepdim=True)).clamp(min=1e-12)
        return alive_inverse(centre, spread, floor=floor) / spread.shape[2] ** 0.5

    def solve(self, kernel: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients and offsets of many supports. Shapes: (B, n, n) overwritten, (B, M, n) -> (B, M, n), (B, M)."""
        c = targets.shape[1] / (2 * self.penalty * targets.shape[2])
        # Windows that are equal or lie in few dimensions leave directions in which nothing holds the coefficients.
        diagonal = kernel.diagonal(dim1=1, dim2=2)
        diagonal += 100 * torch.finfo(kernel.dtype).eps * diagonal.mean(dim=1, keepdim=True)
        return minimise(kernel, targets, c=c, tolerance=TOLERANCE, steps=self.iterations)

    def fit_targets(self, features: np.ndarray, targets: np.ndarray) -> LinearScores:
        """Fit the scores to soft labels. Shapes: features (n, E), targets (n, M), rows sum to one."""
        from scipy.optimize import minimize

        x = np.asarray(features, dtype=np.float64)
        n = len(x)
        classes = targets.shape[1]
        centre, spread = x.mean(axis=0), x.std(axis=0)
        factor = self.factor(*(torch.from_numpy(a)[None, None] for a in (centre, spread))).numpy()[0, 0]
        z = (x - centre) * factor

        # n is far smaller than E: the minimiser lies in the span of the rows, z = U A with A (n, r).
        u, s, vt = np.linalg.svd(z, full_matrices=False)
        a = u * s
        rank = a.shape[1]

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            w, b = flat[: rank * classes].reshape(rank, classes), flat[rank * classes :]
            scores = a @ w + b
            scores -= scores.max(axis=1, keepdims=True)
            log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
            value = -(targets * log_p).sum() / n + self.penalty / classes * (w**2).sum()
            slope = (np.exp(log_p) - targets) / n
            gradient = a.T @ slope + 2 * self.penalty / classes * w
            return float(value), np.concatenate([gradient.ravel(), slope.sum(axis=0)])

        found = minimize(
            objective,
            np.zeros((rank + 1) * classes),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.iterations, "gtol": 1e-6},
        )
        weight = factor[:, None] * (vt.T @ found.x[: rank * classes].reshape(rank, classes))
        return LinearScores(weight, found.x[rank * classes :] - centre @ weight)
