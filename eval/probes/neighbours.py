"""Nearest neighbours by cosine similarity; only the scaling is fitted."""

from __future__ import annotations

import numpy as np

from eval.probes.base import Confidence, Scaling, check_support, probes, scaling_of, unit_rows
from imu_video.arguments import Count, Positive


class _Neighbours:
    """Scores from the k most similar support windows, each with the weight exp(cosine / temperature)."""

    def __init__(
        self, z: np.ndarray, onehot: np.ndarray, centre: np.ndarray, factor: np.ndarray, k: int, temperature: float
    ) -> None:
        self.z, self.onehot, self.centre, self.factor = z, onehot, centre, factor
        self.k, self.temperature = k, temperature

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Shares of the votes, which sum to one. Shapes: (N, E) -> (N, M)."""
        out = []
        # In blocks, because the similarities of all queries to all support windows may not fit into memory.
        for first in range(0, len(features), 4096):
            q = unit_rows((np.asarray(features[first : first + 4096], dtype=np.float64) - self.centre) * self.factor)
            cosine = q @ self.z.T
            index = np.argpartition(-cosine, self.k - 1, axis=1)[:, : self.k]
            near = np.take_along_axis(cosine, index, axis=1)
            # Votes are relative to the nearest neighbour, so that a small temperature cannot underflow all of them.
            vote = np.exp((near - near.max(axis=1, keepdims=True)) / self.temperature)
            out.append((vote[:, :, None] * self.onehot[index]).sum(axis=1) / vote.sum(axis=1, keepdims=True))
        return np.concatenate(out)


@probes.register("knn")
class NeighbourProbe:
    """Weighted vote of the nearest support windows by cosine (Wu et al. 2018, arXiv 1805.01978).

    Args:
        k: number of neighbours, at least 1; limited to the size of the support.
        temperature: of the votes, above 0. With a small temperature the nearest neighbour decides.
        scaling: ``standard``, ``center`` or ``none``, fitted on the support.

    Example:
        >>> x = np.array([[2.0, 0.1], [1.0, 0.0], [0.0, 1.0], [0.1, 2.0]])
        >>> NeighbourProbe(k=2).fit(x, np.array([0, 0, 1, 1]), classes=2).scores(x).argmax(axis=1).tolist()
        [0, 0, 1, 1]
    """

    confidence: Confidence = "share"

    def __init__(self, *, k: Count = 5, temperature: Positive = 0.07, scaling: Scaling = "standard") -> None:
        self.k, self.temperature, self.scaling = k, temperature, scaling

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> _Neighbours:
        """Keep the support. Shapes: features (n, E), labels (n,)."""
        x, y = check_support(features, labels, classes)
        centre, factor = scaling_of(x, self.scaling)
        z = unit_rows((x - centre) * factor)
        return _Neighbours(z, np.eye(classes)[y], centre, factor, min(self.k, len(z)), self.temperature)
