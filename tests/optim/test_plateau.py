"""The rule of ReduceLROnPlateau against torch's own scheduler."""

from __future__ import annotations

import random

import pytest
import torch

from imu_video.optim.plateau import Plateau


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_reductions_equal_those_of_torch(patience: int) -> None:
    draw = random.Random(patience)
    losses = [1 / (1 + 0.1 * i) + draw.uniform(0, 0.2) for i in range(40)] + [0.1, 0.1 * (1 - 1e-4), 0.1 * (1 - 2e-4)]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience)
    state, rates = Plateau(), []
    for loss in losses:
        scheduler.step(loss)
        state = state.after(loss, patience=patience)
        rates.append(optimizer.param_groups[0]["lr"])
        # torch ignores reductions of less than 1e-8
        assert 0.5**state.reductions == pytest.approx(rates[-1], abs=2e-8)
    assert rates[-1] < 1
