"""Multinomial logistic regression on frozen features, for hard and soft labels; no hyper-parameter is selected."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from eval.probes.base import Confidence, LinearScores, check_support, probes
from eval.probes.descent import minimise
from eval.probes.many import LinearProbe, alive_inverse
from imu_video.arguments import Count, Positive

TOLERANCE = 1e-3
"""Tolerance of `minimise` for many supports at once: predictions equal those at the minimum, except for near ties."""

_FLOOR = 1e-3
"""Lower limit of a feature's spread, relative to the largest: the scale of a nearly constant feature is noise."""


@probes.register("logreg")
class LogregProbe(LinearProbe):
    """Linear scores that minimise the penalised cross-entropy of the support.

    With z the features, standardised over the support and divided by the square root of their number E:

        L(W, b) = - 1/n sum_i sum_m q_im log softmax(z_i W + b)_m + penalty / M ||W||^2

    The problem is convex. Many supports are fitted together by conjugate gradients (`eval.probes.descent`). A single
    support is fitted by L-BFGS in float64, because it may have thousands of windows and a kernel grows with their
    square. Targets q are one-hot rows, or soft labels in `fit_targets`. The strength is fixed: a 1-shot support has no
    windows to select it on, and results hardly change between 1e-4 and 1e-2.

    Args:
        penalty: strength of the penalty, above 0; typically 1e-4 .. 1e-1.
        iterations: largest number of iterations, at least 1.

    Example:
        >>> x = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
        >>> LogregProbe().fit(x, np.array([0, 0, 1, 1]), classes=2).scores(x).argmax(axis=1).tolist()
        [0, 0, 1, 1]
    """

    confidence: Confidence = "softmax"

    def __init__(self, *, penalty: Positive = 1e-3, iterations: Count = 100) -> None:
        super().__init__()
        self.penalty = float(penalty)
        self.iterations = int(iterations)

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> LinearScores:
        """Fit one support. Shapes: features (n, E), labels (n,)."""
        x, y = check_support(features, labels, classes)
        return self.fit_targets(x, np.eye(classes)[y])

    def factor(self, centre: Tensor, spread: Tensor) -> Tensor:
        """One over the spread and over the root of E; a floor keeps nearly constant features from being amplified."""
        floor = (_FLOOR * spread.amax(dim=2, keepdim=True)).clamp(min=1e-12)
        return alive_inverse(centre, spread, floor=floor) / spread.shape[2] ** 0.5

    def solve(self, kernel: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients and offsets of many supports. Shapes: (B, n, n) overwritten, (B, M, n) -> (B, M, n), (B, M)."""
        # C of `minimise`: the objective above times M / (2 penalty), where the penalty has the factor 1/2.
        c = targets.shape[1] / (2 * self.penalty * targets.shape[2])
        # With equal windows, or windows in few dimensions, the kernel is singular and leaves some coefficients
        # undetermined. A small multiple of the identity determines them.
        diagonal = kernel.diagonal(dim1=1, dim2=2)
        diagonal += 100 * torch.finfo(kernel.dtype).eps * diagonal.mean(dim=1, keepdim=True)
        return minimise(kernel, targets, c=c, tolerance=TOLERANCE, steps=self.iterations)

    def fit_targets(self, features: np.ndarray, targets: np.ndarray) -> LinearScores:
        """Fit one support with soft labels. Shapes: features (n, E), targets (n, M), rows sum to one."""
        from scipy.optimize import minimize

        x = np.asarray(features, dtype=np.float64)
        n = len(x)
        classes = targets.shape[1]
        centre, spread = x.mean(axis=0), x.std(axis=0)
        factor = self.factor(*(torch.from_numpy(a)[None, None] for a in (centre, spread))).numpy()[0, 0]
        z = (x - centre) * factor

        # The minimiser lies in the span of the rows. In coordinates of that span the problem has at most n variables
        # per class instead of E, and the penalty is unchanged because the basis is orthonormal.
        u, s, vt = np.linalg.svd(z, full_matrices=False)
        a = u * s
        rank = a.shape[1]

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            w, b = flat[: rank * classes].reshape(rank, classes), flat[rank * classes :]
            scores = a @ w + b
            # The largest score is subtracted so that the exponential cannot overflow.
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
