"""Validation against a slow twin that ranks pair by pair."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from imu_video.errors import GuardStop
from pretrain.config import PretrainConfig
from pretrain.prepare.prepare import Prepared
from pretrain.training.validate import validate

Maker = Callable[..., PretrainConfig]
Ready = Callable[..., Prepared]


def test_equals_the_slow_twin(prepared: Ready, make_config: Maker) -> None:
    parts = prepared(make_config(run={"gallery": 40})).parts
    assert parts.val_loader is not None
    scores = validate(
        parts.task, parts.val_loader, batches=parts.val_batches, device=torch.device("cpu"), augmenter=parts.augmenter
    )
    parts.task.eval()
    imu, video = [], []
    with torch.no_grad():
        for number in range(parts.val_batches):
            batch = parts.val_loader.batch(number)
            pair = parts.task.model(batch)
            imu += list(pair.imu)
            video += list(pair.side)
    assert scores["gallery"] == len(imu) == 40
    for way, queries, keys in (("imu_to_video", imu, video), ("video_to_imu", video, imu)):
        ranks = []
        for i, query in enumerate(queries):
            similarity = [float(query @ key) for key in keys]
            ranks.append(1 + sum(s > similarity[i] for s in similarity))
        assert scores[f"{way}/R@5"] == pytest.approx(sum(r <= 5 for r in ranks) / 40)
        assert scores[f"{way}/MRR"] == pytest.approx(sum(1 / r for r in ranks) / 40)
    assert scores["mrr"] == pytest.approx((scores["imu_to_video/MRR"] + scores["video_to_imu/MRR"]) / 2)


def test_it_is_a_pure_look(prepared: Ready, make_config: Maker) -> None:
    """Same numbers each time, the mode it found, no gradient, no change of weights."""
    parts = prepared(make_config(projector={"dropout": 0.5})).parts
    assert parts.val_loader is not None
    parts.task.train()
    before = {k: v.clone() for k, v in parts.task.state_dict().items()}
    first, second = (
        validate(
            parts.task,
            parts.val_loader,
            batches=parts.val_batches,
            device=torch.device("cpu"),
            augmenter=parts.augmenter,
        )
        for _ in range(2)
    )
    assert first == second
    assert parts.task.training
    assert all(p.grad is None for p in parts.task.parameters())
    assert all(torch.equal(v, before[k]) for k, v in parts.task.state_dict().items())


def test_recordings_of_the_gallery_are_none_of_those_in_a_queue(prepared: Ready, make_config: Maker) -> None:
    """Each split numbers its recordings from 0; a queue of training moments must not rule out negatives by chance."""
    parts = prepared(make_config(loss=[{"name": "hard_negative", "queue": 128, "gap_s": 1e6}])).parts
    assert parts.val_loader is not None
    assert parts.task.loss is not None
    with torch.no_grad():
        parts.task.observe([parts.task.model(parts.feed.get(0))])
    seen: list[torch.Tensor] = []
    parts.task.loss.register_forward_hook(lambda module, args, output: seen.append(args[0].meta.recording))
    validate(
        parts.task, parts.val_loader, batches=parts.val_batches, device=torch.device("cpu"), augmenter=parts.augmenter
    )
    queued = parts.task.state_dict()["loss.losses.hard_negative.queue.recording"]
    assert (queued >= 0).any()
    assert seen
    assert not torch.isin(torch.cat(seen), queued).any()
    assert len(torch.cat(seen).unique()) > 1


def test_gallery_is_split_into_equal_batches(prepared: Ready, make_config: Maker) -> None:
    parts = prepared(make_config(data={"batch_size": 32}, run={"gallery": 512})).parts  # 60 usable pairs
    assert parts.val_loader is not None
    assert (parts.val_batches, parts.val_loader.batch_size) == (2, 30)
    assert prepared(make_config(data={"val_split": None})).parts.val_loader is None


def test_embeddings_that_are_not_finite_stop_the_run(prepared: Ready, make_config: Maker) -> None:
    parts = prepared(make_config()).parts
    assert parts.val_loader is not None
    with torch.no_grad():
        parts.task.model.imu_projector.first.weight.fill_(float("inf"))
    with pytest.raises(GuardStop, match="not finite"):
        validate(parts.task, parts.val_loader, batches=1, device=torch.device("cpu"), augmenter=parts.augmenter)
