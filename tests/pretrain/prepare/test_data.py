"""What a run reads: mixtures, damaged folders, and a live teacher that gives what its cache would have given."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imu_video.errors import ConfigError, LeakageError, ShardError, TeacherCacheError
from imu_video.modalities import ClipSpec
from imu_video.runtime.distributed import World
from imu_video.shards.batches.live import LiveLoader
from imu_video.shards.damage import quarantined
from imu_video.shards.features.embed import embed
from imu_video.shards.reading.clips import ClipReader
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.schema import Index
from imu_video.testing import write_folder
from imu_video.types import Window
from pretrain.config import PretrainConfig
from pretrain.export import export
from pretrain.prepare.prepare import Prepared, prepare
from pretrain.run import run
from tests.pretrain.conftest import PLACEMENTS, RATE, make_window, opened, raw_config

CPU = torch.device("cpu")
Ready = Callable[..., Prepared]


def config_of(root: Any, **sections: Any) -> PretrainConfig:
    sections["data"] = {"root": root, **sections.get("data", {})}
    return PretrainConfig.model_validate(raw_config(Path(), **sections))


@pytest.fixture(scope="module")
def other(data_maker: Callable[..., Index], tmp_path_factory: pytest.TempPathFactory) -> Index:
    """A second folder with other people: 64 training and 40 validation windows."""
    return data_maker(tmp_path_factory.mktemp("other") / "data", {"train": 64, "val": 40})


def test_a_mixture_is_one_pass_over_all_or_follows_its_weights(prepared: Ready, data: Index, other: Index) -> None:
    roots = [{"root": str(data.root)}, {"root": str(other.root)}]
    loader = prepared(config_of(roots)).parts.feed.loader
    usable = [sum(i % 19 != 0 for i in range(n)) for n in (160, 64)]
    assert loader.steps_per_epoch == sum(usable) // 32
    weighted = config_of([{**roots[0], "weight": 3}, {**roots[1], "weight": 1}])
    loader = prepared(weighted).parts.feed.loader
    assert loader.plan.epoch_rows == usable[0] + round(usable[0] / 3)
    batch = loader.batch(0)
    second = batch.meta.sample >= 160
    assert 0 < second.sum() < 32
    imu = open_columns(other, "train").imu
    for i in torch.nonzero(second)[:, 0].tolist():
        truth = imu[int(batch.meta.sample[i]) - 160, int(batch.meta.device[i])]
        np.testing.assert_array_equal(batch.imu[i], np.nan_to_num(truth))


def test_normalisation_of_a_mixture_is_of_all_its_windows(prepared: Ready, data: Index, other: Index) -> None:
    config = config_of([{"root": str(data.root)}, {"root": str(other.root)}])
    spec = prepared(config).spec
    values = [
        np.moveaxis(np.asarray(open_columns(i, "train").imu, np.float64), -2, 0)[:3].ravel() for i in (data, other)
    ]
    assert spec.std[0] == pytest.approx(np.sqrt(np.nanmean(np.concatenate(values) ** 2)), rel=1e-5)


def test_a_mixture_trains_resumes_and_leaves(data: Index, other: Index, tmp_path: Path) -> None:
    roots = [{"root": str(data.root), "weight": 2.0}, {"root": str(other.root), "weight": 1.0}]
    config = config_of(roots, data={"leftover": "carry"}, optim={"steps": 8})
    whole = run(config, folder=tmp_path / "whole")
    half = config_of(roots, data={"leftover": "carry"}, optim={"steps": 8})
    assert run(half, folder=tmp_path / "again").state == whole.state
    facts = json.loads((tmp_path / "whole" / "checkpoints" / "step-00000008" / "state.json").read_text())["state"]
    assert facts["data"]["digest"] == f"{data.digest}+{other.digest}"
    assert facts["data"]["subjects"]["train"][0] == "made/train-s0"
    assert not any(key.startswith("data.root.") and key.endswith(".root") for key in facts["identity"])
    assert facts["identity"]["data.root.1.weight"] == 1.0
    exported = export(tmp_path / "whole", tmp_path / "encoder")
    assert exported.difference <= 1e-6


def test_sampling_with_replacement_trains(data: Index, tmp_path: Path) -> None:
    options = {"sampling": "replacement", "balance": "recording"}
    outcome = run(config_of(str(data.root), data=options, optim={"steps": 3}), folder=tmp_path / "run")
    assert outcome.state.step == 3


def test_mixtures_that_cannot_be(data: Index, other: Index, tmp_path: Path) -> None:
    a, b = str(data.root), str(other.root)
    with pytest.raises(ValueError, match="give all folders a weight, or no folder"):
        config_of([{"root": a, "weight": 1}, {"root": b}])
    with pytest.raises(ValueError, match="occurs twice"):
        config_of([{"root": a}, {"root": a}])
    copied = tmp_path / "copy"
    shutil.copytree(other.root, copied)
    (copied / "teachers" / "feedfacecafe").rename(copied / "teachers" / "0ddba11")
    with pytest.raises(TeacherCacheError, match=rf"{copied} has no features of teacher 'feedfacecafe'"):
        opened(config_of([{"root": a}, {"root": str(copied)}]))
    with pytest.raises(ConfigError, match=f"{b} has no split 'test'"):
        opened(config_of([{"root": b}], data={"val_split": "test"}))
    crossed = config_of([{"root": a}, {"root": b}], data={"train_split": "val", "val_split": "val"})
    with pytest.raises(LeakageError, match="made/val-s0"):
        opened(crossed)


def spoil(index: Index, split: str, number: int) -> str:
    """Damage the facts of a sample; returns its key."""
    (shard,) = index.split(split).shards
    key = list(shard.keys)[number]
    data = bytearray(index.shard_path(shard).read_bytes())
    data[shard.keys[key]["meta.json"][0]] = 0
    index.shard_path(shard).write_bytes(data)
    return key


def test_damaged_samples_stop_a_run_or_are_left_out_and_noted(
    prepared: Ready, data_maker: Callable[..., Index], tmp_path: Path
) -> None:
    index = data_maker(tmp_path / "data", {"train": 80, "val": 40})
    key = spoil(index, "train", 3)
    options = {"optim": {"steps": 2}}
    with pytest.raises(ShardError, match=key):
        run(config_of(str(index.root), **options), folder=tmp_path / "raise")
    run(config_of(str(index.root), data={"errors": "quarantine"}, **options), folder=tmp_path / "left")
    assert list(quarantined(index, "train")) == [key]
    noted = json.loads((tmp_path / "left" / "environment.json").read_text())
    assert key in json.dumps(noted)
    loader = prepared(config_of(str(index.root), data={"errors": "skip"})).parts.feed.loader
    assert 3 not in loader.usable
    assert len(loader.usable) == 80 - 5 - 1
    path = index.shard_path(index.split("val").shards[0])
    path.write_bytes(path.read_bytes()[:-20000])
    with pytest.raises(ShardError, match="the index has"):
        opened(config_of(str(index.root)))
    shutil.rmtree(index.root / "columns")
    assert opened(config_of(str(index.root), data={"errors": "skip"})).columns()["val"][0].left_out


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """A folder with clips and the tiny teacher's cache; every fifth window has no clip."""
    root = tmp_path_factory.mktemp("filmed") / "data"
    made: dict[str, list[Window]] = {"train": [], "val": []}
    for split, count in (("train", 60), ("val", 24)):
        for i in range(count):
            rng = np.random.default_rng([len(split), i])
            latent = rng.uniform(0, 1, 3)
            clip = (
                np.broadcast_to((255 * latent).astype(np.uint8), (4, 16, 32, 3))
                // np.array([1, 2, 3, 4])[:, None, None, None]
            )
            streams = {"video": clip.astype(np.uint8) if i % 5 else None}
            made[split].append(replace(make_window(split, i, latent), streams=streams))
    specs = {"video": ClipSpec(fps=2, frames=4, height=16, width=32)}
    index = write_folder(root, made, rate_hz=RATE, specs=specs, placements=PLACEMENTS)
    embed(index, {"name": "tiny", "dim": 12}, batch_size=4, device="cpu")
    return index


TINY = {"name": "tiny", "dim": 12}


def test_live_and_cached_teachers_give_the_same(prepared: Ready, filmed: Index, tmp_path: Path) -> None:
    cached = config_of(str(filmed.root), data={"batch_size": 16})
    live = config_of(str(filmed.root), data={"batch_size": 16, "teacher": "live", "live_teacher": TINY, "workers": 2})
    one, two = prepared(cached).parts, prepared(live).parts
    assert isinstance(two.feed.loader, LiveLoader)
    np.testing.assert_array_equal(one.feed.loader.usable, two.feed.loader.usable)
    for step in (0, 1, 5):
        a, b = one.feed.get(step).to(CPU), two.feed.get(step).to(CPU)
        assert torch.equal(a.imu, b.imu)
        assert b.others == {}
        torch.testing.assert_close(a.teacher, b.teacher, atol=1e-3, rtol=1e-3)  # the cache keeps float16
    torch.testing.assert_close(one.task.model.teacher.mean, two.task.model.teacher.mean, atol=1e-3, rtol=1e-3)
    losses = []
    for name, config in (("cached", cached), ("live", live)):
        run(config.model_copy(update={"optim": config.optim.model_copy(update={"steps": 6})}), folder=tmp_path / name)
        lines = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines])
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.02)
    state = json.loads((tmp_path / "live" / "checkpoints" / "step-00000006" / "state.json").read_text())["state"]
    (cache,) = (filmed.root / "teachers").iterdir()
    assert state["teacher"]["fingerprint"] == cache.name  # the same teacher, by its fingerprint


def test_changes_of_clips_reach_a_live_teacher_in_training_only(prepared: Ready, filmed: Index) -> None:
    options = {"batch_size": 16, "teacher": "live", "live_teacher": TINY}
    plain = prepared(config_of(str(filmed.root), data=options)).parts
    changed = prepared(
        config_of(str(filmed.root), data={**options, "clip_augment": [{"name": "colour", "p": 1.0}]})
    ).parts
    assert not torch.allclose(plain.feed.get(0).teacher, changed.feed.get(0).teacher, atol=1e-2)
    assert torch.equal(changed.feed.loader.batch(3).teacher, changed.feed.loader.batch(3).teacher)
    assert torch.equal(plain.val_loader.batch(0).teacher, changed.val_loader.batch(0).teacher)


def test_permuted_pairs_reach_a_live_teacher_and_leave_validation_alone(prepared: Ready, filmed: Index) -> None:
    options = {"batch_size": 16, "teacher": "live", "live_teacher": TINY}
    true = prepared(config_of(str(filmed.root), data=options)).parts
    permuted = prepared(config_of(str(filmed.root), data={**options, "control": "permuted_pairs"})).parts
    a, b = true.feed.loader, permuted.feed.loader
    torch.testing.assert_close(b.features(a.usable).sort(dim=0).values, a.features(a.usable).sort(dim=0).values)
    batch = b.batch(2)
    assert torch.equal(batch.imu, a.batch(2).imu)
    assert not torch.isclose(batch.teacher, a.batch(2).teacher, atol=1e-4).all(dim=1).any()
    torch.testing.assert_close(batch.teacher, b.features(batch.meta.sample.numpy()), atol=1e-5, rtol=1e-5)
    assert torch.equal(true.val_loader.batch(0).teacher, permuted.val_loader.batch(0).teacher)


def test_the_clips_of_a_live_teacher_are_closed(filmed: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One reader per split, and no decoding thread outlives the run, whether it ends well or not."""
    config = config_of(str(filmed.root), data={"batch_size": 16, "teacher": "live", "live_teacher": TINY, "workers": 3})
    opened: list[ClipReader] = []
    real = ClipReader.__init__

    def note(self: ClipReader, *arguments: Any, **named: Any) -> None:
        opened.append(self)
        real(self, *arguments, **named)

    monkeypatch.setattr(ClipReader, "__init__", note)
    before = threading.active_count()
    with prepare(config, folder=tmp_path / "run") as prepared:
        prepared.parts.feed.get(0)
        assert threading.active_count() > before
    assert [len(opened), threading.active_count()] == [2, before]

    def fail() -> None:
        with prepare(config, folder=tmp_path / "run") as prepared:
            prepared.parts.feed.get(0)
            raise RuntimeError("in the loop")

    with pytest.raises(RuntimeError, match="in the loop"):
        fail()
    assert [len(opened), threading.active_count()] == [4, before]
    small = config.model_copy(update={"run": config.run.model_copy(update={"gallery": 2})})
    four = prepare(small, folder=tmp_path / "run", world=World(size=4))
    with pytest.raises(ConfigError, match="too few for a gallery"), four:
        raise AssertionError("prepared")
    assert [len(opened), threading.active_count()] == [6, before]
