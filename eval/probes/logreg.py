"""Multinomial logistic regression on frozen features, for hard and for soft labels; nothing is selected."""

from __future__ import annotations

import numpy as np

from eval.probes.base import Confidence, LinearScores, check_support, probes
from eval.probes.quasi_newton import minimise as minimise_many
from imu_video.errors import ConfigError


@probes.register("logreg")
class LogregProbe:
    """Linear scores that minimise the penalised cross-entropy of the support.

    With z the features, standardised over the support and divided by the root of their number E:

        L(W, b) = - 1/n sum_i sum_m q_im log softmax(z_i W + b)_m + penalty / M ||W||^2

    minimised by L-BFGS from zero (the objective is convex), many supports at once in float32. Targets q are one-hot
    rows, or soft labels in `fit_targets`. The strength is fixed: a 1-shot support leaves nothing to choose it on, and
    the figures hardly move between 1e-4 and 1e-2.

    Args:
        penalty: strength of the penalty, above 0; 1e-4 .. 1e-1.
        iterations: of L-BFGS at most.

    Example:
        >>> x = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
        >>> LogregProbe().fit(x, np.array([0, 0, 1, 1]), classes=2).scores(x).argmax(axis=1).tolist()
        [0, 0, 1, 1]
    """

    confidence: Confidence = "softmax"

    def __init__(self, *, penalty: float = 1e-3, iterations: int = 100) -> None:
        if penalty <= 0 or iterations < 1:
            raise ConfigError(f"logreg: penalty must be above 0, iterations at least 1, got {penalty} and {iterations}")
        self.penalty = float(penalty)
        self.iterations = int(iterations)

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> LinearScores:
        """Fit the scores. Shapes: features (n, E), labels (n,)."""
        x, y = check_support(features, labels, classes)
        return self.fit_targets(x, np.eye(classes)[y])

    def fit_many(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> list[LinearScores]:
        """Fit supports of one size as one batch. Shapes: features (B, n, E), labels (B, n)."""
        import torch
        import torch.nn.functional as F

        x = torch.from_numpy(np.asarray(features, dtype=np.float64))
        n = x.shape[1]
        centre, factor = (torch.from_numpy(np.stack(a))[:, None] for a in zip(*map(_scaling, x.numpy()), strict=True))
        z = (x - centre) * factor
        kernel = z @ z.transpose(1, 2)
        # A support may hold equal windows: this keeps the factor defined and changes scores by 1e-10 of their size.
        unit = kernel.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)
        lower = torch.linalg.cholesky(kernel + torch.diag_embed((1e-10 * unit)[:, None].expand(-1, n)))
        inputs = torch.cat([lower, torch.ones_like(lower[:, :, :1])], dim=2).float()
        targets = F.one_hot(torch.from_numpy(labels), classes).float()
        c = classes / (2 * self.penalty * n)
        v = minimise_many(inputs, targets, c=c, tolerance=1e-4, steps=self.iterations).to(z.dtype)
        inner = z.transpose(1, 2) @ torch.linalg.solve_triangular(lower.transpose(1, 2), v[:, :n], upper=True)
        weight = factor.transpose(1, 2) * inner
        bias = v[:, n] - (centre @ weight)[:, 0]
        return [LinearScores(w, b) for w, b in zip(weight.numpy(), bias.numpy(), strict=True)]

    def fit_targets(self, features: np.ndarray, targets: np.ndarray) -> LinearScores:
        """Fit the scores to soft labels. Shapes: features (n, E), targets (n, M), rows sum to one."""
        from scipy.optimize import minimize

        x = np.asarray(features, dtype=np.float64)
        n = len(x)
        classes = targets.shape[1]
        centre, factor = _scaling(x)
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


def _scaling(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and factor of the features of one support, each (E,)."""
    centre, spread = x.mean(axis=0), x.std(axis=0)
    # Dimensions that hardly vary over the support say nothing about their scale: a floor keeps them small.
    floor = max(1e-3 * float(spread.max()), 1e-12)
    alive = spread > 1e-6 * np.maximum(1.0, np.abs(centre))
    return centre, np.where(alive, 1.0 / np.maximum(spread, floor), 0.0) / np.sqrt(x.shape[1])
