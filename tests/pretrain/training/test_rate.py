"""The learning rate of each update: where epochs end, reductions on plateaus, and a resumed run with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from imu_video.optim import plateau
from imu_video.optim.plateau import Plateau
from imu_video.shards.batches.plan import Plan
from pretrain.config import OptimSection, PretrainConfig
from pretrain.observe.reporter import StopSignal
from pretrain.observe.trackers import read_log
from pretrain.run import run
from pretrain.training.rate import after_update, rate


@pytest.mark.parametrize("leftover", ["drop", "carry"])
def test_the_loss_of_the_last_update_of_an_epoch_counts(leftover: Any) -> None:
    """Epochs of 40 windows, updates of 10: every fourth loss is one that torch's scheduler would have been given."""
    losses = [0.9, 0.8, 0.7, 1.0, 0.1, 0.1, 0.1, 1.0, 0.2, 0.2, 0.2, 0.5, 0.1, 0.1, 0.1, 0.6, 0.0, 0.0, 0.0, 0.7]
    optim = OptimSection(lr=0.4, decay="constant", warmup_fraction=0, steps=20, accumulate=2, plateau={"patience": 0})
    plan = Plan(sizes=[40], batch_size=5, seed=0, leftover=leftover)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=0.4)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    state: Plateau | None = None
    for step, loss in enumerate(losses):
        assert rate(step, optim, steps=20, plateau=state) == optimizer.param_groups[0]["lr"]
        optimizer.step()
        state = after_update(step + 1, loss, optim, state, plan=plan)
        if step % 4 == 3:
            scheduler.step(loss)
    assert state == Plateau(best=0.5, waited=0, reductions=3)
    without = optim.model_copy(update={"plateau": None})
    assert after_update(4, 1.0, without, None, plan=plan) is None
    assert rate(19, without, steps=20, plateau=None) == 0.4


def test_a_resumed_run_reduces_the_rate_as_an_uninterrupted_one(
    make_config: Callable[..., PretrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plateau, "THRESHOLD", 0.5)  # no epoch of this run halves the loss
    optim = {"steps": 12, "lr": 0.01, "decay": "constant", "warmup_fraction": 0, "plateau": {"patience": 0}}
    config = make_config(optim=optim, data={"batch_size": 64}, run={"validate_every": 12})
    whole = run(config, folder=tmp_path / "whole").state
    asked = iter([False] * 6 + [True])
    with monkeypatch.context() as patched:
        patched.setattr(StopSignal, "requested", lambda self: next(asked))
        assert run(config, folder=tmp_path / "parts").state.step == 7
    assert run(config, folder=tmp_path / "parts").state == whole
    assert whole.plateau is not None
    assert whole.plateau.reductions == 5  # 12 updates are 6 epochs, and the first has none to compare with
    logs = [read_log(tmp_path / name / "log.jsonl") for name in ("whole", "parts")]
    rates, again = ([line["lr"] for line in log if line["kind"] == "train"] for log in logs)
    assert rates == again == [0.01 * 0.5**n for n in (0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4)]
