"""Values that are not finite: which state is kept, which windows are named, and that nothing half is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from imu_video.errors import GuardStop
from imu_video.shards.schema import Index
from imu_video.types import PairBatch
from pretrain.checkpoints.store import CheckpointStore
from pretrain.config import PretrainConfig
from pretrain.observe.trackers import read_log
from pretrain.prepare.prepare import Prepared
from pretrain.run import run
from pretrain.training.augment import Augmenter
from pretrain.training.guards import Buffers, check_state, suspects

Maker = Callable[..., PretrainConfig]
Ready = Callable[..., Prepared]
Raw = Callable[..., dict[str, Any]]


@pytest.fixture
def with_batch_norm(data: Index, raw: Raw) -> Maker:
    """Like `make_config`, of a small student with batch norm in encoder and projector."""
    encoder = {"name": "resnet1d", "width": 8, "norm": "batch"}
    return lambda **sections: PretrainConfig.model_validate(
        {**raw(data.root, projector={"head": "batch"}, **sections), "encoder": encoder}
    )


def poison(monkeypatch: pytest.MonkeyPatch, *, call: str, number: int, rows: slice) -> None:
    """Infinite windows in batch ``number``, or at the second validation."""
    real, calls = getattr(Augmenter, call), []

    def changed(self: Augmenter, batch: PairBatch, at: int) -> PairBatch:
        calls.append(at)
        batch = real(self, batch, at)
        if at != number or (call == "validation" and calls.count(at) < 2):
            return batch
        imu = batch.imu.clone()
        imu[rows] = torch.inf
        return batch.with_imu(imu, batch.mask)

    monkeypatch.setattr(Augmenter, call, changed)


def test_with_batch_norm_the_state_before_the_step_is_kept(
    with_batch_norm: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tensor, running statistics included, equals that of a run that never saw the bad batch."""
    sections = {"optim": {"steps": 4, "accumulate": 2}}
    every: dict[str, Any] = {"checkpoint_every": 3, "validate_every": 100, "keep": 9}
    run(with_batch_norm(**sections, run=every), folder=tmp_path / "whole")
    poison(monkeypatch, call="training", number=7, rows=slice(2, 4))
    with pytest.raises(GuardStop, match=r"step 4: loss nan, .*the weights before this step are kept") as caught:
        run(with_batch_norm(**sections, run={"checkpoint_every": 100, "validate_every": 100}), folder=tmp_path / "run")
    assert caught.value.exit_code == 4
    kept = CheckpointStore(tmp_path / "run" / "checkpoints")
    assert kept.pointer("latest") == "step-00000003"
    whole = CheckpointStore(tmp_path / "whole" / "checkpoints")
    expected, found = (store.read(store.folder / "step-00000003") for store in (whole, kept))
    for part in ("model.student.", "model.imu_projector."):
        assert any(name.startswith(part) and "running_var" in name for name in found.model)
    assert all(torch.equal(found.model[name], value) for name, value in expected.model.items())
    assert all(torch.equal(found.optimizer[name], value) for name, value in expected.optimizer.items())
    assert "windows with values that are not finite (2 of 64): made-train-" in caught.value.message
    with pytest.raises(GuardStop, match="step 4"):
        run(with_batch_norm(**sections, run={"checkpoint_every": 100, "validate_every": 100}), folder=tmp_path / "run")


def test_windows_are_named(prepared: Ready, make_config: Maker) -> None:
    parts = prepared(make_config()).parts
    loader = parts.feed.loader
    batch = parts.feed.get(0)
    assert "each of them finite by itself: made-train-" in suspects(parts.task, loader, [batch])
    imu = batch.imu.clone()
    imu[3, 0, 7] = torch.nan
    key = loader.pool.keys([int(batch.meta.sample[3])])[0]
    text = suspects(parts.task, loader, [batch.with_imu(imu, batch.mask)])
    assert text == f"windows with values that are not finite (1 of 32): {key}"
    text = suspects(parts.task, loader, [batch.with_imu(imu * torch.nan, batch.mask)])
    assert text.startswith("the features of all 32 windows")
    assert text.endswith("and 24 more")


def test_weights_that_are_not_finite_are_never_written(
    make_config: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.optim.AdamW.step
    calls = iter(range(100))

    def overflow(self: torch.optim.AdamW, closure: None = None) -> None:
        real(self, closure)
        if next(calls) == 4:
            self.param_groups[0]["params"][0].data.mul_(torch.inf)

    monkeypatch.setattr(torch.optim.AdamW, "step", overflow)
    with pytest.raises(GuardStop, match=r"tensors of the state .*last checkpoint is step-00000004"):
        run(make_config(run={"checkpoint_every": 4, "validate_every": 100}), folder=tmp_path / "run")
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    assert store.names() == ["step-00000004"]
    assert all(bool(w.isfinite().all()) for w in store.read(store.resolve("latest")).model.values())


@pytest.mark.parametrize("steps", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_a_validation_loss_without_a_video_side_stops_cleanly(
    make_config: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """At the last step, too: a finished run must not be called done after it."""
    sections: dict[str, Any] = {"loss": [], "objective": [{"name": "masked_patches"}], "data": {"teacher": None}}
    config = make_config(**sections, optim={"steps": steps}, run={"validate_every": 3, "checkpoint_every": 2})
    poison(monkeypatch, call="validation", number=1, rows=slice(0, 1))
    for _ in range(2):
        with pytest.raises(GuardStop, match="validation: loss nan: not finite") as caught:
            run(config, folder=tmp_path / "run")
        assert caught.value.exit_code == 4
        assert "made-val-" in caught.value.message
        folder = tmp_path / "run" / "checkpoints"
        assert sorted(p.name for p in folder.iterdir()) == ["latest", "step-00000002"]
    monkeypatch.undo()
    assert run(config, folder=tmp_path / "run").state.step == steps
    assert all(line["loss"] is not None for line in read_log(tmp_path / "run" / "log.jsonl"))


class Replacing(nn.Module):
    """A module that assigns its buffer anew instead of writing to it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2))

    def forward(self) -> None:
        self.mean = torch.full((3,), torch.nan)


def test_buffers_that_are_replaced_come_back(prepared: Ready, with_batch_norm: Maker) -> None:
    task = prepared(with_batch_norm()).parts.task
    task.model.add_module("odd", Replacing())
    before = {name: value.clone() for name, value in task.state_dict().items()}
    copies = Buffers(task)
    task.model.odd()
    for name, buffer in task.named_buffers():
        if "running" in name:
            buffer.fill_(torch.nan)
    with pytest.raises(GuardStop, match="running_mean"):
        check_state(task, 1, last=None)
    copies.restore()
    check_state(task, 1, last=None)
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
