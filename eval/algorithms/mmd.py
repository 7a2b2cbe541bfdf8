"""MMD: aligns the distributions of the features over domains, with Gaussian kernels."""

from __future__ import annotations

from eval.algorithms.alignment import Aligned, mmd_distance
from eval.algorithms.base import algorithms


@algorithms.register("mmd")
class MMD(Aligned):
    """Cross-entropy plus the maximum mean discrepancy over pairs of domains (Li et al. 2018, CVPR).

    Args:
        gamma: weight of the distance, at least 0; 0 is ERM.
    """

    distance = staticmethod(mmd_distance)
