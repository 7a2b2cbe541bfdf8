"""Plugin for tests: an augmentation that changes nothing and kills its own process at one step, if told to."""

from __future__ import annotations

import os
import signal

import torch
from torch import Tensor

from imu_video.registry import augmentations
from imu_video.transforms.base import Augmentation, GlobalDraws


@augmentations.register("kill_at")
class KillAt(Augmentation):
    """SIGKILL at call number ``$KILL_AT``."""

    def __init__(self) -> None:
        super().__init__(p=1.0)
        self.calls = 0

    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        self.calls += 1
        if str(self.calls) == os.environ.get("KILL_AT"):
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.clone(imu), mask
