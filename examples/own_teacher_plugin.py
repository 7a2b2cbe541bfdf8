"""Your own teacher, as a plugin.

A teacher maps clips to features and never trains. Its `recipe` describes everything that changes the features; the
hash of the recipe and of the weights is the fingerprint under which the features are stored.
"""

import torch
from torch import Tensor

from imu_video.registry import teachers
from imu_video.teachers import FrozenTeacher
from imu_video.types import JsonDict


@teachers.register("motion_energy")
class MotionEnergy(FrozenTeacher):
    """Mean absolute difference of neighbouring frames, in a grid of cells.

    Args:
        cells: cells per side of the grid, >= 1.
    """

    modality = "video"

    def __init__(self, *, cells: int = 4) -> None:
        super().__init__(width=cells * cells)
        self.cells = cells
        self.freeze()

    def features(self, inputs: Tensor) -> Tensor:
        """Shapes: clips (B, F, H, W, 3) uint8 -> (B, cells^2)."""
        grey = inputs.float().mean(-1)
        change = (grey[:, 1:] - grey[:, :-1]).abs().mean(1, keepdim=True)
        return torch.nn.functional.adaptive_avg_pool2d(change, self.cells).flatten(1)

    def recipe(self) -> JsonDict:
        return {"name": "motion_energy", "cells": self.cells}


if __name__ == "__main__":
    from _made_up import data_folder

    import imu_video
    from imu_video.testing import check_teacher

    check_teacher({"name": "motion_energy", "cells": 4})
    cache = imu_video.embed(data_folder("data/mine"), {"name": "motion_energy", "cells": 8})
    print(cache.fingerprint, cache.rows("train").shape)
    assert cache.rows("train").shape[1] == 64
