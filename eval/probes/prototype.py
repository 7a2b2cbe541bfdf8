"""Nearest class mean by cosine similarity; only means and scaling are fitted."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from eval.probes.base import LinearScores, check_support, probes, scaling_of, unit_rows
from eval.probes.many import LinearProbe


@probes.register("prototype")
class PrototypeProbe(LinearProbe):
    """Predicts the class whose mean support feature has the largest cosine with the window's feature.

    Snell, Swersky, Zemel 2017 (arXiv 1703.05175) with cosine instead of Euclidean distance. With
    ``z = (x - mu) / sigma`` fitted on the support, ``p_c`` the mean over the class's support of ``z / |z|``:
    ``argmax_c  z . p_c / |p_c|``. The query's own norm does not change the argmax, so the probe is linear in x. All
    norms follow from the support's kernel: ``|z_i|^2 = K_ii`` and, with ``p_c = Z^T a_c``, ``|p_c|^2 = a_c^T K a_c``.

    Args:
        scaling: ``standard`` (centre and standardise each dimension on the support), ``center`` or ``none``.

    Example:
        >>> x = torch.eye(2).numpy()
        >>> PrototypeProbe().fit(x, torch.arange(2).numpy(), classes=2).scores(x).argmax(axis=1).tolist()
        [0, 1]
    """

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> LinearScores:
        """Fit one support, in float64; without a kernel, which grows with the square of the support.

        Shapes: features (n, E), labels (n,).
        """
        x, y = check_support(features, labels, classes)
        centre, factor = scaling_of(x, self.scaling)
        z = unit_rows((x - centre) * factor)
        mean = unit_rows(np.stack([z[y == c].mean(axis=0) for c in range(classes)]))
        weight = factor[:, None] * mean.T
        return LinearScores(weight, -(centre @ weight))

    def centre(self, features: Tensor) -> Tensor:
        """The mean, or zero without scaling. Shapes: (B, n, E) -> (B, 1, E)."""
        # A cosine depends on the origin, unlike the other linear probes, whose offsets are free.
        return torch.zeros_like(features[:, :1]) if self.scaling == "none" else super().centre(features)

    def solve(self, kernel: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Directions of the class means. Shapes: (B, n, n), (B, M, n) -> (B, M, n), (B, M)."""
        length = kernel.diagonal(dim1=1, dim2=2).sqrt().clamp(min=1e-12)
        mean = targets / targets.sum(dim=2, keepdim=True) / length[:, None]
        # Rounding can make the squared norm of a vanishing mean slightly negative.
        norm = ((mean @ kernel) * mean).sum(dim=2, keepdim=True).clamp(min=0).sqrt()
        return mean / norm.clamp(min=1e-12), torch.zeros_like(norm[:, :, 0])
