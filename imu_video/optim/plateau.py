"""Reduction of the learning rate when a loss stops falling, as an immutable state; the schedule is in schedule.py."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

THRESHOLD = 1e-4
"""Relative decrease below which a loss does not count as better: torch's default, used by published recipes."""


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """Losses seen so far, and how often the learning rate was reduced: the rule of torch's ReduceLROnPlateau.

    Args:
        best: lowest loss so far.
        waited: losses since then that were not better.
        reductions: times that ``waited`` exceeded the patience.

    Example:
        >>> state = Plateau()
        >>> for loss in (1.0, 0.5, 0.5, 0.6, 0.7):
        ...     state = state.after(loss, patience=2)
        >>> state.reductions, state.waited
        (1, 0)
    """

    best: float = math.inf
    waited: int = 0
    reductions: int = 0

    def after(self, loss: float, *, patience: int) -> Plateau:
        """The state after one more loss.

        Args:
            loss: >= 0, finite.
            patience: losses without a decrease that are tolerated, >= 0; the next one reduces the rate.
        """
        if loss < self.best * (1 - THRESHOLD):
            return replace(self, best=loss, waited=0)
        if self.waited + 1 > patience:
            return replace(self, waited=0, reductions=self.reductions + 1)
        return replace(self, waited=self.waited + 1)
