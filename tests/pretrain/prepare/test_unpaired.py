"""Folders of a mixture without a teacher: they enter losses on the IMU alone, and nothing that reads the teacher."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imu_video.errors import ConfigError
from imu_video.runtime.distributed import World
from imu_video.shards.schema import Index
from pretrain.config import PretrainConfig
from pretrain.identity import identity, run_id
from pretrain.prepare.prepare import Prepared, check_request
from pretrain.run import run
from pretrain.training.validate import validate
from tests.pretrain.conftest import raw_config

Ready = Callable[..., Prepared]
BOTH = [{"name": "info_nce", "temperature": 0.1}, {"name": "nt_xent", "temperature": 0.2}]
PAIRED = 160


@pytest.fixture(scope="module")
def bare(data_maker: Callable[..., Index], tmp_path_factory: pytest.TempPathFactory) -> Index:
    """A folder of other people without teacher features: 64 training and 40 validation windows."""
    index = data_maker(tmp_path_factory.mktemp("bare") / "data", {"train": 64, "val": 40})
    shutil.rmtree(index.root / "teachers")
    return index


def config_of(data: Index, bare: Index, /, **sections: Any) -> PretrainConfig:
    roots = [{"root": str(data.root), "weight": 2}, {"root": str(bare.root), "weight": 1, "paired": False}]
    sections["data"] = {"root": roots, **sections.get("data", {})}
    return PretrainConfig.model_validate(raw_config(Path(), **{"loss": BOTH, **sections}))


def test_batches_mark_the_windows_without_a_pair(prepared: Ready, data: Index, bare: Index) -> None:
    ready = prepared(config_of(data, bare))
    loader = ready.parts.feed.loader
    seen = torch.cat([loader.batch(step).meta.sample for step in range(loader.steps_per_epoch)])
    assert (seen >= PAIRED).any()
    batch = loader.batch(0)
    assert batch.paired is not None
    assert batch.teacher is not None
    assert torch.equal(batch.paired, batch.meta.sample < PAIRED)
    assert not batch.teacher[~batch.paired].any()
    assert (batch.teacher[batch.paired] != 0).any(1).all()
    used = [i for i in range(PAIRED) if i % 19]
    assert loader.paired_rows.tolist() == used
    mean, _ = loader.feature_statistics()
    cache = ready.data.cache
    assert cache is not None
    np.testing.assert_allclose(mean, np.asarray(cache.rows("train"))[used].mean(0), rtol=1e-5)


def test_losses_are_those_of_the_naive_split(prepared: Ready, data: Index, bare: Index) -> None:
    """InfoNCE of the paired rows alone, as if the batch had no others, plus NT-Xent of all rows."""
    parts = prepared(config_of(data, bare, projector={"head": "batch", "dropout": 0.0})).parts
    batch = parts.augmenter.training(parts.feed.loader.batch(0), 0)
    output, pair = parts.task(batch)
    assert pair is not None
    assert pair.imu_two is not None
    keep = batch.meta.sample < PAIRED
    z, two = pair.imu, pair.imu_two
    teacher = parts.task.model.embed_teacher(batch.teacher[keep])  # statistics of batch norm: of these rows
    logits = z[keep] @ teacher.T / 0.1
    here = torch.arange(int(keep.sum()))
    rows = [torch.nn.functional.cross_entropy(side, here) for side in (logits, logits.T)]
    assert output.terms["info_nce"].item() == pytest.approx(torch.stack(rows).sum().item() / 2, rel=1e-5)
    every = torch.cat([z, two])
    similar = (every @ every.T / 0.2).fill_diagonal_(-torch.inf)
    other = torch.arange(len(every)).roll(len(z))
    expected = torch.nn.functional.cross_entropy(similar, other).item()
    assert output.terms["nt_xent"].item() == pytest.approx(expected, rel=1e-5)
    output.total.backward()  # unpaired rows have a gradient, from the second loss only
    only = parts.task.loss.losses["info_nce"](pair.with_pairs())  # type: ignore[union-attr]
    assert only.total.item() == pytest.approx(output.terms["info_nce"].item(), rel=1e-6)


@pytest.mark.parametrize("control", ["permuted_pairs", "redrawn_pairs"])
def test_controls_exchange_features_of_paired_windows(prepared: Ready, data: Index, bare: Index, control: str) -> None:
    loader = prepared(config_of(data, bare, data={"control": control})).parts.feed.loader
    everything = np.arange(len(loader.pool))
    partners = loader._seen_with(everything, epoch=1)
    own = loader.paired_rows
    assert sorted(partners[own]) == sorted(own)
    assert (partners[own] != own).all()
    assert (partners[PAIRED:] == everything[PAIRED:]).all()
    batch = loader.batch(0)
    assert batch.paired is not None
    assert batch.teacher is not None
    assert not batch.teacher[~batch.paired].any()


def test_a_mixture_with_unpaired_windows_trains_and_retrieves_among_the_paired(
    prepared: Ready, data: Index, bare: Index, tmp_path: Path
) -> None:
    config = config_of(data, bare, optim={"steps": 6})
    done = run(config, folder=tmp_path / "one")
    assert run(config, folder=tmp_path / "two").state == done.state
    ready = prepared(config)
    parts = ready.parts
    assert parts.val_loader is not None
    scores = validate(
        parts.task, parts.val_loader, batches=parts.val_batches, device=torch.device("cpu"), augmenter=parts.augmenter
    )
    marks = [parts.val_loader.batch(number).paired for number in range(parts.val_batches)]
    assert scores["gallery"] == sum(int(one.sum()) for one in marks if one is not None) < 64


def test_queues_and_statistics_see_paired_rows_only(prepared: Ready, data: Index, bare: Index) -> None:
    loss = [{"name": "queue_distill", "size": 64}, {"name": "nt_xent"}]
    sections = {"loss": loss, "projector": {"teacher": "none", "dim": None}}
    parts = prepared(config_of(data, bare, **sections)).parts
    batch = parts.augmenter.training(parts.feed.loader.batch(0), 0)
    _, pair = parts.task(batch)
    parts.task.observe([pair])
    assert batch.paired is not None
    queue = parts.task.loss.losses["queue_distill"]  # type: ignore[union-attr]
    ring = queue.queue  # the warm start fills it with paired windows of the training split
    assert int(ring.pointer) == int(batch.paired.sum())
    assert int(ring.recording.max()) < PAIRED // 8


def test_texts_of_unpaired_windows_are_not_used(data: Index, bare: Index) -> None:
    from tests.pretrain.conftest import opened

    found = opened(config_of(data, bare))
    codes = [np.arange(3), np.arange(3)]
    assert [own.tolist() for own in found._texts(codes)] == [[0, 1, 2], [-1, -1, -1]]


@pytest.mark.parametrize(
    ("sections", "processes", "message"),
    [
        ({"loss": [{"name": "info_nce"}]}, 1, "every loss and objective reads the other modality"),
        ({"tower": {"name": "skeleton"}}, 1, "the run has a tower"),
        ({}, 2, "the run has 2 processes"),
    ],
)
def test_runs_that_cannot_use_unpaired_windows_are_refused(
    data: Index, bare: Index, sections: dict[str, Any], processes: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=f"is not paired .*{message}"):
        check_request(config_of(data, bare, **sections), World(size=processes))


def test_no_paired_folder_is_refused_and_a_run_without_teacher_takes_any(data: Index, bare: Index) -> None:
    alone = {"root": [{"root": str(bare.root), "paired": False}]}
    with pytest.raises(ConfigError, match="neither is any other folder"):
        check_request(config_of(data, bare, data=alone), World())
    check_request(config_of(data, bare, data={**alone, "teacher": "none"}, loss=[{"name": "nt_xent"}]), World())


def test_a_batch_needs_two_pairs(prepared: Ready, data: Index, bare: Index) -> None:
    roots = [{"root": str(bare.root), "weight": 60, "paired": False}, {"root": str(data.root), "weight": 1}]
    loader = prepared(config_of(data, bare, data={"root": roots, "batch_size": 4})).parts.feed.loader
    with pytest.raises(ConfigError, match=r"batch \d+: [01] of 4 windows are of folders with a teacher"):
        [loader.batch(step) for step in range(loader.steps_per_epoch)]


def test_only_unpaired_folders_change_the_run_id(data: Index, bare: Index) -> None:
    mixed = identity(config_of(data, bare), data="x")
    assert [key for key in mixed if key.endswith(".paired")] == ["data.root.1.paired"]
    plain = config_of(data, bare, data={"root": [{"root": "a"}, {"root": "b"}]})
    assert not any(key.endswith(".paired") for key in identity(plain, data="x"))
    assert run_id(identity(plain, data="x")) != run_id(mixed)
