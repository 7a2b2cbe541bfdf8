"""Losses with a memory inside a run: filled from the teacher's cache, carried over a resume, refused where useless."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from imu_video.errors import TeacherCacheError
from imu_video.losses import QueueDistill
from pretrain.config import PretrainConfig
from pretrain.observe.reporter import StopSignal
from pretrain.prepare.prepare import Prepared
from pretrain.run import run

Maker = Callable[..., PretrainConfig]
Ready = Callable[..., Prepared]
DISTIL: dict[str, Any] = {
    "loss": [{"name": "queue_distill", "size": 100}, {"name": "relational", "weight": {"first": 0.0, "end": 6}}],
    "projector": {"teacher": "none", "dim": 12},
}


def queue_of(prepared: Prepared) -> QueueDistill:
    assert prepared.parts.task.loss is not None
    loss = prepared.parts.task.loss.losses["queue_distill"]
    assert isinstance(loss, QueueDistill)
    return loss


def test_a_new_run_starts_with_a_queue_of_frozen_embeddings(prepared: Ready, make_config: Maker) -> None:
    config = make_config(**DISTIL)
    first, again = queue_of(prepared(config)), queue_of(prepared(config))
    assert first.queue.filled == 100
    assert torch.allclose(first.queue.video.norm(dim=1), torch.ones(100))
    assert torch.equal(first.queue.video, again.queue.video)  # drawn by the seed
    other = queue_of(prepared(config.model_copy(update={"seed": 1})))
    assert not torch.equal(first.queue.video, other.queue.video)


def test_rows_are_those_of_the_teacher(prepared: Ready, make_config: Maker) -> None:
    """Every queued embedding is the standardised, normalised feature of a usable window of the training split."""
    ready = prepared(make_config(**DISTIL))
    parts = ready.parts
    assert parts.task.loss is not None
    features = ready.data.caches[0].rows("train")
    usable = torch.from_numpy(features[np.isfinite(features).all(1)])
    known = parts.task.model.embed_teacher(usable)
    queue = parts.task.loss.losses["queue_distill"].queue.video
    nearest = (queue @ known.T).max(1)
    assert torch.allclose(nearest.values, torch.ones(100), atol=1e-5)
    assert nearest.indices.unique().numel() == 100  # without replacement


def test_queue_and_schedule_are_carried_over_a_resume(
    make_config: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(**DISTIL, optim={"steps": 8, "accumulate": 2})
    run(config, folder=tmp_path / "whole")
    asked = iter([False] * 3 + [True])
    with monkeypatch.context() as patched:
        patched.setattr(StopSignal, "requested", lambda self: next(asked))
        assert run(config, folder=tmp_path / "parts").state.step == 4
    run(config, folder=tmp_path / "parts")
    ends = [load_file(tmp_path / n / "checkpoints" / "step-00000008" / "model.safetensors") for n in ("whole", "parts")]
    assert ends[0].keys() == ends[1].keys()
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name
    assert ends[0]["loss.step"] == 8
    assert ends[0]["loss.losses.queue_distill.queue.pointer"] == 8 * 2 * 32 % 100


def test_a_target_of_teacher_features_may_stand_beside_a_trained_projector(make_config: Maker, tmp_path: Path) -> None:
    loss = [{"name": "info_nce"}, {"name": "queue_distill", "size": 64, "target": "teacher"}]
    outcome = run(make_config(loss=loss, optim={"steps": 2}), folder=tmp_path / "run")
    assert outcome.state.step == 2


def test_b5_the_learning_rate_is_nearly_0_at_the_end(make_config: Maker, tmp_path: Path) -> None:
    """Steps are counted in updates, not in windows or queue rows: below 1 % of the peak at the last one."""
    config = make_config(**DISTIL, optim={"steps": 12, "lr": 3e-3})
    run(config, folder=tmp_path / "run")
    rates = [entry["lr"] for line in (tmp_path / "run" / "log.jsonl").open() if "lr" in (entry := json.loads(line))]
    assert len(rates) == 12
    assert max(rates) == pytest.approx(3e-3, rel=0.3)
    assert rates[-1] < 0.01 * max(rates)


def test_b7_features_of_another_teacher_are_not_taken(make_config: Maker, tmp_path: Path) -> None:
    """The cache is named by the hash of weights, projector seed and preprocessing; another hash is refused."""
    with pytest.raises(TeacherCacheError, match="feedfacecaff"):
        run(make_config(**DISTIL, data={"teacher": "feedfacecaff"}), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow  # every queue over ranks is compared in tests/contracts
def test_two_processes_share_a_queue_and_end_where_one_does(
    make_config: Maker, config_file: Callable[..., Path], start: Callable[..., Any], tmp_path: Path
) -> None:
    """Queue distillation and queued negatives under DDP, two batches accumulated: same curve, same queue."""
    sections = {
        "loss": [{"name": "queue_distill", "size": 40}, {"name": "hard_negative", "queue": 40, "gap_s": 2.0}],
        "projector": {"teacher": "none", "dim": 12, "dropout": 0.0},
        "optim": {"steps": 4, "lr": 3e-3, "warmup_fraction": 0.0, "accumulate": 2},
    }
    process = start("launch", config_file(**sections), "--run", tmp_path / "two", "--nproc", "2")
    run(make_config(**sections), folder=tmp_path / "one")
    _, error = process.communicate(timeout=900)
    assert process.returncode == 0, error
    one, two = (load_file(tmp_path / n / "checkpoints" / "step-00000004" / "model.safetensors") for n in ("one", "two"))
    queues = [name for name in one if ".queue." in name]
    assert len(queues) == 11
    for name in queues:
        exact = not one[name].is_floating_point() or name.endswith("time")
        assert torch.equal(one[name], two[name]) if exact else torch.allclose(one[name], two[name], atol=1e-4), name
    losses = [
        [entry["loss"] for line in (tmp_path / n / "log.jsonl").open() if "lr" in (entry := json.loads(line))]
        for n in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
