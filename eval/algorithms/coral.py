"""CORAL: aligns means and covariances of the features over domains."""

from __future__ import annotations

from eval.algorithms.alignment import Aligned, coral_distance
from eval.algorithms.base import algorithms


@algorithms.register("coral")
class CORAL(Aligned):
    """Cross-entropy plus the distance of means and covariances of domains (Sun and Saenko 2016, arXiv 1607.01719).

    Args:
        gamma: weight of the distance, at least 0; 0 is ERM.
    """

    distance = staticmethod(coral_distance)
