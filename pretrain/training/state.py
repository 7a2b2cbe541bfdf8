"""Progress of a run and the random seed of each step; weights and optimiser state are in checkpoints/store.py."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from imu_video.optim.plateau import Plateau
from imu_video.types import JsonDict


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best validation so far.

    Args:
        rule: ``mrr`` (higher is better) or ``loss`` (lower is better).
        value: its value.
        step: optimiser steps done when it was measured.
    """

    rule: str
    value: float
    step: int

    def beaten_by(self, value: float) -> bool:
        """Whether a new value is strictly better: of equal values, the earlier checkpoint is kept."""
        return value > self.value if self.rule == "mrr" else value < self.value


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """State of a run besides its tensors.

    The data cursor needs no field of its own: update ``step`` reads global batches ``step * accumulate`` onwards of a
    plan that is a pure function of (seed, epoch), and `step_seed` makes its randomness a function of its number.

    Args:
        step: optimiser steps done.
        best: best validation so far, or None.
        plateau: losses that the learning rate depends on; None where the config has no ``optim.plateau``.
    """

    step: int = 0
    best: Best | None = None
    plateau: Plateau | None = None

    def to_json(self) -> JsonDict:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrainState:
        best, plateau = data["best"], data.get("plateau")  # earlier versions had no plateau
        return cls(
            step=int(data["step"]),
            best=Best(**best) if best is not None else None,
            plateau=Plateau(**plateau) if plateau is not None else None,
        )


def step_seed(seed: int, batch: int, purpose: str, *, rank: int = 0) -> int:
    """Random seed of one global batch: a pure function, so resuming needs no generator state.

    Args:
        seed: the run's seed.
        batch: number of the global batch since the start of the run.
        purpose: separates the streams, for example dropout and augmentation.
        rank: for draws per process (dropout); augmentation is drawn for the whole batch.

    Example:
        >>> step_seed(0, 7, "dropout") == step_seed(0, 7, "dropout") != step_seed(0, 7, "dropout", rank=1)
        True
    """
    # A cryptographic hash gives unrelated seeds to neighbouring steps; Python's own hash is salted per process.
    text = f"{seed}/{batch}/{purpose}/{rank}".encode()
    # 63 bits fit into a signed 64-bit integer, which every generator accepts as a seed.
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1
