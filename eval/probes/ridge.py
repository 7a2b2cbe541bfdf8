"""Ridge regression on class indicators in closed form; one eigendecomposition is used for all strengths."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from eval.probes.base import LinearScores, Scaling, Strengths, check_support, probes, scaling_of
from eval.probes.many import LinearProbe
from imu_video.arguments import Positive

STRENGTHS = tuple(float(10.0**e) for e in np.arange(-4, 2.01, 0.5))


@probes.register("ridge")
class RidgeProbe(LinearProbe):
    """Linear scores by ridge regression on one-hot targets; the strength is selected by leave-one-out on the support.

    With z the scaled support (n, E), Zc its centred rows, Yc the centred one-hot targets and K = Zc Zc^T = Q diag(l)
    Q^T:

        A = (K + s t I)^-1 Yc,   t = trace(K) / n,   scores(z) = (z - mean) Zc^T A + mean(Y)

    (the dual form, since n is usually far smaller than E). A support with more windows than features is solved in the
    primal form, with the eigenvectors of Zc^T Zc: memory is then linear in n. The hat matrix with an unpenalised
    intercept is ``H = 11^T / n + K (K + s t I)^-1`` and the leave-one-out residual ``(Y - H Y)_i / (1 - H_ii)``
    (Allen's PRESS), so that each strength s costs one product. The strength with the smallest mean squared
    leave-one-out residual is selected; ties go to the larger s. The scaling is fitted on the whole support, without
    labels. With one shot a left-out class has no other window, so leave-one-out would always select the largest
    strength; ``one_shot_strength`` is used instead. If there is nothing to select, a Cholesky factor replaces the
    eigendecomposition.

    Args:
        scaling: ``standard``, ``center`` or ``none``, fitted on the support.
        strengths: candidates s, each above 0, relative to the mean eigenvalue of K.
        one_shot_strength: s, above 0, if some class has a single support window.

    Example:
        >>> x = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
        >>> RidgeProbe().fit(x, np.array([0, 0, 1, 1]), classes=2).scores(x).argmax(axis=1).tolist()
        [0, 0, 1, 1]
    """

    def __init__(
        self,
        *,
        scaling: Scaling = "standard",
        strengths: Strengths = STRENGTHS,
        one_shot_strength: Positive = 1.0,
    ) -> None:
        super().__init__(scaling=scaling)
        self.strengths = tuple(sorted(float(s) for s in strengths))
        self.one_shot_strength = float(one_shot_strength)

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> LinearScores:
        """Fit one support, in float64. Shapes: features (n, E), labels (n,)."""
        x, y = check_support(features, labels, classes)
        return super().fit(x, y, classes=classes) if len(x) <= x.shape[1] else self._fit_primal(x, y, classes)

    def _fit_primal(self, x: np.ndarray, y: np.ndarray, classes: int) -> LinearScores:
        """The solution from Zc^T Zc (E, E); leave-one-out residuals are those of `choose`, with Zc V in place of Q."""
        centre, factor = scaling_of(x, "center" if self.scaling == "none" else self.scaling)
        z, n = (x - centre) * factor, len(x)
        share = np.bincount(y, minlength=classes) / n
        values, vectors = np.linalg.eigh(z.T @ z)
        unit = max(float(values.sum()) / n, 1e-12)
        values = np.maximum(values, 0.0) / unit
        z @= vectors  # (n, E), coordinates along the eigenvectors
        moments = np.stack([z[y == c].sum(axis=0) for c in range(classes)], axis=1) / unit  # Zc^T Yc, as Zc has mean 0
        single = bool((share * n < 1.5).any())
        if single or len(self.strengths) == 1:
            strength = self.one_shot_strength if single else self.strengths[0]
        else:
            errors = np.array([self._left_out(z, y, share, moments, unit, values + s) for s in self.strengths])
            strength = self.strengths[int(np.flatnonzero(errors <= errors.min() * (1 + 1e-6))[-1])]
        weight = factor[:, None] * (vectors @ (moments / (values + strength)[:, None]))
        return LinearScores(weight, share - centre @ weight)

    @staticmethod
    def _left_out(
        z: np.ndarray, y: np.ndarray, share: np.ndarray, moments: np.ndarray, unit: float, raised: np.ndarray
    ) -> float:
        """Sum of squared leave-one-out residuals at one strength, in blocks of windows."""
        weight, error = moments / raised[:, None], 0.0
        for first in range(0, len(z), 4096):
            block, label = z[first : first + 4096], y[first : first + 4096]
            residual = np.eye(len(share))[label] - share - block @ weight
            lever = 1.0 - 1.0 / len(z) - block**2 @ (1.0 / (raised * unit))
            error += float((residual**2).sum(axis=1) @ np.maximum(lever, 1e-9) ** -2)
        return error

    def solve(self, kernel: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients and offsets; see the class. Shapes: (B, n, n), (B, M, n) -> (B, M, n), (B, M)."""
        share = targets.mean(dim=2)
        target = targets - share[:, :, None]
        unit = kernel.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)
        single = targets.sum(dim=2).min(dim=1).values < 2
        if len(self.strengths) == 1 or bool(single.all()):
            strength = torch.where(single, self.one_shot_strength, self.strengths[0]).to(unit.dtype)
            kernel.diagonal(dim1=1, dim2=2).add_((strength * unit)[:, None])
            dual = torch.cholesky_solve(target.transpose(1, 2), torch.linalg.cholesky(kernel)).transpose(1, 2)
        else:
            # A constant added to all entries lifts only the constant vector, which is in the null space; see `choose`.
            values, vectors = torch.linalg.eigh(kernel + unit[:, None, None])
            values = values.clamp(min=0) / unit[:, None]
            rotated = target @ vectors
            strength = torch.where(single, self.one_shot_strength, self.choose(values, vectors, rotated))
            dual = (rotated / ((values + strength[:, None]) * unit[:, None])[:, None]) @ vectors.transpose(1, 2)
        return dual, share

    def choose(self, values: Tensor, vectors: Tensor, rotated: Tensor) -> Tensor:
        """The strength with the smallest mean squared leave-one-out residual, for each support.

        With D = diag(s / (l + s)) the residuals are ``Q D Q^T Y`` divided by the diagonal of ``Q D Q^T``, without the
        part of the constant vector. Centring puts that vector into the kernel's null space, where its part would be
        1 / n and the remainder a difference of nearly equal numbers. `solve` lifts its eigenvalue to n, so that the
        part to subtract is small.

        Shapes: values (B, n), vectors (B, n, n), rotated = target vectors (B, M, n) -> (B,).
        """
        strengths = values.new_tensor(self.strengths)[:, None]
        left = strengths / (values[:, None] + strengths)  # (B, S, n)
        batch, classes, n = rotated.shape
        back = vectors.transpose(1, 2)
        residual = (left[:, :, None] * rotated[:, None]).view(batch, -1, n) @ back
        rest = (left @ back.square() - strengths / (n + strengths) / n).clamp(min=1e-9)
        error = (residual.square_().view(batch, -1, classes, n).sum(dim=2) / rest.square_()).sum(dim=2)
        # Errors within rounding count as ties, and ties go to the larger strength: flipped, it is the first `True`.
        good = error <= error.min(dim=1, keepdim=True).values * (1 + 1e-6)
        return strengths.flatten()[len(strengths) - 1 - good.flip(1).to(torch.int64).argmax(dim=1)]
