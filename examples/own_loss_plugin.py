"""Your own loss, as a plugin.

A plugin is a Python file that registers components; `--plugin` loads it in every command. The keyword arguments of
the constructor are the config keys. `check_loss` runs the checks that every built-in loss passes.
"""

import subprocess
import sys
from pathlib import Path

import torch

from imu_video.losses import PairLoss
from imu_video.losses.base import gather_pair
from imu_video.registry import losses
from imu_video.types import LossOutput, PairEmbeddings


@losses.register("cosine_gap")
class CosineGap(PairLoss):
    """1 minus the cosine of each pair, plus a penalty on embeddings whose mean is far from zero.

    Args:
        penalty: weight of the penalty, >= 0.
    """

    needs = frozenset({"side"})

    def __init__(self, *, penalty: float = 0.1) -> None:
        super().__init__()
        self.penalty = penalty

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        both = gather_pair(pair)  # this rank's rows, and those of all ranks with gradient
        cosine = (both.imu.float() * both.video.float()).sum(-1).mean()
        spread = both.all_imu.float().mean(0).square().sum()
        return LossOutput(total=1 - cosine + self.penalty * spread, stats={"cosine": cosine.detach()})


if __name__ == "__main__":
    from _made_up import data_folder

    import imu_video
    from imu_video.testing import check_loss

    check_loss("cosine_gap")
    torch.manual_seed(0)

    imu_video.embed(data_folder("data/mine"), {"name": "tiny"})
    command = [
        "imu-pretrain", "launch", "configs/pretrain/base.yaml", "--plugin", __file__, "--run", "runs/mine",
        "data.root=data/mine", "loss=[{name: cosine_gap, penalty: 0.2}]", "encoder={name: segment_cnn, width: 16}",
        "data.batch_size=16", "optim.steps=4", "run.device=cpu",
    ]  # fmt: skip
    subprocess.run([Path(sys.executable).with_name(command[0]), *command[1:]], check=True)
    assert Path("runs/mine/checkpoints/latest").exists()
