"""Faithful recipes: 20 updates of the engine equal those of a loop written from the paper, in double precision."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from imu_video.config import load_config, shipped
from imu_video.shards.schema import Index
from pretrain.config import PretrainConfig
from pretrain.prepare.prepare import Prepared
from tests.reference import naive_published, naive_recipes
from tests.reference.naive_recipes import Recipe, doubled, engine_and_start, normalised

FAITHFUL = shipped() / "pretrain" / "faithful"
COMMON = [
    "data.batch_size=8", "data.val_split=null", "optim.epochs=null", "optim.steps=20", "run.device=cpu",
    "run.precision=fp32", "run.threads=1",
]  # fmt: skip
# Smaller networks, so that the loops take seconds; everything else stays as shipped.
PATCH_TST = [
    "encoder.width=8",
    "encoder.layers=1",
    "encoder.heads=2",
    "encoder.ffn=16",
    "encoder.patch=10",
    "encoder.stride=10",
]
TOWERS = [
    "encoder.width=8",
    "encoder.ffn=16",
    "tower.width=16",
    "tower.frames=16",
    "projector.hidden=16",
    "projector.dim=8",
]
# A batch norm follows without a nonlinearity between: these biases have gradients of 0, whose rounding errors Adam
# turns into updates. They do not change the loss, which is tested, and are left out of the comparison.
WITHOUT_EFFECT = re.compile(
    r"model\.(student\.encoder\.convolutions\.[036]|networks\.skeleton\.(by_joint\.[01]\.[03]|by_body\.[01]\.[04]|joined\.[04])"
    r"|(imu_projector|sides\.skeleton\.projector)\.first)\.bias"
)
TPN = ["encoder.width=4"]
GRU = ["encoder.width=8", "encoder.hidden=12", "encoder.pool=1", "optim.accumulate=2", "data.batch_size=4"]
HF = [
    "encoder.width=8",
    "encoder.layers=1",
    "encoder.heads=2",
    "encoder.ffn=16",
    "encoder.patch=10",
    "encoder.stride=10",
]
TWINS: dict[str, tuple[type[Recipe], list[str]]] = {
    "comodo": (naive_recipes.Comodo, [*PATCH_TST, "projector.hidden=16", "projector.dim=8", "loss.0.size=20"]),
    "hard_negative": (naive_recipes.HardNegative, TOWERS),
    "cmc_cmkm": (naive_recipes.CmcCmkm, TOWERS),
    "imu_video_sigmoid": (naive_published.ImuVideo, [*PATCH_TST, "projector.dim=8", "optim.accumulate=2"]),
    "imu2clip": (naive_published.Imu2Clip, GRU),
    "collossl": (naive_published.ColloSSL, TPN),
    "simclr_imu": (naive_published.SimCLR, [*TPN, "projector.hidden=[12, 8]", "projector.dim=5"]),
    "masked_patchtst": (naive_published.MaskedPatches, [*PATCH_TST, "objective.0.patch=10"]),
    "primus": (
        naive_published.Primus,
        [*GRU, "encoder.steps=3", "projector.dim=12", "loss.2.size=20", "loss.3.size=20"],
    ),
    "ssl_wearables": (naive_published.SslWearables, ["encoder.width=2", "data.subjects_per_batch=2"]),
}


def recipe(name: str, root: Path, *more: str) -> PretrainConfig:
    return load_config(
        FAITHFUL / f"{name}.yaml", PretrainConfig, [f"data.root={root}", *COMMON, *TWINS[name][1], *more]
    )


@pytest.mark.parametrize("name", sorted(path.stem for path in FAITHFUL.glob("*.yaml")))
def test_twenty_updates_equal_a_loop_from_the_paper(
    name: str, moving: Index, prepared: Callable[..., Prepared], tmp_path: Path
) -> None:
    run = prepared(recipe(name, moving.root), folder=tmp_path / "run")
    engine, start = engine_and_start(run)
    twin = TWINS[name][0](start, run)
    idle = {key for key in twin.p if name in ("hard_negative", "cmc_cmkm") and WITHOUT_EFFECT.fullmatch(key)}
    before = {key: value.detach().clone() for key, value in start.named_parameters()}
    losses = list(twin.losses())
    engine.fit()
    after = dict(engine.parts.task.named_parameters())
    assert len(losses) == 20
    assert after.keys() == before.keys()
    worst = {key: (value - twin.p[key]).detach().abs().max().item() for key, value in after.items() if key not in idle}
    # Biases whose gradient is 0 in part (of keys; where no unit of a channel is muted) carry rounding errors as well.
    most = 1e-8 if idle else 1e-9
    assert max(worst.values()) <= most, {key: value for key, value in worst.items() if value > most}
    moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
    # The value of channels without any sample is an addition to every published network; most batches do not use it.
    own = {"model.student.encoder.missing", *idle}
    assert moved | own == set(twin.trained()) | own, (
        "a parameter that the paper trains stayed as it was, or another one moved"
    )


@pytest.mark.parametrize("name", ["hard_negative", "cmc_cmkm"])
def test_the_biases_that_the_comparison_leaves_out_do_not_change_the_loss(
    name: str, moving: Index, prepared: Callable[..., Prepared], tmp_path: Path
) -> None:
    run = prepared(recipe(name, moving.root), folder=tmp_path / "run")
    assert run.config.optim.lr == 1e-3
    assert run.config.encoder["norm"] == "batch"
    _, start = engine_and_start(run)
    twin = TWINS[name][0](start, run)
    batch = run.parts.augmenter.training(doubled(run.parts.feed.loader.batch(0)), 0)

    def loss() -> float:
        torch.manual_seed(0)
        return twin.loss(batch, 0).item()

    first = loss()
    idle = [parameter for key, parameter in twin.p.items() if WITHOUT_EFFECT.fullmatch(key)]
    assert len(idle) == 15
    with torch.no_grad():
        for parameter in idle:
            parameter += torch.linspace(0.5, 1, len(parameter), dtype=parameter.dtype)
    assert loss() == pytest.approx(first, abs=1e-9)
    with torch.no_grad():
        twin.p["model.imu_projector.second.bias"] += 0.5
    assert abs(loss() - first) > 1e-3


def test_the_queue_of_comodo_is_filled_with_other_windows_than_the_first_batches_hold_alone(
    moving: Index, prepared: Callable[..., Prepared]
) -> None:
    run = prepared(recipe("comodo", moving.root))
    loader, task = run.parts.feed.loader, run.parts.task
    rows = np.random.default_rng([42, 16349]).permutation(loader.usable)[:20]
    side = task.model.teacher.projector
    assert side is not None
    hidden = torch.nn.functional.gelu(side.first(loader.features(rows)) / (1 + 1e-5) ** 0.5)  # type: ignore[operator]
    assert task.loss is not None
    queue = task.loss.losses["queue_distill"].queue
    assert torch.allclose(normalised(side.second(hidden)), queue.video, atol=1e-6)  # type: ignore[operator]
    assert int(queue.filled) == 20
