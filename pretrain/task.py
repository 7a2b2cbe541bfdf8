"""What one training step computes: model and losses as one module, so that DDP and autocast see one forward."""

from __future__ import annotations

import torch
from torch import nn

from imu_video.distributed import World
from imu_video.errors import ConfigError
from imu_video.losses import LossMix
from imu_video.models import CrossModalModel
from imu_video.types import LossOutput, PairBatch, PairEmbeddings


class PretrainTask(nn.Module):
    """Student, projectors and losses; the teacher is not here, only its cached features in the batch.

    Args:
        model: batch -> unit-norm embeddings.
        loss: weighted losses with their state.

    Shapes:
        PairBatch with B rows -> (LossOutput, PairEmbeddings (B, D) without gradient).
    """

    def __init__(self, *, model: CrossModalModel, loss: LossMix) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: PairBatch) -> tuple[LossOutput, PairEmbeddings]:
        pair = self.model(batch)
        output = self.loss(pair)
        return output, pair.detach()

    def observe(self, pair: PairEmbeddings) -> None:
        """Let queues and statistics see the rows of an update, after the optimiser's step."""
        self.loss.observe(pair)


def synchronised(task: PretrainTask, *, world: World, device: torch.device) -> PretrainTask:
    """Batch statistics must be those of the global batch, or the run depends on the number of processes.

    One process: nothing to do. Several on GPUs: torch's own batch norms become SyncBatchNorm. Several on CPUs, or a
    batch norm with a forward of its own (which SyncBatchNorm would replace): refused.

    Raises:
        ConfigError: batch norm that cannot be synchronised.
    """
    norms = [m for m in task.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if world.size == 1 or not norms:
        return task
    plain = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    special = next((m for m in norms if type(m) not in plain), None)
    if device.type != "cuda" or special is not None:
        why = "on CPUs" if device.type != "cuda" else f"for {type(special).__name__}"
        raise ConfigError(
            f"batch norm over {world.size} processes needs SyncBatchNorm, which does not exist {why}",
            hint="encoder.norm=layer, or one process",
        )
    converted: PretrainTask = nn.SyncBatchNorm.convert_sync_batchnorm(task)
    return converted
