"""Runs without a teacher, with objectives, with a tower that trains along: learning, resuming, export, processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imu_video.bundle.encoder import load_encoder
from imu_video.errors import CheckpointError
from imu_video.runtime.distributed import GlobalDraws, World
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.schema import Index
from imu_video.sides import load_tower
from imu_video.transforms import Compose
from imu_video.types import PairBatch, PairMeta
from pretrain.checkpoints.store import CheckpointStore
from pretrain.config import PretrainConfig
from pretrain.export import export
from pretrain.observe.trackers import read_log
from pretrain.prepare.needs import needs_of
from pretrain.prepare.prepare import Prepared
from pretrain.run import run
from pretrain.training.augment import Augmenter, FolderAugment
from tests.pretrain.conftest import opened

Raw = Callable[..., dict[str, Any]]
TOWER = {"name": "skeleton", "width": 8, "frames": 16, "segments": 2}
OBJECTIVES = [{"name": "masked_patches", "patch": 10}, {"name": "transformations", "weight": {"last": 0.5, "end": 4}}]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    store = CheckpointStore(folder / "checkpoints")
    return store.read(store.resolve("latest")).model


def curve(folder: Path, number: str = "loss", kind: str = "train") -> list[float]:
    return [line[number] for line in read_log(folder / "log.jsonl") if line["kind"] == kind]


@pytest.fixture
def config(moving: Index, raw: Raw) -> Callable[..., PretrainConfig]:
    return lambda **sections: PretrainConfig.model_validate(raw(moving.root, **sections))


@pytest.mark.parametrize(
    "sections",
    [
        {"loss": [], "objective": OBJECTIVES},
        {"tower": TOWER},
        {"tower": TOWER, "objective": OBJECTIVES, "optim": {"accumulate": 2}},
        {"tower": TOWER, "loss": [{"name": "segment_alignment"}], "projector": {"segments": 3}},
    ],
    ids=["objectives alone", "tower", "all at once", "segments"],
)
def test_learns_resumes_in_the_same_bits_and_exports(
    sections: dict[str, Any], config: Callable[..., PretrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after five of eight steps and continued: weights and curve are those of a run that was not stopped."""
    from pretrain.observe.reporter import StopSignal

    made = config(**{**sections, "optim": {**sections.get("optim", {}), "steps": 8}})
    whole = run(made, folder=tmp_path / "whole")
    asked = iter([False] * 4 + [True])
    with monkeypatch.context() as patched:
        patched.setattr(StopSignal, "requested", lambda self: next(asked))
        assert run(made, folder=tmp_path / "parts").state.step == 5
    run(made, folder=tmp_path / "parts")
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert curve(tmp_path / "whole") == curve(tmp_path / "parts")
    assert whole.state.best is not None
    assert whole.state.best.rule == ("mrr" if "loss" not in sections else "loss")
    assert all(np.isfinite(curve(tmp_path / "whole", "loss", "validate")))
    assert any("projector" in name for name in one) == (sections.get("loss") != [])

    done = export(tmp_path / "whole", tmp_path / "encoder", with_side="skeleton" if "tower" in sections else None)
    assert done.difference == 0.0
    encoder = load_encoder(tmp_path / "encoder")
    assert encoder.lineage["recipe"] == "made"
    assert encoder.lineage["licences"]["teacher"] == "no teacher"
    assert not (tmp_path / "encoder" / "projectors.safetensors").exists()
    if "tower" in sections:
        self_made = load_tower(tmp_path / "encoder" / "skeleton")
        skeletons = np.asarray(open_columns(opened(made).index, "val").streams["skeleton"])
        features = self_made.encode(skeletons)
        assert features.shape == (64, self_made.feature_dim)
        assert np.isfinite(features).all()
    else:
        with pytest.raises(CheckpointError, match="trained no skeleton encoder"):
            export(tmp_path / "whole", tmp_path / "other", with_side="skeleton")


def test_a_tower_brings_pairs_together(config: Callable[..., PretrainConfig], tmp_path: Path) -> None:
    made = config(
        tower={**TOWER, "lost": 0.0, "body": 0.02},
        augment=[{"name": "jitter"}],
        optim={"steps": 80, "lr": 1e-3},
        run={"validate_every": 80, "log_every": 20},
    )
    run(made, folder=tmp_path / "run")
    mrr = curve(tmp_path / "run", "mrr", "validate")
    assert mrr[-1] > 1.5 * mrr[0]


@pytest.mark.slow  # losses and objectives over ranks are compared one by one in tests/contracts
@pytest.mark.parametrize(
    "sections",
    [
        {"tower": TOWER, "objective": OBJECTIVES},
        {"loss": [{"name": "nt_xent"}, {"name": "collossl"}]},
        {"tower": TOWER, "loss": [{"name": "segment_alignment"}]},
    ],
    ids=["tower and objectives", "views and devices", "segments alone"],
)
def test_two_processes_follow_one(
    sections: dict[str, Any],
    moving: Index,
    raw: Raw,
    start: Callable[..., Any],
    tmp_path: Path,
    config: Callable[..., PretrainConfig],
) -> None:
    """Tower views, objectives and augmentation: same global batch, same curve."""
    import yaml

    sections = {
        **sections, "projector": {"dropout": 0.0}, "optim": {"steps": 6}, "run": {"validate_every": 6},
    }  # fmt: skip
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(raw(moving.root, **sections)))
    process = start("launch", file, "--run", tmp_path / "two", "--nproc", "2")
    run(config(**sections), folder=tmp_path / "one")
    _, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    terms = [key for key in read_log(tmp_path / "one" / "log.jsonl")[1] if key.startswith("terms/")]
    assert len(terms) == len(sections.get("loss", [1])) + len(sections.get("objective", []))
    for number in ("loss", *terms):
        one, two = curve(tmp_path / "one", number), curve(tmp_path / "two", number)
        np.testing.assert_allclose(one, two, atol=5e-4)
    ends = [curve(tmp_path / name, "loss", "validate")[-1] for name in ("one", "two")]
    assert ends[0] == pytest.approx(ends[1], abs=1e-3)


def test_only_what_is_needed_is_built(prepared: Callable[..., Prepared], config: Callable[..., PretrainConfig]) -> None:
    made = config(loss=[], objective=OBJECTIVES)
    ready = prepared(made)
    parts = ready.parts
    assert ready.data.teacher == "none"
    batch = parts.feed.get(0)
    assert batch.teacher is batch.devices is None
    assert batch.others == {}
    assert len(parts.feed.loader.usable) == 160  # windows without a teacher's feature take part
    used = {n for n, p in parts.task.named_parameters() if p.requires_grad}
    output, pair = parts.task(batch, parts.augmenter.draws(0, "draws"))
    assert pair is None
    output.total.backward()
    assert used == {n for n, p in parts.task.named_parameters() if p.grad is not None}  # or DDP would wait for ever


def test_a_config_has_something_to_learn(data: Index, raw: Raw) -> None:
    with pytest.raises(ValueError, match="loss and objective are both empty"):
        PretrainConfig.model_validate(raw(data.root, loss=[]))


def test_needs_of_a_config(config: Callable[..., PretrainConfig]) -> None:
    plain, tower = needs_of(config()), needs_of(config(tower=TOWER))
    assert (plain.teacher, plain.streams, tower.teacher, tower.streams) == (True, (), False, ("skeleton",))
    none = needs_of(config(loss=[], objective=OBJECTIVES))
    assert (none.teacher, none.streams, none.devices, none.augmented_pair) == (False, (), False, False)


def test_augmentation_of_normalised_windows_and_of_the_second_window_alone() -> None:
    imu = torch.randn(8, 6, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = torch.ones_like(imu, dtype=torch.bool)
    mask[2, 0, :9] = False
    imu = torch.where(mask, imu, 0)
    numbers = {k: torch.arange(8) for k in ("sample", "recording", "device", "subject")}
    batch = PairBatch(imu=imu, mask=mask, meta=PairMeta(**numbers, time=torch.arange(8.0).double()))
    compose = Compose.build([{"name": "rotate", "max_degrees": 180}, "scale"])
    mean, std = torch.arange(6.0)[:, None], 1 + torch.arange(6.0)[:, None]
    options: dict[str, Any] = {"augmented_pair": True, "seed": 0, "world": World(), "device": torch.device("cpu")}
    normal = Augmenter(compose, **options, normalisation=(mean, std))
    out = normal.training(batch, 3)
    inside = torch.where(mask, (imu - mean) / std, 0)
    changed, changed_mask = compose(inside, mask, normal.draws(3, "augment"))
    assert torch.allclose(out.imu, torch.where(changed_mask, changed * std + mean, 0), atol=1e-12)
    assert torch.equal(out.mask, changed_mask)
    plain = Augmenter(compose, **options)
    assert not torch.allclose(plain.training(batch, 3).imu, out.imu)
    second = Augmenter(compose, **options, first=False).training(batch, 3)
    assert torch.equal(second.imu, imu)
    assert torch.equal(second.imu_two, plain.training(batch, 3).imu_two)  # type: ignore[arg-type]


def test_rows_of_a_folder_take_its_own_augmentations() -> None:
    imu, mask = torch.ones(8, 6, 50), torch.ones(8, 6, 50, dtype=torch.bool)
    numbers = {k: torch.arange(8) for k in ("recording", "device", "subject")}
    meta = PairMeta(sample=torch.tensor([0, 9, 10, 3, 14, 15, 29, 11]), **numbers, time=torch.arange(8.0).double())
    batch = PairBatch(imu=imu, mask=mask, meta=meta)
    folders = FolderAugment(
        own={1: Compose.build([{"name": "bias", "acc_sigma": 9}]), 2: None}, training=[10, 5, 15], validation=[4, 20, 9]
    )
    options: dict[str, Any] = {"augmented_pair": True, "seed": 0, "world": World(), "device": torch.device("cpu")}
    common = Augmenter(Compose.build(["scale"]), **options)
    own = Augmenter(Compose.build(["scale"]), **options, folders=folders)
    plain, out = common.training(batch, 3), own.training(batch, 3)
    assert plain.imu_two is not None
    assert out.imu_two is not None
    first, second, third = [0, 1, 3], [2, 4, 7], [5, 6]
    for before, after in ((plain.imu, out.imu), (plain.imu_two, out.imu_two)):
        assert torch.equal(before[first], after[first])
        assert (after[second] - 1).abs().amax((1, 2)).min() > 1, "an offset, not a gain"
        assert torch.equal(after[third], imu[third])
    assert not torch.equal(out.imu[second], out.imu_two[second])
    seen = own.validation(batch, 0).imu_two
    assert seen is not None
    assert torch.equal(seen[[6]], imu[[6]]), "the folders of the validation split have other sizes"
    assert (seen[[1, 2, 4, 5, 7]] - 1).abs().amax((1, 2)).min() > 1


def test_views_are_draws_of_their_own_and_alike_on_any_number_of_ranks() -> None:
    imu = torch.randn(8, 6, 50, generator=torch.Generator().manual_seed(0))
    meta = PairMeta(
        **{k: torch.arange(8) for k in ("sample", "recording", "device", "subject")}, time=torch.arange(8.0).double()
    )
    mask = torch.ones_like(imu, dtype=torch.bool)
    worn = torch.stack([imu, imu], dim=1)
    batch = PairBatch(imu=imu, mask=mask, meta=meta, devices=worn, devices_mask=torch.ones_like(worn, dtype=torch.bool))

    def augmenter(world: World) -> Augmenter:
        compose = Compose.build([{"name": "jitter"}])
        return Augmenter(compose, augmented_pair=True, seed=0, world=world, device=torch.device("cpu"))

    whole = augmenter(World()).training(batch, 3)
    assert whole.imu_two is not None
    assert whole.devices is not None
    assert not torch.equal(whole.imu, whole.imu_two)
    assert not torch.equal(whole.devices[:, 0], whole.devices[:, 1])
    assert not torch.equal(augmenter(World()).training(batch, 4).imu, whole.imu)
    fields = {f.name for f in dataclasses.fields(PairBatch)} - {"meta", "others"}
    for rank in range(2):
        rows = World(rank=rank, size=2).rows(8)
        own = {k: getattr(batch, k)[rows] for k in fields if getattr(batch, k) is not None}
        part = augmenter(World(rank=rank, size=2)).training(dataclasses.replace(batch, **own), 3)
        for name in ("imu", "imu_two", "devices"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[rows])
    seen = [augmenter(World()).validation(batch, 0) for _ in range(2)]
    assert torch.equal(seen[0].imu, imu)
    assert torch.equal(seen[0].imu_two, seen[1].imu_two)  # type: ignore[arg-type]
    assert isinstance(augmenter(World()).draws(0, "x"), GlobalDraws)
    other = dataclasses.replace(batch, imu_two=imu + 100, mask_two=mask)
    for of in (augmenter(World()).training(other, 3), augmenter(World()).validation(other, 3)):
        assert of.imu_two is not None
        assert float((of.imu_two - imu - 100).abs().max()) < 2, "the window of another device, augmented"
    still = Augmenter(None, augmented_pair=True, seed=0, world=World(), device=torch.device("cpu")).training(other, 3)
    assert torch.equal(still.imu_two, imu + 100)  # type: ignore[arg-type]
