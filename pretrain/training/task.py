"""Model and losses of a training step as one module, so that DDP and autocast wrap a single forward."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from imu_video.losses import LossMix
from imu_video.models.cross_modal import CrossModalModel
from imu_video.objectives import ObjectiveMix
from imu_video.runtime.distributed import GlobalDraws, World
from imu_video.types import LossOutput, PairBatch, PairEmbeddings


class PretrainTask(nn.Module):
    """Student, projectors, losses and objectives; the frozen teacher is not part of it, its features are in the batch.

    Args:
        model: batch -> unit-norm embeddings.
        loss: weighted losses on the embeddings, with their state; None if only objectives train the student.
        objective: weighted objectives on the student itself, or None.

    Shapes:
        PairBatch with B rows -> (LossOutput, PairEmbeddings (B, D) without gradient, None without losses).
    """

    def __init__(self, *, model: CrossModalModel, loss: LossMix | None, objective: ObjectiveMix | None = None) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.objective = objective

    def forward(self, batch: PairBatch, draws: GlobalDraws | None = None) -> tuple[LossOutput, PairEmbeddings | None]:
        """Compute the losses, the objectives and their sum.

        Args:
            batch: windows in SI units and the other inputs of the losses.
            draws: of objectives, which need them, and of the tower's augmentation in training.
        """
        outputs: list[LossOutput] = []
        pair: PairEmbeddings | None = None
        if self.loss is not None:
            pair = self.model(batch, draws)
            outputs.append(self.loss(pair))
        if self.objective is not None:
            if draws is None:
                raise ValueError("objectives need draws")
            outputs.append(self.objective(self.model.student, batch, draws))
        # Without gradient: `observe` keeps the pair beyond the step, and the graph must not be kept with it.
        return _added(outputs), pair.detach() if pair is not None else None

    def observe(self, pairs: Sequence[PairEmbeddings | None]) -> None:
        """Update queues, statistics and schedules with the batches of an update, after the optimiser's step."""
        there = [pair for pair in pairs if pair is not None]
        if self.loss is not None and there:
            self.loss.observe(PairEmbeddings.join(there))
        if self.objective is not None:
            self.objective.observe()


def _added(outputs: Sequence[LossOutput]) -> LossOutput:
    if len(outputs) == 1:
        return outputs[0]
    return LossOutput(
        total=outputs[0].total + outputs[1].total,
        terms={**outputs[0].terms, **outputs[1].terms},
        stats={**outputs[0].stats, **outputs[1].stats},
    )


def synchronised(task: PretrainTask, *, world: World) -> PretrainTask:
    """The task with SyncBatchNorm in place of batch norm where several processes train it.

    Statistics are then those of the global batch. `prepare.checks.check_batch_norm` refuses what cannot be replaced.
    """
    if world.size == 1 or not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in task.modules()):
        return task
    converted: PretrainTask = nn.SyncBatchNorm.convert_sync_batchnorm(task)
    return converted
