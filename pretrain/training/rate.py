"""Learning rate of each update: the schedule and the reductions on plateaus; the loop sets it."""

from __future__ import annotations

from imu_video.optim.plateau import Plateau
from imu_video.optim.schedule import learning_rate
from imu_video.shards.batches.plan import Plan
from pretrain.config import OptimSection


def rate(step: int, optim: OptimSection, *, steps: int, plateau: Plateau | None = None) -> float:
    """Learning rate of an update.

    Args:
        step: updates done, 0 <= step < steps; those of a finished run that is continued are not counted.
        optim: schedule.
        steps: updates of the whole run, counted in the same way.
        plateau: losses so far; None before the first epoch has ended.

    Example:
        >>> section = OptimSection(lr=1.0, decay="constant", steps=9, warmup_fraction=0, plateau={"patience": 0})
        >>> rate(4, section, steps=9, plateau=Plateau(reductions=2))
        0.25
    """
    scheduled = learning_rate(
        step,
        steps=steps,
        lr=optim.lr,
        min_lr=optim.min_lr,
        warmup_fraction=optim.warmup_fraction,
        decay=optim.decay,
        end=optim.end,
    )
    if optim.plateau is None or plateau is None:
        return scheduled
    return scheduled * optim.plateau.factor**plateau.reductions


def after_update(done: int, loss: float, optim: OptimSection, plateau: Plateau | None, *, plan: Plan) -> Plateau | None:
    """The plateau state after an update: the loss of the last update of an epoch counts.

    Args:
        done: updates done, this one included.
        loss: of this update, over all ranks.
        optim: with or without ``plateau``.
        plateau: state before the update.
        plan: assignment of samples to batches, which determines where an epoch ends.
    """
    size = optim.accumulate
    if optim.plateau is None or plan.epochs(done * size) == plan.epochs((done - 1) * size):
        return plateau
    return (plateau or Plateau()).after(loss, patience=optim.plateau.patience)
